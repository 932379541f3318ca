/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "binding.h"
#include "driver.h"
#include "group.h"
#include "pci.h"
#include "record.h"
#include "sysfs.h"

#include <errno.h>
#include <sys/file.h>

/* Between two tries of a deferred probe: the first pause, doubled up to the last. */
#define PROBE_PAUSE_FIRST (5 * MSEC)
#define PROBE_PAUSE_LAST (100 * MSEC)
/* Between two tries of a bind, while the IOMMU group is in VFIO's use. */
#define GROUP_PAUSE (20 * MSEC)

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

/* --- the plan ------------------------------------------------------------------ */

static void plan_add(struct plan *plan, int kind, const char *driver)
{
	plan->step[plan->n].kind = kind;
	plan->step[plan->n++].driver = driver;
}

struct plan binding_plan(const struct binding *from, const struct binding *to,
			 bool by_flag)
{
	bool any = to->driver == binding_any_driver;
	bool moves = any || !streq(from->driver, to->driver);
	bool binds = moves && to->driver;
	const char *flag = to->driver_override; /* while it is bound */
	struct plan plan = {0};

	if (binds && !any && !streq(to->driver, to->driver_override))
		flag = by_flag ? to->driver : NULL;

	if (flag && !streq(from->driver_override, flag))
		plan_add(&plan, STEP_FLAG, flag);
	if (moves && from->driver)
		plan_add(&plan, STEP_UNBIND, from->driver);
	if (!flag && from->driver_override)
		plan_add(&plan, STEP_FLAG, NULL);
	if (binds)
		plan_add(&plan, any ? STEP_PROBE : STEP_BIND, to->driver);
	if (!streq(flag, to->driver_override))
		plan_add(&plan, STEP_FLAG, to->driver_override);
	return plan;
}

/* --- its steps ----------------------------------------------------------------- */

/* In the driver's own directory, not through the device's link to its driver: if another
 * driver has the device, the kernel answers ENODEV (unbind_store). */
static int write_to_driver(const struct device *dev, const char *driver, const char *attr)
{
	_cleanup_free_ char *dir = format("/sys/bus/%s/drivers/%s", dev->bus, driver);

	return sysfs_write(dir, attr, dev->name);
}

static int write_to_bus(const struct device *dev, const char *attr)
{
	_cleanup_free_ char *dir = format("/sys/bus/%s", dev->bus);

	return sysfs_write(dir, attr, dev->name);
}

/* The write that the step is. Returns 0, also in a dry run, or -errno. */
static int step_write(const struct device *dev, const struct step *step)
{
	switch (step->kind) {
	case STEP_FLAG:
		return sysfs_write(dev->path, "driver_override",
				   step->driver ? step->driver : "");
	case STEP_UNBIND:
		return write_to_driver(dev, step->driver, "unbind");
	case STEP_BIND:
		return write_to_driver(dev, step->driver, "bind");
	case STEP_PROBE:
		return write_to_bus(dev, "drivers_probe");
	}
	return -EINVAL;
}

/* The functions that make a step return 0, or -errno with @e. -ENODEV is a bind's alone:
 * the driver does not match. */

static int flag(const struct device *dev, const struct step *step, struct error *e)
{
	const char *what = step->driver ? "set" : "clear";
	_cleanup_binding_ struct binding is = {0};
	int err = step_write(dev, step);

	if (err < 0) {
		error_set(e, STATUS_FAILED, "cannot %s driver_override: %s", what,
			  strerror(-err));
	} else if (device_binding(dev, &is, e) == 0) {
		if (streq(is.driver_override, step->driver))
			return 0;
		error_set(e, STATUS_FAILED,
			  "cannot %s driver_override: it does not stay so", what);
	}
	return -EIO;
}

static int unbind(const struct device *dev, const struct step *step, struct error *e)
{
	int err = step_write(dev, step);
	_cleanup_free_ char *left = sysfs_link(dev->path, "driver");

	if (!left) /* done; or ENODEV, as the device was not bound any more */
		return 0;
	error_set(e, STATUS_FAILED, "cannot unbind from %s: %s", step->driver,
		  err < 0 ? strerror(-err) : "the kernel left it bound");
	return -EBUSY;
}

/* vfio_platform_probe() wants a way to reset; vfio_amba_probe() does not. */
static void no_reset_handler(const struct device *dev, const char *driver,
			     struct error *e)
{
	_cleanup_free_ char *compatible = sysfs_read(dev->path, "of_node/compatible");

