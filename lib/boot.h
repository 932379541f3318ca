/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is pinned at boot: a file of udev rules, and the one of dracut that names it.
 * Nothing of vfio-bind runs then, and nothing but udev's rules is in the initramfs. */
#pragma once

#include "device.h"

struct boot_pin {
	char *device;	/* BUS/NAME; it may be absent */
	char *driver;	/* DRIVER_NONE: none may bind */
	char *identity; /* the modalias that the device must have, as a pattern of
			   fnmatch(3); "*": whichever, or none */
	char *module;	/* loaded when the device comes up; NULL: none */
};

struct boot_pins {
	struct boot_pin *pin;
	size_t n;
};

void boot_pins_clear(struct boot_pins *pins);
#define _cleanup_pins_ __attribute__((cleanup(boot_pins_clear)))

/* Read the pins; none if there is no file. Returns 0 with @pins to be cleared, or -1 with
 * @e (STATUS_FAILED) and none: the file cannot be read, or is not as vfio-bind writes it.
 */
_must_check_ int boot_read(struct boot_pins *pins, struct error *e);

/* The device's pin; NULL: it has none. */
const struct boot_pin *boot_find(const struct boot_pins *pins, const struct device *dev);

/* Is a device with this @modalias (NULL: without one) the one that was pinned? */
bool boot_fits(const struct boot_pin *pin, const char *modalias);

/* The device that @name means, as device_called(). Returns false if none is pinned. */
bool boot_find_name(const struct boot_pins *pins, const char *name, struct device *dev);

/* Can the device be pinned to @driver at boot? Returns 1: it is already; 0: it can; or -1
 * with @e: a name does not fit into a udev rule (STATUS_REFUSED), or as boot_read(). */
_must_check_ int boot_check(const struct device *dev, const char *driver,
			    struct error *e);

/* Pin the device to @driver at every boot (a step): the file is then on disk as a whole,
 * or is as it was. Waits for others who change it until @deadline (monotonic ns), but a
 * second at least. Returns 0, or -1 with @e: STATUS_FAILED; or STATUS_BROKEN, the file
 * could not be put back to how it was either. */
_must_check_ int boot_add(const struct device *dev, const char *driver, int64_t deadline,
			  struct error *e);

/* The same, to end the pins of these devices; one that has none is no error. The wait
 * ends, too, when there is something to read from @stop (-1: from nowhere). */
_must_check_ int boot_remove(const struct devices *devices, int64_t deadline, int stop,
			     struct error *e);

/* What the user must do for the initramfs after a change, a new string. */
char *boot_hint(void);
