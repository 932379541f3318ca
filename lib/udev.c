/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "udev.h"
#include "below.h"
#include "sysfs.h"
#include "vfio.h"

#include <libudev.h>
#include <poll.h>
#include <sys/stat.h>

/* Between two looks at what udev does not tell, and whether to give up. */
#define PAUSE (50 * MSEC)

/* Events of a storm wait here while the worker is in the kernel. */
#define BUFFER (16 << 20)

bool udev_is_at_work(void)
{
	return access("/run/udev/queue", F_OK) == 0;
}

/* --- the watch ----------------------------------------------------------------- */

/* Are we a program of a rule? udev gives these to each, and goes on when it has ended. */
static bool is_run_by_udev(void)
{
	return getenv("SEQNUM") && getenv("DEVPATH");
}

/* Can udev's words come to this network namespace? They do if nothing else is known. */
static bool is_in_first_netns(void)
{
	struct stat own, first;

	return stat("/proc/self/ns/net", &own) < 0 ||
	       stat("/proc/1/ns/net", &first) < 0 ||
	       (own.st_dev == first.st_dev && own.st_ino == first.st_ino);
}

static struct udev_monitor *listen_to(struct udev *udev, const char *bus)
{
	struct udev_monitor *monitor =
		udev ? udev_monitor_new_from_netlink(udev, "udev") : NULL;

	if (!monitor)
		return NULL;
	udev_monitor_filter_add_match_subsystem_devtype(monitor, bus, NULL);
	udev_monitor_filter_add_match_subsystem_devtype(monitor, "vfio", NULL);
	udev_monitor_set_receive_buffer_size(monitor, BUFFER);
	if (udev_monitor_enable_receiving(monitor) >= 0)
		return monitor;
	udev_monitor_unref(monitor);
	return NULL;
}

void udev_watch_start(struct udev_watch *watch, const struct device *dev)
{
	_cleanup_nodes_ struct vfio_nodes nodes = {0};
	_cleanup_free_ char *number = NULL;

	*watch = (struct udev_watch){0};
	if (!sysfs_has("/run/udev", "control") || is_run_by_udev() ||
	    !is_in_first_netns())
		return;
	watch->udev = udev_new();
	watch->monitor = listen_to(watch->udev, dev->bus);
	watch->deaf = !watch->monitor;
	number = sysfs_read("/sys/kernel", "uevent_seqnum");
	watch->since = number ? strtoull(number, NULL, 10) : 0;
	/* Asked for when the monitor is open: a node that is not there yet has its event
	 * later. */
	nodes = vfio_nodes_of_group(dev);
	watch->had_group = nodes.group;
}

void udev_watch_end(struct udev_watch *watch)
{
	udev_monitor_unref(watch->monitor);
	udev_unref(watch->udev);
	*watch = (struct udev_watch){0};
}

/* --- the wait ------------------------------------------------------------------ */

/* What is still to be heard of. */
struct awaited {
	const struct device *bound; /* the device, that it was bound; NULL: no more */
	const char *group;	    /* the name of its group's node; NULL: no more */
};

static void hear(struct awaited *awaited, struct udev_device *told)
{
	const char *action = udev_device_get_action(told);

	if (awaited->bound && streq(action, "bind") &&
	    streq(udev_device_get_syspath(told), awaited->bound->path))
		awaited->bound = NULL;
	if (awaited->group && streq(action, "add") &&
	    streq(udev_device_get_subsystem(told), "vfio") &&
	    streq(udev_device_get_sysname(told), awaited->group))
		awaited->group = NULL;
}

/* Hear what udev has told so far. */
static void hear_all(const struct udev_watch *watch, struct awaited *awaited)
{
	struct udev_device *told;

	while ((told = udev_monitor_receive_device(watch->monitor)) != NULL) {
		/* Of an earlier move, if udev is behind. */
		if (udev_device_get_seqnum(told) > watch->since)
			hear(awaited, told);
		udev_device_unref(told);
	}
}

/* Has udev been through with what is at this syspath? Then its links are there, and an
 * interface has its name. */
static bool is_through(struct udev *udev, const char *path)
{
	struct udev_device *device = udev_device_new_from_syspath(udev, path);
	bool through = !device || udev_device_get_is_initialized(device) > 0;

	udev_device_unref(device); /* none: it has just gone, or got another name */
	return through;
}

/* Are so many disks and interfaces as @functions below the device, and has udev been
 * through with each of them, and with each node? */
static bool all_below_are_through(struct udev *udev, const struct device *dev,
				  unsigned int functions)
{
	_cleanup_below_ struct below below = {0};
	bool through = true;

	if (below_read(dev, &below) < 0)
		return true; /* what cannot be seen is not waited for */
	if (below_functions(&below) < functions)
		return false;
	for (size_t i = 0; i < below.n; i++)
		through = through && is_through(udev, below.node[i].path);
	for (size_t i = 0; i < below.interfaces.n; i++)
		through = through && is_through(udev, below.interfaces.name[i]);
	return through;
}

bool udev_watch_wait(const struct udev_watch *watch, const struct device *dev,
		     unsigned int functions, int64_t until, const char *(*given_up)(void))
{
	_cleanup_nodes_ struct vfio_nodes nodes = {0};
	struct awaited awaited = {.bound = dev};
	bool told = false;

	if (!watch->monitor)
		return !watch->deaf;
	nodes = vfio_nodes(dev);
	if (nodes.group && !watch->had_group)
		awaited.group = strrchr(nodes.group, '/') + 1;
	for (;;) {
		struct pollfd fd = {.fd = udev_monitor_get_fd(watch->monitor),
				    .events = POLLIN};

		hear_all(watch, &awaited);
		told = !awaited.bound && !awaited.group;
		if (told && all_below_are_through(watch->udev, dev, functions))
			return true;
		if (now() >= until || given_up())
			return false;
		poll(&fd, told ? 0 : 1, PAUSE / MSEC);
	}
}
