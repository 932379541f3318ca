// SPDX-License-Identifier: LGPL-2.1-or-later
/* How an answer of rtnetlink is heard: whole, again when it changed, and its errors. */
#include "../../lib/netlink.h"
#include "test.h"

#include <errno.h>

/* What the kernel sends, a part at each call: messages, and what ends them. */
struct part {
	uint16_t type;
	uint16_t flags;
	uint32_t number; /* the payload */
};

static const struct part *next;
static unsigned int requests;

ssize_t __wrap_mnl_socket_sendto(const struct mnl_socket *socket, const void *request,
				 size_t size);
ssize_t __wrap_mnl_socket_sendto(const struct mnl_socket *socket, const void *request,
				 size_t size)
{
	(void)socket;
	(void)request;
	requests++;
	return (ssize_t)size;
}

ssize_t __wrap_mnl_socket_recvfrom(const struct mnl_socket *socket, void *space,
				   size_t size);
ssize_t __wrap_mnl_socket_recvfrom(const struct mnl_socket *socket, void *space,
				   size_t size)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(space);

	(void)socket;
	(void)size;
	message->nlmsg_type = next->type;
	message->nlmsg_flags = next->flags;
	*(uint32_t *)mnl_nlmsg_put_extra_header(message, sizeof(uint32_t)) = next->number;
	next++;
	return message->nlmsg_len;
}

/* What a dump returns, with the sum of the numbers that it told in @sum. */
static int dump(const struct part *parts, uint32_t *sum)
{
	_Alignas(struct nlmsghdr) char space[64];
	struct nlmsghdr *request = mnl_nlmsg_put_header(space);
	_cleanup_answer_ struct answer answer = {0};
	int r;

	next = parts;
	requests = 0;
	*sum = 0;
	r = netlink_ask(NULL, request, &answer);
	for (const struct nlmsghdr *m = NULL; (m = answer_next(&answer, m));)
		*sum += *(const uint32_t *)mnl_nlmsg_get_payload(m);
	return r;
}

#define MORE NLM_F_MULTI
#define CHANGED (NLM_F_MULTI | NLM_F_DUMP_INTR)
#define END(error)                                                                       \
	{                                                                                \
		NLMSG_DONE, MORE, (uint32_t) - (error)                                   \
	}

static void test_whole(void)
{
	static const struct part whole[] = {{RTM_NEWLINK, MORE, 1},
					    {RTM_NEWLINK, MORE, 2},
					    END(0)};
	static const struct part nothing[] = {END(0)};
	static const struct part one[] = {{RTM_NEWNSID, 0, 5}};
	uint32_t sum;

	EXPECT(dump(whole, &sum) == 0 && sum == 3);
	EXPECT(dump(nothing, &sum) == 0 && sum == 0);
	EXPECT(dump(one, &sum) == 0 && sum == 5);
	ok(content(), "an answer is heard to its end");
}

static void test_changed(void)
{
	static const struct part later[] = {{RTM_NEWLINK, CHANGED, 1},
					    {RTM_NEWLINK, MORE, 2},
					    END(0),
					    {RTM_NEWLINK, MORE, 4},
					    END(0)};
	static const struct part at_end[] = {{RTM_NEWLINK, MORE, 1},
					     {NLMSG_DONE, CHANGED, 0},
					     {RTM_NEWLINK, MORE, 4},
					     END(0)};
	struct part always[100];
	uint32_t sum;

	for (size_t i = 0; i < ARRAY_SIZE(always); i += 2) {
		always[i] = (struct part){RTM_NEWLINK, MORE, 1};
		always[i + 1] = (struct part){NLMSG_DONE, CHANGED, 0};
	}
	EXPECT(dump(later, &sum) == 0 && sum == 4 && requests == 2);
	EXPECT(dump(at_end, &sum) == 0 && sum == 4 && requests == 2);
	EXPECT(dump(always, &sum) == -EINTR && sum == requests && sum > 1);
	ok(content(), "a dump that changed meanwhile is read again, but not for ever");
}

static void test_errors(void)
{
	static const struct part refused[] = {{RTM_NEWLINK, MORE, 1},
					      {NLMSG_ERROR, 0, (uint32_t)-EPERM}};
	static const struct part ended[] = {{RTM_NEWLINK, MORE, 1}, END(ENOMEM)};
	static const struct part unknown[] = {{NLMSG_ERROR, 0, (uint32_t)-EOPNOTSUPP}};
	uint32_t sum;

	EXPECT(dump(refused, &sum) == -EPERM && sum == 0);
	EXPECT(dump(ended, &sum) == -ENOMEM && sum == 0);
	EXPECT(dump(unknown, &sum) == 0 && sum == 0);
	ok(content(), "an error is one, wherever it comes; what the kernel has not got "
		      "is none");
}

int main(void)
{
	test_whole();
	test_changed();
	test_errors();
	return done();
}
