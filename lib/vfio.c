/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vfio.h"
#include "driver.h"
#include "group.h"
#include "lock.h"
#include "sysfs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#ifndef VFIO_DEVICE_BIND_IOMMUFD /* uapi of Linux 6.6 */
struct vfio_device_bind_iommufd {
	__u32 argsz;
	__u32 flags;
	__s32 iommufd;
	__u32 out_devid;
};
#define VFIO_DEVICE_BIND_IOMMUFD _IO(VFIO_TYPE, VFIO_BASE + 18)
#endif

/* Between two tries to open what another vfio-bind has open for a moment, or what the
 * kernel answers EAGAIN for. */
#define OPEN_PAUSE (10 * MSEC)

/* Add the number of the character device at @dir in /sys; a group's is in its class.
 * Returns it, or 0: it has none. */
static dev_t add_number(struct vfio_nodes *nodes, const char *dir)
{
	dev_t number;

	if (sysfs_number(dir, &number) < 0)
		return 0;
	file_ids_add(&nodes->files, (struct file_id){S_IFCHR, number});
	return number;
}

#define GROUPS "/sys/class/vfio"

static void add_group(struct vfio_nodes *nodes, const struct device *dev)
{
	_cleanup_free_ char *number = group_number(dev);
	_cleanup_free_ char *name = NULL, *dir = NULL;

	if (!number)
		return;
	name = format("%s%s", group_is_noiommu(dev) ? "noiommu-" : "", number);
	if (!sysfs_has(GROUPS, name))
		return;
	nodes->group = format("/dev/vfio/%s", name);
	dir = format(GROUPS "/%s", name);
	nodes->group_number = add_number(nodes, dir);
}

struct vfio_nodes vfio_nodes(const struct device *dev)
{
	_cleanup_free_ char *driver = sysfs_link(dev->path, "driver");
	_cleanup_names_ struct names cdevs = {0};
	_cleanup_free_ char *dir = NULL;
	struct vfio_nodes nodes = {0};

	if (!driver_is_vfio(driver))
		return nodes;
	add_group(&nodes, dev);
	file_ids_add(&nodes.files, (struct file_id){.number = device_incarnation(dev)});
	dir = format("%s/vfio-dev", dev->path);
	cdevs = sysfs_names(dir, "vfio");
	if (cdevs.n) {
		_cleanup_free_ char *cdev = format("%s/%s", dir, cdevs.name[0]);

		/* A kernel without these nodes has the folder all the same. */
		nodes.cdev_number = add_number(&nodes, cdev);
		if (nodes.cdev_number)
			nodes.cdev = format("/dev/vfio/devices/%s", cdevs.name[0]);
	}
	return nodes;
}

struct vfio_nodes vfio_nodes_of_group(const struct device *dev)
{
	_cleanup_devices_ struct devices members = group_members(dev);
	struct vfio_nodes nodes = vfio_nodes(dev);

	/* The group's node is there while VFIO has any member, also one whose unbind has
	 * not ended. */
	if (!nodes.group)
		add_group(&nodes, dev);
	for (size_t i = 0; i < members.n; i++) {
		_cleanup_nodes_ struct vfio_nodes other = {0};

		if (device_same(&members.dev[i], dev))
			continue;
		other = vfio_nodes(&members.dev[i]);
		nodes.others |= other.cdev != NULL;
		for (size_t j = 0; j < other.files.n; j++)
			file_ids_add(&nodes.files, other.files.file[j]);
	}
	return nodes;
}

void vfio_nodes_clear(struct vfio_nodes *nodes)
{
	free(nodes->group);
	free(nodes->cdev);
	file_ids_clear(&nodes->files);
	*nodes = (struct vfio_nodes){0};
}

/* Returns @path, if it is the node of that number, or cannot be looked at, or NULL. */
static const char *node_at(const char *path, dev_t number)
{
	struct stat st;

	if (!path)
		return NULL;
	if (stat(path, &st) == 0)
		return S_ISCHR(st.st_mode) && st.st_rdev == number ? path : NULL;
	sysfs_note_unread(path);
	return errno == ENOENT ? NULL : path;
}

