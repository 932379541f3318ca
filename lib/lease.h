/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A lease: COMMAND runs while it has devices. The parent finds, starts and waits for
 * COMMAND, which shall not notice that vfio-bind is there; a worker keeps a device for
 * COMMAND until its end, and until nobody holds the device any more. */
#pragma once

#include "device.h"

#include <signal.h>
#include <sys/signalfd.h>

#define LEASE_SIGNALS 5

struct lease {
	char **argv; /* COMMAND and its arguments, and a NULL; NULL: there is no lease */
	char *path;  /* where COMMAND was found */
	const struct devices *devices; /* in the order in which COMMAND is told of them */
	unsigned int closed; /* bit N: fd N was closed when vfio-bind was started */
	/* What vfio-bind changes, as it was then. */
	sigset_t mask;
	struct sigaction actions[LEASE_SIGNALS];
	/* From lease_fork() on. */
	pid_t pid; /* 0: not forked */
	int pidfd;
	int gate;     /* a byte lets COMMAND start, a close does not */
	bool started; /* it was let */
	bool running; /* the process has not ended yet */
	int status;   /* of COMMAND, as waitpid(2) has it */
};

/* What a worker knows of COMMAND. */
struct lessee {
	int pidfd; /* -1: it has not been told */
	pid_t pid;
};

/* Keep what COMMAND shall find as vfio-bind found it. To be called before anything that
 * changes a signal. */
void lease_begin(struct lease *lease);

/* Find COMMAND as execvp(3) does. Returns 0, or -1 with @e and *@exit_status, of
 * vfio-bind for this: 127 (there is none) or 126 (it cannot be run). */
_must_check_ int lease_find(struct lease *lease, int *exit_status, struct error *e);

/* COMMAND and its arguments, as a line for a shell; a new string. */
char *lease_line(const struct lease *lease);

/* Fork COMMAND, in the same process group, and let it wait at the gate. Returns 0 or -1
 * with @e (STATUS_FAILED). */
_must_check_ int lease_fork(struct lease *lease, struct error *e);

/* Open the gate, or with @start false let the process end without being COMMAND. Returns
 * 0, or -errno if COMMAND could not be started: EPIPE: its process has ended. */
int lease_open(struct lease *lease, bool start);

/* Look whether COMMAND has ended: then it is not lease->running, and the status is known.
 */
void lease_look(struct lease *lease);

/* Forward a signal to COMMAND that a process has sent, or that of the terminal's only
 * vfio-bind got. */
void lease_forward(const struct lease *lease, const struct signalfd_siginfo *info);

/* In a worker: keep the device, whose @lock it has, until COMMAND, called @name, has
 * ended, and then until nobody holds the device. Who holds it for longer than a second
 * is told once, to @held. */
void lease_keep(const struct device *dev, int lock, const struct lessee *command,
		const char *name, void (*held)(const char *holders));
