/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "command.h"
#include "below.h"
#include "binding.h"
#include "check.h"
#include "driver.h"
#include "group.h"
#include "pci.h"
#include "sysfs.h"

#include <errno.h>

/* So long before the deadline a handoff stops its wait for udev: it has to give the nodes
 * away yet, and to tell the parent that all is done. */
#define RESERVE (500 * MSEC)

#define UDEV_NOT_DONE                                                                    \
	"udev is not done with it: disks, interfaces, names or links of it may be "      \
	"missing still"

static struct job job_of(const struct device *dev, const struct request *request,
			 const struct supervisor *supervisor)
{
	return (struct job){.dev = dev,
			    .request = request,
			    .supervisor = supervisor,
			    .lock = -1,
			    .guard = -1};
}

static void job_clear(struct job *job)
{
	udev_watch_end(&job->watch);
	owner_given_clear(&job->group_was);
	owner_given_clear(&job->cdev_was);
	binding_clear(&job->from);
	record_clear(&job->record);
	free(job->driver);
	cleanup_close(&job->guard);
	cleanup_close(&job->lock);
}

#define _cleanup_job_ __attribute__((cleanup(job_clear)))

/* --- where it goes ------------------------------------------------------------- */

/* The VFIO driver that a VF of a PF that VFIO has is for, which is its home: the kernel
 * itself flags it for that, so that no host driver gets it (vfio_pci_bus_notifier). NULL:
 * it is for none. */
static char *vf_home(const struct binding *is, const char *pf_driver)
{
	if (!driver_is_vfio(pf_driver))
		return NULL;
	if (driver_is_vfio(is->driver_override))
		return is->driver_override;
	return driver_is_vfio(is->driver) ? is->driver : NULL;
}

/* Where a release takes a device without a record: if a VFIO driver has it, or the driver
 * that it is flagged for, to the kernel's choice. Any other driver keeps it. */
static struct binding home_without_record(const struct device *dev,
					  const struct binding *is, const char *pf_driver)
{
	char *vfio = vf_home(is, pf_driver);
	/* A VF that the kernel binds only when flagged has a flag for its host driver,
	 * too: there the flag is no sign that the device was taken. */
	bool keeps =
		is->driver && !driver_is_vfio(is->driver) &&
		(!streq(is->driver, is->driver_override) || pci_binds_flagged_only(dev));

	if (vfio)
		return (struct binding){vfio, vfio};
	return (struct binding){.driver = keeps ? is->driver : binding_any_driver};
}

/* Where a release takes it. */
static struct binding home(const struct job *job)
{
	_cleanup_free_ char *pf_driver = pci_pf_driver(job->dev);
	const struct binding *origin = &job->record.origin;

	if (!job->has_record)
		return home_without_record(job->dev, &job->from, pf_driver);
	return record_is_home(origin, pf_driver)
		       ? *origin
		       : (struct binding){.driver = binding_any_driver};
}

static struct binding target(const struct job *job)
{
	char *flag = job->driver ? job->driver : (char *)DRIVER_NONE;

	switch (job->request->command) {
	case COMMAND_PIN:
		return (struct binding){job->from.driver, flag};
	case COMMAND_HANDOFF:
		return (struct binding){job->driver, flag};
	case COMMAND_RELEASE:
		break;
	}
	return home(job);
}

/* Set job->driver to the registered name of the driver, with its module loaded. */
static int find_driver(struct job *job, struct error *e)
{
	const char *wanted = job->request->driver;

	if (job->request->command == COMMAND_RELEASE || streq(wanted, DRIVER_NONE))
		return 0;
	job->driver = wanted ? driver_load(job->dev->bus, wanted, e)
			     : driver_load_vfio(job->dev, e);
	return job->driver ? 0 : -1;
}

/* The driver of home may be of a module that was removed since. It is loaded after the
 * checks, which ask of the device as it was: it may take the device at once. */
static void load_home_driver(const struct job *job)
{
	const char *driver = job->to.driver;
	bool any = driver == binding_any_driver;
	_cleanup_free_ char *there = NULL;
	struct error ignored; /* if the load fails, so does the bind */

	if (job->request->command != COMMAND_RELEASE || !driver)
		return;
	if (!any && (there = driver_registered(job->dev->bus, driver)))
		return;
	driver_load_for(job->dev);
	if (!any)
		free(driver_load(job->dev->bus, driver, &ignored));
}

