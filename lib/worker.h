/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Children that work on one device each. A write below /sys can block for minutes, beyond
 * any signal: so the parent waits until the deadline, tells what is pending, and exits;
 * the worker keeps the lock, and finishes when the kernel lets it. */
#pragma once

#include "job.h"

/* After the deadline the parent waits this long for a last message of each worker. */
#define GRACE (500 * MSEC)

/* Called in the parent, with what the workers report. */
struct listener {
	void (*step)(const char *line); /* a line for a root shell */
	void (*warning)(const struct device *dev, const struct error *e);
	void (*note)(const struct device *dev, const struct error *e);
	void (*failure)(const struct error *e); /* of no single device */
	void (*result)(const struct device *dev,
		       const struct error *e); /* once for each device */
};

/* Block the signals that would end vfio-bind on its way, until it ends by itself: one
 * that comes too late to stop anything must not hide what was done. To be called before
 * the first change, and before worker_run(). A stop for job control, and SIGPIPE, are not
 * among them. Returns an fd to read the signals to stop from, for worker_run() and who
 * waits behind it; in a lease, all that are forwarded to COMMAND. -1: it could not be
 * made, and worker_check() refuses. */
int worker_block_signals(const struct request *request);

/* Can workers be made for all these devices, and be known by their pids? @signals is of
 * worker_block_signals(). To be called before the first change. Returns 0, or -1 with @e
 * (STATUS_REFUSED). */
_must_check_ int worker_check(const struct request *request, int signals,
			      struct error *e);

/* Run the request on all its devices, side by side, until its deadline; a signal to stop
 * (SIGINT, SIGTERM, SIGHUP, SIGQUIT) is a deadline too. In a handoff, the devices of one
 * IOMMU group all get there, or all go back. What the listener has given to output_add()
 * is written until the deadline.
 * In a lease, COMMAND runs as soon as all devices are there; a signal is forwarded to it
 * then, and ends the wait only before it has started and after its end.
 * @signals is of worker_block_signals(); worker_check() has passed.
 * Returns the number of the last signal to stop that came while a worker was still at
 * work, or 0. */
int worker_run(const struct request *request, const struct listener *listener,
	       int signals);
