/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a worker and its parent tell each other. */
#pragma once

#include "job.h"

/* Messages of a worker to the parent. */
enum what {
	WHAT_PHASE, /* the worker has ended this phase, and waits for GO */
	WHAT_PART,  /* error.text is what the line of the next step begins with */
	WHAT_STEP,  /* the worker is about to make the step in error.text */
	WHAT_ENDED, /* the kernel has answered that step */
	WHAT_WARNING,
	WHAT_USERS, /* these processes use the device through its host driver */
	WHAT_HELD,  /* these processes hold the device after COMMAND's end */
	WHAT_RESULT,
};

struct message {
	enum what what;
	enum phase phase;
	struct error error;
};

/* Why a device is not taken. */
#define GROUP_FAILED "another device of its IOMMU group cannot be taken"
#define LEASE_FAILED "another device of the lease cannot be taken"

/* Words of the parent to a worker, one byte each. */
#define GO 'g'
#define STOP_INTERRUPTED 'i'
#define STOP_TIMED_OUT 't'
#define STOP_GROUP_FAILED 's'
#define STOP_LEASE_FAILED 'l'
#define STOP_NO_COMMAND 'c'
#define STOP_UNHEARD 'u' /* no word of the parent's, but an error */

/* Send a message, or a word, to the other end; one that the kernel has no room for is
 * sent again. Returns 0 or -errno; EPIPE: nobody hears any more. */
_must_check_ int message_send(int socket, const void *message, size_t size);

/* Say GO to a worker, and tell it of COMMAND. Returns 0 or -errno, as message_send(). */
_must_check_ int message_tell_lease(int socket, const struct lease *lease);

/* In a worker: wait for a word of the parent, and take what comes with it of COMMAND.
 * Returns the word; 0 if the parent has closed its end. */
char message_hear(int socket, struct lessee *command);
