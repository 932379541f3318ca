/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Lines to the user, who may not read them: what is done never waits for a reader. A line
 * waits in memory until it can be written, and at the end until a deadline. */
#pragma once

#include "util.h"

#include <poll.h>

/* Of stdout and stderr. */
#define OUTPUTS 2

/* Write the lines to stdout or stderr (@fd), in one write, as several processes may share
 * a log. What cannot be written at once is kept, and written later. */
void output_add(int fd, const char *lines);

/* Write a last line to stderr, if that can be within @ms milliseconds, of a process that
 * ends then, whoever reads; a handler of a signal may do it. */
void output_last(const char *line, int ms);

/* Write what is kept, as far as its readers are ready. */
void output_write(void);

/* Fill @fds with what to wait for before output_write() can do more. Returns whether
 * anything is kept. */
bool output_poll(struct pollfd fds[OUTPUTS]);

/* Write what is kept. Readers are waited for until @deadline (monotonic ns), or until fd
 * @signals (-1: none) can be read; the rest is dropped. */
void output_finish(int64_t deadline, int signals);

/* The errno of what could not be written to @fd, ETIMEDOUT if it was dropped; or 0. */
int output_error(int fd);

/* Has anything been written to @fd? */
bool output_used(int fd);