	error_set(e, STATUS_FAILED, "cannot bind to %s: no reset handler for %s", driver,
		  compatible ? compatible : "it");
	error_hint(e, "to go without a reset between its users: modprobe -r "
		      "vfio_platform && modprobe vfio_platform reset_required=0");
}

/* What bind's errno means (drivers/base/bus.c, dd.c; vfio_platform_common.c); NULL: it is
 * the probe's own. */
static const char *bind_errno_text(const struct device *dev, const char *driver, int err)
{
	switch (err) {
	case -ENOENT:
		return driver_has_bind(dev->bus, driver)
			       ? NULL
			       : "that driver is not there, or has no bind file";
	case -EINVAL:
		return driver_is_vfio(driver) && !sysfs_has(dev->path, "iommu_group")
			       ? "no IOMMU group"
			       : NULL;
	case -ENODEV:
		return "the driver does not match it, or found no such hardware";
	case -EBUSY:
		return "another driver has it, a VFIO user owns its IOMMU group, or the "
		       "driver finds it busy";
	case -EAGAIN:
		return "until the deadline its probe was deferred, as something is not "
		       "there yet, or another member of its IOMMU group was being bound";
	}
	return NULL;
}

static void bind_failed(const struct device *dev, const char *driver, int err,
			struct error *e)
{
	const char *why = bind_errno_text(dev, driver, err);

	if (err == -ENOENT && !why && streq(driver, "vfio-platform"))
		no_reset_handler(dev, driver, e);
	else if (why)
		error_set(e, STATUS_FAILED, "cannot bind to %s: %s", driver, why);
	else
		error_set(e, STATUS_FAILED, "cannot bind to %s: its probe failed: %s",
			  driver, strerror(-err));
}

/* Returns 0, or if the worker has been told to give up, -ECANCELED with @e. */
static int give_up(const struct patience *patience, struct error *e)
{
	const char *reason = patience->given_up ? patience->given_up() : NULL;

	if (!reason)
		return 0;
	error_set(e, STATUS_FAILED, "%s", reason);
	return -ECANCELED;
}

/* The patience for a wait that begins now: a transition that must not stop gets a second
 * for it, even after the deadline. */
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

/* Make the step's write with @lock held (-1: without a lock). Returns 0 or -errno;
 * -EAGAIN also if another process holds @lock. */
static int write_locked(const struct device *dev, const struct step *step, int lock)
{
	int err;

	if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	err = step_write(dev, step);
	if (lock >= 0)
		flock(lock, LOCK_UN);
	return err;
}

/* Write, and again while the kernel answers @deferred, its -errno for a deferred probe.
 * Returns 0 or -errno. */
static int write_until_probed(const struct device *dev, const struct step *step,
			      int deferred, int lock, const struct patience *patience)
{
	int64_t pause = PROBE_PAUSE_FIRST;
	int err;

	while ((err = write_locked(dev, step, lock)) == deferred &&
	       !out_of_patience(patience)) {
		sleep_for(pause);
		if (pause < PROBE_PAUSE_LAST)
			pause *= 2;
	}
	return err;
}

/* Could a host driver's EBUSY come from VFIO, which owns the IOMMU group? That may last
 * only for the moment in which another vfio-bind verifies a member of the group. */
static bool group_is_busy(const struct device *dev, const char *driver)
{
	_cleanup_nodes_ struct vfio_nodes nodes = {0};

	if (driver_is_vfio(driver) || sysfs_has(dev->path, "driver"))
		return false;
	nodes = vfio_nodes_of_group(dev);
	return nodes.group;
}

/* A VFIO driver that was told an id of the device (new_id) may take it whenever it has
 * neither driver nor flag. If one has it by its id, and not by its flag, unbind it from
 * there. Returns whether that is done. */
static bool take_from_vfio(const struct device *dev)
{
	_cleanup_binding_ struct binding is = {0};
	struct error ignored;
	struct step step = {STEP_UNBIND, NULL};

	if (device_binding(dev, &is, &ignored) < 0 || !driver_is_vfio(is.driver) ||
	    streq(is.driver, is.driver_override))
		return false;
	step.driver = is.driver;
	return unbind(dev, &step, &ignored) == 0;
}

