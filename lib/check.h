/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What must be so before a device is touched: a table of checks. */
#pragma once

#include "job.h"

/* Everything that can be known to fail or to hurt, when the job takes its device from
 * job->from to job->to. Waits until the deadline for a VFIO user to let go, and leaves
 * the fd that keeps new ones out in job->guard; warns of what is only dangerous. Returns
 * 0, or -1 with @e (STATUS_REFUSED, or STATUS_FAILED where it could not but fail). */
_must_check_ int check_all(struct job *job, struct error *e);
