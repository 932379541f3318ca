/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sysfs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* The parent waits for its reading child in turns, and looks after each whether the child
 * is stuck. There is an end to them: in a /proc of another PID namespace it would look at
 * another process. */
#define READER_TURN_MS 500
#define READER_TURNS 20

static bool dry_run;
static const struct sysfs_listener *listener;

/* What could not be read, and why: the first since it was last asked for. STATUS_DONE:
 * none. */
static struct error unread;

/* Is it that nothing is there? ENOTDIR: no folder is above it. ENAMETOOLONG: nothing can
 * be called so. ENODEV and ESRCH: it went when it was open already (kernfs, /proc).
 * EBADF: the folder that it is in could not be opened, which is noted itself. */
static bool is_absence(int err)
{
	return err == ENOENT || err == ENOTDIR || err == ENAMETOOLONG || err == ENODEV ||
	       err == ESRCH || err == EBADF;
}

/* Of a path, in a message: why it cannot be read must have room, too. */
#define PATH_SHOWN 512

void sysfs_note_unread(const char *path)
{
	int err = errno;

	if (unread.status == STATUS_DONE && err && !is_absence(err)) {
		_cleanup_free_ char *shown = shortened(path, PATH_SHOWN);

		error_set(&unread, STATUS_FAILED, "cannot read %s: %s", shown,
			  strerror(err));
	}
	errno = err;
}

void sysfs_note(const struct error *e)
{
	if (unread.status == STATUS_DONE)
		unread = *e;
}

int sysfs_check_read(struct error *e)
{
	if (unread.status == STATUS_DONE)
		return 0;
	*e = unread;
	unread.status = STATUS_DONE;
	return -1;
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

char *sysfs_read_at(int dir, const char *attr)
{
	_cleanup_close_ int fd = openat(dir, attr, O_RDONLY | O_CLOEXEC);
	char buf[SYSFS_MAX + 1];
	ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);

	if (n < 0) {
		sysfs_note_unread(attr);
		return NULL;
	}
	if (n > 0 && buf[n - 1] == '\n')
		n--;
	buf[n] = '\0';
	return copy(buf);
}

char *sysfs_read(const char *dir, const char *attr)
{
	_cleanup_free_ char *path = format("%s/%s", dir, attr);

	return sysfs_read_at(AT_FDCWD, path);
}

char *sysfs_link_at(int dir, const char *link)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(dir, link, target, sizeof(target) - 1);
	const char *slash;

	if (n < 0) {
		sysfs_note_unread(link);
		return NULL;
	}
	target[n] = '\0';
	slash = strrchr(target, '/');
	return copy(slash ? slash + 1 : target);
}

char *sysfs_link(const char *dir, const char *link)
{
	_cleanup_free_ char *path = format("%s/%s", dir, link);

	return sysfs_link_at(AT_FDCWD, path);
}

bool sysfs_is_forbidden(int err)
{
	return err == EACCES && geteuid() != 0;
}

char *sysfs_read_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* a FIFO's would wait */
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
	char *text = NULL;
	size_t size = 0;
	int err = errno;

	if (!file) {
		cleanup_close(&fd);
		errno = err;
		if (!sysfs_is_forbidden(err))
			sysfs_note_unread(path);
		return NULL;
	}
	if (getdelim(&text, &size, '\0', file) < 0 || ferror(file)) {
		err = errno;
		free(text);
		text = ferror(file) ? NULL : copy("");
	}
	if (text && fgetc(file) != EOF) /* behind a NUL, which ends no text */
		*text = '\0';
	fclose(file);
	errno = err;
	return text;
}

char *sysfs_process(pid_t pid)
{
	_cleanup_free_ char *dir = format("/proc/%d", pid);
	_cleanup_free_ char *stat = sysfs_read(dir, "stat");
	const char *end = stat ? strrchr(stat, ')') : NULL; /* of the command's name */

	return end && starts_with(end, ") ") ? copy(end + 2) : NULL;
}