/* Write bind until the kernel gives an answer that stays. Returns 0 or -errno. */
static int write_bind(const struct device *dev, const struct step *step, int lock,
		      const struct patience *patience)
{
	for (;;) {
		bool busy = group_is_busy(dev, step->driver);
		int err = write_until_probed(dev, step, -EAGAIN, lock, patience);

		if (err != -EBUSY || out_of_patience(patience))
			return err;
		if (!driver_is_vfio(step->driver) && take_from_vfio(dev))
			continue;
		if (!busy && !group_is_busy(dev, step->driver))
			return err;
		sleep_for(GROUP_PAUSE);
	}
}

static int bind(const struct device *dev, const struct step *step,
		const struct patience *patience, struct error *e)
{
	_cleanup_free_ char *group =
		driver_is_vfio(step->driver) ? group_number(dev) : NULL;
	const struct patience mine = from_now(patience);
	_cleanup_free_ char *bound = NULL;
	_cleanup_close_ int lock = -1;
	int err;

	if (driver_is_vfio(step->driver) && !group && sysfs_check_read(e) < 0)
		return -EIO;
	/* Members of one IOMMU group in turn: if VFIO gets two at once, Linux 6.1 makes
	 * two VFIO groups, warns, and never frees one of them (vfio_create_group). */
	if (group && (lock = record_open_group_lock(group, e)) < 0)
		return -ENOLCK;
	err = write_bind(dev, step, lock, &mine);
	bound = sysfs_link(dev->path, "driver");
	if (err == -EBUSY && streq(bound, step->driver)) /* bound by another process */
		return 0;
	/* If the worker was told to give up before the deadline, that is the reason. */
	if ((err == -EAGAIN || err == -EBUSY) && now() < patience->deadline &&
	    give_up(patience, e) < 0)
		return err;
	if (err < 0) {
		bind_failed(dev, step->driver, err, e);
	} else if (!streq(bound, step->driver)) {
		err = -EBUSY;
		if (sysfs_check_read(e) < 0)
			return err;
		error_set(e, STATUS_FAILED, "cannot bind to %s: it went to %s",
			  step->driver, bound ? bound : "no driver");
	}
	return err;
}

/* Bind it by name to the host driver that matches it: ENODEV from all others comes before
 * anything is touched (bind_store). Of several, the first that takes it, and those of the
 * device's modules first. Returns 0, also if none matches, or -errno with @e. */
static int bind_host_driver(const struct device *dev, const struct patience *patience,
			    struct error *e)
{
	_cleanup_names_ struct names drivers = driver_all(dev);
	int result = 0;

	for (size_t i = 0; i < drivers.n; i++) {
		struct step step = {STEP_BIND, drivers.name[i]};
		struct error answer;
		int err;

		if (driver_is_vfio(step.driver) ||
		    !driver_has_bind(dev->bus, step.driver))
			continue; /* without a bind file, it cannot be asked */
		err = bind(dev, &step, patience, &answer);
		if (err == 0)
			return 0;
		if (err == -ENODEV || result)
			continue;
		result = err;
		*e = answer;
	}
	return result;
}

/* drivers_probe succeeds also when a probe fails or is deferred, and when a VFIO driver
 * that was told an id takes the device: then the host's drivers are asked by name. No
 * driver at all is a choice of the kernel, too; a VFIO driver is none. */
static int choose(const struct device *dev, const struct patience *patience,
		  struct error *e)
{
	_cleanup_free_ char *chosen = sysfs_link(dev->path, "driver");
	_cleanup_free_ char *left = NULL;
	struct step step = {STEP_UNBIND, NULL};
	int err;

	if (chosen && !driver_is_vfio(chosen))
		return 0;
	err = bind_host_driver(dev, patience, e);
	left = sysfs_link(dev->path, "driver");
	step.driver = left;
	return err == 0 && driver_is_vfio(left) ? unbind(dev, &step, e) : err;
}

/* Let the kernel choose. */
static int probe(const struct device *dev, const struct step *step,
		 const struct patience *patience, struct error *e)
{
	const struct patience mine = from_now(patience);
	int err = write_until_probed(dev, step, -EINVAL, -1, &mine);

	if (err == -EINVAL)
		error_set(e, STATUS_FAILED,
			  "cannot bind to the driver the kernel chose: its probe was "
			  "deferred, or a VFIO user owns its IOMMU group");
	else if (err < 0)
		error_set(e, STATUS_FAILED, "drivers_probe failed: %s", strerror(-err));
	else
		err = choose(dev, patience, e);
	return err;
}

