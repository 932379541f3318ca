/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "command.h"
#include "driver.h"
#include "group.h"
#include "pci.h"
#include "record.h"
#include "sysfs.h"
#include "usage.h"

#include <errno.h>

/* A device, where it was, and what was recorded of it, when the command began. */
struct run {
	const struct device *dev;
	const struct request *request;
	const struct caller *caller;
	struct binding before;
	struct record record;
	bool recorded;
	int guard; /* a group fd that keeps VFIO users out, or -1 */
};

static void run_clear(struct run *run)
{
	binding_clear(&run->before);
	record_clear(&run->record);
	cleanup_close(&run->guard);
}

/* Wait for a VFIO user of the device, or of another in its group, to let go. The kernel
 * tells of the close of a node before it is free again, so it is asked again and again.
 */
static int wait_for_holder(struct run *run, struct error *e)
{
	_cleanup_nodes_ struct vfio_nodes nodes = vfio_nodes_of_group(run->dev);

	while (vfio_is_held(run->dev, &nodes, &run->guard)) {
		_cleanup_free_ char *all = vfio_holders(run->dev, &nodes, getpid());
		_cleanup_free_ char *strangers =
			all ? vfio_holders(run->dev, &nodes, getppid()) : NULL;
		const char *reason = run->caller->given_up();

		/* Just the guard of another worker of this command, at work in the same
		 * group? It keeps strangers out for us, too, as long as that one is at
		 * work; and in a handoff it waits for us, to go together. */
		if (all && !strangers)
			break;
		if (reason)
			return vfio_refuse_held(run->dev, strangers, reason, e);
		sleep_for(20 * MSEC);
	}
	return 0;
}

/* Everything that can be known to go wrong with taking the device from where it is. */
static int check_leaving(struct run *run, struct error *e)
{
	const char *driver = run->before.driver;
	size_t vfs = pci_vfs(run->dev);

	if (driver && !driver_has_bind(run->dev->bus, driver))
		return error_set(e, STATUS_FAILED,
				 "its driver %s cannot be unbound: it has no unbind file",
				 driver);
	if (vfs) { /* they would go with its driver, and vfio-pci takes no such PF */
		error_set(e, STATUS_REFUSED, "it is a PF, and %zu of its VFs %s enabled",
			  vfs, vfs == 1 ? "is" : "are");
		return error_hint(e, "to remove them: echo 0 > %s/sriov_numvfs",
				  run->dev->path);
	}
	if (!driver_is_vfio(driver) && !run->request->force &&
	    usage_check(run->dev, e) < 0)
		return -1;
	return wait_for_holder(run, e);
}

/* The driver must know the hardware: with the flag, the kernel lets any driver probe it.
 */
static int check_driver(const struct run *run, const char *driver, struct error *e)
{
	if (!driver || streq(driver, run->before.driver) || driver_is_vfio(driver) ||
	    run->request->force || driver_knows(run->dev, driver))
		return 0;
	error_set(e, STATUS_REFUSED,
		  "the driver %s is not for this hardware: none of its ids fits; probing "
		  "it could bring the machine down",
		  driver);
	return error_hint(e, "handoff --force does it all the same");
}

/* Everything that can be known to go wrong where it is to go. */
static int check_target(const struct run *run, const char *driver, struct error *e)
{
	const struct device *dev = run->dev;
	bool vfio = driver_is_vfio(driver);
	const char *no_reset;
	bool unconfined;

	if (pci_is_bridge(dev)) {
		error_set(e, STATUS_REFUSED,
			  "it is a PCI bridge: what is behind it needs "
			  "the bridge's own driver");
		return error_hint(e, "hand off the devices behind it");
	}
	if (driver && !driver_has_bind(dev->bus, driver) && !sysfs_is_dry_run())
		return error_set(e, STATUS_FAILED,
				 "cannot bind to %s: it has no bind file", driver);
	no_reset = run->request->reset == RESET_ALWAYS ? binding_no_reset(dev, driver)
						       : NULL;
	if (no_reset) {
		error_set(e, STATUS_FAILED, "cannot be reset: %s", no_reset);
		return error_hint(e, "--reset=auto goes without");
	}
	if (!vfio || driver_is_vfio(run->before.driver))
		return 0;
	if (group_check(dev, run->request->together, &unconfined, e) < 0)
		return -1;
	if (unconfined)
		run->caller->warn("no IOMMU: nothing confines its DMA, its user can read "
				  "and write all memory");
	return 0;
}

