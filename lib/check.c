/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "check.h"
#include "binding.h"
#include "driver.h"
#include "group.h"
#include "pci.h"
#include "sysfs.h"
#include "usage.h"

#include <errno.h>

/* Between two looks whether a VFIO user has let go: the kernel tells of the close of a
 * node before the node is free again, so there is no event to wait for. */
#define HOLDER_PAUSE (20 * MSEC)

/* --- when a check is due ------------------------------------------------------- */

static bool changes(const struct job *job)
{
	return !binding_equal(&job->from, &job->to);
}

static bool leaves_driver(const struct job *job)
{
	return !streq(job->from.driver, job->to.driver);
}

static bool leaves_host_driver(const struct job *job)
{
	return leaves_driver(job) && !driver_is_vfio(job->from.driver);
}

static bool is_handoff(const struct job *job)
{
	return job->request->command == COMMAND_HANDOFF;
}

/* Nobody may hold a device that leaves its driver, nor one that a new VFIO user is to
 * open, even if VFIO has it already. */
static bool must_be_free(const struct job *job)
{
	return leaves_driver(job) || (is_handoff(job) && driver_is_vfio(job->to.driver));
}

static bool gets_driver(const struct job *job)
{
	return job->driver && !streq(job->driver, job->from.driver);
}

static bool is_worked_on(const struct job *job)
{
	return is_handoff(job) && (changes(job) || job->request->reset == RESET_ALWAYS);
}

/* VFIO has it already, and it is to get an owner. */
static bool is_given(const struct job *job)
{
	return job->request->owner && driver_is_vfio(job->from.driver);
}

static bool enters_vfio(const struct job *job)
{
	return is_worked_on(job) && driver_is_vfio(job->driver) &&
	       !driver_is_vfio(job->from.driver);
}

static bool is_for_boot(const struct job *job)
{
	return pins_for_boot(job->request);
}

/* At the next boot, what it is used for now would not find it. */
static bool is_newly_for_boot(const struct job *job)
{
	return is_for_boot(job) && !job->pinned;
}

static bool loses_host_driver_at_boot(const struct job *job)
{
	return is_newly_for_boot(job) && !driver_is_vfio(job->from.driver) &&
	       !streq(job->from.driver, job->driver);
}

/* --- the checks: 0, or -1 with @e ---------------------------------------------- */

/* The driver must know the hardware: with the flag, the kernel lets any driver probe it.
 */
static int driver_fits(struct job *job, struct error *e)
{
	if (driver_is_vfio(job->driver) || job->request->force ||
	    driver_knows(job->dev, job->driver))
		return 0;
	error_set(e, STATUS_REFUSED,
		  "the driver %s is not for this hardware: none of its ids fits; probing "
		  "it could bring the machine down",
		  job->driver);
	return error_hint(e, "--force does it all the same");
}

static int can_be_unbound(struct job *job, struct error *e)
{
	const char *driver = job->from.driver;

	if (!driver || driver_has_bind(job->dev->bus, driver))
		return 0;
	return error_set(e, STATUS_FAILED,
			 "its driver %s cannot be unbound: it has no unbind file",
			 driver);
}

/* Unbinding a PF's driver would remove the VFs, and vfio-pci takes no PF that has some.
 */
static int has_no_vfs(struct job *job, struct error *e)
{
	size_t vfs = pci_vfs(job->dev);

	if (!vfs)
		return 0;
	error_set(e, STATUS_REFUSED, "it is a PF, and %zu of its VFs %s enabled", vfs,
		  vfs == 1 ? "is" : "are");
	return error_hint(e, "to remove them: echo 0 > %s/sriov_numvfs", job->dev->path);
}

/* udev opens nodes for a moment, too, to learn what they are: what is merely open is
 * looked at again so often, and up to the deadline as long as udev is at work. */
#define OPEN_TRIES 3
#define OPEN_PAUSE (50 * MSEC)

/* Find who uses it; what is only open for a moment is no use. */
static int find_usage(const struct job *job, struct usage *usage, struct error *e)
{
	int result = usage_find(job->dev, job->request->holders, usage, e);

	for (int i = 1; usage->momentary && now() < job->request->deadline &&
			(i < OPEN_TRIES || udev_is_at_work());
	     i++) {
		sleep_for(OPEN_PAUSE);
		usage_clear(usage);
		result = usage_find(job->dev, NULL, usage, e);
	}
	return result;
}

