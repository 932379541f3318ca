/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who has these files open: one scan of /proc, by number and never by name. */
#pragma once

#include "error.h"

#include <sys/types.h>

/* A file that a process can have open. Its names can be forged: any user can make a /dev
 * of his own, or a plain file that is called like a node. Its number cannot. */
struct file_id {
	mode_t type;	 /* S_IFCHR, S_IFBLK: a node; S_IFSOCK: a socket; 0: a VFIO device
			    that was got from its group */
	uint64_t number; /* of the device; of a socket, the inode; of a VFIO device, the
			    inode of its syspath */
};

struct file_ids {
	struct file_id *file;
	size_t n;
};

/* Add @file, also if it is there already. */
void file_ids_add(struct file_ids *files, struct file_id file);
void file_ids_clear(struct file_ids *files);
#define _cleanup_files_ __attribute__((cleanup(file_ids_clear)))

/* A process that has one of them open, or mapped. */
struct holder {
	struct file_id file;
	pid_t pid, parent;
	char name[64]; /* of sysfs_process_name() */
};

struct holders {
	struct file_ids asked; /* what was looked for */
	struct holder *holder;
	size_t n;
	int64_t at; /* when the look ended: monotonic ns */
};

/* Look for @files in all processes: their descriptors, those of threads that have others
 * than their process, and their maps. A descriptor that was opened with O_PATH does not
 * count: anybody may have one of any file. A child looks, for five seconds at most into
 * one process or thread, until @deadline (monotonic ns), and until there is something to
 * read from @stop (-1: from nowhere): a look at the maps of a process that is stuck in
 * the kernel waits for it.
 * Returns 0 with @holders to be cleared; or -1 with @e (STATUS_REFUSED) if there is a
 * process that could not be looked into, and @holders what was found all the same. */
_must_check_ int holders_find(const struct file_ids *files, int64_t deadline, int stop,
			      struct holders *holders, struct error *e);

void holders_clear(struct holders *holders);
#define _cleanup_holders_ __attribute__((cleanup(holders_clear)))

/* Were all of @files looked for? */
bool holders_know(const struct holders *holders, const struct file_ids *files);

/* "COMM (pid N)" of those that have one of @files open, each once, with commas, as by
 * names_text(); NULL: nobody. */
char *holders_text(const struct holders *holders, const struct file_ids *files,
		   size_t max);
