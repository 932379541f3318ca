/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is below a device in /sys: the functions by which the host uses it. */
#pragma once

#include "device.h"
#include "holder.h"

/* A node of the device (a disk, a sound card's stream, its serial line...). */
struct node {
	char *path;	 /* its syspath */
	char *subsystem; /* block, sound, input... */
	struct file_id file;
	bool elsewhere; /* it is used with the device, but not below it */
};

struct below {
	struct node *node;
	size_t n;
	struct names interfaces; /* the syspaths of those that this /sys shows */
	/* The syspaths of what has network interfaces, in whatever namespace they are. */
	struct names net_parents;
	/* The links to drivers and consumers, of the device and of what is below it. */
	struct names drivers, consumers;
};

/* What is below @dev while a host driver has it; and the multipath NVMe disks that disks
 * of it are paths to, the VFIO groups of what VFIO has there, and the lines of a console.
 * Nothing, while VFIO or no driver has it. Returns 0 with @below to be cleared, or
 * -errno: a folder could not be read. */
_must_check_ int below_read(const struct device *dev, struct below *below);

void below_clear(struct below *below);
#define _cleanup_below_ __attribute__((cleanup(below_clear)))

/* Does the link lead to @dev, or to what is below it? What cannot be told is noted. */
bool below_has(const struct device *dev, const char *link);

/* How many disks and interfaces are among it. */
unsigned int below_functions(const struct below *below);

/* The name that the kernel gives a node or an interface. */
const char *below_name(const char *path);

/* "/dev/NAME" of what has this syspath, by the kernel's name; a new string. */
char *below_dev(const char *path);

/* The same as its uevent tells it, which may have a folder more (input/event3). */
char *below_node(const struct node *node);

/* Add the numbers of the nodes to @files. */
void below_files(const struct below *below, struct file_ids *files);
