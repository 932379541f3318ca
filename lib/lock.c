/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lock.h"
#include "mount.h"
#include "sysfs.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* Learn the number that /proc/locks has for a file of that mount: its file system's, as
 * in mountinfo. What stat(2) tells is another one on an overlay or on btrfs. Returns 0 or
 * -1.
 */
static int find_number(int fd, dev_t *number)
{
	_cleanup_mounts_ struct mounts mounts = {0};
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &st) < 0 ||
	    mounts_read(&mounts) < 0)
		return -1;
	for (size_t i = 0; i < mounts.n; i++) {
		if (mounts.mount[i].id == st.stx_mnt_id) {
			*number = mounts.mount[i].number;
			return 0;
		}
	}
	return -1;
}

/* Find who has taken the lock of the file. Returns the pid, 0: nobody; or -1: /proc/locks
 * cannot be read. */
static pid_t find(dev_t number, ino_t inode)
{
	_cleanup_free_ char *wanted =
		format(" %02x:%02x:%ju ", major(number), minor(number), (uintmax_t)inode);
	FILE *locks = fopen("/proc/locks", "re");
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	pid_t found = locks ? 0 : -1, taker;

	while (found == 0 && getline(&line, &size, locks) > 0) {
		/* "1: FLOCK ADVISORY WRITE PID DEV:INODE 0 EOF". The line of a process
		 * that waits has "->" before FLOCK, so sscanf() passes over it. */
		if (strstr(line, wanted) &&
		    sscanf(line, "%*d: FLOCK %*s %*s %d", &taker) == 1)
			found = taker;
	}
	if (locks)
		fclose(locks);
	return found;
}

pid_t lock_taker(int fd)
{
	struct stat st;
	dev_t number;

	if (fstat(fd, &st) < 0 || find_number(fd, &number) < 0)
		return -1;
	return find(number, st.st_ino);
}

void lock_takers_add(struct lock_takers *takers)
{
	_cleanup_close_ int dir = open(DIR_OF_LOCKS, O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_names_ struct names names = {0};
	dev_t number;

	if (dir < 0 || find_number(dir, &number) < 0)
		return;
	names = sysfs_names(DIR_OF_LOCKS, "");
	for (size_t i = 0; i < names.n; i++) {
		struct stat st;
		pid_t taker = fstatat(dir, names.name[i], &st, 0) == 0
				      ? find(number, st.st_ino)
				      : 0;

		if (taker <= 0)
			continue;
		takers->pid = with_room(takers->pid, takers->n, sizeof(taker));
		takers->pid[takers->n++] = taker;
	}
}

bool lock_takers_have(const struct lock_takers *takers, pid_t pid)
{
	for (size_t i = 0; i < takers->n; i++) {
		if (takers->pid[i] == pid)
			return true;
	}
	return false;
}

void lock_takers_clear(struct lock_takers *takers)
{
	free(takers->pid);
	*takers = (struct lock_takers){0};
}
