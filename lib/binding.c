/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "binding.h"
#include "driver.h"
#include "group.h"
#include "pci.h"
#include "record.h"
#include "sysfs.h"

#include <errno.h>
#include <sys/file.h>

char binding_any_driver[] = "";

bool binding_equal(const struct binding *a, const struct binding *b)
{
	return streq(a->driver, b->driver) &&
	       streq(a->driver_override, b->driver_override);
}

char *binding_text(const struct binding *binding)
{
	_cleanup_free_ char *driver = binding->driver ? format("on %s", binding->driver)
						      : copy("without a driver");

	if (!binding->driver_override)
		return format("%s, not flagged", driver);
	return format("%s, flagged for %s", driver, binding->driver_override);
}

static int flag(const struct device *dev, const char *driver_override, struct error *e)
{
	int err = sysfs_write(dev->path, "driver_override",
			      driver_override ? driver_override : "");

	if (err < 0)
		return error_set(e, STATUS_FAILED, "cannot %s driver_override: %s",
				 driver_override ? "set" : "clear", strerror(-err));
	return 0;
}

static int unbind(const struct device *dev, const char *driver, struct error *e)
{
	/* By the driver's name: the kernel checks it, and so cannot detach another. */
	_cleanup_free_ char *dir = format("/sys/bus/%s/drivers/%s", dev->bus, driver);
	_cleanup_free_ char *left = NULL;
	int err = sysfs_write(dir, "unbind", dev->name);

	if (err == 0 && sysfs_is_dry_run())
		return 0;
	left = sysfs_link(dev->path, "driver");
	if (!left) /* ENODEV: it was gone from there already */
		return 0;
	return error_set(e, STATUS_FAILED, "cannot unbind from %s: %s", driver,
			 err < 0 ? strerror(-err) : "the kernel left it bound");
}

/* vfio_platform_probe() wants a way to reset; vfio_amba_probe() does not. */
static int no_reset_handler(const struct device *dev, const char *driver, struct error *e)
{
	_cleanup_free_ char *compatible = sysfs_read(dev->path, "of_node/compatible");

	error_set(e, STATUS_FAILED, "cannot bind to %s: no reset handler for %s", driver,
		  compatible ? compatible : "it");
	return error_hint(e, "to go without a reset between its users: modprobe -r "
			     "vfio_platform && modprobe vfio_platform reset_required=0");
}

/* What bind's errno means (drivers/base/bus.c, dd.c; vfio_platform_common.c). */
static int bind_failed(const struct device *dev, const char *driver, int err,
		       struct error *e)
{
	bool has_bind = driver_has_bind(dev->bus, driver);
	const char *why;

	if (err == ENOENT && has_bind && streq(driver, "vfio-platform"))
		return no_reset_handler(dev, driver, e);
	if (err == ENOENT && !has_bind)
		why = "that driver is not there, or has no bind file";
	else if (err == EINVAL && driver_is_vfio(driver) &&
		 !sysfs_has(dev->path, "iommu_group"))
		why = "no IOMMU group";
	else if (err == ENODEV)
		why = "the driver does not match it, or found no such hardware";
	else if (err == EBUSY)
		why = "another driver has it or is probing it, a VFIO user owns its "
		      "IOMMU group, or the driver finds it busy";
	else if (err == EAGAIN)
		why = "until the deadline its probe was deferred, as something is "
		      "not there yet, or another member of its IOMMU group was "
		      "being bound";
	else
		return error_set(e, STATUS_FAILED,
				 "cannot bind to %s: its probe failed: %s", driver,
				 strerror(err));
	return error_set(e, STATUS_FAILED, "cannot bind to %s: %s", driver, why);
}

static int stop(const struct patience *patience, struct error *e)
{
	const char *reason = patience->given_up ? patience->given_up() : NULL;

	return reason ? error_set(e, STATUS_FAILED, "%s", reason) : 0;
}

/* The patience for a wait that begins now. */
static struct patience from_now(const struct patience *patience)
{
	int64_t least = patience->given_up ? 0 : now() + SEC;

	return (struct patience){patience->deadline > least ? patience->deadline : least,
				 patience->given_up};
}

static bool out_of_patience(const struct patience *patience)
{
	return now() >= patience->deadline ||
	       (patience->given_up && patience->given_up());
}

/* Write the device's name, while nobody else has @lock (-1: none). Returns 0 or -errno,
 * -EAGAIN if somebody has. */
