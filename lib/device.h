/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A device on a bus, and what it is. */
#pragma once

#include "error.h"

struct device {
	char *bus;
	char *name; /* unique on its bus only */
	char *path; /* its syspath, links resolved */
};

/* The device at this syspath. Returns 0 or -1 with errno: it is gone, or on no bus. */
_must_check_ int device_at(const char *path, struct device *dev);

/* The same for a path with links in it. */
_must_check_ int device_behind(const char *path, struct device *dev);

/* The device that entry @name of @devices, the open folder /sys/bus/@bus/devices, links
 * to. Returns 0, or -1 with errno: it is gone. */
_must_check_ int device_of_bus(int devices, const char *bus, const char *name,
			       struct device *dev);

/* What a device is bound to and what it is flagged for; NULL: none. */
struct binding {
	char *driver;
	char *driver_override;
};

/* The device's binding now. In older kernels (lib/KERNEL.md) the read waits for the
 * device lock. Returns 0 or -1 with @e (STATUS_FAILED) and @binding untouched. */
_must_check_ int device_binding(const struct device *dev, struct binding *binding,
				struct error *e);

/* The flag in a driver_override's @text, which this function takes; NULL: none, which
 * reads "(null)" on some buses and "" on others. */
char *device_flag_value(char *text);

void binding_clear(struct binding *binding);
#define _cleanup_binding_ __attribute__((cleanup(binding_clear)))

struct device device_copy(const struct device *dev);
void device_clear(struct device *dev);
#define _cleanup_device_ __attribute__((cleanup(device_clear)))

/* The device that is called BUS/NAME in @text, to be cleared. It may be absent: its path
 * is the link below /sys/bus. */
struct device device_called(const char *text);

/* That text of a device, a new string. */
char *device_text(const struct device *dev);

/* The same as a shell must be given it: some names have a blank. */
char *device_word(const struct device *dev);

/* Are they one device, by their syspaths? */
bool device_same(const struct device *a, const struct device *b);

struct devices {
	struct device *dev;
	size_t n;
};

/* Add @dev, which is cleared. */
void devices_append(struct devices *devices, struct device *dev);

/* The same, but a device that is there already is not added again. */
void devices_add(struct devices *devices, struct device *dev);
bool devices_have(const struct devices *devices, const struct device *dev);
void devices_clear(struct devices *devices);
#define _cleanup_devices_ __attribute__((cleanup(devices_clear)))

/* Can the device be flagged: has it a driver_override? Which buses give one depends on
 * the kernel, so only the file can tell. Returns 0, or -1 with @e: STATUS_USAGE, it has
 * none; STATUS_FAILED, that could not be told. */
_must_check_ int device_check_flag(const struct device *dev, struct error *e);

/* Tells this device from one that came back later under the same name: the inode number
 * of its directory, which kernfs gives out anew. 0: the device is gone, or cannot be
 * looked at (errno). */
uint64_t device_incarnation(const struct device *dev);

/* Has a device that can be flagged been removed, or is being, and no other one come under
 * its name? */
bool device_is_gone(const struct device *dev);

/* What it is, for people, with @dir its open directory: a PCI device's model from the
 * hwdb, else the first `compatible` of its device tree node, else its ACPI hardware id,
 * else NULL. */
char *device_model(const struct device *dev, int dir);
