/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The transition from one binding to another: a plan of steps, and the function that
 * makes them. Undo is the plan from wherever the device got to, back to where it was. */
#pragma once

#include "vfio.h"

/* How long a transition may wait, and whether it may be stopped. */
struct patience {
	int64_t deadline; /* monotonic ns */
	/* Asked between the steps: returns NULL to go on, or the reason to stop. No
	 * function: the transition must not stop (an undo, a release), and each of its
	 * waits lasts a second at least, even after the deadline. */
	const char *(*given_up)(void);
};

/* As a binding's driver: whichever the kernel chooses. Compared by address, not by text.
 */
extern char binding_any_driver[];

/* One write to the kernel. */
struct step {
	enum {
		STEP_FLAG,   /* set driver_override to @driver; NULL: clear it */
		STEP_UNBIND, /* from @driver */
		STEP_BIND,   /* to @driver */
		STEP_PROBE,  /* let the kernel choose */
	} kind;
	const char *driver; /* belongs to the bindings of the plan */
};

struct plan {
	struct step step[4];
	size_t n;
};

/* The steps from one binding to another. @by_flag: the new driver can bind only while the
 * device is flagged for it.
 *
 * A device is never driverless without a flag, so that no driver can take it in between:
 * to a flagged binding, the flag is written before the unbind; to an unflagged one, the
 * old flag stays until the device is driverless and goes right before the bind. A driver
 * that cannot be bound with the flag it shall have in the end is bound without one, or
 * @by_flag with its own, and the final flag comes last. */
struct plan binding_plan(const struct binding *from, const struct binding *to,
			 bool by_flag);

bool binding_equal(const struct binding *a, const struct binding *b);

/* Take the device from where it is to @to, and read back that it got there. The device
 * must be flagged for a VFIO driver to bind it; for any driver, if it is a VF of a PF
 * whose sriov_drivers_autoprobe is 0; and for a driver that has no id of it (ENODEV), but
 * had it all the same. A deferred probe (drivers/base/dd.c: EAGAIN from bind; EINVAL from
 * drivers_probe, while a supplier is missing or VFIO owns the group) is tried again until
 * the deadline. In a dry run the steps are only announced, as those that lead there @from
 * where the device would be.
 *
 * Returns 0 or -1 with @e (STATUS_FAILED), the device left where it got to. */
_must_check_ int binding_move(const struct device *dev, const struct binding *from,
			      const struct binding *to, const struct patience *patience,
			      struct error *e);

/* Why a device that is bound to @driver (NULL: none) cannot be reset; NULL: it can, as
 * far as is known before. */
const char *binding_no_reset(const struct device *dev, const char *driver);

/* Reset the device, if no host driver has it: by its reset attribute, or by VFIO; and
 * prove that a VFIO-bound one can be opened. Nobody may hold it.
 * Returns 0 or -1 with @e (STATUS_FAILED). */
_must_check_ int binding_reset(const struct device *dev, const struct binding *is,
			       enum reset reset, const struct patience *patience,
			       struct error *e);

/* "on DRIVER, flagged for F", a new string. */
char *binding_text(const struct binding *binding);
