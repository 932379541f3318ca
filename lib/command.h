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

/* How far a command has come with its device. */
enum phase {
	PHASE_NONE,
	PHASE_LOCKED, /* it has its lock; nobody looks at the group before all have */
	PHASE_READY,  /* all is checked, nothing touched */
	PHASE_MOVED,  /* a handoff: bound, but neither reset nor verified */
	PHASE_DONE,   /* a pin or handoff: verified */
};

/* How a command talks to whoever wants it. */
struct caller {
	/* It has come so far. False: it is not to go on, for the reason of given_up();
	 * what it has done is undone. */
	bool (*may_pass)(enum phase phase);
	/* NULL, or why a handoff should not go on: time is up, it is told to stop, or
	 * another of its IOMMU group has failed. */
	const char *(*given_up)(void);
	void (*warn)(const char *text);
};

/* Returns 0, or -1 with @e, whose status tells what has become of the
 * device. May block for as long as the kernel likes. */
int command_run(const struct device *dev, const struct request *request,
		const struct caller *caller, struct error *e);
