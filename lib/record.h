/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* /run/vfio-bind: each device's lock, and the binding to go back to. In a dry run nothing
 * is locked or written there, and a record that only root may read is none.
 */
#pragma once

#include "device.h"

struct record {
	struct binding origin; /* before the first change */
	/* Every other driver and flag that vfio-bind has given the device since. Whatever
	 * it met there on the way was the origin, or given by itself. */
	struct names given;
	uint64_t incarnation; /* of the device that was recorded */
	/* So many disks and interfaces were below it at home, or none that is known of.
	 */
	unsigned int functions;
};

void record_clear(struct record *record);
#define _cleanup_record_ __attribute__((cleanup(record_clear)))

/* The record for a change that goes on from the @last one (NULL: none), and takes the
 * device @from here @to there, without an incarnation; to be cleared. */
struct record record_next(const struct record *last, const struct binding *from,
			  const struct binding *to);

/* Is the device, as it @is now, still where vfio-bind could have left it? It is when its
 * driver and its flag are each unset, or a name that the record knows. Else somebody else
 * has taken it since. */
bool record_believes(const struct record *record, const struct binding *is);

/* Is where a device was met, @met, a home to go back to? Not if VFIO has it: it is on a
 * VFIO driver, or without one and flagged for one; somebody took it from its host driver
 * before vfio-bind saw it. But the kernel itself gives VFIO the VFs of a PF that VFIO has
 * (vfio_pci_bus_notifier); @pf_driver is the driver of its PF, NULL: none. */
bool record_is_home(const struct binding *met, const char *pf_driver);

/* A record as the text of its file, a new string, and back, to be cleared. Lines that it
 * does not know are passed over. */
char *record_text(const struct record *record);
struct record record_parse(const char *text);

/* Lock the device, however long it takes (flock(2): the lock lasts until the last copy of
 * the fd is closed, at the latest by the end of the process). Returns 0 with the fd in
 * *@lock, which a dry run leaves alone, or -1 with @e (STATUS_FAILED). */
_must_check_ int record_lock(const struct device *dev, int *lock, struct error *e);

/* The same for a device of a lease, whose process was killed with the lock. *@alone:
 * nobody else has had the lock since, so nothing can have changed. */
_must_check_ int record_lock_again(const struct device *dev, int *lock, bool *alone,
				   struct error *e);

/* Lock what is pinned at boot. As above, but waits no longer than until @deadline
 * (monotonic ns), a second at least, nor when there is something to read from @stop (-1:
 * from nowhere). */
_must_check_ int record_lock_boot(int64_t deadline, int stop, int *lock, struct error *e);

/* Open the lock of an IOMMU group, for a worker that has the lock of a member of it.
 * Returns the fd, not locked yet, or -1 with @e (STATUS_FAILED). */
_must_check_ int record_open_group_lock(const char *number, struct error *e);

/* Who has the device's lock, for a message, by /proc/locks: "locked by COMM (pid N)"; "by
 * another process", if it lists none; "by process N, which has ended and left it to
 * another". If the device is kept for a lease, "leased to COMMAND (pid N) by ..." these.
 * A new string; NULL: nobody, or process @except, or /proc/locks cannot be read. */
char *record_lock_taker(const struct device *dev, pid_t except);

/* For who has the @lock: it keeps the device for process @command (0: which has ended),
 * that was called @name. */
void record_set_lease(int lock, pid_t command, const char *name);

/* Whom the device is leased to: "COMMAND (pid N)", or "COMMAND (ended)" if another
 * process still holds it; "?", and a note: it could not be read; NULL: nobody, or only
 * root can know. */
char *record_lease(const struct device *dev);

/* Read the device's record. Returns 1 with @record to be cleared; 0: there is none, or
 * none to believe: the device was removed and added again since, or somebody else has
 * moved it to where it @is now; -1 with @e (STATUS_FAILED) and errno: it cannot be read;
 * EBADMSG: it is no record. */
_must_check_ int record_read(const struct device *dev, const struct binding *is,
			     struct record *record, struct error *e);

/* Can the record of the device, BUS/NAME, be read, if there is one? Returns 0, or -1 with
 * @e and errno, as record_read(). */
_must_check_ int record_check(const char *name, struct error *e);

/* Write the record, whole or not at all. Returns 0, or -1 with @e (STATUS_FAILED). */
_must_check_ int record_write(const struct device *dev, const struct record *record,
			      struct error *e);

/* Remove the record. Returns 0, also when there was none, or -1 with @e (STATUS_FAILED).
 */
_must_check_ int record_remove(const struct device *dev, struct error *e);

/* The recorded devices, as BUS/NAME, and those whose record a worker that was killed had
 * begun to write. @strangers (or NULL) gets the names of the files among the records that
 * are none. */
struct names record_list(struct names *strangers);

/* Set @e (STATUS_FAILED) to that this file among the records is of no device. */
void record_is_none(const char *file, struct error *e);

/* Has vfio-bind met a device that @name means, since boot, that is not there any more?
 * Only root can know. */
bool record_has_met(const char *name);
