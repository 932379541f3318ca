/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading, writing and following links below /sys. Paths are a directory and an entry.
 * The only code that writes there, and where a dry run is known. */
#pragma once

#include "error.h"

#include <sys/types.h>

#define SYSFS_MAX 4096 /* bytes of an attribute: a page at most */

/* One rule for all that reads here: ENOENT means that it is not there. Any other error is
 * noted, and whoever decides something asks before he acts. */

/* Note that @path could not be read, for the reason in errno. Its absence is not noted,
 * nor anything behind what was noted first. Keeps errno. For those that read without the
 * functions below. */
void sysfs_note_unread(const char *path);

/* Note, by the same rule, what @e says could not be read. */
void sysfs_note(const struct error *e);

/* Has all been read that is there, since this was asked last? Returns 0, or -1 with @e:
 * what was noted first (STATUS_FAILED, or what sysfs_note() was given). */
_must_check_ int sysfs_check_read(struct error *e);

/* The attribute's text without its last newline; NULL with errno. */
char *sysfs_read(const char *dir, const char *attr);

/* The last component of a link's target; NULL with errno. */
char *sysfs_link(const char *dir, const char *link);

/* The same two below a directory that is open, O_PATH will do: that saves the kernel to
 * resolve the path of the device for each entry. */
char *sysfs_read_at(int dir, const char *attr);
char *sysfs_link_at(int dir, const char *link);

/* Is an error that of an ordinary user, who may not read all that root has written? */
bool sysfs_is_forbidden(int err);

/* All of a file that is no attribute, wherever it is; NULL with errno; empty if a NUL is
 * in it. What is forbidden is not noted. */
char *sysfs_read_file(const char *path);

/* Reads one attribute of many directories in a child, ahead of who asks for the values.
 * In older kernels (lib/KERNEL.md) reading driver_override waits for the device lock,
 * beyond any signal, while a bind or unbind of that device is stuck. */
struct sysfs_reader {
	const char *const *dirs;
	size_t n;
	const char *attr;
	size_t next; /* whose value comes next */
	pid_t child;
	int fd; /* what the child tells; -1: there is no child */
	char text[2 * SYSFS_MAX];
	size_t begin, end; /* of what it has told, in text */
};

/* Start to read @attr of these @n directories, which must stay until all values have been
 * asked for. */
void sysfs_reader_start(struct sysfs_reader *reader, const char *const *dirs, size_t n,
			const char *attr);

/* The next directory's value; to be called once for each. NULL: there is no such
 * attribute. "?": it could not be read, which is noted; or a child has waited for it in
 * the kernel for half a second, and is left to wait, which is not. */
char *sysfs_reader_next(struct sysfs_reader *reader);

/* What /proc/PID/stat tells behind the command's name, "STATE PARENT ..."; NULL: it
 * cannot be read. */
char *sysfs_process(pid_t pid);

/* Did a look at @name, below the folder with fd @dir in /proc, fail with @err as the
 * process has ended? For a link of it the kernel may say EACCES then, too, as of one that
 * must not be looked at (proc_ns_get_link, proc_pid_get_link). */
bool sysfs_process_ended(int dir, const char *name, int err);

/* "COMM (pid N)": what the process calls itself, a new string. That name is any user's to
 * choose: what could be taken for another pid, or another process, is '?' in it. NULL
 * with errno: it has ended, or cannot be looked at. */
char *sysfs_process_name(pid_t pid);

/* Could the attribute be written? Returns false with errno. Always true in a dry run. */
bool sysfs_is_writable(const char *dir, const char *attr);

/* The number of the block or character device at @dir, from its `dev`. Returns 0 or
 * -errno; EBADMSG: it is no number. */
_must_check_ int sysfs_number(const char *dir, dev_t *number);

/* Open the node of that type (S_IFCHR, S_IFBLK) and number: in a /dev of its own anything
 * can be at @path. Returns its fd, or -errno; ENXIO: it is another one. */
_must_check_ int sysfs_open_node(const char *path, int flags, mode_t type, dev_t number);

/* Is there such an entry; with "", such a directory? A link to nothing is none. What
 * could not be told is noted, and is no entry either. */
bool sysfs_has(const char *dir, const char *entry);

/* The directory's entries that begin with @prefix, sorted; those that could be read. */
struct names sysfs_names(const char *dir, const char *prefix);

/* Write @value and a newline in one write(2), as one store needs it
 * (Documentation/filesystems/sysfs.rst). A step; not done in a dry run.
 * Returns 0 or -errno. May block for as long as the kernel likes. */
_must_check_ int sysfs_write(const char *dir, const char *attr, const char *value);

/* Called around each step, which is all that the kernel is told to change. */
struct sysfs_listener {
	void (*begins)(const char *line); /* a line for a root shell */
	void (*ended)(void);		  /* the kernel has answered */
};

/* NULL: nobody listens. */
void sysfs_listen(const struct sysfs_listener *listener);

/* Around a step that is no write below /sys. In a dry run both are called as well, and
 * the step is not made. */
void sysfs_step_begins(const char *line);
void sysfs_step_ended(void);

/* Begin a dry run: from now on nothing is changed. */
void sysfs_dry_run(void);
bool sysfs_is_dry_run(void);
