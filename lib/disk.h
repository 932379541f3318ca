/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the kernel itself uses a disk for: mounts, swap, what is stacked on it, exports.
 */
#pragma once

#include "error.h"

/* What are these disks, partitions and NVMe controllers, by their syspaths, used for by
 * the kernel: where each is mounted, whether it is swapped on, what holds it or is
 * stacked on it (with the chain of names up to it), a loop device, an export of nvmet,
 * LIO or a USB gadget; or, if nothing of this can be seen from here, whether it is opened
 * exclusively all the same. Adds a text for each use to @uses. Returns 0, or -1 with @e
 * (STATUS_REFUSED): it could not be told. */
_must_check_ int disk_uses(const struct names *paths, struct names *uses,
			   struct error *e);
