/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What went wrong with a device: lib/ fills it, vfio-bind.c prints it. */
#pragma once

#include "util.h"

/* The exit statuses; of several devices the highest counts. */
enum status {
	STATUS_DONE = 0,
	STATUS_FAILED = 1,  /* the device is as it was */
	STATUS_USAGE = 2,   /* usage, or no such device or driver */
	STATUS_REFUSED = 3, /* nothing touched: in use, not viable, no IOMMU, locked */
	STATUS_BROKEN = 4,  /* the device is not as it was */
};

/* Of fixed size, so that a worker can send it as it is. */
struct error {
	enum status status;
	char text[1024];
	char hint[512]; /* what the user can do; empty: nothing */
};

/* Set status and text, drop the hint; one line of UTF-8, whatever is in the arguments,
 * which ends in "..." if there was no room for all. Returns -1, for "return
 * error_set(...)". */
int error_set(struct error *e, enum status status, const char *fmt, ...) _printf_(3, 4);

/* Add to the text an end that is never cut: in need, what stands before it is. Returns
 * -1.
 */
int error_end(struct error *e, const char *fmt, ...) _printf_(2, 3);

/* Set the hint. Returns -1. */
int error_hint(struct error *e, const char *fmt, ...) _printf_(2, 3);