/* Find where the device is and where it goes, and load the driver's module. The present
 * binding is read first: a driver may take the device as it registers. And the device is
 * flagged later: older kernels (6.1) read the flag without a lock while a driver
 * registers. */
static int look(struct job *job, struct error *e)
{
	int found;

	if (job->imagined)
		return 0;
	if (job->request->command != COMMAND_PIN && !sysfs_is_dry_run())
		udev_watch_start(&job->watch, job->dev);
	if (device_binding(job->dev, &job->from, e) < 0 || find_driver(job, e) < 0)
		return -1;
	found = record_read(job->dev, &job->from, &job->record, e);
	if (found < 0)
		return -1;
	job->has_record = found > 0;
	job->to = target(job);
	return 0;
}

/* In a dry run nothing has moved: make a release of it, as if the handoff had been. */
static void imagine(struct job *release, const struct job *handoff)
{
	release->imagined = true;
	release->from = (struct binding){copy(handoff->to.driver),
					 copy(handoff->to.driver_override)};
	release->has_record =
		handoff->has_record || !binding_equal(&handoff->from, &handoff->to);
	if (release->has_record)
		release->record =
			record_next(handoff->has_record ? &handoff->record : NULL,
				    &handoff->from, &handoff->to);
	release->to = target(release);
}

/* --- and back ------------------------------------------------------------------ */

/* Count the disks and interfaces below the device: a release waits for as many, as the
 * kernel finds some of them long after the bind. Returns 0 or -1 with @e. */
static int count_functions(const struct device *dev, unsigned int *functions,
			   struct error *e)
{
	_cleanup_below_ struct below below = {0};
	int err = below_read(dev, &below);

	if (err < 0)
		return error_set(e, STATUS_FAILED, "cannot tell what is below it: %s",
				 strerror(-err));
	*functions = below_functions(&below);
	return 0;
}

/* Before the first write below /sys: write a record of where to go back to, and of the
 * names that vfio-bind may leave on the way. Returns 0 or -1 with @e. */
static int keep_record(const struct job *job, struct error *e)
{
	_cleanup_record_ struct record next =
		record_next(job->has_record ? &job->record : NULL, &job->from, &job->to);
	int err = job->has_record ? 0 : count_functions(job->dev, &next.functions, e);

	next.incarnation = device_incarnation(job->dev);
	/* What could not be read may be why that failed: it is told first. Asked behind
	 * the first write, it would have the device moved and put back. */
	if (sysfs_check_read(e) < 0 || err < 0)
		return -1;
	if (!next.incarnation) /* nobody would believe it */
		return error_set(e, STATUS_FAILED, "cannot look at it: %s",
				 strerror(errno));
	return record_write(job->dev, &next, e);
}

/* Put back the record that the command found. */
static int restore_record(const struct job *job, struct error *e)
{
	return job->has_record ? record_write(job->dev, &job->record, e)
			       : record_remove(job->dev, e);
}

/* The binding that the device has now, for a message. */
static char *state_text(const struct device *dev)
{
	_cleanup_binding_ struct binding is = {0};
	struct error e;

	return device_binding(dev, &is, &e) < 0 ? copy(e.text) : binding_text(&is);
}

/* Has the device the binding that it had when the command began? */
static bool is_as_it_was(const struct job *job)
{
	_cleanup_binding_ struct binding is = {0};
	struct error ignored;

	return device_binding(job->dev, &is, &ignored) == 0 &&
	       binding_equal(&is, &job->from);
}

/* Move the device back to where it was, and read that back. Returns 0 or -1 with @e. */
static int move_back(const struct job *job, struct error *e)
{
	struct patience patience = {.deadline = job->request->deadline};

	if (binding_move(job->dev, &job->to, &job->from, &patience, e) < 0)
		return -1;
	return is_as_it_was(job) ? 0
				 : error_set(e, STATUS_FAILED, "it is not where it was");
}

/* End @e with how the device is now, and the release that does @what. Returns -1. */
static int end_with_state(const struct job *job, const char *what, struct error *e)
{
	_cleanup_free_ char *state = state_text(job->dev);
	_cleanup_free_ char *word = device_word(job->dev);

	error_end(e, "; it is now %s", state);
	return error_hint(e, "%s: vfio-bind release %s%s", what,
			  job->request->boot ? "--boot " : "", word);
}