/* With --force nobody is asked, nor waited for; but should the unbind wait for those whom
 * the parent has seen, the user hears of them. */
static void tell_users_seen(const struct job *job)
{
	_cleanup_files_ struct file_ids files = {0};
	_cleanup_free_ char *users = NULL;
	struct error ignored;

	IGNORE(usage_files(job->dev, &files)); /* they are only told of */
	IGNORE(sysfs_check_read(&ignored));
	if (job->request->holders)
		users = holders_text(job->request->holders, &files, LIST_MAX);
	if (users)
		job->supervisor->users(users);
}

static int is_not_in_use(struct job *job, struct error *e)
{
	const struct supervisor *supervisor = job->supervisor;
	_cleanup_usage_ struct usage usage = {0};
	_cleanup_free_ char *text = NULL;
	struct error unread;
	int result;

	if (job->request->force) {
		tell_users_seen(job);
		return 0;
	}
	result = find_usage(job, &usage, e);
	/* Should the unbind wait for them, the user hears of whom. */
	if (usage.processes)
		supervisor->users(usage.processes);
	if (sysfs_check_read(&unread) < 0 && result == 0)
		result = error_set(e, STATUS_REFUSED,
				   "cannot tell whether it is in use: %s", unread.text);
	text = names_text(&usage.uses, "; ", 2 * LIST_MAX);
	if (text) {
		error_set(e, STATUS_REFUSED, "in use: %s", text);
		return error_hint(e, "end that use first; --force takes it all the same");
	}
	/* An ordinary user may see the steps of a dry run, but not into all processes. */
	if (result < 0 && (!sysfs_is_dry_run() || geteuid() == 0))
		return error_hint(e, "--force takes it all the same");
	if (result < 0)
		supervisor->warn(e->text);
	if (usage.let_go.n) {
		_cleanup_free_ char *open = names_text(&usage.let_go, "; ", 2 * LIST_MAX);
		_cleanup_free_ char *warning =
			format("%s: the unbind waits until it is closed", open);

		supervisor->warn(warning);
	}
	return 0;
}

int check_refuse(const struct supervisor *supervisor, struct error *e)
{
	return error_set(e, STATUS_REFUSED, "%s: nothing was touched",
			 supervisor->given_up());
}

/* Who has held the group for so long, with nobody to be seen, is hidden. Else another
 * worker of this command had it as its guard, and has ended when it was looked for. */
#define HIDDEN_TIME SEC

/* No VFIO user holds the device or another one of its IOMMU group; or lets go before the
 * deadline. */
static int is_free(struct job *job, struct error *e)
{
	_cleanup_nodes_ struct vfio_nodes nodes = vfio_nodes_of_group(job->dev);
	int64_t seen = now(); /* when the last look began that has found somebody */
	enum hold hold;

	for (;;) {
		_cleanup_free_ char *others = NULL;
		int64_t began = now();
		const char *reason;

		hold = vfio_look_past_workers(&nodes, &job->guard, &others, e);
		if (hold != HOLD_BY_USER)
			break;
		if (others)
			seen = began;
		reason = job->supervisor->given_up();
		if (reason && !others && now() - seen < HIDDEN_TIME)
			return check_refuse(job->supervisor, e);
		if (reason)
			return vfio_refuse_held(job->dev, others, reason, e);
		sleep_for(HOLDER_PAUSE);
	}
	if (sysfs_is_dry_run()) { /* it keeps nobody out */
		cleanup_close(&job->guard);
		job->guard = -1;
	}
	return hold == HOLD_UNKNOWN ? -1 : 0;
}

static int is_no_bridge(struct job *job, struct error *e)
{
	if (!pci_is_bridge(job->dev))
		return 0;
	error_set(e, STATUS_REFUSED,
		  "it is a PCI bridge: what is behind it needs the bridge's own driver");
	return error_hint(e, "hand off the devices behind it");
}