char *sysfs_process_name(pid_t pid)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789 -_./:+@#";
	_cleanup_free_ char *dir = format("/proc/%d", pid);
	_cleanup_free_ char *comm = sysfs_read(dir, "comm");

	if (!comm)
		return NULL;
	for (char *c = comm; *(c += strspn(c, plain)); c++)
		*c = '?';
	return format("%s (pid %d)", *comm ? comm : "?", pid);
}

bool sysfs_process_ended(int dir, const char *name, int err)
{
	int was = errno;
	struct stat st;

	if (err == EACCES && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		err = errno;
	errno = was;
	return err == ENOENT || err == ESRCH;
}

/* Does the process sleep in the kernel, beyond any signal? One that merely waits for a
 * processor is not stuck. */
static bool is_stuck(pid_t pid)
{
	_cleanup_free_ char *process = sysfs_process(pid);

	return !process || starts_with(process, "D");
}

/* The child: read from reader->next on, and tell each value as soon as it is there, so
 * that the parent knows which one is waited for. A value is "=TEXT", "-" for none, or
 * "!ERRNO", and a NUL. */
static void read_on(const struct sysfs_reader *reader, int fd)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	fd = detach(fd);
	for (size_t i = reader->next; i < reader->n; i++) {
		_cleanup_free_ char *text = sysfs_read(reader->dirs[i], reader->attr);
		_cleanup_free_ char *value =
			text ? format("=%s", text)
			     : format(is_absence(errno) ? "-" : "!%d", errno);

		if (write(fd, value, strlen(value) + 1) < 0)
			_exit(1);
	}
	_exit(0);
}

/* Note that the next value could not be read, with errno. */
static void note_next(const struct sysfs_reader *reader)
{
	_cleanup_free_ char *path =
		format("%s/%s", reader->dirs[reader->next], reader->attr);

	sysfs_note_unread(path);
}

/* Start a child that reads on. */
static void start_child(struct sysfs_reader *reader)
{
	int pipe[2];

	if (pipe2(pipe, O_CLOEXEC) < 0) {
		note_next(reader);
		return;
	}
	reader->child = fork();
	if (reader->child == 0)
		read_on(reader, pipe[1]);
	if (reader->child < 0)
		note_next(reader);
	close(pipe[1]);
	if (reader->child > 0)
		reader->fd = pipe[0];
	else
		close(pipe[0]);
}

static void leave_child(struct sysfs_reader *reader)
{
	if (reader->fd >= 0)
		close(reader->fd);
	reader->fd = -1;
	reader->begin = reader->end = 0;
}

/* Wait for the child to tell more. Returns false if it is stuck, or with what could not
 * be read noted. */
static bool child_tells(const struct sysfs_reader *reader)
{
	struct pollfd told = {.fd = reader->fd, .events = POLLIN};
	int turns = READER_TURNS;
	int r;

	do {
		r = poll(&told, 1, READER_TURN_MS);
	} while ((r < 0 && errno == EINTR) ||
		 (r == 0 && --turns > 0 && !is_stuck(reader->child)));
	if (r < 0)
		note_next(reader);
	return r > 0;
}

/* Take what the child tells behind what is there. Returns false if nothing more comes
 * from it: it is stuck, it has ended, or there is none. */
static bool hear_child(struct sysfs_reader *reader)
{
	ssize_t n;

	if (reader->fd < 0)
		return false;
	if (!child_tells(reader)) {
		kill(reader->child, SIGKILL); /* the child dies when the kernel lets it */
		return false;
	}
	reader->end -= reader->begin;
	memmove(reader->text, reader->text + reader->begin, reader->end);
	reader->begin = 0;
	n = read(reader->fd, reader->text + reader->end,
		 sizeof(reader->text) - reader->end);
	if (n == 0)
		errno = ECHILD; /* it was killed, or could not begin */
	if (n <= 0)
		note_next(reader);
	else
		reader->end += n;
	return n > 0;
}

