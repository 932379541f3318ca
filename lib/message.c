/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "message.h"

#include <errno.h>
#include <stddef.h>
#include <sys/socket.h>

#define SEND_TRIES 50
#define SEND_PAUSE (10 * MSEC)

static int send_parts(int socket, const struct msghdr *parts)
{
	int err = 0;

	for (int i = 0; i < SEND_TRIES; i++) {
		if (sendmsg(socket, parts, MSG_NOSIGNAL) >= 0)
			return 0;
		err = errno;
		if (err == EPIPE || err == ECONNRESET)
			return -EPIPE;
		sleep_for(SEND_PAUSE);
	}
	return -err;
}

int message_send(int socket, const void *message, size_t size)
{
	struct iovec all = {(void *)message, size};

	return send_parts(socket, &(struct msghdr){.msg_iov = &all, .msg_iovlen = 1});
}

/* A word, and beside it a pidfd of COMMAND. */
struct word {
	char word;
	pid_t command;
	struct iovec text;
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
	struct msghdr parts;
};

/* Let the parts be those of this word. */
static void word_begin(struct word *word)
{
	word->text = (struct iovec){word, offsetof(struct word, text)};
	word->parts = (struct msghdr){.msg_iov = &word->text,
				      .msg_iovlen = 1,
				      .msg_control = word->control,
				      .msg_controllen = sizeof(word->control)};
}

int message_tell_lease(int socket, const struct lease *lease)
{
	struct word out = {.word = GO, .command = lease->pid};
	struct cmsghdr *header;

	word_begin(&out);
	header = CMSG_FIRSTHDR(&out.parts);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &lease->pidfd, sizeof(int));
	return send_parts(socket, &out.parts);
}

char message_hear(int socket, struct lessee *command)
{
	struct word in = {0};
	struct cmsghdr *header;

	word_begin(&in);
	if (recvmsg(socket, &in.parts, MSG_CMSG_CLOEXEC) < 0)
		return errno == ECONNRESET ? 0 : STOP_UNHEARD;
	header = CMSG_FIRSTHDR(&in.parts);
	if (header && header->cmsg_type == SCM_RIGHTS) {
		memcpy(&command->pidfd, CMSG_DATA(header), sizeof(int));
		command->pid = in.command;
	}
	return in.word;
}
