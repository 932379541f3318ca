/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* /run/vfio-bind: each device's lock, and the binding to go back to. */
#pragma once

#include "device.h"

struct record {
	struct binding origin; /* before the first change */
	char *flag[2];	       /* what vfio-bind flagged, or was about to flag, it for */
	uint64_t incarnation;  /* of the device that was recorded */
};

void record_clear(struct record *record);
#define _cleanup_record_ __attribute__((cleanup(record_clear)))

/* Lock the device, however long it takes (flock(2): the lock goes with the last copy of
 * the fd, so with the process). Returns the fd, or -1 with @e (STATUS_FAILED). */
int record_lock(const struct device *dev, struct error *e);

/* Open the lock of an IOMMU group, for who has the lock of a member of it. Returns the
 * fd, not locked yet, or -1 with @e (STATUS_FAILED). */
int record_open_group_lock(const char *number, struct error *e);

/* "COMMAND (pid N)" of who else than process @except has the lock, from /proc/locks, or
 * "another process" if it is not there; NULL: nobody, or it cannot be read. */
char *record_lock_holder(const struct device *dev, pid_t except);

/* Read the device's record. Returns 1 with @record to be cleared; 0: there is none that
 * can be believed, as the device @is now: removed and added again since, or taken
 * elsewhere by somebody else; -1 with @e (STATUS_FAILED): it cannot be read. */
int record_read(const struct device *dev, const struct binding *is, struct record *record,
		struct error *e);

/* Write it, whole or not at all. Returns 0, or -1 with @e (STATUS_FAILED). */
int record_write(const struct device *dev, const struct record *record, struct error *e);

/* Returns 0, also when there was none, or -1 with @e (STATUS_FAILED). */
int record_remove(const struct device *dev, struct error *e);

/* The recorded devices, as BUS/NAME. */
struct names record_list(void);