const char *vfio_node(const struct vfio_nodes *nodes)
{
	const char *group = node_at(nodes->group, nodes->group_number);

	return group ? group : node_at(nodes->cdev, nodes->cdev_number);
}

/* Who has VFIO's nodes open, and who had a lock of ours right before or behind that look:
 * a worker can end, or begin, meanwhile. */
struct look {
	struct holders holders;
	struct lock_takers takers;
};

static void look_clear(struct look *look)
{
	holders_clear(&look->holders);
	lock_takers_clear(&look->takers);
}

#define _cleanup_look_ __attribute__((cleanup(look_clear)))

/* Leave out the vfio-bind with that pid, and its workers. */
static void pass_over(struct look *look, pid_t vfio_bind)
{
	struct holders *holders = &look->holders;
	size_t n = 0;

	for (size_t i = 0; i < holders->n; i++) {
		const struct holder *holder = &holders->holder[i];

		if (holder->pid != vfio_bind &&
		    (holder->parent != vfio_bind ||
		     !lock_takers_have(&look->takers, holder->pid)))
			holders->holder[n++] = *holder;
	}
	holders->n = n;
}

/* Find those of vfio_holders(). Returns 0, or -1 with @e: some processes could not be
 * looked into. */
static int look_for(const struct vfio_nodes *nodes, int64_t until, struct look *look,
		    struct error *e)
{
	int result;

	lock_takers_add(&look->takers);
	result = holders_find(&nodes->files, until, -1, &look->holders, e);
	lock_takers_add(&look->takers);
	pass_over(look, getpid());
	return result;
}

char *vfio_holders(const struct vfio_nodes *nodes, int64_t until)
{
	_cleanup_look_ struct look look = {0};
	struct error ignored; /* those that can be seen are told */

	IGNORE(look_for(nodes, until, &look, &ignored));
	return holders_text(&look.holders, &nodes->files, LIST_MAX);
}

int vfio_refuse_held(const struct device *dev, const char *holders, const char *reason,
		     struct error *e)
{
	_cleanup_free_ char *driver = sysfs_link(dev->path, "driver");

	error_set(e, STATUS_REFUSED, "%s: %sheld by %s", reason,
		  driver_is_vfio(driver) ? "" : "its IOMMU group is ",
		  holders ? holders : "a process that cannot be seen");
	return error_hint(e, "it is free when that process closes it or ends");
}

/* Try once to open the group. Returns 0 with *@guard, or -errno as open_group(). */
static int try_group(const struct vfio_nodes *nodes, int *guard)
{
	int fd = sysfs_open_node(nodes->group, O_RDWR | O_NONBLOCK | O_NOCTTY, S_IFCHR,
				 nodes->group_number);

	*guard = fd < 0 ? -1 : fd;
	if (fd < 0 && !sysfs_has(GROUPS, strrchr(nodes->group, '/') + 1))
		return -ENODEV;
	return fd < 0 ? fd : 0;
}

/* What passes by itself within this time is no answer: the kernel removes the node of a
 * group before its name in /sys, and makes them in the other order (Linux's device_del()
 * and device_add()); and a dry run, which takes no lock, has the node open. */
#define MOMENT SEC

/* Open the group. Returns 0 with *@guard; or -errno: EBUSY: somebody has it, ENODEV: VFIO
 * has no device of it any more. */
static int open_group(const struct vfio_nodes *nodes, int *guard)
{
	int64_t moment = now() + MOMENT;
	int err;

	while (((err = try_group(nodes, guard)) == -ENOENT || err == -ENXIO) &&
	       now() < moment)
		sleep_for(OPEN_PAUSE);
	return err;
}

/* Has anybody one of the nodes open? */
static enum hold look_for_users(const struct vfio_nodes *nodes, struct error *e)
{
	_cleanup_look_ struct look look = {0};
	int result = look_for(nodes, now() + HOLDERS_TIME, &look, e);

