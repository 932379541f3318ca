/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Network namespaces: which there are, and a look into each. */
#pragma once

#include "error.h"
#include "netlink.h"

#include <stdio.h>

struct netns {
	ino_t inode;
	char *path;  /* what opens it */
	char *where; /* for messages, as " in network namespace c"; empty: the own one */
};

/* All that were found; the own one is the first. */
struct netns_list {
	struct netns *ns;
	size_t n;
};

void netns_list_free(struct netns_list *list);
#define _cleanup_netns_ __attribute__((cleanup(netns_list_free)))

/* Find the network namespaces that can be found: the own one, those with a name below
 * /run/netns, those of processes, those that are mounted in this mount namespace. Each
 * is there once. Returns 0, or -1 with @e (STATUS_REFUSED): there may be others; those in
 * @list can be looked into all the same. */
_must_check_ int netns_find(struct netns_list *list, struct error *e);

/* What can be asked in a namespace, from outside. */
struct netns_view {
	struct mnl_socket *netlink; /* NULL: the namespace has ended */
	FILE *packets;		    /* its packet sockets */
	FILE *pppoe;		    /* its PPPoE connections; NULL: there cannot be any */
};

void netns_view_close(struct netns_view *view);
#define _cleanup_view_ __attribute__((cleanup(netns_view_close)))

/* Look into @ns: enter it, open what is to be asked, and come back. To be called by a
 * process with one thread.
 * Returns 0, or -1 with @e (STATUS_REFUSED). */
_must_check_ int netns_look(const struct netns *ns, struct netns_view *view,
			    struct error *e);

/* Has interface @index of @ns a program of tcx (bpf(2)), on the way in or out, which
 * rtnetlink does not tell of? As netns_look(). */
_must_check_ int netns_has_tcx(const struct netns *ns, uint32_t index, bool *has,
			       struct error *e);

/* A new fd of the namespace; -ESRCH: it has ended; or -errno. */
_must_check_ int netns_open(const struct netns *ns);

/* Set @e: what could not be told in this namespace (NULL: in whichever), because of
 * @error, an errno. Returns -1. */
int netns_cannot_tell(const struct netns *ns, int error, struct error *e);
