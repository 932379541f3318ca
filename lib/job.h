/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is asked of a device, and what is known of it on the way. */
#pragma once

#include "lease.h"
#include "boot.h"
#include "owner.h"
#include "record.h"
#include "udev.h"
#include "vfio.h"

enum command { COMMAND_PIN, COMMAND_HANDOFF, COMMAND_RELEASE };

/* What the user asks for. */
struct request {
	enum command command;
	const struct devices *devices; /* all devices of the command */
	const char *driver;	       /* NULL: the VFIO driver of the device's bus */
	enum reset reset;
	const struct owner *owner; /* of its VFIO nodes; NULL: as they are */
	bool only_recorded; /* release only what vfio-bind has a record of, or with @boot
			       what is one of the @pins */
	bool boot;	    /* a pin: at every boot, too; a release: from now on, too */
	const struct boot_pins *pins; /* in a release: as they were before it; or NULL */
	bool force;	  /* do not look whether the host uses the device, nor whether the
			     driver is for it, nor, for a pin at boot, whether the host's
			     driver is built in */
	int64_t deadline; /* monotonic ns */
	/* NULL: none. All devices or none, and they are released when COMMAND has ended,
	 * with a deadline of its own: @timeout ns from then on. */
	struct lease *lease;
	int64_t timeout;
	/* Who has nodes of the devices open, as the parent has seen it before it started
	 * the workers; NULL: it has not looked. */
	const struct holders *holders;
};

static inline bool pins_for_boot(const struct request *request)
{
	return request->boot && request->command == COMMAND_PIN;
}

/* How far a command has come with its device. */
enum phase {
	PHASE_NONE,
	PHASE_LOCKED,	/* the device is locked; in a handoff no worker goes on before all
			   devices of its IOMMU group are */
	PHASE_READY,	/* all is checked, nothing written */
	PHASE_MOVED,	/* a handoff: bound, but neither reset nor verified yet */
	PHASE_VERIFIED, /* a handoff: now its nodes may be given to users, as no worker of
			 its IOMMU group is to open them any more */
	PHASE_DONE,	/* a pin or handoff: verified; after GO nothing is undone */
	PHASE_KEPT, /* a lease: the worker knows COMMAND, and keeps the device for it */
	PHASE_OVER, /* a lease: COMMAND has ended, and nobody holds the device; now it
		       is released, and no GO is waited for any more */
};

/* Who supervises the command: in a worker, its parent. */
struct supervisor {
	/* The command has ended this phase. False: it must not go on, for the reason of
	 * given_up(), and undoes what it has done. */
	bool (*may_pass)(enum phase phase);
	/* Returns NULL, or why a pin or handoff must not go on: its time is up, the user
	 * has interrupted it, or another device of its IOMMU group has failed. */
	const char *(*given_up)(void);
	void (*warn)(const char *text);
	/* These processes have the device's nodes open: an unbind may wait for them. */
	void (*users)(const char *text);
	/* Keep the device, whose @lock this worker has, until the lease is over. Returns
	 * who supervises the release that follows: nobody can end that. */
	const struct supervisor *(*keep)(const struct device *dev, int lock);
};

struct job {
	const struct device *dev;
	const struct request *request;
	const struct supervisor *supervisor;
	struct binding from;  /* where the device was when the command began */
	struct binding to;    /* where it goes; its names belong to others */
	char *driver;	      /* that the user asks for; NULL: none */
	struct record record; /* as the command found it */
	bool has_record;
	bool imagined; /* in a dry run of a lease's release: from and record are what
			  would be */
	bool pinned;   /* a pin --boot: as it is already */
	struct udev_watch watch; /* since before the first write */
	struct given group_was, cdev_was;
	int lock;  /* the device's, or -1 */
	int guard; /* a group fd that keeps VFIO users out (vfio_look()), or -1 */
};
