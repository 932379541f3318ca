/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who would be hurt if the device lost its host driver? */
#pragma once

#include "device.h"

/* Is the device in use through its host driver: an interface that is up with an address
 * or carries another one, a disk that is mounted, swapped on or held, a consumer that
 * the kernel would unbind too (device_links_unbind_consumers), a display with the only
 * console?
 * Returns 0, or -1 with @e (STATUS_REFUSED) naming everything in the way. */
_must_check_ int usage_check(const struct device *dev, struct error *e);

/* The names of its interfaces and disks, with commas; NULL: it has none. */
char *usage_names(const struct device *dev);
