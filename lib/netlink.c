/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "netlink.h"

#include <errno.h>

void answer_free(struct answer *answer)
{
	free(answer->data);
	*answer = (struct answer){0};
}

const struct nlmsghdr *answer_next(const struct answer *answer,
				   const struct nlmsghdr *message)
{
	const char *next = message ? (const char *)message + MNL_ALIGN(message->nlmsg_len)
				   : answer->data;

	return next && next < answer->data + answer->n ? (const void *)next : NULL;
}

/* The kernel gives no more of a dump at once. */
#define PART 32768

/* Take one part of what the kernel sends. Returns its size, or -errno. */
static int receive(struct mnl_socket *socket, struct answer *answer)
{
	ssize_t n;

	answer->data = realloc(answer->data, answer->n + PART);
	if (!answer->data)
		abort();
	do
		n = mnl_socket_recvfrom(socket, answer->data + answer->n, PART);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : (int)n;
}

/* What ends a dump, or stands for an answer, has a number: 0 or -errno. */
static int number_of(const struct nlmsghdr *message)
{
	const int *number = mnl_nlmsg_get_payload(message);

	return mnl_nlmsg_get_payload_len(message) >= sizeof(*number) && *number < 0
		       ? *number
		       : 0;
}

/* One try: adds to @answer. Returns 0 or -errno; EINTR: it changed meanwhile. */
static int ask_once(struct mnl_socket *socket, const struct nlmsghdr *request,
		    struct answer *answer)
{
	bool interrupted = false, more = true;

	if (mnl_socket_sendto(socket, request, request->nlmsg_len) < 0)
		return -errno;
	while (more) {
		int left = receive(socket, answer);
		const struct nlmsghdr *message = (const void *)(answer->data + answer->n);

		if (left < 0)
			return left;
		for (; mnl_nlmsg_ok(message, left);
		     message = mnl_nlmsg_next(message, &left)) {
			interrupted |= message->nlmsg_flags & NLM_F_DUMP_INTR;
			if (message->nlmsg_type == NLMSG_ERROR)
				return number_of(message);
			if (message->nlmsg_type == NLMSG_DONE)
				return interrupted ? -EINTR : number_of(message);
			answer->n += MNL_ALIGN(message->nlmsg_len);
			more = message->nlmsg_flags & NLM_F_MULTI;
		}
	}
	return 0;
}

/* A table that changes this often while it is read could go on for ever. */
#define TRIES 20

int netlink_ask(struct mnl_socket *socket, struct nlmsghdr *request,
		struct answer *answer)
{
	size_t begin = 0; /* of the last try */
	int r = -EINTR;

	answer->n = 0;
	for (int i = 0; i < TRIES && r == -EINTR; i++) {
		begin = answer->n;
		r = ask_once(socket, request, answer);
	}
	if (r == -EINTR)
		return r;
	answer->n = r == 0 ? answer->n - begin : 0;
	if (answer->n)
		memmove(answer->data, answer->data + begin, answer->n);
	return r == -EOPNOTSUPP || r == -ENOENT ? 0 : r;
}

const struct nlattr *netlink_attribute(const struct nlmsghdr *message, size_t header,
				       uint16_t type)
{
	const struct nlattr *attribute;

	mnl_attr_for_each(attribute, message, header) {
		if (mnl_attr_get_type(attribute) == type)
			return attribute;
	}
	return NULL;
}

const struct nlattr *netlink_nested(const struct nlattr *nest, uint16_t type)
{
	const struct nlattr *attribute;

	if (!nest)
		return NULL;
	mnl_attr_for_each_nested(attribute, nest) {
		if (mnl_attr_get_type(attribute) == type)
			return attribute;
	}
	return NULL;
}

const void *netlink_payload(const struct nlattr *attribute, size_t size)
{
	return attribute && mnl_attr_get_payload_len(attribute) >= size
		       ? mnl_attr_get_payload(attribute)
		       : NULL;
}

uint32_t netlink_number(const struct nlattr *attribute, uint32_t otherwise)
{
	return netlink_payload(attribute, sizeof(uint32_t)) ? mnl_attr_get_u32(attribute)
							    : otherwise;
}
