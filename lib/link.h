/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Network interfaces of a device, in whatever network namespace, and what uses them. */
#pragma once

#include "error.h"

/* What uses the interfaces of these @parents, by their syspaths: addresses, routes, who
 * listens, what stands on them. Adds a text for each use to @uses. Returns 0, or -1 with
 * @e (STATUS_REFUSED): it could not be looked at. */
_must_check_ int link_uses(const struct names *parents, struct names *uses,
			   struct error *e);
