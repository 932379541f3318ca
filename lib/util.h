/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Cleanup, strings and the clock: what C lacks. */
#pragma once

#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_close(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_closedir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

#define _cleanup_free_ __attribute__((cleanup(cleanup_free)))
#define _cleanup_close_ __attribute__((cleanup(cleanup_close)))
#define _cleanup_closedir_ __attribute__((cleanup(cleanup_closedir)))
#define _printf_(f, a) __attribute__((format(printf, f, a)))
/* Whoever calls must look at the error; IGNORE() drops it on purpose. */
#define _must_check_ __attribute__((warn_unused_result))
#define IGNORE(call) ((void)!(call))

#define ARRAY_SIZE(array) (sizeof(array) / sizeof(*(array)))

/* Equal, where NULL equals NULL alone. */
static inline bool streq(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static inline bool starts_with(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* A new string. Never NULL: without memory the program ends at once, which is as safe
 * as any other kill (the record says how to go back). */
char *format(const char *fmt, ...) _printf_(1, 2);

/* A copy, or NULL for NULL. Never fails, like format(). */
char *copy(const char *s);

/* Append to @list (NULL: empty), with @separator between the parts. */
void append(char **list, const char *separator, const char *fmt, ...) _printf_(3, 4);

/* @word as a shell must be given it, all of it printable: as $'...', which bash and POSIX
 * of 2024 know, if else it were not. A new string. */
char *shell_quoted(const char *word);

/* "SIGTERM", or "signal 36" of one that has no name; a new string. */
char *signal_text(int number);

/* @array, of @n elements of @size bytes, with room for one more. Never fails, like
 * format(). */
void *with_room(void *array, size_t n, size_t size);

/* A growing array of strings. */
struct names {
	char **name;
	size_t n;
};

/* Add a copy of @name. */
void names_add(struct names *names, const char *name);
bool names_have(const struct names *names, const char *name);
void names_free(struct names *names);
#define _cleanup_names_ __attribute__((cleanup(names_free)))

/* @text, or if it is longer than @max bytes, so much of it and "..."; a new string. */
char *shortened(const char *text, size_t max);

/* What a message has room for of a list. */
#define LIST_MAX 400

/* The names in one text, with @separator between them; NULL: there are none. Behind the
 * first, those with which the text would be longer than @max bytes are left out, and
 * "and N more" stands for them. A first that is longer itself is cut: it ends in "...".
 */
char *names_text(const struct names *names, const char *separator, size_t max);

/* Put '?' in place of all in @text that is no UTF-8, or that could forge what is on a
 * terminal: control characters (C0, DEL and C1), and those that turn the direction of
 * writing or begin a line. */
void make_printable(char *text);

/* The first of these in @text: "control character" or "no UTF-8"; NULL: there is none. */
const char *unprintable(const char *text);

/* The time: ns of the monotonic clock. A deadline is a point on it. */
int64_t now(void);

#define MSEC INT64_C(1000000)
#define SEC (1000 * MSEC)

/* Sleep @ns nanoseconds; signals do not cut it short. */
void sleep_for(int64_t ns);

/* In a child: let go of all that it has inherited (terminal, pipes, locks, directory) but
 * @fd, so that nobody waits for it when it outlives its parent. Returns that fd's new
 * number. Ends the child if it cannot. */
int detach(int fd);

/* Write all of @text, in one write(2). Returns 0, or -1 with errno: ENOSPC if a part of
 * it was written. */
_must_check_ int write_whole(int fd, const char *text);

/* Reap a child that has done all it was for, and is about to end. One that does not end,
 * as it was stopped there, is not waited for. */
void reap(pid_t child);
