/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is asked of a device, and what is known of it on the way. */
#pragma once

#include "record.h"
#include "vfio.h"

enum command { COMMAND_PIN, COMMAND_HANDOFF, COMMAND_RELEASE };

/* What the user asks for. */
struct request {
	enum command command;
	const struct devices *devices; /* all devices of the command */
	const char *driver;	       /* NULL: the VFIO driver of the device's bus */
	enum reset reset;
	bool only_recorded; /* release only what vfio-bind has a record of */
	bool force;	    /* do not look who uses it through its host driver */
	int64_t deadline;   /* monotonic ns */
};

/* How far a command has come with its device. */
enum phase {
	PHASE_NONE,
	PHASE_LOCKED, /* it has its lock; nobody looks at the group before all have */
	PHASE_READY,  /* all is checked, nothing touched */
	PHASE_MOVED,  /* a handoff: bound, but neither reset nor verified */
	PHASE_DONE,   /* a pin or handoff: verified */
};

/* Who supervises the command: in a worker, its parent. */
struct supervisor {
	/* The command is at the end of this phase. False: it is not to go on, for the
	 * reason of given_up(), and undoes what it has done. */
	bool (*may_pass)(enum phase phase);
	/* NULL, or why a handoff should not go on: its time is up, it is told to stop, or
	 * another device of its IOMMU group has failed. */
	const char *(*given_up)(void);
	void (*warn)(const char *text);
};

struct job {
	const struct device *dev;
	const struct request *request;
	const struct supervisor *supervisor;
	struct binding from, to; /* where it was when the command began; where it goes */
	char *driver;		 /* that was asked for; NULL: none */
	struct record record;	 /* as the command found it */
	bool has_record;
	int lock;  /* the device's, or -1 */
	int guard; /* a group fd that keeps VFIO users out, or -1 */
};
