/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What must be so before a device is touched: a table of checks. */
#pragma once

#include "job.h"

/* Check for all that is known to fail or to hurt when the job takes its device from
 * job->from to job->to. Waits until the request's deadline for a VFIO user to let go, and
 * leaves in job->guard the fd that keeps new ones out; warns of what is only dangerous.
 * Returns 0, or -1 with @e (STATUS_REFUSED, or STATUS_FAILED where the command could not
 * but fail). */
_must_check_ int check_all(struct job *job, struct error *e);

/* Refuse to go on, as the supervisor has given up: set @e (STATUS_REFUSED) to why, and
 * that nothing was touched. Returns -1. */
int check_refuse(const struct supervisor *supervisor, struct error *e);
