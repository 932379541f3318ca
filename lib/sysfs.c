/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sysfs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static bool dry_run;
static const struct sysfs_listener *listener;

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

char *sysfs_read(const char *dir, const char *attr)
{
	_cleanup_free_ char *path = format("%s/%s", dir, attr);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	char buf[4097]; /* an attribute is a page at most */
	ssize_t n;

	if (fd < 0)
		return NULL;
	n = read(fd, buf, sizeof(buf) - 1);
	if (n < 0)
		return NULL;
	if (n > 0 && buf[n - 1] == '\n')
		n--;
	buf[n] = '\0';
	return copy(buf);
}

char *sysfs_link(const char *dir, const char *link)
{
	_cleanup_free_ char *path = format("%s/%s", dir, link);
	char target[PATH_MAX];
	ssize_t n = readlink(path, target, sizeof(target) - 1);
	const char *slash;

	if (n < 0)
		return NULL;
	target[n] = '\0';
	slash = strrchr(target, '/');
	return copy(slash ? slash + 1 : target);
}

/* What the reading child and its parent share. */
struct reading {
	atomic_size_t next; /* is being read; those before it are there */
	struct {
		bool there;
		char text[NAME_MAX + 1]; /* no driver has a longer name */
	} value[];
};

/* Start a child that reads on from @next. Returns an fd that closes when it ends, or -1.
 */
static int start_reader(struct reading *reading, const char *const *dirs, size_t n,
			const char *attr, pid_t *pid)
{
	int pipe[2];

	if (pipe2(pipe, O_CLOEXEC) < 0)
		return -1;
	*pid = fork();
	if (*pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		detach(pipe[1]);
		for (size_t i = reading->next; i < n; i++) {
			char *text = sysfs_read(dirs[i], attr);

			reading->value[i].there = text;
			snprintf(reading->value[i].text, sizeof(reading->value[i].text),
				 "%s", text ? text : "");
			free(text);
			reading->next = i + 1;
		}
		_exit(0);
	}
	close(pipe[1]);
	if (*pid > 0)
		return pipe[0];
	close(pipe[0]);
	return -1;
}

char *sysfs_process(pid_t pid)
{
	_cleanup_free_ char *dir = format("/proc/%d", pid);
	_cleanup_free_ char *stat = sysfs_read(dir, "stat");
	const char *end = stat ? strrchr(stat, ')') : NULL; /* of the command's name */

	return end && starts_with(end, ") ") ? copy(end + 2) : NULL;
}

/* Does the process sleep in the kernel, beyond any signal? One that only has not had its
 * turn for so long is not stuck. */
static bool is_stuck(pid_t pid)
{
	_cleanup_free_ char *process = sysfs_process(pid);

	return !process || starts_with(process, "D");
}

void sysfs_read_all(const char *const *dirs, size_t n, const char *attr, char **values)
{
	size_t size =
		sizeof(struct reading) + n * sizeof(((struct reading *)0)->value[0]);
	struct reading *reading = mmap(NULL, size, PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	size_t seen = SIZE_MAX;
	pid_t pid;

	if (reading == MAP_FAILED)
		abort();
	while (reading->next < n) {
		_cleanup_close_ int fd = start_reader(reading, dirs, n, attr, &pid);
		struct pollfd end = {.fd = fd};
		int turns = 20; /* there is an end to it also with another's /proc */
		int r;

		if (fd < 0)
			break;
		do {
			seen = reading->next;
			r = poll(&end, 1, 500);
		} while (r < 0 || (r == 0 && (reading->next != seen ||
					      (--turns > 0 && !is_stuck(pid)))));
		if (r > 0) { /* it has ended */
			waitpid(pid, NULL, 0);
			if (reading->next == seen)
				break;
			continue;
		}
		kill(pid, SIGKILL); /* as soon as it can be */
		reading->value[seen].there = true;
		strcpy(reading->value[seen].text, "?");
		reading->next = seen + 1;
	}
	for (size_t i = 0; i < n; i++)
		values[i] = reading->value[i].there ? copy(reading->value[i].text) : NULL;
	munmap(reading, size);
}

bool sysfs_has(const char *dir, const char *entry)
{
	_cleanup_free_ char *path = format("%s/%s", dir, entry);

	return access(path, F_OK) == 0;
}

bool sysfs_is_writable(const char *dir, const char *attr)
{
	_cleanup_free_ char *path = format("%s/%s", dir, attr);

	return dry_run || access(path, W_OK) == 0;
}

struct names sysfs_names(const char *dir, const char *prefix)
{
	_cleanup_closedir_ DIR *d = opendir(dir);
	struct names names = {0};
	struct dirent *entry;

	while (d && (entry = readdir(d))) {
		if (entry->d_name[0] != '.' && starts_with(entry->d_name, prefix))
			names_add(&names, entry->d_name);
	}
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
	int err = 0;

	sysfs_step_begins(line);
	if (!dry_run) {
		_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

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