static int can_be_bound(struct job *job, struct error *e)
{
	/* In a dry run the driver's module may not be loaded, and the file not there yet.
	 */
	if (!job->driver || driver_has_bind(job->dev->bus, job->driver) ||
	    sysfs_is_dry_run())
		return 0;
	return error_set(e, STATUS_FAILED, "cannot bind to %s: it has no bind file",
			 job->driver);
}

static int can_be_reset(struct job *job, struct error *e)
{
	const char *why = job->request->reset == RESET_ALWAYS
				  ? binding_no_reset(job->dev, job->driver)
				  : NULL;

	if (!why)
		return 0;
	error_set(e, STATUS_FAILED, "cannot be reset: %s", why);
	return error_hint(e, "--reset=auto goes without");
}

static int refuse_unconfined(struct error *e)
{
	return error_set(e, STATUS_REFUSED,
			 "no IOMMU: opening it takes CAP_SYS_RAWIO, and its user can "
			 "read and write all memory: it is not given to a user");
}

static int group_is_viable(struct job *job, struct error *e)
{
	bool unconfined;

	if (group_check(job->dev, job->request->devices, &unconfined, e) < 0)
		return -1;
	if (unconfined && job->request->owner)
		return refuse_unconfined(e);
	if (unconfined)
		job->supervisor->warn("no IOMMU: nothing confines its DMA, its user can "
				      "read and write all memory");
	return 0;
}

static int can_be_pinned_at_boot(struct job *job, struct error *e)
{
	int pinned = boot_check(job->dev, job->to.driver_override, e);
	_cleanup_free_ char *driverctl = format("%s-%s", job->dev->bus, job->dev->name);

	job->pinned = pinned > 0;
	if (pinned == 0 && sysfs_has("/etc/driverctl.d", driverctl)) {
		_cleanup_free_ char *warning =
			format("driverctl has an override for it, too, and applies it "
			       "later at boot: /etc/driverctl.d/%s",
			       driverctl);

		job->supervisor->warn(warning);
	}
	return pinned < 0 ? -1 : 0;
}

/* A driver that is no module has the device before udev hears of it. One that VFIO has
 * now is asked for the driver that it came from. */
static int is_not_built_in(struct job *job, struct error *e)
{
	const char *driver = driver_is_vfio(job->from.driver) || !job->from.driver
				     ? job->record.origin.driver
				     : job->from.driver;

	if (!driver || streq(driver, job->driver) || job->request->force ||
	    !driver_is_built_in(job->dev->bus, driver))
		return 0;
	error_set(e, STATUS_REFUSED,
		  "its driver %s is built into the kernel and has it before any pin",
		  driver);
	return error_hint(e, "--force pins it all the same, which helps once that driver "
			     "is a module");
}

static int is_confined(struct job *job, struct error *e)
{
	return group_is_noiommu(job->dev) ? refuse_unconfined(e) : 0;
}

/* In a container, /sys is often read-only. */
static int sys_is_writable(struct job *job, struct error *e)
{
	if (sysfs_is_writable(job->dev->path, "driver_override"))
		return 0;
	return error_set(e, STATUS_FAILED, "cannot write below /sys: %s",
			 strerror(errno));
}

/* In this order: what is said first is what the user should mend first. */
static const struct {
	bool (*due)(const struct job *job);
	int (*check)(struct job *job, struct error *e);
} checks[] = {
	{gets_driver, driver_fits},
	{is_for_boot, can_be_pinned_at_boot},
	{leaves_driver, can_be_unbound},
	{leaves_driver, has_no_vfs},
	{is_newly_for_boot, is_no_bridge},
	{is_newly_for_boot, has_no_vfs},
	{is_newly_for_boot, is_not_built_in},
	{leaves_host_driver, is_not_in_use},
	{loses_host_driver_at_boot, is_not_in_use},
	{must_be_free, is_free},
	{is_worked_on, is_no_bridge},
	{is_worked_on, can_be_bound},
	{is_worked_on, can_be_reset},
	{enters_vfio, group_is_viable},
	{is_given, is_confined},
	{changes, sys_is_writable},
};

int check_all(struct job *job, struct error *e)
{
	for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
		int err = checks[i].due(job) ? checks[i].check(job, e) : 0;

		/* What was not read may be why it is refused. */
		if (sysfs_check_read(e) < 0 || err < 0)
			return -1;
	}
	return 0;
}
