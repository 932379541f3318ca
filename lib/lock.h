/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who has the locks below /run/vfio-bind, by /proc/locks: only root can open these files,
 * so whoever has one is a vfio-bind, whatever it calls itself. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define DIR_OF_LOCKS "/run/vfio-bind/lock"

/* The pid of the process that has taken the lock of the file @fd (flock(2)); it may have
 * ended and left it to another. 0: no process that /proc/locks shows; -1: that cannot be
 * read. */
pid_t lock_taker(int fd);

/* The pids of those who have taken locks of ours. */
struct lock_takers {
	pid_t *pid;
	size_t n;
};

/* Add to @takers, which begins as {0}, who has taken one now, as far as /proc/locks can
 * be read. */
void lock_takers_add(struct lock_takers *takers);
bool lock_takers_have(const struct lock_takers *takers, pid_t pid);
void lock_takers_clear(struct lock_takers *takers);