static int write_locked(const char *dir, const char *attr, const struct device *dev,
			int lock)
{
	int err;

	if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	err = sysfs_write(dir, attr, dev->name);
	if (lock >= 0)
		flock(lock, LOCK_UN);
	return err;
}

/* Write, and again while the kernel says @deferred. Returns 0 or -errno. */
static int write_until_probed(const char *dir, const char *attr, const struct device *dev,
			      int deferred, int lock, const struct patience *patience)
{
	int64_t pause = 5 * MSEC;
	int err;

	while ((err = write_locked(dir, attr, dev, lock)) == -deferred &&
	       !out_of_patience(patience)) {
		sleep_for(pause);
		if (pause < 100 * MSEC)
			pause *= 2;
	}
	return err;
}

/* No host driver binds while its IOMMU group is in VFIO's use; that may be for the moment
 * in which another vfio-bind verifies a member of it. */
static bool group_is_busy(const struct device *dev, const char *driver)
{
	_cleanup_nodes_ struct vfio_nodes nodes = {0};

	if (driver_is_vfio(driver) || sysfs_has(dev->path, "driver"))
		return false;
	nodes = vfio_nodes_of_group(dev);
	return nodes.group;
}

/* Returns 0, or with @e -errno of the write, or -1. */
static int bind(const struct device *dev, const char *driver,
		const struct patience *patience, struct error *e)
{
	_cleanup_free_ char *dir = format("/sys/bus/%s/drivers/%s", dev->bus, driver);
	_cleanup_free_ char *group = driver_is_vfio(driver) ? group_number(dev) : NULL;
	_cleanup_free_ char *bound = NULL;
	const struct patience mine = from_now(patience);
	_cleanup_close_ int lock = -1;
	int err;

	/* Two members of a group in turn: if VFIO gets both at once, Linux 6.1 makes the
	 * group twice, warns, and never frees one of them (vfio_create_group). */
	if (group && !sysfs_is_dry_run() && (lock = record_open_group_lock(group, e)) < 0)
		return -1;
	for (;;) {
		bool busy = group_is_busy(dev, driver);

		err = write_until_probed(dir, "bind", dev, EAGAIN, lock, &mine);
		if (err != -EBUSY || !(busy || group_is_busy(dev, driver)) ||
		    out_of_patience(&mine))
			break;
		sleep_for(20 * MSEC);
	}
	if (err == 0 && sysfs_is_dry_run())
		return 0;
	bound = sysfs_link(dev->path, "driver");
	if (err == -EBUSY && streq(bound, driver)) /* by another's drivers_probe */
		return 0;
	/* What it waited for is the reason only if that took all of its time. */
	if ((err == -EAGAIN || err == -EBUSY) && now() < patience->deadline &&
	    stop(patience, e) < 0)
		return err;
	if (err < 0) {
		bind_failed(dev, driver, -err, e);
		return err;
	}
	if (!streq(bound, driver))
		return error_set(e, STATUS_FAILED, "cannot bind to %s: it went to %s",
				 driver, bound ? bound : "no driver");
	return 0;
}

/* Bind it to a driver that has none of its ids, such as uio_pci_generic: it must have had
 * the device by a flag that was cleared later, or by new_id. Returns as bind() does;
 * after an error there is no flag. */
static int bind_flagged(const struct device *dev, const char *driver,
			const struct patience *patience, struct error *e)
{
	struct error ignored;
	int err;

	if (flag(dev, driver, e) < 0)
		return -1;
	err = bind(dev, driver, patience, e);
	if (err < 0)
		flag(dev, NULL, &ignored);
	return err;
}

/* Let the kernel choose. drivers_probe succeeds also when a probe fails: then the
 * drivers that its modules have brought are asked by name, for their errno. That no
 * driver wants the device is the kernel's choice, too. */
static int bind_any(const struct device *dev, const struct patience *patience,
		    struct error *e)
{
	_cleanup_free_ char *dir = format("/sys/bus/%s", dev->bus);
	const struct patience mine = from_now(patience);
	int err = write_until_probed(dir, "drivers_probe", dev, EINVAL, -1, &mine);
	_cleanup_free_ char *bound = NULL;
	_cleanup_names_ struct names candidates = {0};
	bool matches = false;

