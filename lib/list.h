/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of devices and who has them. */
#pragma once

#include "device.h"

enum list_format { LIST_TABLE, LIST_RAW, LIST_JSON };

struct list_options {
	enum list_format format;
	bool noheadings;
	const char *columns; /* names with commas, "+..." adds to the default; or NULL */
	const char *bus;     /* only its devices; NULL: all */
	bool taken;	     /* only what is flagged or VFIO-bound */
	bool boot;	     /* only what is pinned at boot, absent devices, too */
	bool group;	     /* below their IOMMU groups, with all members of these */
};

/* Print these devices to stdout; without any, all that have a driver_override. The
 * devices that are found without operands are added to @devices.
 * Returns 0; or -1 with @e. With nothing printed: STATUS_USAGE, a column or bus that is
 * not there; STATUS_FAILED, no bus can be read. With a list as far as it is known:
 * STATUS_FAILED, what is pinned at boot could not be read; STATUS_REFUSED, not all
 * processes could be looked into. What else could not be read was noted
 * (sysfs_check_read()). */
_must_check_ int list_print(struct devices *devices, const struct list_options *options,
			    struct error *e);

/* Every column, "NAME" and "what it shows", for --help; NULL at the end. */
const char *list_column(size_t i, const char **help);