/* Whatever the steps said: is the device there still? Returns 0 or -1 with @e. */
static int check_there(const struct job *job, struct error *e)
{
	return device_is_gone(job->dev)
		       ? error_set(e, STATUS_FAILED, "the device is gone")
		       : 0;
}

/* The device was removed on the way: it is not as it was, and there is nowhere to go back
 * to. Returns whether that is so. */
static bool is_lost(const struct job *job, struct error *e)
{
	struct error ignored;

	if (!device_is_gone(job->dev))
		return false;
	e->status = STATUS_BROKEN;
	IGNORE(record_remove(job->dev, &ignored));
	return true;
}

/* Put the device back to where it was. @e says why; how it ended is added to it. */
static int undo(struct job *job, struct error *e)
{
	bool untouched = is_as_it_was(job);
	struct error why = *e, failed = {0};
	_cleanup_free_ char *state = NULL;

	/* Nodes may stay: VFIO had the device before, or has others of its group. */
	owner_give_back(&job->group_was);
	owner_give_back(&job->cdev_was);
	if (is_lost(job, e))
		return -1;
	if ((untouched || move_back(job, &failed) == 0) &&
	    restore_record(job, &failed) == 0) {
		state = binding_text(&job->from);
		error_set(e, why.status, "%s", why.text);
		error_end(e, "; it is %s %s", untouched ? "still" : "back", state);
		return error_hint(e, "%s", why.hint);
	}
	if (is_lost(job, e))
		return -1;
	error_set(e, STATUS_BROKEN, "%s; putting it back failed: %s", why.text,
		  failed.text);
	return end_with_state(job, "to put it back", e);
}

/* --- whose it is --------------------------------------------------------------- */

/* Has no device of the command before this one the same group? */
static bool is_first_of_group(const struct job *job, const char *number)
{
	const struct devices *all = job->request->devices;

	for (size_t i = 0; i < all->n && !device_same(&all->dev[i], job->dev); i++) {
		_cleanup_free_ char *other = group_number(&all->dev[i]);

		if (streq(other, number))
			return false;
	}
	return true;
}

/* Where it will be opened; in a dry run, as far as that can be foreseen. Of several
 * devices of a group, the first has the group's node. */
static struct vfio_nodes nodes_to_give(const struct job *job)
{
	struct vfio_nodes nodes = vfio_nodes(job->dev);
	_cleanup_free_ char *number = NULL;

	number = group_number(job->dev);
	if (number && !is_first_of_group(job, number)) {
		free(nodes.group);
		nodes.group = NULL;
	} else if (number && sysfs_is_dry_run() && !nodes.group && !nodes.cdev) {
		nodes.group = format("/dev/vfio/%s", number);
	}
	return nodes;
}

/* Give the node of that number, if there is one, to the owner that the user asks for.
 * Whoever opens it opens @shared, too. */
static int give(const struct job *job, const char *node, dev_t number, const char *shared,
		struct given *before, struct error *e)
{
	const struct owner *owner = job->request->owner;
	_cleanup_free_ char *lacks = NULL;

	if (!node)
		return 0;
	if (owner_give(owner, node, number, before, e) < 0)
		return -1;
	lacks = owner_lacks(owner, shared, node);
	if (lacks)
		job->supervisor->warn(lacks);
	return 0;
}

static int give_nodes(struct job *job, struct error *e)
{
	_cleanup_nodes_ struct vfio_nodes nodes = {0};

	if (!job->request->owner)
		return 0;
	nodes = nodes_to_give(job);
	if (give(job, nodes.group, nodes.group_number, "/dev/vfio/vfio", &job->group_was,
		 e) < 0)
		return -1;
	return give(job, nodes.cdev, nodes.cdev_number, "/dev/iommu", &job->cdev_was, e);
}

/* --- there --------------------------------------------------------------------- */

/* Until when udev is waited for, in monotonic ns: @reserve ns before the command's
 * deadline at the latest. */
static int64_t udev_time(const struct job *job, int64_t reserve)
{
	int64_t until = now() + UDEV_TIME, last = job->request->deadline - reserve;

	return until < last ? until : last;
}

