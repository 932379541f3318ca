/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who may open the VFIO nodes of a device: their owner and mode. */
#pragma once

#include "error.h"

/* Whom they are given to. */
struct owner {
	const char *text; /* USER[:GROUP], as it was asked for; NULL: who has them keeps
			     them */
	uid_t uid;	  /* -1: as it is */
	gid_t gid;	  /* -1: as it is */
	mode_t mode;
	struct names groups; /* the numbers of all groups that the user is in; or, without
				one, of the group that is given it */
};

/* The mode when none is asked for: the owner's alone, or the group's, too. */
#define OWNER_MODE 0600
#define OWNER_MODE_GROUP 0660

/* Look up USER[:GROUP] in @text as chown(1) does: names come first, then numbers; USER:
 * is the user with his login group. An empty part is left as it is. With @mode -1, the
 * mode follows.
 * Returns 0, or -1 with @e (STATUS_USAGE): there is no such user or group. */
_must_check_ int owner_find(struct owner *owner, const char *text, mode_t mode,
			    struct error *e);

/* Is anybody to get it? An empty text names nobody. */
bool owner_asks(const struct owner *owner);

/* A node, and whose it was. */
struct given {
	char *node; /* NULL: nothing was changed */
	dev_t number;
	uid_t uid;
	gid_t gid;
	mode_t mode;
};

/* Give @node, of that number, away (steps), unless it is so already, and read that back.
 * What only has its name is given to nobody. At no moment is it more open than before or
 * than asked for: the mode is 0600 while the owner changes, and an ACL goes before.
 * @before has then whose it was, to be cleared.
 * Returns 0, or -1 with @e (STATUS_FAILED) and the node given back. In a dry run, the
 * node need not be there, nor its number be known (0). */
_must_check_ int owner_give(const struct owner *owner, const char *node, dev_t number,
			    struct given *before, struct error *e);

/* Give it back, if it is still there, and clear @before. */
void owner_give_back(struct given *before);
void owner_given_clear(struct given *before);

/* Who uses @node opens @shared as well (/dev/vfio/vfio, /dev/iommu), which is given to
 * nobody. "@shared is ROOT:ROOT 0600: ALICE cannot use @node", a new string, if the owner
 * cannot open it; NULL: he can, or there is no @shared. */
char *owner_lacks(const struct owner *owner, const char *shared, const char *node);

/* "ALICE:KVM 0660" of a node, numbers for what has no name; "?", and a note: it could not
 * be read; NULL: it is not there. A new string. */
char *owner_text(const char *node);
