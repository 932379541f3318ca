/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* File systems that a host shares with a guest, without a disk: 9p and virtiofs. */
#pragma once

#include "device.h"

/* Add a text to @uses for each share of the virtio device @dev that is mounted, by its
 * tag. virtiofs tells its tag from Linux 6.9 on. Returns 0, or -1 with @e
 * (STATUS_REFUSED): it could not be told. */
_must_check_ int share_uses(const struct device *dev, struct names *uses,
			    struct error *e);