	return look.holders.n ? HOLD_BY_USER : result < 0 ? HOLD_UNKNOWN : HOLD_NONE;
}

enum hold vfio_look(const struct vfio_nodes *nodes, int *guard, struct error *e)
{
	enum hold hold = HOLD_NONE;
	int err = 0;

	*guard = -1;
	if (nodes->group)
		err = open_group(nodes, guard);
	if (err == -EBUSY)
		return HOLD_BY_USER;
	if (nodes->cdev || nodes->others || (err < 0 && err != -ENODEV))
		hold = look_for_users(nodes, e);
	if (hold == HOLD_NONE && err < 0 && err != -ENODEV) {
		error_set(e, STATUS_REFUSED, "cannot tell who holds it: %s: %s",
			  nodes->group, strerror(-err));
		hold = HOLD_UNKNOWN;
	}
	if (hold == HOLD_UNKNOWN && geteuid() != 0)
		hold = HOLD_NONE;
	if (hold != HOLD_NONE) {
		cleanup_close(guard);
		*guard = -1;
	}
	return hold;
}

enum hold vfio_look_past_workers(const struct vfio_nodes *nodes, int *guard,
				 char **others, struct error *e)
{
	enum hold hold = vfio_look(nodes, guard, e);
	_cleanup_look_ struct look look = {0};
	bool any;
	int result;

	if (hold != HOLD_BY_USER)
		return hold;
	result = look_for(nodes, now() + HOLDERS_TIME, &look, e);
	any = look.holders.n;
	pass_over(&look, getppid());
	*others = holders_text(&look.holders, &nodes->files, LIST_MAX);
	if (!any || look.holders.n)
		return HOLD_BY_USER;
	return result < 0 && geteuid() == 0 ? HOLD_UNKNOWN : HOLD_NONE;
}

/* Has anybody it open but those that have a lock of ours? */
static bool has_strangers(const struct vfio_nodes *nodes)
{
	_cleanup_look_ struct look look = {0};
	struct error ignored; /* who cannot be seen may be one of ours */

	IGNORE(look_for(nodes, now() + HOLDERS_TIME, &look, &ignored));
	for (size_t i = 0; i < look.holders.n; i++) {
		if (!lock_takers_have(&look.takers, look.holders.holder[i].pid))
			return true;
	}
	return false;
}

enum hold vfio_await(const struct vfio_nodes *nodes, int64_t deadline, int *guard,
		     struct error *e)
{
	int64_t moment = now() + MOMENT;
	enum hold hold;

	while ((hold = vfio_look(nodes, guard, e)) == HOLD_BY_USER && now() < deadline &&
	       (now() < moment || !has_strangers(nodes)))
		sleep_for(OPEN_PAUSE);
	return hold;
}

/* Set @e to "WHAT: " and errno's text, or for EBUSY who holds the device. Returns -1. */
static int errno_error(struct error *e, const struct vfio_nodes *nodes, const char *what)
{
	int err = errno;
	_cleanup_free_ char *holders =
		err == EBUSY ? vfio_holders(nodes, now() + HOLDERS_TIME) : NULL;

	if (holders)
		return error_set(e, STATUS_FAILED, "%s: held by %s", what, holders);
	return error_set(e, STATUS_FAILED, "%s: %s", what, strerror(err));
}

/* VFIO opens no device of a container without an IOMMU driver. */
static int set_iommu(int container, bool noiommu)
{
	if (noiommu)
		return ioctl(container, VFIO_SET_IOMMU, VFIO_NOIOMMU_IOMMU);
	if (ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) == 0)
		return 0;
	return ioctl(container, VFIO_SET_IOMMU, VFIO_SPAPR_TCE_v2_IOMMU);
}