	if (err == -EINVAL)
		return error_set(e, STATUS_FAILED,
				 "cannot bind to the driver the kernel chose: its probe "
				 "was deferred, or a VFIO user owns its IOMMU group");
	if (err < 0)
		return error_set(e, STATUS_FAILED, "drivers_probe failed: %s",
				 strerror(-err));
	bound = sysfs_link(dev->path, "driver");
	if (bound || sysfs_is_dry_run())
		return 0;
	candidates = driver_candidates(dev);
	for (size_t i = 0; i < candidates.n; i++) {
		struct error failed;

		if (!driver_has_bind(dev->bus, candidates.name[i]))
			continue; /* it cannot be asked */
		err = bind(dev, candidates.name[i], patience, &failed);
		if (err == 0)
			return 0;
		if (err == -ENODEV) /* it does not match */
			continue;
		matches = true;
		*e = failed;
	}
	return matches ? -1 : 0;
}

int binding_move(const struct device *dev, const struct binding *to,
		 const struct patience *patience, struct error *e)
{
	bool any = to->driver == binding_any_driver;
	bool by_flag = driver_is_vfio(to->driver) || pci_binds_flagged_only(dev);
	_cleanup_binding_ struct binding from = {0};
	bool rebind, chosen, flag_last;
	const char *first; /* the flag with which it is bound */

	if (device_binding(dev, &from, e) < 0)
		return -1;
	rebind = any || !streq(from.driver, to->driver);
	/* Its module has just been loaded for it, and it was free to take. */
	chosen = any && !from.driver_override && !driver_is_vfio(from.driver);
	flag_last = rebind && to->driver && !any && (by_flag || to->driver_override) &&
		    !streq(to->driver, to->driver_override);
	first = !flag_last ? to->driver_override : by_flag ? to->driver : NULL;

	if (first && !streq(from.driver_override, first) &&
	    (flag(dev, first, e) < 0 || stop(patience, e) < 0))
		return -1;
	if (rebind && from.driver && !chosen &&
	    (unbind(dev, from.driver, e) < 0 || stop(patience, e) < 0))
		return -1;
	if (!first && from.driver_override && flag(dev, NULL, e) < 0)
		return -1;
	if (rebind && to->driver) {
		int err = any ? bind_any(dev, patience, e)
			      : bind(dev, to->driver, patience, e);

		if (err == -ENODEV && !any && !streq(first, to->driver)) {
			err = bind_flagged(dev, to->driver, patience, e);
			flag_last = err == 0;
		}
		if (err < 0)
			return -1;
	}
	if (flag_last && flag(dev, to->driver_override, e) < 0)
		return -1;
	return stop(patience, e);
}

const char *binding_no_reset(const struct device *dev, const char *driver)
{
	bool vfio = driver_is_vfio(driver);

	if (sysfs_has(dev->path, "reset"))
		return driver && !vfio ? "a host driver would have it" : NULL;
	if (streq(dev->bus, "pci"))
		return "it has no reset attribute";
	return vfio ? NULL
		    : "it has no reset attribute, and only VFIO resets it otherwise";
}

/* While the guard is open, no user can open the group and have the device reset under it.
 */
static int reset_by_attribute(const struct device *dev, enum reset reset,
			      const struct patience *patience, struct error *e)
{
	_cleanup_nodes_ struct vfio_nodes nodes = vfio_nodes_of_group(dev);
	_cleanup_close_ int guard = -1;
	int err;

	if (vfio_stays_held(dev, &nodes, patience->deadline, &guard)) {
		_cleanup_free_ char *holders = vfio_holders(dev, &nodes, getpid());

		return error_set(e, STATUS_FAILED, "cannot be reset: held by %s",
				 holders ? holders : "a process that cannot be seen");
	}
	err = sysfs_write(dev->path, "reset", "1");
	if (err < 0 && !(err == -ENOTTY && reset == RESET_AUTO))
		return error_set(e, STATUS_FAILED, "reset failed: %s", strerror(-err));
	return 0;
}

int binding_reset(const struct device *dev, const struct binding *is, enum reset reset,
		  const struct patience *patience, struct error *e)
{
	int err;

	if (is->driver && !driver_is_vfio(is->driver))
		return 0;
	if (reset != RESET_NEVER && sysfs_has(dev->path, "reset") &&
	    reset_by_attribute(dev, reset, patience, e) < 0)
		return -1;
	if (!is->driver)
		return 0;
	if (sysfs_has(dev->path, "reset") || binding_no_reset(dev, is->driver))
		reset = RESET_NEVER; /* done, or VFIO cannot either */
	if (reset != RESET_NEVER) {
		_cleanup_free_ char *line =
			format("# open %s through VFIO, VFIO_DEVICE_RESET, close",
			       dev->name);

		sysfs_announce(line);
	}
	if (sysfs_is_dry_run())
		return 0;
	err = vfio_verify(dev, reset, patience->deadline, e);
	sysfs_announce(NULL);
	return err;
}
