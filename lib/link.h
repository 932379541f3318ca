/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Network interfaces of a device, in whatever network namespace, and what uses them. */
#pragma once

#include "device.h"

/* What uses the interfaces that are below the device: addresses, routes, who listens,
 * what stands on them. Adds a text for each use to @uses. Returns 0, or -1 with @e
 * (STATUS_REFUSED): it could not be looked at. */
_must_check_ int link_uses(const struct device *dev, struct names *uses, struct error *e);
