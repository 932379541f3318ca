/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "record.h"
#include "driver.h"
#include "lock.h"
#include "name.h"
#include "sysfs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

/* Root's alone: whoever can open a lock file can take the lock. In /run/lock everyone may
 * write. */
#define DIR_OF_ALL "/run/vfio-bind"
#define DIR_OF_RECORDS DIR_OF_ALL "/record"
#define LOCK_OF_BOOT DIR_OF_LOCKS "/boot"

/* Between two tries to get a lock that must not be waited for beyond a deadline. */
#define LOCK_PAUSE (5 * MSEC)

void record_clear(struct record *record)
{
	binding_clear(&record->origin);
	names_free(&record->given);
	*record = (struct record){0};
}

static bool knows(const struct record *record, const char *name)
{
	return streq(name, record->origin.driver) ||
	       streq(name, record->origin.driver_override) ||
	       names_have(&record->given, name);
}

static void give(struct record *record, const char *name)
{
	if (name && !knows(record, name))
		names_add(&record->given, name);
}

struct record record_next(const struct record *last, const struct binding *from,
			  const struct binding *to)
{
	const struct binding *origin = last ? &last->origin : from;
	struct record next = {
		.origin = {copy(origin->driver), copy(origin->driver_override)},
		.functions = last ? last->functions : 0,
	};

	for (size_t i = 0; last && i < last->given.n; i++)
		give(&next, last->given.name[i]);
	give(&next, to->driver);
	give(&next, to->driver_override);
	return next;
}

bool record_believes(const struct record *record, const struct binding *is)
{
	return (!is->driver || knows(record, is->driver)) &&
	       (!is->driver_override || knows(record, is->driver_override));
}

bool record_is_home(const struct binding *met, const char *pf_driver)
{
	const char *taker = met->driver ? met->driver : met->driver_override;

	return !driver_is_vfio(taker) || driver_is_vfio(pf_driver);
}

char *record_text(const struct record *record)
{
	char *text = format("incarnation %" PRIu64 "\n", record->incarnation);

	if (record->origin.driver)
		append(&text, "", "driver %s\n", record->origin.driver);
	if (record->origin.driver_override)
		append(&text, "", "driver_override %s\n", record->origin.driver_override);
	for (size_t i = 0; i < record->given.n; i++)
		append(&text, "", "given %s\n", record->given.name[i]);
	if (record->functions)
		append(&text, "", "functions %u\n", record->functions);
	return text;
}

/* A line is a key and, after one space, a value. */
static void parse_line(struct record *record, char *line)
{
	char *value = strchr(line, ' ');

	if (!value)
		return;
	*value++ = '\0';
	if (streq(line, "driver") && !record->origin.driver)
		record->origin.driver = copy(value);
	else if (streq(line, "driver_override") && !record->origin.driver_override)
		record->origin.driver_override = copy(value);
	else if (streq(line, "given") || streq(line, "flag")) /* flag: of version 0.1 */
		give(record, value);
	else if (streq(line, "incarnation"))
		record->incarnation = strtoull(value, NULL, 10);
	else if (streq(line, "functions"))
		record->functions = strtoul(value, NULL, 10);
}

struct record record_parse(const char *text)
{
	_cleanup_free_ char *lines = copy(text);
	struct record record = {0};

	for (char *rest = lines, *line; (line = strsep(&rest, "\n")) != NULL;)
		parse_line(&record, line);
	return record;
}

/* A device's name has no '/', a bus's no ':'. */
static char *path_in(const char *dir, const struct device *dev)
{
	return format("%s/%s:%s", dir, dev->bus, dev->name);
}

static const char *const dirs[] = {DIR_OF_ALL, DIR_OF_LOCKS, DIR_OF_RECORDS};

/* What others could have written, or removed, tells nothing. Returns 0, also if there is
 * none, or only root can know; or -1 with @e and errno. */
static int check_directory(const char *dir, struct error *e)
{
	struct stat st;
	int err = lstat(dir, &st) < 0 ? errno : 0;

	if (err == ENOENT || sysfs_is_forbidden(err))
		return 0;
	if (err == 0 && S_ISDIR(st.st_mode) && st.st_uid == 0 && !(st.st_mode & 022))
		return 0;
	error_set(e, STATUS_FAILED, "%s is not a directory that only root can write%s%s",
		  dir, err ? ": " : "", err ? strerror(err) : "");
	errno = ENOTDIR;
	return -1;
}

static int check_directories(struct error *e)
{
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		if (check_directory(dirs[i], e) < 0)
			return -1;
	}
	return 0;
}