/* Returns the device's fd, with *@container to be closed after it, or -1 with @e. */
static int open_by_group(const struct device *dev, const struct vfio_nodes *nodes,
			 int group, int *container, int64_t deadline, struct error *e)
{
	int fd;

	*container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	if (*container < 0)
		return errno_error(e, nodes, "cannot open /dev/vfio/vfio");
	if (ioctl(group, VFIO_GROUP_SET_CONTAINER, container) < 0)
		return errno_error(e, nodes,
				   "cannot put its group into a VFIO container");
	if (set_iommu(*container, group_is_noiommu(dev)) < 0)
		return errno_error(e, nodes, "cannot set the IOMMU of a VFIO container");
	while ((fd = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, dev->name)) < 0 &&
	       errno == EAGAIN && now() < deadline)
		sleep_for(OPEN_PAUSE);
	if (fd < 0)
		return errno_error(e, nodes, "cannot open it through VFIO");
	return fd;
}

static int open_by_cdev(const struct vfio_nodes *nodes, int *iommufd, struct error *e)
{
	struct vfio_device_bind_iommufd bind = {.argsz = sizeof(bind)};
	int fd = sysfs_open_node(nodes->cdev, O_RDWR | O_NOCTTY, S_IFCHR,
				 nodes->cdev_number);

	if (fd < 0) {
		errno = -fd;
		return errno_error(e, nodes, "cannot open its VFIO device node");
	}
	*iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	bind.iommufd = *iommufd;
	if (*iommufd < 0)
		errno_error(e, nodes, "cannot open /dev/iommu");
	else if (ioctl(fd, VFIO_DEVICE_BIND_IOMMUFD, &bind) < 0)
		errno_error(e, nodes, "cannot open it through iommufd");
	else
		return fd;
	close(fd);
	return -1;
}

static int reset_open_device(const struct vfio_nodes *nodes, int fd, enum reset reset,
			     struct error *e)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};

	if (ioctl(fd, VFIO_DEVICE_GET_INFO, &info) < 0)
		return errno_error(e, nodes, "cannot learn what it can do from VFIO");
	if (!(info.flags & VFIO_DEVICE_FLAGS_RESET)) {
		if (reset == RESET_AUTO)
			return 0;
		error_set(e, STATUS_FAILED, "cannot be reset: VFIO has no reset for it");
		return error_hint(e, "--reset=auto goes without");
	}
	if (ioctl(fd, VFIO_DEVICE_RESET) < 0)
		return errno_error(e, nodes, "reset failed");
	return 0;
}

/* A refusal, once the device has been moved, is a failure. Returns -1. */
static int as_failure(struct error *e)
{
	e->status = STATUS_FAILED;
	return -1;
}

int vfio_verify(const struct device *dev, enum reset reset, int64_t deadline,
		struct error *e)
{
	struct vfio_group_status status = {.argsz = sizeof(status)};
	_cleanup_nodes_ struct vfio_nodes nodes = vfio_nodes(dev);
	_cleanup_close_ int group = -1;
	_cleanup_close_ int context = -1; /* container or iommufd */
	_cleanup_close_ int fd = -1;

	if (!vfio_node(&nodes))
		return error_set(e, STATUS_FAILED,
				 "bound, but there is no node below /dev/vfio");
	if (nodes.group) {
		enum hold hold = vfio_await(&nodes, deadline, &group, e);

		errno = hold == HOLD_BY_USER ? EBUSY : ENODEV;
		if (hold == HOLD_UNKNOWN)
			return as_failure(e);
		if (group < 0)
			return errno_error(e, &nodes, "cannot open its VFIO group");
		if (ioctl(group, VFIO_GROUP_GET_STATUS, &status) < 0)
			return errno_error(e, &nodes,
					   "cannot tell whether its group is viable");
		if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE))
			return error_set(e, STATUS_FAILED,
					 "its IOMMU group is not viable");
	}
	if (reset == RESET_NEVER)
		return 0;
	fd = nodes.group ? open_by_group(dev, &nodes, group, &context, deadline, e)
			 : open_by_cdev(&nodes, &context, e);
	if (fd < 0)
		return -1;
	return reset_open_device(&nodes, fd, reset, e);
}
