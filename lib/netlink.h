/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Asking the kernel by rtnetlink (libmnl), and hearing all of the answer. */
#pragma once

#include "util.h"

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>

/* The messages of an answer, one behind the other. */
struct answer {
	char *data;
	size_t n; /* bytes */
};

void answer_free(struct answer *answer);
#define _cleanup_answer_ __attribute__((cleanup(answer_free)))

/* The message behind @message; with NULL the first one. NULL: that was the last. */
const struct nlmsghdr *answer_next(const struct answer *answer,
				   const struct nlmsghdr *message);

/* Send @request, whose type, flags and body are set, and wait for the whole @answer. A
 * dump that changed while it was read is read again. What the kernel has not got
 * (EOPNOTSUPP, ENOENT) is an empty answer. Returns 0 or -errno; EINTR: it changes all the
 * time, and @answer has what was told in all tries, most of it often. */
_must_check_ int netlink_ask(struct mnl_socket *socket, struct nlmsghdr *request,
			     struct answer *answer);

/* The attribute of this type behind a header of so many bytes, or in @nest, which may be
 * NULL; or NULL. */
const struct nlattr *netlink_attribute(const struct nlmsghdr *message, size_t header,
				       uint16_t type);
const struct nlattr *netlink_nested(const struct nlattr *nest, uint16_t type);

/* The attribute's payload; NULL: there is no such attribute, or it has less than @size
 * bytes. */
const void *netlink_payload(const struct nlattr *attribute, size_t size);

/* Its number; @otherwise if there is none. */
uint32_t netlink_number(const struct nlattr *attribute, uint32_t otherwise);
