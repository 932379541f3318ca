/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading, writing and following links below /sys. Paths are a directory and an entry.
 * The only code that writes there, and where a dry run is known. */
#pragma once

#include "util.h"

/* The attribute's text without its last newline; NULL with errno. */
char *sysfs_read(const char *dir, const char *attr);

/* The last component of a link's target; NULL when there is no such link. */
char *sysfs_link(const char *dir, const char *link);

/* Read the attribute of @n directories into values[i]. Before Linux 6.12.80 reading
 * driver_override waits for the device lock, beyond any signal, while a bind or unbind of
 * that device is stuck: a value that has been waited for so for half a second is "?", and
 * a child is left to wait for it. NULL: it cannot be read. */
void sysfs_read_all(const char *const *dirs, size_t n, const char *attr, char **values);

/* What /proc/PID/stat tells behind the command's name, "STATE PARENT ..."; NULL: it
 * cannot be read. */
char *sysfs_process(pid_t pid);

/* Could the attribute be written? Returns false with errno. Always true in a dry run. */
bool sysfs_is_writable(const char *dir, const char *attr);

bool sysfs_has(const char *dir, const char *entry);

/* The directory's entries that begin with @prefix, sorted; none if it cannot be read. */
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
