/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* udev: is it at work, and is it done with a device that was moved? */
#pragma once

#include "device.h"

struct udev;
struct udev_monitor;

/* It gets so long for what it has to do: events take tenths of a second, and a program of
 * a rule may hang. */
#define UDEV_TIME (5 * SEC)

/* Has udev events to work on? */
bool udev_is_at_work(void);

/* What udev tells when it is done with an event. */
struct udev_watch {
	struct udev *udev;
	struct udev_monitor *monitor; /* NULL: nobody tells, so there is no wait */
	bool deaf;		      /* udev tells, but cannot be listened to */
	unsigned long long since;     /* the kernel's number of the last event before */
	bool had_group;		      /* the group's node was there already */
};

/* Begin to listen, before @dev is moved; to be ended. There is nothing to hear where no
 * udev is (no /run/udev/control), in another network namespace than that of the first
 * process, as udev's words stay within its own, nor below a rule's program: udev waits
 * for that one. */
void udev_watch_start(struct udev_watch *watch, const struct device *dev);
void udev_watch_end(struct udev_watch *watch);

/* Wait until udev is done with @dev, which has got another driver since the start: its
 * rules and their programs have run for the VFIO nodes, and for the device itself, whose
 * event waits for those of what is below (udev takes an event only when all earlier ones
 * of the device, of what is above and of what is below it are done). Then until so
 * many disks and interfaces as @functions are below it, as the kernel may find them long
 * after the bind, and each of them and each node has its names and links. No longer than
 * @until (monotonic ns), or until @given_up returns a reason.
 * Returns whether udev is done, also if there is none. */
bool udev_watch_wait(const struct udev_watch *watch, const struct device *dev,
		     unsigned int functions, int64_t until,
		     const char *(*given_up)(void));
