/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What pin, handoff and release mean for one device: where it shall go, the record, the
 * transition, and the undo of one that fails. */
#pragma once

#include "job.h"

/* Do what is requested to the device, in the phases that the supervisor lets it pass.
 * Returns 0, or -1 with @e, whose status tells what has become of the device. May block
 * for as long as the kernel likes. */
_must_check_ int command_run(const struct device *dev, const struct request *request,
			     const struct supervisor *supervisor, struct error *e);

/* Keep a device that another worker had for the request's lease, and was killed; and
 * release it, as command_run() does at the end of a lease. */
_must_check_ int command_resume(const struct device *dev, const struct request *request,
				const struct supervisor *supervisor, struct error *e);