void sysfs_reader_start(struct sysfs_reader *reader, const char *const *dirs, size_t n,
			const char *attr)
{
	*reader = (struct sysfs_reader){.dirs = dirs, .n = n, .attr = attr, .fd = -1};
	if (n)
		start_child(reader);
}

char *sysfs_reader_next(struct sysfs_reader *reader)
{
	const char *value, *end;

	while (!(end = memchr(reader->text + reader->begin, '\0',
			      reader->end - reader->begin))) {
		if (hear_child(reader))
			continue;
		leave_child(reader);
		if (++reader->next < reader->n)
			start_child(reader);
		return copy("?");
	}
	value = reader->text + reader->begin;
	reader->begin = end + 1 - reader->text;
	if (*value == '!') {
		errno = atoi(value + 1);
		note_next(reader);
	}
	if (++reader->next == reader->n)
		leave_child(reader);
	return *value == '=' ? copy(value + 1) : *value == '!' ? copy("?") : NULL;
}

int sysfs_number(const char *dir, dev_t *number)
{
	_cleanup_free_ char *text = sysfs_read(dir, "dev");
	unsigned int major, minor;

	if (!text)
		return -errno;
	if (sscanf(text, "%u:%u", &major, &minor) != 2)
		return -EBADMSG;
	*number = makedev(major, minor);
	return 0;
}

int sysfs_open_node(const char *path, int flags, mode_t type, dev_t number)
{
	int fd = open(path, flags | O_CLOEXEC);
	int err = fd < 0 ? -errno : 0;
	struct stat st;

	if (err == 0 && fstat(fd, &st) < 0)
		err = -errno;
	else if (err == 0 && ((st.st_mode & S_IFMT) != type || st.st_rdev != number))
		err = -ENXIO;
	if (err < 0 && fd >= 0)
		close(fd);
	return err < 0 ? err : fd;
}

bool sysfs_has(const char *dir, const char *entry)
{
	_cleanup_free_ char *path = format("%s/%s", dir, entry);

	if (access(path, F_OK) == 0)
		return true;
	sysfs_note_unread(path);
	return false;
}

bool sysfs_is_writable(const char *dir, const char *attr)
{
	_cleanup_free_ char *path = format("%s/%s", dir, attr);

	/* As the write is made, whoever has called a program that made itself root. */
	return dry_run || faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0;
}

struct names sysfs_names(const char *dir, const char *prefix)
{
	_cleanup_closedir_ DIR *d = opendir(dir);
	struct names names = {0};
	struct dirent *entry;

	while (d && (errno = 0, entry = readdir(d))) {
		if (entry->d_name[0] != '.' && starts_with(entry->d_name, prefix))
			names_add(&names, entry->d_name);
	}
	if (errno)
		sysfs_note_unread(dir);
	if (names.n)
		qsort(names.name, names.n, sizeof(*names.name), compare);
	return names;
}

int sysfs_write(const char *dir, const char *attr, const char *value)
{
	_cleanup_free_ char *path = format("%s/%s", dir, attr);
	_cleanup_free_ char *text = format("%s\n", value);
	_cleanup_free_ char *quoted_path = shell_quoted(path);
	_cleanup_free_ char *quoted_value = shell_quoted(value);
	_cleanup_free_ char *line =
		format("echo %s%s> %s", quoted_value, *value ? " " : "", quoted_path);
	_cleanup_close_ int fd = -1;
	int err = 0;

	sysfs_step_begins(line);
	if (!dry_run) {
		fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC); /* as a shell */
		if (fd < 0 || write(fd, text, strlen(text)) < 0)
			err = -errno;
	}
	sysfs_step_ended();
	return err;
}

void sysfs_step_begins(const char *line)
{
	if (listener)
		listener->begins(line);
}

void sysfs_step_ended(void)
{
	if (listener)
		listener->ended();
}

void sysfs_listen(const struct sysfs_listener *new_listener)
{
	listener = new_listener;
}

void sysfs_dry_run(void)
{
	dry_run = true;
}

bool sysfs_is_dry_run(void)
{
	return dry_run;
}
