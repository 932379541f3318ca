/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a worker does, a child of its own: the command, and what it tells of it. */
#pragma once

#include "job.h"

/* Work on the device, with @socket as the way to the parent; with @resumes, keep it for
 * the lease of a worker that was killed. What the parent does not hear any more,
 * syslog(3) does. */
void work(const struct device *dev, const struct request *request, bool resumes,
	  int socket) __attribute__((noreturn));
