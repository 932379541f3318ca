/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What pin, handoff and release mean for one device: where it shall go, what must be so
 * before it is touched, the record, the transition, and the undo of one that fails. */
#pragma once

#include "binding.h"

enum command { COMMAND_PIN, COMMAND_HANDOFF, COMMAND_RELEASE };

struct request {
	enum command command;
	const char *driver; /* NULL: the VFIO driver of the device's bus */
	enum reset reset;
	bool recorded; /* release only what vfio-bind has taken */
	bool force;    /* do not look who uses it through its host driver */
	int64_t deadline;
	const struct devices *together; /* all devices of the command */
};

/* How a command talks to whoever wants it. */
struct caller {
	/* It has the lock. False: do not go on, as for the others below. */
	bool (*locked)(void);
	/* All checks passed. False: the caller has gone, do not begin. */
	bool (*begin)(void);
	/* The device has moved. False: it shall go back, as another of its IOMMU group
	 * has not, or for any reason of given_up(). */
	bool (*moved)(void);
	/* NULL, or why a handoff should not go on: time is up, it is told to stop, or
	 * another of its IOMMU group has failed. */
	const char *(*given_up)(void);
	void (*warn)(const struct error *e);
	/* A pin or handoff has succeeded. False: the caller does not want it any more. */
	bool (*done)(void);
};

/* Returns 0, or -1 with @e, whose status tells what has become of the
 * device. May block for as long as the kernel likes. */
int command_run(const struct device *dev, const struct request *request,
		const struct caller *caller, struct error *e);
