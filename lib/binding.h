/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The transition from one binding to another. Undo is the same, run backwards. */
#pragma once

#include "vfio.h"

/* How long a transition may wait, and what it asks between its steps: NULL to go on, or
 * the reason to stop. Without that question it must come to its end: then each wait has a
 * second at least. */
struct patience {
	int64_t deadline;
	const char *(*given_up)(void);
};

/* Any driver that the kernel finds by itself, as struct binding's driver. */
extern char binding_any_driver[];

/* Is there nothing to do? */
bool binding_equal(const struct binding *a, const struct binding *b);

/* Take the device from where it is to @to, and read back that it got there.
 *
 * A device is never driverless without a flag, so that no driver can take it in between:
 * to a flagged binding, the flag is written before the unbind; to an unflagged one, the
 * old flag stays until the device is driverless and goes right before the bind. A driver
 * that cannot be bound with the flag it shall have (the host driver of a device that was
 * pinned while bound; a VFIO driver, or any other without an id of the device, as these
 * match by the flag alone; a VF that binds with a flag only) is bound without it, or with
 * its own, and the flag comes last. A deferred probe (EAGAIN, EINVAL from drivers_probe:
 * drivers/base/dd.c) is tried again until the deadline. In a dry run nothing is read
 * back.
 *
 * Returns 0 or -1 with @e (STATUS_FAILED), the device left where it got to. */
int binding_move(const struct device *dev, const struct binding *to,
		 const struct patience *patience, struct error *e);

/* Why it cannot be reset when it is on @driver (NULL: none), as far as that can be told
 * before; NULL: it can. */
const char *binding_no_reset(const struct device *dev, const char *driver);

/* Reset the device, if no host driver has it: by its reset attribute, or by VFIO; and
 * prove that a VFIO-bound one can be opened. Nobody may hold it.
 * Returns 0 or -1 with @e (STATUS_FAILED). */
int binding_reset(const struct device *dev, const struct binding *is, enum reset reset,
		  const struct patience *patience, struct error *e);

/* "on DRIVER, flagged for F", a new string. */
char *binding_text(const struct binding *binding);
