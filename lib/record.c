/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "record.h"
#include "sysfs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* Root's alone: whoever can open a lock can take it. /run/lock is everyone's. */
#define DIR_OF_ALL "/run/vfio-bind"
#define DIR_OF_LOCKS DIR_OF_ALL "/lock"
#define DIR_OF_RECORDS DIR_OF_ALL "/record"

void record_clear(struct record *record)
{
	binding_clear(&record->origin);
	free(record->flag[0]);
	free(record->flag[1]);
	*record = (struct record){0};
}

/* A device's name has no '/', a bus's no ':'. */
static char *path_in(const char *dir, const struct device *dev)
{
	return format("%s/%s:%s", dir, dev->bus, dev->name);
}

static int make_directories(struct error *e)
{
	static const char *const dirs[] = {DIR_OF_ALL, DIR_OF_LOCKS, DIR_OF_RECORDS};

	for (size_t i = 0; i < 3; i++) {
		struct stat st;

		if (mkdir(dirs[i], 0700) < 0 && errno != EEXIST)
			return error_set(e, STATUS_FAILED, "cannot make %s: %s", dirs[i],
					 strerror(errno));
		if (lstat(dirs[i], &st) < 0 || !S_ISDIR(st.st_mode) || st.st_uid != 0 ||
		    (st.st_mode & 022))
			return error_set(e, STATUS_FAILED,
					 "%s is not a directory that only root can write",
					 dirs[i]);
	}
	return 0;
}

static int open_lock(const char *path, struct error *e)
{
	/* Never unlinked: that would let two processes lock two files of one name. */
	int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	return fd < 0 ? error_set(e, STATUS_FAILED, "cannot open %s: %s", path,
				  strerror(errno))
		      : fd;
}

int record_lock(const struct device *dev, struct error *e)
{
	_cleanup_free_ char *path = path_in(DIR_OF_LOCKS, dev);
	int fd = make_directories(e) < 0 ? -1 : open_lock(path, e);

	if (fd < 0 || flock(fd, LOCK_EX) == 0)
		return fd;
	error_set(e, STATUS_FAILED, "cannot lock %s: %s", path, strerror(errno));
	close(fd);
	return -1;
}

int record_open_group_lock(const char *number, struct error *e)
{
	_cleanup_free_ char *path = format(DIR_OF_LOCKS "/iommu_group:%s", number);

	return open_lock(path, e);
}

/* The process that has the lock, by /proc/locks; 0: it is not there; -1: that cannot be
 * read. */
static pid_t locked_by(const struct stat *lock)
{
	_cleanup_free_ char *wanted =
		format(" %02x:%02x:%ju ", major(lock->st_dev), minor(lock->st_dev),
		       (uintmax_t)lock->st_ino);
	FILE *locks = fopen("/proc/locks", "re");
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	int pid, found = locks ? 0 : -1;

	while (found == 0 && getline(&line, &size, locks) > 0) {
		/* "1: FLOCK ADVISORY WRITE PID DEV:INODE 0 EOF"; those who wait have an
		 * arrow, and do not scan. */
		if (strstr(line, wanted) &&
		    sscanf(line, "%*d: FLOCK %*s %*s %d", &pid) == 1)
			found = pid;
	}
	if (locks)
		fclose(locks);
	return found;
}

char *record_lock_holder(const struct device *dev, pid_t except)
{
	_cleanup_free_ char *path = path_in(DIR_OF_LOCKS, dev);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	_cleanup_free_ char *dir = NULL, *comm = NULL;
	struct stat st;
	pid_t pid;

	if (fd < 0 || fstat(fd, &st) < 0 || flock(fd, LOCK_SH | LOCK_NB) == 0)
		return NULL;
	pid = locked_by(&st);
	if (pid == 0) /* of another PID namespace */
		return copy("another process");
	if (pid < 0 || pid == except)
		return NULL;
	dir = format("/proc/%d", pid);
	comm = sysfs_read(dir, "comm");
	return format("%s (pid %d)", comm ? comm : "?", pid);
}

/* A line is a key and, after one space, a value. */
static void parse(struct record *record, char *line)
{
	char *value = strchr(line, ' ');
	char **field = NULL;

	if (!value)
		return;
	*value++ = '\0';
	if (streq(line, "driver"))
		field = &record->origin.driver;
	else if (streq(line, "driver_override"))
		field = &record->origin.driver_override;
	else if (streq(line, "flag"))
		field = record->flag[0] ? &record->flag[1] : &record->flag[0];
	else if (streq(line, "incarnation"))
		record->incarnation = strtoull(value, NULL, 10);
	if (field && !*field)
		*field = copy(value);
}

