/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "message.h"

#include <errno.h>
#include <sys/socket.h>

int message_send(int socket, const void *message, size_t size)
{
	int err = 0;

	for (int i = 0; i < SEND_TRIES; i++) {
		if (send(socket, message, size, MSG_NOSIGNAL) >= 0)
			return 0;
		err = errno;
		if (err == EPIPE || err == ECONNRESET)
			return -EPIPE;
		sleep_for(SEND_PAUSE);
	}
	return -err;
}
