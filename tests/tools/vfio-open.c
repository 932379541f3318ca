// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * vfio-open NODE DEVICE [hold [FILE]]: a VFIO user.
 *
 * Opens DEVICE through its group NODE, or through its own NODE when that is below
 * /dev/vfio/devices; maps nothing. Prints what VFIO says of it:
 *
 *   flags reset platform
 *   regions 1
 *   irqs 3
 *
 * hold: then prints "open", makes FILE, and keeps the device open until a signal ends it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* What the board's headers are too old for: <linux/vfio.h> of Linux 6.6. */
#ifndef VFIO_DEVICE_BIND_IOMMUFD
struct vfio_device_bind_iommufd {
	__u32 argsz;
	__u32 flags;
	__s32 iommufd;
	__u32 out_devid;
};
#define VFIO_DEVICE_BIND_IOMMUFD _IO(VFIO_TYPE, VFIO_BASE + 18)
#endif

static const char *const flags[] = {"reset", "pci",    "platform", "amba", "ccw",
				    "ap",    "fsl-mc", "caps",	   "cdx"};

static void die(const char *what)
{
	fprintf(stderr, "vfio-open: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int open_or_die(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		die(path);
	return fd;
}

static int open_by_group(const char *node, const char *device)
{
	struct vfio_group_status status = {.argsz = sizeof(status)};
	int group = open_or_die(node);
	int container = open_or_die("/dev/vfio/vfio");
	int iommu = strstr(node, "/noiommu-") ? VFIO_NOIOMMU_IOMMU : VFIO_TYPE1v2_IOMMU;
	int fd;

	if (ioctl(group, VFIO_GROUP_GET_STATUS, &status) < 0)
		die("VFIO_GROUP_GET_STATUS");
	if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE)) {
		fprintf(stderr, "vfio-open: %s: not viable\n", node);
		exit(1);
	}
	if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) < 0)
		die("VFIO_GROUP_SET_CONTAINER");
	if (ioctl(container, VFIO_SET_IOMMU, iommu) < 0)
		die("VFIO_SET_IOMMU");
	fd = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, device);
	if (fd < 0)
		die("VFIO_GROUP_GET_DEVICE_FD");
	return fd;
}

static int open_by_cdev(const char *node)
{
	struct vfio_device_bind_iommufd bind = {.argsz = sizeof(bind)};
	int fd = open_or_die(node);

	bind.iommufd = open_or_die("/dev/iommu");
	if (ioctl(fd, VFIO_DEVICE_BIND_IOMMUFD, &bind) < 0)
		die("VFIO_DEVICE_BIND_IOMMUFD");
	return fd;
}

static void print_info(int fd)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};

	if (ioctl(fd, VFIO_DEVICE_GET_INFO, &info) < 0)
		die("VFIO_DEVICE_GET_INFO");
	printf("flags");
	for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
		if (info.flags & (1U << i))
			printf(" %s", flags[i]);
	}
	printf("\nregions %u\nirqs %u\n", info.num_regions, info.num_irqs);
}

int main(int argc, char **argv)
{
	int hold = argc > 3 && strcmp(argv[3], "hold") == 0;
	int fd;

	if (argc < 3 || argc > 5 || (argc > 3 && !hold)) {
		fprintf(stderr, "usage: vfio-open NODE DEVICE [hold [FILE]]\n");
		return 2;
	}
	fd = strstr(argv[1], "/devices/") ? open_by_cdev(argv[1])
					  : open_by_group(argv[1], argv[2]);
	print_info(fd);
	if (hold)
		printf("open\n");
	if (fflush(stdout) != 0)
		die("stdout");
	if (argc == 5 && creat(argv[4], 0600) < 0)
		die(argv[4]);
	if (hold)
		pause();
	return 0;
}