/* Is @is on the way that vfio-bind took with this device? It carries the flag; or, not
 * flagged yet or any more, nobody else's driver has it. While a driver is bound that the
 * final flag forbids, it has no flag for a moment, or that driver's. */
static bool on_our_way(const struct record *record, const struct binding *is)
{
	const struct binding *origin = &record->origin;
	bool forbidden =
		record->flag[1] ||
		(origin->driver && !streq(origin->driver, origin->driver_override));

	if (is->driver_override && (streq(is->driver_override, record->flag[0]) ||
				    streq(is->driver_override, record->flag[1])))
		return true;
	/* Flagged for where it goes back to, and still on the one it was handed to. */
	if (is->driver_override &&
	    (streq(is->driver_override, origin->driver_override) ||
	     (forbidden && streq(is->driver_override, origin->driver))) &&
	    (streq(is->driver, record->flag[0]) || streq(is->driver, record->flag[1])))
		return true;
	if (is->driver && !streq(is->driver, origin->driver))
		return false;
	return streq(is->driver_override, origin->driver_override) ||
	       (forbidden &&
		(!is->driver_override || streq(is->driver_override, origin->driver)));
}

int record_read(const struct device *dev, const struct binding *is, struct record *record,
		struct error *e)
{
	_cleanup_free_ char *path = path_in(DIR_OF_RECORDS, dev);
	_cleanup_free_ char *line = NULL;
	struct record found = {0};
	FILE *file = fopen(path, "re");
	size_t size = 0;
	bool failed;

	if (!file && errno == ENOENT)
		return 0;
	while (file && getline(&line, &size, file) > 0) {
		line[strcspn(line, "\n")] = '\0';
		parse(&found, line);
	}
	failed = !file || ferror(file);
	if (file)
		fclose(file);
	if (!failed && found.incarnation == device_incarnation(dev) &&
	    on_our_way(&found, is)) {
		*record = found;
		return 1;
	}
	record_clear(&found);
	/* Taken for none, it would be overwritten, and the way back lost. */
	return failed ? error_set(e, STATUS_FAILED, "cannot read %s: %s", path,
				  strerror(errno))
		      : 0;
}

int record_write(const struct device *dev, const struct record *record, struct error *e)
{
	_cleanup_free_ char *path = path_in(DIR_OF_RECORDS, dev);
	_cleanup_free_ char *temporary = path_in(DIR_OF_ALL, dev);
	const struct {
		const char *key, *value;
	} lines[] = {
		{"driver", record->origin.driver},
		{"driver_override", record->origin.driver_override},
		{"flag", record->flag[0]},
		{"flag", record->flag[1]},
	};
	_cleanup_free_ char *text =
		format("incarnation %" PRIu64 "\n", record->incarnation);
	_cleanup_close_ int fd = -1;

	if (sysfs_is_dry_run())
		return 0;
	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		if (lines[i].value)
			append(&text, "", "%s %s\n", lines[i].key, lines[i].value);
	}
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_set(e, STATUS_FAILED, "cannot write %s: %s", temporary,
				 strerror(errno));
	errno = ENOSPC; /* for a short write */
	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text) ||
	    rename(temporary, path) < 0) {
		error_set(e, STATUS_FAILED, "cannot write %s: %s", path, strerror(errno));
		unlink(temporary);
		return -1;
	}
	return 0;
}

int record_remove(const struct device *dev, struct error *e)
{
	_cleanup_free_ char *path = path_in(DIR_OF_RECORDS, dev);
	_cleanup_free_ char *temporary = path_in(DIR_OF_ALL, dev);

	if (sysfs_is_dry_run())
		return 0;
	unlink(temporary); /* left by one that was killed */
	if (unlink(path) < 0 && errno != ENOENT)
		return error_set(e, STATUS_FAILED, "cannot remove %s: %s", path,
				 strerror(errno));
	return 0;
}

struct names record_list(void)
{
	struct names list = sysfs_names(DIR_OF_RECORDS, "");

	for (size_t i = 0; i < list.n; i++) {
		char *colon = strchr(list.name[i], ':');

		if (colon)
			*colon = '/';
	}
	return list;
}
