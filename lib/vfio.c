/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vfio.h"
#include "driver.h"
#include "group.h"
#include "sysfs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
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

/* Returns @path, or frees it and returns NULL if there is no such file. */
static char *if_there(char *path)
{
	if (access(path, F_OK) == 0)
		return path;
	sysfs_note_unread(path);
	free(path);
	return NULL;
}

static char *group_node(const struct device *dev)
{
	_cleanup_free_ char *number = group_number(dev);

	return number ? if_there(format("/dev/vfio/%s%s",
					group_is_noiommu(dev) ? "noiommu-" : "", number))
		      : NULL;
}

/* Add the number of the character device at @dir in /sys; a group's is in its class. */
static void add_number(struct vfio_nodes *nodes, const char *dir)
{
	dev_t number;

	if (sysfs_number(dir, &number) == 0)
		file_ids_add(&nodes->files, (struct file_id){S_IFCHR, number});
}

static void add_group(struct vfio_nodes *nodes, const struct device *dev)
{
	_cleanup_free_ char *dir = NULL;

	nodes->group = group_node(dev);
	if (!nodes->group)
		return;
	dir = format("/sys/class/vfio/%s", strrchr(nodes->group, '/') + 1);
	add_number(nodes, dir);
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

		nodes.cdev = if_there(format("/dev/vfio/devices/%s", cdevs.name[0]));
		add_number(&nodes, cdev);
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

/* Is the holder one of the processes to be passed over? */
static bool is_excepted(const struct holder *holder, pid_t except, const char *own)
{
	return except && (holder->pid == except ||
			  (holder->parent == except && streq(holder->comm, own)));
}

/* Also the parent asks who holds a device, when its time is up. */
#define HOLDERS_TIME (5 * SEC)

/* As vfio_holders(). *@all: whether all processes could be looked into. */
static char *find_holders(const struct vfio_nodes *nodes, pid_t except, bool *all)
{
	_cleanup_free_ char *own = sysfs_read("/proc/self", "comm");
	_cleanup_holders_ struct holders holders = {0};
	struct error ignored; /* those that can be seen are told */
	size_t n = 0;

	*all = holders_find(&nodes->files, now() + HOLDERS_TIME, &holders, &ignored) == 0;
	for (size_t i = 0; i < holders.n; i++) {
		if (!is_excepted(&holders.holder[i], except, own))
			holders.holder[n++] = holders.holder[i];
	}
	holders.n = n;
	return holders_text(&holders, &nodes->files);
}

char *vfio_holders(const struct vfio_nodes *nodes, pid_t except)
{
	bool all;

	return find_holders(nodes, except, &all);
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

bool vfio_is_held(const struct vfio_nodes *nodes, int *guard)
{
	_cleanup_free_ char *holders = NULL;
	bool all;
	int err;

	*guard = nodes->group ? open(nodes->group, O_RDWR | O_CLOEXEC) : -1;
	if (nodes->group && *guard < 0 && errno == EBUSY)
		return true;
	if (!nodes->cdev && !nodes->others)
		return false;
	err = errno;
	holders = find_holders(nodes, getpid(), &all);
	errno = err; /* of the open: vfio_verify() tells it */
	/* An ordinary user, in a dry run, cannot see all. */
	if (!holders && (all || geteuid() != 0))
		return false;
	if (*guard >= 0)
		close(*guard);
	*guard = -1;
	return true;
}

bool vfio_is_held_by_others(const struct vfio_nodes *nodes, int *guard, char **others)
{
	_cleanup_free_ char *all = NULL, *strangers = NULL;

	if (!vfio_is_held(nodes, guard))
		return false;
	all = vfio_holders(nodes, getpid());
	strangers = all ? vfio_holders(nodes, getppid()) : NULL;
	if (all && !strangers)
		return false;
	if (others)
		*others = copy(strangers);
	return true;
}

bool vfio_stays_held(const struct vfio_nodes *nodes, int64_t deadline, int *guard)
{
	while (vfio_is_held(nodes, guard)) {
		_cleanup_free_ char *holders = vfio_holders(nodes, getpid());

		if ((holders && !starts_with(holders, "vfio-bind ")) || now() >= deadline)
			return true;
		sleep_for(OPEN_PAUSE);
	}
	return false;
}

/* Set @e to "WHAT: " and errno's text, or for EBUSY who holds the device. Returns -1. */
static int errno_error(struct error *e, const struct vfio_nodes *nodes, const char *what)
{
	int err = errno;
	_cleanup_free_ char *holders =
		err == EBUSY ? vfio_holders(nodes, getpid()) : NULL;

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
	int fd = open(nodes->cdev, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return errno_error(e, nodes, "cannot open its VFIO device node");
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

int vfio_verify(const struct device *dev, enum reset reset, int64_t deadline,
		struct error *e)
{
	struct vfio_group_status status = {.argsz = sizeof(status)};
	_cleanup_nodes_ struct vfio_nodes nodes = vfio_nodes(dev);
	_cleanup_close_ int group = -1;
	_cleanup_close_ int context = -1; /* container or iommufd */
	_cleanup_close_ int fd = -1;

	if (!nodes.group && !nodes.cdev)
		return error_set(e, STATUS_FAILED,
				 "bound, but there is no node below /dev/vfio");
	if (nodes.group) {
		if (vfio_stays_held(&nodes, deadline, &group))
			errno = EBUSY;
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
