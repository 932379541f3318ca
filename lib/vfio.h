/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* /dev/vfio: the nodes of a device, who holds them, and the reset through them. */
#pragma once

#include "device.h"
#include "holder.h"

#include <sys/types.h>

enum reset {
	RESET_AUTO,   /* if the device can */
	RESET_ALWAYS, /* fail if it cannot */
	RESET_NEVER,
};

/* Where users open a VFIO-bound device, as the kernel tells below /sys, whatever this
 * /dev has. Each is NULL when the kernel has no such node. */
struct vfio_nodes {
	char *group; /* /dev/vfio/N or /dev/vfio/noiommu-N */
	dev_t group_number;
	char *cdev; /* /dev/vfio/devices/vfioN */
	dev_t cdev_number;
	bool others;	       /* other members of its IOMMU group have cdevs */
	struct file_ids files; /* what a process has open that holds it: the numbers of
				  all these, and the device itself */
};

/* The device's own nodes now; none while it is not VFIO-bound. */
struct vfio_nodes vfio_nodes(const struct device *dev);

/* All nodes of its IOMMU group: whoever has one of them open owns the DMA of all members,
 * and no host driver can bind (iommu_device_use_default_domain). */
struct vfio_nodes vfio_nodes_of_group(const struct device *dev);
void vfio_nodes_clear(struct vfio_nodes *nodes);
#define _cleanup_nodes_ __attribute__((cleanup(vfio_nodes_clear)))

/* The node that a user opens it by, if it is there, below /dev; NULL: there is none, or
 * what has its name is another one. What cannot be looked at is noted, and counts. */
const char *vfio_node(const struct vfio_nodes *nodes);

/* What a worker has for a look at all processes. */
#define HOLDERS_TIME (5 * SEC)

/* Who has the device or one of @nodes open, as far as that is known by @until (monotonic
 * ns): "COMMAND (pid N)", several with commas; NULL: nobody that we can see. This process
 * and its workers, children that have taken a lock of ours, are passed over. */
char *vfio_holders(const struct vfio_nodes *nodes, int64_t until);

/* Refuse to go on with a device that is held: set @e (STATUS_REFUSED) to @reason, the
 * @holders (of vfio_holders(); NULL: they cannot be seen) and a hint. Returns -1. */
int vfio_refuse_held(const struct device *dev, const char *holders, const char *reason,
		     struct error *e);

enum hold {
	HOLD_NONE,
	HOLD_BY_USER,
	HOLD_UNKNOWN, /* it cannot be told */
};

/* Is the device held by a VFIO user? The group node opens for one user at a time
 * (vfio_group_fops_open: EBUSY); a cdev that is merely open is found in /proc.
 * HOLD_NONE: *@guard is an open group fd, which keeps new users out and does not block an
 * unbind; or -1: the kernel has no group for it. HOLD_UNKNOWN: @e (STATUS_REFUSED) says
 * why. An ordinary user, in a dry run, cannot see all: for him that is none. */
enum hold vfio_look(const struct vfio_nodes *nodes, int *guard, struct error *e);

/* The same, but workers of this command do not count: their guard keeps VFIO users out
 * for this worker, too, while they work; and in a handoff they wait for this one before
 * they let go. HOLD_BY_USER: in *@others the others, a new string, or NULL if they cannot
 * be seen. */
enum hold vfio_look_past_workers(const struct vfio_nodes *nodes, int *guard,
				 char **others, struct error *e);

/* The same as vfio_look(), but wait for another vfio-bind, until @deadline (monotonic
 * ns). */
enum hold vfio_await(const struct vfio_nodes *nodes, int64_t deadline, int *guard,
		     struct error *e);

/* A VFIO-bound device, seen as its user will see it: the node is there, the group is
 * viable, and with @reset the device has been opened (nothing mapped), reset and closed.
 * Waits until @deadline (monotonic ns) while another vfio-bind has the group open, or the
 * kernel says EAGAIN.
 * Returns 0 or -1 with @e (STATUS_FAILED). */
_must_check_ int vfio_verify(const struct device *dev, enum reset reset, int64_t deadline,
			     struct error *e);