/* In a container, /sys is often read-only. */
static int check_writable(const struct device *dev, struct error *e)
{
	if (sysfs_is_writable(dev->path, "driver_override"))
		return 0;
	return error_set(e, STATUS_FAILED, "cannot write below /sys: %s",
			 strerror(errno));
}

/* The driver that was asked for, NULL for none: *@driver by its registered name, its
 * module loaded. */
static int find_driver(const struct run *run, char **driver, struct error *e)
{
	const char *wanted = run->request->driver;

	*driver = NULL;
	if (streq(wanted, DRIVER_NONE))
		return 0;
	*driver = wanted ? driver_load(run->dev->bus, wanted, e)
			 : driver_load_vfio(run->dev, e);
	return *driver ? 0 : -1;
}

/* On disk before the first write: where to go back to, and the flag it will carry. */
static int keep_record(struct run *run, const struct binding *to, struct error *e)
{
	struct record record = {
		.origin = run->recorded ? run->record.origin : run->before,
		.flag = {to->driver_override,
			 run->recorded ? run->before.driver_override : NULL},
		.incarnation = device_incarnation(run->dev),
	};

	return record_write(run->dev, &record, e);
}

/* The record as the command found it. */
static int restore_record(struct run *run, struct error *e)
{
	return run->recorded ? record_write(run->dev, &run->record, e)
			     : record_remove(run->dev, e);
}

/* The binding it has now, for a message. */
static char *state_text(const struct run *run)
{
	_cleanup_binding_ struct binding is = {0};
	struct error e;

	return device_binding(run->dev, &is, &e) < 0 ? copy(e.text) : binding_text(&is);
}

/* Put the device back to where it was. @e says why; how it ended is added to it. */
static int undo(struct run *run, struct error *e)
{
	struct patience patience = {.deadline = run->request->deadline};
	_cleanup_binding_ struct binding is = {0};
	struct error second = {0};
	struct error first = *e;
	_cleanup_free_ char *state = NULL;

	if (device_binding(run->dev, &is, &second) == 0 &&
	    (binding_equal(&is, &run->before) ||
	     binding_move(run->dev, &run->before, &patience, &second) == 0) &&
	    restore_record(run, &second) == 0) {
		state = binding_text(&run->before);
		error_set(e, first.status, "%s; it is %s %s", first.text,
			  binding_equal(&is, &run->before) ? "still" : "back", state);
		return error_hint(e, "%s", first.hint);
	}
	state = state_text(run);
	error_set(e, STATUS_BROKEN, "%s; putting it back failed: %s; it is now %s",
		  first.text, second.text, state);
	return error_hint(e, "to put it back: vfio-bind release %s/%s", run->dev->bus,
			  run->dev->name);
}

/* pin and handoff: flag, and for handoff unbind, bind and reset; or all as it was. */
static int take(struct run *run, const struct binding *to, struct error *e)
{
	struct patience patience = {run->request->deadline, run->caller->given_up};
	bool there = binding_equal(&run->before, to);
	enum reset reset = run->request->reset;

	if (!there) {
		if (keep_record(run, to, e) < 0)
			return -1;
		if (binding_move(run->dev, to, &patience, e) < 0)
			return undo(run, e);
	}
	/* Kept until now, so that nobody could slip in; the reset opens the group itself.
	 */
	cleanup_close(&run->guard);
	run->guard = -1;
	if (there && reset != RESET_ALWAYS)
		reset = RESET_NEVER; /* write nothing, only verify */
	if (run->request->command == COMMAND_HANDOFF &&
	    run->caller->may_pass(PHASE_MOVED) &&
	    binding_reset(run->dev, to, reset, &patience, e) < 0)
		return undo(run, e);
	if (run->caller->may_pass(PHASE_DONE))
		return 0;
	error_set(e, STATUS_FAILED, "%s", run->caller->given_up());
	return undo(run, e);
}

/* Where a release takes a device without a record: off a VFIO driver, or one that has it
 * only by its flag, to the kernel's choice. Any other driver keeps it. */
static struct binding untaken(const struct device *dev, const struct binding *is)
{
	_cleanup_device_ struct device pf = {0};
	_cleanup_free_ char *pf_driver =
		pci_pf(dev, &pf) == 0 ? sysfs_link(pf.path, "driver") : NULL;
	/* One that the kernel binds only when flagged may have been flagged for its host
	 * driver: that alone is no reason to take it away. */
	bool keep =
		is->driver && !driver_is_vfio(is->driver) &&
		(!streq(is->driver, is->driver_override) || pci_binds_flagged_only(dev));

