/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who has the locks below /run/vfio-bind, by /proc/locks: only root can open these files,
 * so whoever has one is a vfio-bind, whatever it calls itself. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#define DIR_OF_LOCKS "/run/vfio-bind/lock"

/* The pid of the process that has taken the lock of the file @fd (flock(2)); it may have
 * ended and left it to another. 0: no process that /proc/locks shows; -1: that cannot be
 * read. */
pid_t lock_taker(int fd);

/* Has the process taken one of our locks? */
bool lock_is_taken_by(pid_t pid);