/* Wait for udev: a rule of it may give a node to somebody, some time after that is there.
 */
static void await_udev(const struct job *job)
{
	const char *(*given_up)(void) = job->supervisor->given_up;
	_cleanup_free_ char *warning = NULL;
	_cleanup_nodes_ struct vfio_nodes nodes = {0};

	if (!job->to.driver || streq(job->from.driver, job->to.driver) ||
	    udev_watch_wait(&job->watch, job->dev, 0, udev_time(job, RESERVE),
			    given_up) ||
	    given_up())
		return;
	nodes = vfio_nodes(job->dev);
	if (nodes.group || nodes.cdev)
		warning = format("udev is not done with %s: it may set another owner",
				 nodes.group ? nodes.group : nodes.cdev);
	job->supervisor->warn(warning ? warning : UDEV_NOT_DONE);
}

/* A handoff has moved the device: is it as it should be, and whose? Returns 0 also when
 * it must not go on. */
static int end_handoff(struct job *job, enum reset reset, const struct patience *patience,
		       struct error *e)
{
	if (!job->supervisor->may_pass(PHASE_MOVED))
		return 0;
	if (binding_reset(job->dev, &job->to, reset, patience, e) < 0)
		return -1;
	if (!job->supervisor->may_pass(PHASE_VERIFIED))
		return 0;
	await_udev(job);
	return give_nodes(job, e);
}

/* A pin or handoff: all of it, or the device is as it was. Returns 0 or -1 with @e. */
static int go_or_undo(struct job *job, struct error *e)
{
	struct patience patience = {job->request->deadline, job->supervisor->given_up};
	bool already_there = binding_equal(&job->from, &job->to);
	enum reset reset = job->request->reset;

	if (!already_there) {
		if (keep_record(job, e) < 0)
			return -1;
		if (binding_move(job->dev, &job->from, &job->to, &patience, e) < 0)
			return undo(job, e);
	}
	/* The guard kept VFIO users out until here; the reset opens the group itself, and
	 * the kernel lets one process open it. */
	cleanup_close(&job->guard);
	job->guard = -1;
	if (already_there && reset != RESET_ALWAYS)
		reset = RESET_NEVER; /* only verify */
	if (job->request->command == COMMAND_HANDOFF &&
	    end_handoff(job, reset, &patience, e) < 0)
		return undo(job, e);
	if (sysfs_check_read(e) < 0 || check_there(job, e) < 0)
		return undo(job, e);
	if (!job->supervisor->may_pass(PHASE_DONE))
		error_set(e, STATUS_FAILED, "%s", job->supervisor->given_up());
	else if (!pins_for_boot(job->request) ||
		 boot_add(job->dev, job->to.driver_override, patience.deadline, e) == 0)
		return 0; /* the file comes last, as nothing would undo it */
	return undo(job, e);
}

/* Is a release done before it has begun? Also when the device had neither driver nor
 * flag, and was bound as the modules for it were loaded: the kernel has chosen. */
static bool is_at_home(const struct job *job)
{
	_cleanup_free_ char *driver = NULL;

	if (job->to.driver != binding_any_driver)
		return binding_equal(&job->from, &job->to);
	if (job->from.driver || job->from.driver_override)
		return false;
	driver = sysfs_link(job->dev->path, "driver");
	return driver && !driver_is_vfio(driver);
}

/* A device that is not left as it is pinned at boot will be so again. */
static void warn_of_boot(const struct job *job)
{
	const struct boot_pin *pin = job->request->pins && !job->request->boot
					     ? boot_find(job->request->pins, job->dev)
					     : NULL;

	if (pin && !streq(pin->driver, job->to.driver_override))
		job->supervisor->warn("pinned again at the next boot; --boot ends that");
}

/* The device is back: are its disks' links there, and its interfaces' names? */
static void await_what_came_back(const struct job *job)
{
	_cleanup_free_ char *driver = sysfs_link(job->dev->path, "driver");

	if (driver && !streq(driver, job->from.driver) &&
	    !udev_watch_wait(&job->watch, job->dev, job->record.functions,
			     udev_time(job, 0), job->supervisor->given_up))
		job->supervisor->warn(UDEV_NOT_DONE);
}