	/* The kernel itself flags the VFs of a PF that VFIO has, so that no host driver
	 * gets them (vfio_pci_bus_notifier): that is their home. */
	if (driver_is_vfio(pf_driver) && streq(is->driver_override, pf_driver))
		return (struct binding){.driver = is->driver_override,
					.driver_override = is->driver_override};
	return (struct binding){.driver = keep ? is->driver : binding_any_driver};
}

static void load_host_driver(const struct run *run, const char *driver)
{
	_cleanup_free_ char *there = NULL;
	struct error ignored; /* the bind will tell */

	if (driver == binding_any_driver) {
		driver_load_for(run->dev);
	} else if (driver && !(there = driver_registered(run->dev->bus, driver))) {
		driver_load_for(run->dev);
		free(driver_load(run->dev->bus, driver, &ignored));
	}
}

static int release(struct run *run, const struct binding *to, struct error *e)
{
	struct patience patience = {.deadline = run->request->deadline};
	_cleanup_binding_ struct binding is = {0};
	_cleanup_free_ char *state = NULL;
	struct error first, ignored;

	if (!binding_equal(&run->before, to)) {
		load_host_driver(run, to->driver);
		if (binding_move(run->dev, to, &patience, e) < 0)
			goto failed;
	}
	if (record_remove(run->dev, e) < 0)
		goto failed;
	if (to->driver == binding_any_driver && !sysfs_is_dry_run() &&
	    !sysfs_has(run->dev->path, "driver"))
		run->caller->warn("no driver wants it: it has none now");
	return 0;
failed:
	/* Never undone: its user is gone, and would not come back for it. */
	first = *e;
	state = state_text(run);
	if (device_binding(run->dev, &is, &ignored) < 0 ||
	    !binding_equal(&is, &run->before))
		first.status = STATUS_BROKEN;
	error_set(e, first.status, "%s; it is now %s", first.text, state);
	return error_hint(e, "to try again: vfio-bind release %s/%s", run->dev->bus,
			  run->dev->name);
}

int command_run(const struct device *dev, const struct request *request,
		const struct caller *caller, struct error *e)
{
	__attribute__((cleanup(run_clear))) struct run run = {.dev = dev,
							      .request = request,
							      .caller = caller,
							      .guard = -1};
	bool releasing = request->command == COMMAND_RELEASE;
	bool handoff = request->command == COMMAND_HANDOFF;
	_cleanup_free_ char *driver = NULL;
	_cleanup_close_ int lock = -1;
	struct binding to;
	int recorded;

	if (!sysfs_is_dry_run() && (lock = record_lock(dev, e)) < 0)
		return -1;
	if (!caller->may_pass(PHASE_LOCKED))
		return error_set(e, STATUS_REFUSED, "%s: nothing was touched",
				 caller->given_up());
	/* Where it is, before a module is loaded: that may take the device as it
	 * registers. And that before it is flagged: kernels before 7.x read the flag
	 * without a lock while a driver registers. */
	if (device_binding(dev, &run.before, e) < 0)
		return -1;
	if (!releasing && find_driver(&run, &driver, e) < 0)
		return -1;
	if (!releasing && check_driver(&run, driver, e) < 0)
		return -1;
	recorded = record_read(dev, &run.before, &run.record, e);
	if (recorded < 0 && !sysfs_is_dry_run())
		return -1;
	run.recorded = recorded > 0;
	if (request->recorded && !run.recorded)
		return record_remove(dev, e);

	if (releasing)
		to = run.recorded ? run.record.origin : untaken(dev, &run.before);
	else
		to = (struct binding){.driver = handoff ? driver : run.before.driver,
				      .driver_override =
					      driver ? driver : (char *)DRIVER_NONE};
	if (!streq(run.before.driver, to.driver)) {
		if (check_leaving(&run, e) < 0)
			return -1;
	} else if (handoff && driver_is_vfio(to.driver)) {
		if (wait_for_holder(&run, e) < 0) /* its caller would not get it */
			return -1;
	}
	if (handoff &&
	    (!binding_equal(&run.before, &to) || request->reset == RESET_ALWAYS) &&
	    check_target(&run, driver, e) < 0)
		return -1;
	if (!binding_equal(&run.before, &to) && check_writable(dev, e) < 0)
		return -1;
	if (!caller->may_pass(PHASE_READY))
		return error_set(e, STATUS_REFUSED, "%s: nothing was touched",
				 caller->given_up());
	return releasing ? release(&run, &to, e) : take(&run, &to, e);
}
