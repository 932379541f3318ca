// SPDX-License-Identifier: GPL-2.0
/*
 * A reset handler for vfio-platform, for devices whose "compatible" is
 * vfio-bind,vbreset (see vbtest's parameter of that name). vfio-platform loads
 * it by itself. Opening a device resets it, and so does the last close.
 *
 *   passes   so many resets go well ...
 *   fails    ... then so many fail, and all the others go well again
 *   errno    with this errno
 *   ms       a reset takes so long
 *   resets   how many resets there were
 *
 * The kernel warns when the reset of a last close fails: let only those fail
 * that are meant. "passes=1 fails=1" is the one that a user asks for after
 * opening the device.
 */
#include <linux/delay.h>
#include <linux/kernel.h>
#include <linux/module.h>

#include "vfio_platform_private.h"

static int passes;
module_param(passes, int, 0644);
static int fails;
module_param(fails, int, 0644);
static int reset_errno = EIO;
module_param_named(errno, reset_errno, int, 0644);
static int ms;
module_param(ms, int, 0644);
static int resets;
module_param(resets, int, 0444);

static int vbreset(struct vfio_platform_device *vdev)
{
	resets++;
	msleep(ms);
	if (passes > 0) {
		passes--;
	} else if (fails > 0) {
		fails--;
		return -abs(reset_errno);
	}
	return 0;
}

module_vfio_reset_handler("vfio-bind,vbreset", vbreset);
MODULE_DESCRIPTION("A vfio-platform reset handler that fails, to test vfio-bind");
MODULE_LICENSE("GPL");