static int make_step(const struct device *dev, const struct step *step,
		     const struct patience *patience, struct error *e)
{
	switch (step->kind) {
	case STEP_FLAG:
		return flag(dev, step, e);
	case STEP_UNBIND:
		return unbind(dev, step, e);
	case STEP_BIND:
		return bind(dev, step, patience, e);
	case STEP_PROBE:
		return probe(dev, step, patience, e);
	}
	return -EINVAL;
}

/* Only tell of the steps. */
static int show_move(const struct device *dev, const struct binding *from,
		     const struct binding *to, bool by_flag)
{
	struct plan plan = binding_plan(from, to, by_flag);

	for (size_t i = 0; i < plan.n; i++)
		step_write(dev, &plan.step[i]);
	return 0;
}

/* Make the plan from where the device is. Returns 0 or -errno with @e. */
static int move(const struct device *dev, const struct binding *to, bool by_flag,
		const struct patience *patience, struct error *e)
{
	_cleanup_binding_ struct binding from = {0};
	struct plan plan;
	int err = 0;

	if (device_binding(dev, &from, e) < 0)
		return -EIO;
	plan = binding_plan(&from, to, by_flag);
	for (size_t i = 0; i < plan.n && err == 0; i++) {
		err = make_step(dev, &plan.step[i], patience, e);
		if (err == 0)
			err = give_up(patience, e);
	}
	return err;
}

int binding_move(const struct device *dev, const struct binding *from,
		 const struct binding *to, const struct patience *patience,
		 struct error *e)
{
	static const struct step unflag = {STEP_FLAG, NULL};
	bool by_flag = driver_is_vfio(to->driver) || pci_binds_flagged_only(dev);
	int err = sysfs_is_dry_run() ? show_move(dev, from, to, by_flag)
				     : move(dev, to, by_flag, patience, e);
	_cleanup_free_ char *left = sysfs_link(dev->path, "driver");
	struct error ignored;

	/* A driver that has no id of the device (uio_pci_generic, say) must have had it
	 * by a flag that was cleared later, or by new_id. */
	if (err == -ENODEV && !by_flag && to->driver != binding_any_driver &&
	    !streq(to->driver, to->driver_override) && (!left || driver_is_vfio(left))) {
		err = move(dev, to, true, patience, e);
		if (err < 0)
			IGNORE(flag(dev, &unflag, &ignored));
	}
	return err < 0 ? -1 : 0;
}

/* --- reset --------------------------------------------------------------------- */

const char *binding_no_reset(const struct device *dev, const char *driver)
{
	bool vfio = driver_is_vfio(driver);

	if (sysfs_has(dev->path, "reset"))
		return driver && !vfio
			       ? "a device is not reset while a host driver has it"
			       : NULL;
	if (streq(dev->bus, "pci"))
		return "it has no reset attribute";
	return vfio ? NULL
		    : "it has no reset attribute, and only VFIO resets it otherwise";
}

/* While the guard is open, no VFIO user can open the group, and then have the device
 * reset while it works with it. */
static int reset_by_attribute(const struct device *dev, enum reset reset,
			      const struct patience *patience, struct error *e)
{
	_cleanup_nodes_ struct vfio_nodes nodes = vfio_nodes_of_group(dev);
	_cleanup_close_ int guard = -1;
	struct error unknown;
	enum hold hold = vfio_await(&nodes, patience->deadline, &guard, &unknown);
	int err;

	if (sysfs_check_read(e) < 0) /* a node may be unknown, and held */
		return -1;
	if (hold == HOLD_UNKNOWN)
		return error_set(e, STATUS_FAILED, "cannot be reset: %s", unknown.text);
	if (hold == HOLD_BY_USER) {
		_cleanup_free_ char *holders = vfio_holders(&nodes, now() + HOLDERS_TIME);

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
	_cleanup_free_ char *line = NULL;
	int err = 0;

	if (is->driver && !driver_is_vfio(is->driver))
		return 0;
	if (reset != RESET_NEVER && sysfs_has(dev->path, "reset") &&
	    reset_by_attribute(dev, reset, patience, e) < 0)
		return -1;
	if (!is->driver)
		return 0;
	if (sysfs_has(dev->path, "reset") || binding_no_reset(dev, is->driver))
		reset = RESET_NEVER; /* done by the attribute, or VFIO cannot either */
	if (reset != RESET_NEVER) {
		line = format("# open %s through VFIO, VFIO_DEVICE_RESET, close",
			      dev->name);
		sysfs_step_begins(line);
	}
	if (!sysfs_is_dry_run())
		err = vfio_verify(dev, reset, patience->deadline, e);
	if (line)
		sysfs_step_ended();
	return err;
}
