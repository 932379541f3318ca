/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lock.h"
#include "sysfs.h"

#include <stdio.h>
#include <sys/sysmacros.h>

/* Find who has taken the lock of the file, if that is @pid, or anybody if that is 0.
 * Returns the pid, 0: nobody; or -1: /proc/locks cannot be read. */
static pid_t find(const struct stat *file, pid_t pid)
{
	_cleanup_free_ char *wanted =
		format(" %02x:%02x:%ju ", major(file->st_dev), minor(file->st_dev),
		       (uintmax_t)file->st_ino);
	FILE *locks = fopen("/proc/locks", "re");
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	pid_t found = locks ? 0 : -1, taker;

	while (found == 0 && getline(&line, &size, locks) > 0) {
		/* "1: FLOCK ADVISORY WRITE PID DEV:INODE 0 EOF". The line of a process
		 * that waits has "->" before FLOCK, so sscanf() passes over it. */
		if (strstr(line, wanted) &&
		    sscanf(line, "%*d: FLOCK %*s %*s %d", &taker) == 1 &&
		    (!pid || pid == taker))
			found = taker;
	}
	if (locks)
		fclose(locks);
	return found;
}

pid_t lock_taker(const struct stat *file)
{
	return find(file, 0);
}

bool lock_is_taken_by(pid_t pid)
{
	_cleanup_names_ struct names names = sysfs_names(DIR_OF_LOCKS, "");

	for (size_t i = 0; i < names.n; i++) {
		_cleanup_free_ char *path = format(DIR_OF_LOCKS "/%s", names.name[i]);
		struct stat st;

		if (stat(path, &st) == 0 && find(&st, pid) == pid)
			return true;
	}
	return false;
}