static int make_directories(struct error *e)
{
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		if (mkdir(dirs[i], 0700) < 0 && errno != EEXIST)
			return error_set(e, STATUS_FAILED, "cannot make %s: %s", dirs[i],
					 strerror(errno));
		if (check_directory(dirs[i], e) < 0)
			return -1;
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

/* The lease of a lock that is taken, from its file; a new string, or NULL with errno: 0
 * if there is none. */
static char *read_lease(int fd)
{
	char line[256] = "";
	ssize_t n = pread(fd, line, sizeof(line) - 1, 0);
	int pid, name = 0;
	char *comm;

	if (n < 0)
		return NULL;
	line[strcspn(line, "\n")] = '\0';
	if (sscanf(line, "%d %n", &pid, &name) != 1 || !name) {
		errno = 0;
		return NULL;
	}
	if (pid == 0)
		return format("%s (ended)", line + name);
	comm = sysfs_process_name(pid);
	return comm ? comm : format("%s (pid %d)", line + name, pid);
}

/* Returns 0 with *@lock, or in a dry run without; or -1 with @e. */
static int take_lock(const struct device *dev, int *lock, struct error *e)
{
	_cleanup_free_ char *path = path_in(DIR_OF_LOCKS, dev);

	if (sysfs_is_dry_run())
		return 0;
	if (make_directories(e) < 0 || (*lock = open_lock(path, e)) < 0)
		return -1;
	if (flock(*lock, LOCK_EX) < 0)
		return error_set(e, STATUS_FAILED, "cannot lock %s: %s", path,
				 strerror(errno));
	return 0;
}

/* What is in the file is of a lease that was killed. */
static void forget_lease(int lock)
{
	if (lock >= 0)
		IGNORE(ftruncate(lock, 0));
}

int record_lock(const struct device *dev, int *lock, struct error *e)
{
	if (take_lock(dev, lock, e) < 0)
		return -1;
	forget_lease(*lock);
	return 0;
}

int record_lock_again(const struct device *dev, int *lock, bool *alone, struct error *e)
{
	_cleanup_free_ char *lease = NULL;

	if (take_lock(dev, lock, e) < 0)
		return -1;
	lease = read_lease(*lock);
	*alone = lease;
	forget_lease(*lock);
	return 0;
}

/* A line "PID NAME" in the lock's file. Nobody but root can write there; and it tells of
 * a lease only while the lock is taken, by who has written it. */
void record_set_lease(int lock, pid_t command, const char *name)
{
	_cleanup_free_ char *line = format("%d %s\n", command, name);
	ssize_t n = pwrite(lock, line, strlen(line), 0);

	if (n > 0)
		IGNORE(ftruncate(lock, n));
}

int record_lock_boot(int64_t deadline, int stop, int *lock, struct error *e)
{
	int64_t until = now() + SEC;
	struct pollfd news = {.fd = stop, .events = POLLIN};

	if (sysfs_is_dry_run())
		return 0;
	if (make_directories(e) < 0 || (*lock = open_lock(LOCK_OF_BOOT, e)) < 0)
		return -1;
	if (until < deadline)
		until = deadline;
	while (flock(*lock, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK)
			return error_set(e, STATUS_FAILED,
					 "cannot lock " LOCK_OF_BOOT ": %s",
					 strerror(errno));
		if (now() >= until)
			return error_set(e, STATUS_FAILED,
					 "timed out: another command is changing what is "
					 "pinned at boot");
		if (poll(&news, 1, LOCK_PAUSE / MSEC) > 0)
			return error_set(e, STATUS_FAILED, "interrupted");
	}
	return 0;
}

int record_open_group_lock(const char *number, struct error *e)
{
	_cleanup_free_ char *path = format(DIR_OF_LOCKS "/iommu_group:%s", number);

	return open_lock(path, e);
}

/* Open the lock's file, if somebody has the lock; without a wait, should it be a FIFO.
 * Returns the fd, or -errno: -ENOENT if nobody has it, or only root can know; what else
 * it is was noted. */
static int open_if_locked(const struct device *dev)
{
	_cleanup_free_ char *path = path_in(DIR_OF_LOCKS, dev);
	struct error e;
	int fd, err;

	if (check_directories(&e) < 0) {
		sysfs_note(&e);
		return -errno;
	}
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	err = fd < 0 ? errno : ENOENT;
	if (fd < 0 && sysfs_is_forbidden(err))
		return -ENOENT;
	if (fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0)
		err = errno;
	if (err == EWOULDBLOCK)
		return fd;
	errno = err;
	sysfs_note_unread(path);
	cleanup_close(&fd);
	return -err;
}

char *record_lock_taker(const struct device *dev, pid_t except)
{
	_cleanup_close_ int fd = sysfs_is_dry_run() ? -ENOENT : open_if_locked(dev);
	_cleanup_free_ char *lease = NULL, *who = NULL;
	pid_t pid;

	if (fd < 0)
		return NULL;
	pid = lock_taker(fd);
	if (pid < 0 || (pid && pid == except))
		return NULL;
	who = pid ? sysfs_process_name(pid)
		  : copy("another process"); /* of another PID namespace: /proc/locks does
						not show it */
	if (!who)
		who = format("process %d, which has ended and left it to another", pid);
	lease = read_lease(fd);
	return lease ? format("leased to %s by %s", lease, who)
		     : format("locked by %s", who);
}

char *record_lease(const struct device *dev)
{
	_cleanup_close_ int fd = open_if_locked(dev);
	_cleanup_free_ char *path = path_in(DIR_OF_LOCKS, dev);
	char *lease = fd < 0 ? NULL : read_lease(fd);

	if (fd < 0)
		return fd == -ENOENT ? NULL : copy("?");
	if (lease || errno == 0)
		return lease;
	sysfs_note_unread(path);
	return copy("?");
}

/* Is it a record, and all of one? Every line has a key and a value, and ends. No driver's
 * name has a '/' in /sys; a flag may be any text. */
static bool is_whole(const char *text, const struct record *record)
{
	const char *driver = record->origin.driver;
	size_t n = strlen(text);

	for (const char *line = text; *line; line = strchr(line, '\n') + 1) {
		size_t length = strcspn(line, "\n");
		const char *blank = memchr(line, ' ', length);

		if (!line[length] || !blank || blank + 1 == line + length)
			return false;
	}
	return n && record->incarnation && !(driver && strchr(driver, '/'));
}

/* Returns 1 with @record to be cleared; 0: there is none, or only root can know; -1 with
 * @e and errno. */
static int read_record(const struct device *dev, struct record *record, struct error *e)
{
	_cleanup_free_ char *path = path_in(DIR_OF_RECORDS, dev);
	_cleanup_free_ char *word = shell_quoted(path);
	_cleanup_free_ char *text = NULL;

	if (check_directories(e) < 0)
		return -1;
	text = sysfs_read_file(path);
	if (!text && (errno == ENOENT || sysfs_is_forbidden(errno)))
		return 0;
	if (!text) /* as if it were none, the next command would overwrite it */
		return error_set(e, STATUS_FAILED, "cannot read %s: %s", path,
				 strerror(errno));
	*record = record_parse(text);
	if (is_whole(text, record))
		return 1;
	record_clear(record);
	errno = EBADMSG;
	error_set(e, STATUS_FAILED, "cannot read %s: it is no record", path);
	return error_hint(e, "to go on without knowing where it was: rm %s", word);
}

int record_read(const struct device *dev, const struct binding *is, struct record *record,
		struct error *e)
{
	struct record found;
	int any = read_record(dev, &found, e);

	if (any <= 0)
		return any;
	if (found.incarnation == device_incarnation(dev) && record_believes(&found, is)) {
		*record = found;
		return 1;
	}
	record_clear(&found);
	return 0;
}

int record_check(const char *name, struct error *e)
{
	_cleanup_device_ struct device dev = device_called(name);
	struct record found = {0};
	int any = read_record(&dev, &found, e);

	record_clear(&found);
	return any < 0 ? -1 : 0;
}

int record_write(const struct device *dev, const struct record *record, struct error *e)
{
	_cleanup_free_ char *path = path_in(DIR_OF_RECORDS, dev);
	_cleanup_free_ char *temporary = path_in(DIR_OF_ALL, dev);
	_cleanup_free_ char *text = record_text(record);
	_cleanup_close_ int fd = -1;

	if (sysfs_is_dry_run())
		return 0;
	unlink(temporary); /* left by a worker that was killed as it wrote */
	fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_set(e, STATUS_FAILED, "cannot write %s: %s", temporary,
				 strerror(errno));
	if (write_whole(fd, text) < 0 || rename(temporary, path) < 0) {
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
	unlink(temporary); /* as above */
	if (unlink(path) < 0 && errno != ENOENT)
		return error_set(e, STATUS_FAILED, "cannot remove %s: %s", path,
				 strerror(errno));
	return 0;
}

void record_is_none(const char *file, struct error *e)
{
	_cleanup_free_ char *path = format(DIR_OF_RECORDS "/%s", file);
	_cleanup_free_ char *word = shell_quoted(path);

	error_set(e, STATUS_FAILED, "cannot read %s: it is no record", path);
	error_hint(e, "to go on without it: rm %s", word);
}

/* @strangers, or NULL: the names of what is of no device. */
static void add_devices(struct names *list, const char *dir, struct names *strangers)
{
	_cleanup_names_ struct names files = sysfs_names(dir, "");

	for (size_t i = 0; i < files.n; i++) {
		char *colon = strchr(files.name[i], ':');

		if (!colon && strangers)
			names_add(strangers, files.name[i]);
		if (!colon)
			continue;
		*colon = '/';
		if (!names_have(list, files.name[i]))
			names_add(list, files.name[i]);
	}
}

struct names record_list(struct names *strangers)
{
	struct names list = {0};
	struct error e;

	if (check_directories(&e) < 0) {
		sysfs_note(&e);
		return list;
	}
	add_devices(&list, DIR_OF_RECORDS, strangers);
	add_devices(&list, DIR_OF_ALL, NULL);
	return list;
}

/* Is the device, BUS/NAME, not there? */
static bool is_absent(const char *name)
{
	_cleanup_device_ struct device dev = device_called(name);

	return access(dev.path, F_OK) < 0 && errno == ENOENT;
}

bool record_has_met(const char *name)
{
	_cleanup_names_ struct names met = record_list(NULL);

	add_devices(&met, DIR_OF_LOCKS, NULL); /* a lock's file stays */
	for (size_t i = 0; i < met.n; i++) {
		if (!starts_with(met.name[i], "iommu_group/") &&
		    name_means(name, met.name[i]) && is_absent(met.name[i]))
			return true;
	}
	return false;
}
