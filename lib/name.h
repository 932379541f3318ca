/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which device a name means, of all that people and other tools write for one. */
#pragma once

#include "device.h"

/* Find the device that @name means: NAME, BUS/NAME, a PCI address in one of its
 * spellings, a network interface, a disk or another node, or a path in /sys or /dev. A
 * device that cannot be flagged is meant only when no other has that name. Returns 0 with
 * @dev to be cleared, or -1 with @e and @dev untouched: STATUS_USAGE, it means no device,
 * or several; STATUS_FAILED, that could not be told. */
_must_check_ int name_find(const char *name, struct device *dev, struct error *e);

/* Would @name mean the device that @bus_and_name, as BUS/NAME, tells, if it were there? A
 * path means it by its last component. */
bool name_means(const char *name, const char *bus_and_name);

/* Could it be an interface or a node, which are there only while the host's driver has
 * the device? */
bool name_goes_with_driver(const char *name);