/* A release, as far as it can go. It is never undone: the VFIO user is gone, and giving
 * the device back to VFIO would help nobody. */
static int go_home(struct job *job, struct error *e)
{
	struct patience patience = {.deadline = job->request->deadline};
	struct error why;

	if ((is_at_home(job) ||
	     binding_move(job->dev, &job->from, &job->to, &patience, e) == 0) &&
	    sysfs_check_read(e) == 0 && check_there(job, e) == 0 &&
	    record_remove(job->dev, e) == 0) {
		if (job->to.driver == binding_any_driver && !sysfs_is_dry_run() &&
		    !sysfs_has(job->dev->path, "driver") && errno == ENOENT)
			job->supervisor->warn("no driver wants it: it has none now");
		warn_of_boot(job);
		await_what_came_back(job);
		return 0;
	}
	if (is_lost(job, e))
		return -1;
	why = *e;
	error_set(e, is_as_it_was(job) ? why.status : STATUS_BROKEN, "%s", why.text);
	return end_with_state(job, "to try again", e);
}

/* --- the story ----------------------------------------------------------------- */

/* Is a device without a record to be released all the same, as it was pinned at boot? */
static bool is_asked_for_as_pin(const struct job *job)
{
	return job->request->boot && job->request->pins &&
	       boot_find(job->request->pins, job->dev);
}

/* The command, with the device locked. */
static int change(struct job *job, struct error *e)
{
	int err = look(job, e);

	/* What could not be read may be why that failed: it is told first. */
	if (sysfs_check_read(e) < 0 || err < 0)
		return -1;
	/* A record that is there all the same is not believed, and goes. */
	if (job->request->only_recorded && !job->has_record && !is_asked_for_as_pin(job))
		return record_remove(job->dev, e);
	if (check_all(job, e) < 0)
		return -1;
	load_home_driver(job);
	if (!job->supervisor->may_pass(PHASE_READY))
		return check_refuse(job->supervisor, e);
	return job->request->command == COMMAND_RELEASE ? go_home(job, e)
							: go_or_undo(job, e);
}

/* The lease is over, and the release has failed: at whatever point, add to @e how the
 * device is, if that does not say what to do. Returns -1. */
static int stays_taken(const struct job *job, struct error *e)
{
	e->status = STATUS_BROKEN;
	if (*e->hint || is_lost(job, e))
		return -1;
	return end_with_state(job, "to put it back", e);
}

/* Keep the device for COMMAND until the lease is over; then release it, still under the
 * same lock: nobody gets it in between. */
static int keep_and_release(const struct job *leased, struct error *e)
{
	struct request request = *leased->request;
	_cleanup_job_ struct job job =
		job_of(leased->dev, &request,
		       leased->supervisor->keep(leased->dev, leased->lock));

	request.command = COMMAND_RELEASE;
	request.deadline = now() + request.timeout;
	request.lease = NULL;
	request.holders = NULL; /* as it was before the handoff */
	if (sysfs_is_dry_run())
		imagine(&job, leased);
	return change(&job, e) < 0 ? stays_taken(&job, e) : 0;
}

int command_run(const struct device *dev, const struct request *request,
		const struct supervisor *supervisor, struct error *e)
{
	_cleanup_job_ struct job job = job_of(dev, request, supervisor);

	if (record_lock(dev, &job.lock, e) < 0)
		return -1;
	if (!supervisor->may_pass(PHASE_LOCKED))
		return check_refuse(supervisor, e);
	if (change(&job, e) < 0)
		return -1;
	if (!request->lease)
		return 0;
	udev_watch_end(&job.watch); /* the lease may take days */
	return keep_and_release(&job, e);
}

int command_resume(const struct device *dev, const struct request *request,
		   const struct supervisor *supervisor, struct error *e)
{
	_cleanup_job_ struct job job = job_of(dev, request, supervisor);
	struct error ignored;
	bool alone;

	if (record_lock_again(dev, &job.lock, &alone, e) < 0)
		return -1;
	if (!alone && look(&job, &ignored) == 0 && !job.has_record)
		return error_set(e, STATUS_FAILED,
				 "the lease has ended: when its worker was killed, "
				 "another process took the lock, and released it");
	return keep_and_release(&job, e);
}
