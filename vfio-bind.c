/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vfio-bind - take a device from its host driver, hand it to VFIO, and put it back.
 *
 * The command line, and all that is said to the user. What the commands mean for a
 * device is in lib/command.c. */
#include "lib/boot.h"
#include "lib/driver.h"
#include "lib/group.h"
#include "lib/lease.h"
#include "lib/list.h"
#include "lib/name.h"
#include "lib/output.h"
#include "lib/pci.h"
#include "lib/record.h"
#include "lib/sysfs.h"
#include "lib/worker.h"

#include <argp.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>

#define PROGRAM "vfio-bind"

/* Long enough for a guest to go down, short enough for a boot script. */
#define DEFAULT_TIMEOUT 30.0

const char *argp_program_version = PROGRAM " " VERSION;

/* Bits, to say which commands have which option. */
enum { LIST = 1, PIN = 2, HANDOFF = 4, RELEASE = 8 };
#define CHANGING (PIN | HANDOFF | RELEASE)

enum { KEY_TAKEN = 0x100, KEY_RESET, KEY_BOOT, KEY_OWNER, KEY_MODE, KEY_NONE };

static struct list_options arg_list;
static struct request arg_request;
static const char *arg_driver, *arg_owner;
static mode_t arg_mode = -1;
static bool arg_all, arg_dry_run, arg_group, arg_verbose;
static double arg_timeout = DEFAULT_TIMEOUT;
static struct names arg_operands;
static struct lease arg_lease; /* argv: NULL if no COMMAND is given */

/* With a COMMAND, whose status is vfio-bind's, every failure of vfio-bind's own. */
#define STATUS_OF_LEASE 125

/* Once signals are blocked, the fd that those to stop are read from
 * (worker_block_signals()); -1: none are blocked yet. */
static int signals = -1;

static struct boot_pins pins; /* as they were before, where they play a part */

static enum status worst;
static bool any_done;
static bool any_unpinned; /* one of the pins has been ended, in the file */

static const struct command_line {
	const char *name, *operands, *summary, *doc;
	int bit;
	enum command command;
	size_t min, max;
} commands[] = {
	{"list", "[DEVICE...]", "show devices and who has them",
	 "Show the devices that can be flagged (all that have a driver_override), or "
	 "each DEVICE, and who has them.",
	 LIST, 0, 0, SIZE_MAX},
	{"pin", "DEVICE [DRIVER]", "let only DRIVER bind, from now on",
	 "From now on only DRIVER may bind to DEVICE ('auto': the VFIO driver of its "
	 "bus); "
	 "without DRIVER, or with 'none', no driver at all. The driver that has it now "
	 "keeps it.",
	 PIN, COMMAND_PIN, 1, 2},
	{"handoff",
	 "DEVICE [DRIVER] [-- COMMAND...]\n--driver=DRIVER DEVICE... [-- COMMAND...]",
	 "move a device to a driver, VFIO's by default",
	 "Move DEVICE to DRIVER, by default ('auto') the VFIO driver of its bus: flag "
	 "it, unbind "
	 "it, bind it, reset it, and verify. With 'none' it is left without a driver. "
	 "What fails is undone. With COMMAND: run it while it has all of the devices; "
	 "when it has ended, and nobody holds them, release them. The status is its "
	 "own, or 125.",
	 HANDOFF, COMMAND_HANDOFF, 1, 2},
	{"release", "DEVICE...\n--all", "put a device back to where it was",
	 "Put each DEVICE back to the driver and the flag it had before vfio-bind first "
	 "touched it; one that it has not touched is unflagged and left to the kernel's "
	 "choice.",
	 RELEASE, COMMAND_RELEASE, 1, SIZE_MAX},
};

/* argp has it by itself: it would sleep for an hour, or tell another name. */
#define NOT_OURS(name)                                                                   \
	{                                                                                \
		name, KEY_NONE, "", OPTION_HIDDEN | OPTION_ARG_OPTIONAL, 0, 0            \
	}

static const struct {
	int commands;
	struct argp_option option;
} options[] = {
	{LIST, {"bus", 'b', "BUS", 0, "only the devices on BUS", 0}},
	{LIST, {"json", 'J', 0, 0, "print JSON", 0}},
	{LIST, {"noheadings", 'n', 0, 0, "print no headings", 0}},
	{LIST,
	 {"output", 'o', "COLS", 0, "print these columns; +COLS adds to the default", 0}},
	{LIST, {"raw", 'r', 0, 0, "print unaligned, for scripts", 0}},
	{LIST,
	 {"taken", KEY_TAKEN, 0, 0, "only devices that are flagged or VFIO-bound", 0}},
	{LIST,
	 {"boot", KEY_BOOT, 0, 0, "only what is pinned at boot, absent devices, too", 0}},
	{PIN, {"boot", KEY_BOOT, 0, 0, "at every boot, too", 0}},
	{RELEASE, {"boot", KEY_BOOT, 0, 0, "end what 'pin --boot' has begun, too", 0}},
	{RELEASE, {"all", 'a', 0, 0, "release all that vfio-bind has a record of", 0}},
	{HANDOFF,
	 {"driver", 'd', "DRIVER", 0,
	  "move all operands to DRIVER; 'auto': the VFIO driver of each", 0}},
	{PIN,
	 {"force", 'f', 0, 0,
	  "do not ask whether it is in use by the host, nor whether DRIVER is for it, "
	  "nor, with --boot, whether its driver is built in",
	  0}},
	{HANDOFF,
	 {"force", 'f', 0, 0,
	  "do not ask whether it is in use by the host, nor whether DRIVER is for it",
	  0}},
	{RELEASE, {"force", 'f', 0, 0, "do not ask whether it is in use by the host", 0}},
	{HANDOFF,
	 {"group", 'g', 0, 0, "each DEVICE with all of its IOMMU group, all or none", 0}},
	{RELEASE,
	 {"group", 'g', 0, 0, "each DEVICE with all of its IOMMU group that has a record",
	  0}},
	{LIST, {"group", 'g', 0, 0, "show IOMMU groups, and all members of them", 0}},
	{CHANGING, {"dry-run", 'n', 0, 0, "print the kernel writes, change nothing", 0}},
	{HANDOFF,
	 {"mode", KEY_MODE, "MODE", 0,
	  "mode of its VFIO nodes (default with --owner: 0600; 0660 with GROUP)", 0}},
	{HANDOFF,
	 {"owner", KEY_OWNER, "USER[:GROUP]", 0, "give its VFIO nodes to USER and GROUP",
	  0}},
	{HANDOFF,
	 {"reset", KEY_RESET, "WHEN", 0,
	  "reset it: auto (if it moves, and can; default), always or never", 0}},
	{CHANGING,
	 {"timeout", 't', "SECONDS", 0, "wait no longer than SECONDS (default 30)", 0}},
	{CHANGING, {"verbose", 'v', 0, 0, "print the kernel writes as they are made", 0}},
	{LIST | CHANGING, {0, 'h', 0, OPTION_HIDDEN, 0, 0}},
	{LIST | CHANGING, NOT_OURS("HANG")},
	{LIST | CHANGING, NOT_OURS("program-name")},
};

/* --- what is said to the user -------------------------------------------------- */

static void complain(const char *who, const char *kind, const struct error *e)
{
	_cleanup_free_ char *hint =
		*e->hint ? format(PROGRAM ": hint: %s\n", e->hint) : copy("");
	_cleanup_free_ char *name = who ? format("%s: ", who) : copy("");
	_cleanup_free_ char *lines = NULL;

	make_printable(name);
	lines = format(PROGRAM ": %s%s%s\n%s", name, kind, e->text, hint);
	output_add(STDERR_FILENO, lines);
}

static void fail(const char *who, const struct error *e)
{
	complain(who, "", e);
	if (e->status > worst)
		worst = e->status;
}

static void tell_step(const char *line)
{
	_cleanup_free_ char *lines = format("%s\n", line);

	if (arg_verbose || arg_dry_run)
		output_add(arg_dry_run ? STDOUT_FILENO : STDERR_FILENO, lines);
}

static void tell_warning(const struct device *dev, const struct error *e)
{
	complain(dev->name, "warning: ", e);
}

static void tell_note(const struct device *dev, const struct error *e)
{
	complain(dev->name, "", e);
}

static void tell_failure(const struct error *e)
{
	fail(NULL, e);
}

/* A release that fails when the device's pin at boot has been ended leaves it not as it
 * was: say so in @e. */
static void add_unpinned(const struct device *dev, struct error *e)
{
	_cleanup_free_ char *word = device_word(dev);

	e->status = STATUS_BROKEN;
	error_end(e, ", but it is not pinned at boot any more");
	if (!*e->hint && !device_is_gone(dev))
		error_hint(e, "to try again: " PROGRAM " release %s", word);
}

static void tell_result(const struct device *dev, const struct error *e)
{
	struct error failure = *e;

	if (e->status == STATUS_DONE) {
		any_done = true;
		return;
	}
	if (any_unpinned && boot_find(&pins, dev))
		add_unpinned(dev, &failure);
	fail(dev->name, &failure);
}

/* In a dry run nothing was changed that the initramfs would have to know. */
static void tell_hint_of_boot(void)
{
	_cleanup_free_ char *hint = boot_hint();
	_cleanup_free_ char *line = format(PROGRAM ": hint: %s\n", hint);

	if (!arg_dry_run)
		output_add(STDERR_FILENO, line);
}

/* Has all been read that is there? If not, say what. */
static bool all_read(void)
{
	struct error e;

	if (sysfs_check_read(&e) == 0)
		return true;
	fail(NULL, &e);
	return false;
}

/* The exit status for what vfio-bind itself has done. */
static int own_status(void)
{
	return worst && arg_lease.argv ? STATUS_OF_LEASE : worst;
}

static int list_error; /* the errno of the list that could not be written; or 0 */

/* Flush and close stdout, as a close can tell that a write has failed (close(2)). Returns
 * an errno, or 0; also 0 when nothing was written there: then stdio has not made a buffer
 * yet. */
static int close_stdout(void)
{
	if (list_error)
		return list_error;
	if (__fbufsize(stdout) && fclose(stdout) != 0)
		return errno;
	return output_used(STDOUT_FILENO) && close(STDOUT_FILENO) != 0 ? errno : 0;
}

/* A full disk or a closed pipe behind stdout must not look like success. */
static void end_output(void)
{
	struct error e;
	int error;

	/* A signal ends this wait alone. */
	output_finish(arg_request.deadline ? arg_request.deadline : INT64_MAX, signals);
	error = output_error(STDOUT_FILENO);
	if (!error)
		error = close_stdout();
	if (!error)
		return;
	error_set(&e, STATUS_FAILED, "write error: %s", strerror(error));
	fail(NULL, &e);
	_exit(own_status());
}

/* With a standard fd closed, the next file opened would take its number. Open one there
 * that cannot be used that way: an error stays an error. */
static void open_standard_fds(void)
{
	for (int fd = 0; fd < 3; fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			continue;
		arg_lease.closed |= 1U << fd;
		open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
	}
}

/* --- the commands -------------------------------------------------------------- */

/* Add all members of the device's IOMMU group but bridges. */
static void add_group(struct devices *devices, const struct device *dev)
{
	_cleanup_devices_ struct devices members = group_members(dev);

	for (size_t i = 0; i < members.n; i++) {
		if (!pci_is_bridge(&members.dev[i]))
			devices_add(devices, &members.dev[i]);
	}
}

static bool is_driver(const char *name)
{
	_cleanup_names_ struct names buses = sysfs_names("/sys/bus", "");

	for (size_t i = 0; i < buses.n; i++) {
		_cleanup_free_ char *driver = driver_registered(buses.name[i], name);

		if (driver)
			return true;
	}
	return false;
}

/* Say more of a name that means no device, where more can be known. */
static void explain_missing(const char *name, struct error *e)
{
	static const char order[] = "DEVICE comes first, then DRIVER";
	_cleanup_device_ struct device other = {0};
	struct error ignored;

	if (*e->hint || e->status != STATUS_USAGE)
		return;
	if (record_has_met(name))
		error_set(e, STATUS_USAGE, "%s: the device is gone: it was removed",
			  name);
	else if (arg_driver && name_find(arg_driver, &other, &ignored) == 0)
		error_hint(e, "%s is a device: are the operands swapped? %s", arg_driver,
			   order);
	else if (is_driver(name))
		error_hint(e, "that is a driver%s%s", arg_driver ? ": " : "",
			   arg_driver ? order : "");
	else if (arg_request.command == COMMAND_RELEASE && name_goes_with_driver(name))
		error_hint(e, "an interface or a disk goes with its driver: name the "
			      "device as '" PROGRAM " list --taken' does");
}

/* The devices that the operands stand for. One that cannot be used is reported and
 * skipped: the others may still be listed or released. */
static struct devices find_operands(bool changing)
{
	struct devices devices = {0};

	for (size_t i = 0; i < arg_operands.n; i++) {
		_cleanup_device_ struct device dev = {0};
		struct error e, ignored;

		if (name_find(arg_operands.name[i], &dev, &e) < 0) {
			bool absent = e.status == STATUS_USAGE;
			bool pinned = arg_request.boot && absent &&
				      boot_find_name(&pins, arg_operands.name[i], &dev);

			if (pinned)
				devices_add(&devices, &dev);
			/* A recorded device is gone: no error, if that is a record. */
			if (arg_all ? absent &&
					      record_check(arg_operands.name[i], &e) == 0
				    : pinned)
				continue;
			explain_missing(arg_operands.name[i], &e);
			IGNORE(sysfs_check_read(&ignored)); /* then no more is said */
			fail(NULL, &e);
			continue;
		}
		if (changing && device_check_flag(&dev, &e) < 0) {
			fail(dev.name, &e);
			continue;
		}
		if (changing && arg_group)
			add_group(&devices, &dev);
		devices_add(&devices, &dev);
	}
	return devices;
}

static int run_list(void)
{
	_cleanup_devices_ struct devices devices = {0};
	struct error e;

	if (arg_request.boot) /* that they cannot be read is told with the list */
		IGNORE(boot_read(&pins, &e));
	devices = find_operands(false);
	if (arg_operands.n && !devices.n)
		return worst;
	arg_list.group = arg_group;
	if (list_print(&devices, &arg_list, &e) < 0)
		fail(NULL, &e);
	/* The list comes first. An earlier part of it may be lost: stdio goes on. */
	errno = EIO;
	if (fflush(stdout) != 0 || ferror(stdout))
		list_error = errno;
	all_read();
	return worst;
}

static int compare(const void *a, const void *b)
{
	const struct device *x = a, *y = b;

	return strcmp(x->path, y->path);
}

/* As a shell expects of what was interrupted; but only if all is as it was, as the status
 * of a signal tells no more. */
static void die_of(int signal_number)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signal_number);
	signal(signal_number, SIG_DFL);
	raise(signal_number);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

/* As who has run COMMAND without vfio-bind would see its end. */
static int end_as_command(int status)
{
	static const struct rlimit none = {0, 0};

	if (!WIFSIGNALED(status))
		return WEXITSTATUS(status);
	prctl(PR_SET_DUMPABLE, 0); /* one core is enough */
	setrlimit(RLIMIT_CORE, &none);
	die_of(WTERMSIG(status));
	return 128 + WTERMSIG(status); /* process 1 of a namespace does not die of it */
}

/* All workers, and COMMAND, if it was started, have ended. */
static int end_lease(int signal_number)
{
	int status = arg_lease.status;
	_cleanup_free_ char *death = signal_text(WTERMSIG(status));
	_cleanup_free_ char *line =
		WIFSIGNALED(status)
			? format(PROGRAM ": COMMAND was killed by %s\n", death)
			: format(PROGRAM ": COMMAND ended with status %d\n",
				 WEXITSTATUS(status));

	if (arg_lease.started && worst)
		output_add(STDERR_FILENO, line);
	if (signal_number && worst != STATUS_BROKEN && !arg_lease.started)
		die_of(signal_number);
	return worst || !arg_lease.started ? own_status() : end_as_command(status);
}

/* Look for COMMAND before anything is touched. Returns 0, or the exit status. */
static int find_lease(void)
{
	struct error e, found;
	int status = 0;

	if (lease_find(&arg_lease, &status, &found) < 0) {
		error_set(&e, STATUS_USAGE, "%s", found.text);
		error_end(&e, ": nothing was touched");
		fail(NULL, &e);
	}
	return status;
}

static void no_step_ended(void)
{
}

/* Read what is pinned at boot, for a release. Returns false if that must not go on. */
static bool read_pins(void)
{
	struct error e;

	if (boot_read(&pins, &e) == 0)
		return true;
	if (arg_request.boot)
		fail(NULL, &e);
	else
		complain(NULL, "warning: ", &e);
	return !arg_request.boot;
}

/* These devices, without those that are absent. */
static struct devices present(const struct devices *devices)
{
	struct devices there = {0};

	for (size_t i = 0; i < devices->n; i++) {
		struct device dev;

		if (!sysfs_has(devices->dev[i].path, ""))
			continue;
		dev = device_copy(&devices->dev[i]);
		devices_append(&there, &dev);
	}
	return there;
}

/* End, before they are released, the pins of these devices at boot. Those that are absent
 * are done then, and leave @devices. Returns false if that failed. */
static bool end_pins(struct devices *devices)
{
	static const struct sysfs_listener listener = {tell_step, no_step_ended};
	_cleanup_devices_ struct devices all = *devices;
	bool any = false;
	struct error e;

	*devices = present(&all);
	if (!all_read())
		return false;
	for (size_t i = 0; i < all.n; i++)
		any |= boot_find(&pins, &all.dev[i]) != NULL;
	sysfs_listen(&listener);
	if (boot_remove(&all, arg_request.deadline, signals, &e) < 0) {
		fail(NULL, &e);
		return false;
	}
	any_unpinned = any && !arg_dry_run;
	if (any_unpinned)
		tell_hint_of_boot();
	return true;
}

/* No device is released, as its pin could not be ended: maybe as a signal has come.
 * Returns the exit status. */
static int end_before_workers(void)
{
	struct signalfd_siginfo info;

	if (worst != STATUS_BROKEN && read(signals, &info, sizeof(info)) == sizeof(info))
		die_of((int)info.ssi_signo);
	return worst;
}

/* What a release of all is of: what has a record, and with --boot what is pinned at boot.
 * *@strangers: as of record_list(). */
static struct names all_operands(struct names *strangers)
{
	struct names names = record_list(strangers);

	for (size_t i = 0; arg_request.boot && i < pins.n; i++) {
		if (!names_have(&names, pins.pin[i].device))
			names_add(&names, pins.pin[i].device);
	}
	return names;
}

/* Make the operands of a release of all. A file that is no record is told of, and the
 * others go home. Returns false if nothing may be touched: not all could be read. */
static bool find_all(void)
{
	_cleanup_names_ struct names strangers = {0};

	arg_operands = all_operands(&strangers);
	if (!all_read())
		return false;
	for (size_t i = 0; i < strangers.n; i++) {
		struct error e;

		record_is_none(strangers.name[i], &e);
		fail(NULL, &e);
	}
	return true;
}

/* Names are looked up before anything is touched. */
static int find_owner(void)
{
	static struct owner owner;
	struct error e;

	if (owner_find(&owner, arg_owner, arg_mode, &e) < 0) {
		fail(NULL, &e);
		return -1;
	}
	if (owner_asks(&owner) || arg_mode != (mode_t)-1)
		arg_request.owner = &owner;
	return 0;
}

/* Can workers do it? Returns false if not: it is refused for all devices. */
static bool check_workers(void)
{
	const struct devices *devices = arg_request.devices;
	struct error e;

	if (worker_check(&arg_request, signals, &e) == 0)
		return true;
	for (size_t i = 0; i < devices->n; i++)
		tell_result(&devices->dev[i], &e);
	return false;
}

/* --- the time up to the workers ------------------------------------------------- */

static timer_t time_limit;

static void end_in_time(int number)
{
	(void)number;
	output_last(PROGRAM ": timed out: nothing was touched\n", 0);
	_exit(arg_lease.argv ? STATUS_OF_LEASE : STATUS_REFUSED);
}

/* Up to the workers nothing is touched, and this process itself can be held up: by a
 * database of users, or a folder of PATH. It ends when a worker would be left. */
static void limit_time(void)
{
	const int64_t limit = arg_request.timeout + GRACE;
	const struct itimerspec once = {.it_value = {limit / SEC, limit % SEC}};
	const struct sigaction action = {.sa_handler = end_in_time};
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGVTALRM};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGVTALRM);
	sigaction(SIGVTALRM, &action, NULL);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	if (timer_create(CLOCK_MONOTONIC, &event, &time_limit) == 0)
		timer_settime(time_limit, 0, &once, NULL);
}

/* --- pin, handoff and release ---------------------------------------------------- */

static int refuse_user(void)
{
	struct error e;

	error_set(&e, STATUS_USAGE, "this needs root; --dry-run and list do not");
	fail(NULL, &e);
	return own_status();
}

/* Find, before anything is touched, all that the command names: COMMAND, the owner, the
 * devices. Returns -1; or the exit status, if the command ends here. */
static int find_named(struct devices *devices)
{
	int status = arg_lease.argv ? find_lease() : 0;

	if (status)
		return status;
	if (find_owner() < 0 || (arg_request.command == COMMAND_RELEASE && !read_pins()))
		return own_status();
	if (arg_all && !find_all())
		return own_status();
	*devices = find_operands(true);
	if (!all_read() || !devices->n ||
	    (worst && arg_request.command != COMMAND_RELEASE))
		return own_status();
	return -1;
}

/* Workers lock their devices in the order of @devices, which is one for all commands.
 * COMMAND is told of them in that of the operands: *@as_named. */
static void order(struct devices *devices, struct devices *as_named)
{
	for (size_t i = 0; i < devices->n; i++) {
		struct device dev = device_copy(&devices->dev[i]);

		devices_append(as_named, &dev);
	}
	qsort(devices->dev, devices->n, sizeof(*devices->dev), compare);
}

static int run_changing(void)
{
	static const struct listener listener = {tell_step, tell_warning, tell_note,
						 tell_failure, tell_result};
	_cleanup_devices_ struct devices devices = {0}, as_named = {0};
	int signal_number, status;

	if (geteuid() != 0 && !arg_dry_run)
		return refuse_user();
	/* A closed pipe behind stderr must not end the command half way, nor as it says
	 * what is wrong with one of the devices. */
	if (!arg_dry_run)
		signal(SIGPIPE, SIG_IGN);
	arg_request.timeout = (int64_t)(arg_timeout * SEC);
	arg_request.deadline = now() + arg_request.timeout;
	limit_time();
	status = find_named(&devices);
	if (status >= 0)
		return status;
	order(&devices, &as_named);
	arg_request.devices = &devices;
	arg_request.pins = &pins;
	if (arg_lease.argv) {
		arg_lease.devices = &as_named;
		arg_request.lease = &arg_lease;
	}
	timer_delete(time_limit); /* from here on it looks at its deadline */
	signals = worker_block_signals(&arg_request);
	if (!check_workers())
		return own_status();
	if (arg_request.boot && arg_request.command == COMMAND_RELEASE &&
	    !end_pins(&devices))
		return end_before_workers();
	if (!devices.n)
		return worst;
	signal_number = worker_run(&arg_request, &listener, signals);
	if (signal_number) /* nor is a reader waited for any more */
		arg_request.deadline = now();
	if (arg_lease.argv)
		return end_lease(signal_number);
	if (pins_for_boot(&arg_request) && any_done)
		tell_hint_of_boot();
	if (signal_number && !any_done && !any_unpinned && worst != STATUS_BROKEN)
		die_of(signal_number);
	return worst;
}

/* --- argp ---------------------------------------------------------------------- */

/* Print the complaint, which may have cut a character of what it quotes, and exit. */
static void misuse(const struct argp_state *state, const char *fmt, ...) _printf_(2, 3);

static void misuse(const struct argp_state *state, const char *fmt, ...)
{
	va_list args;
	char text[512];

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	make_printable(text);
	argp_error(state, "%s", text);
}

/* As argp says it of what it does not know. */
static void refuse_option(const struct argp_state *state)
{
	misuse(state, "unrecognized option '%.64s'", state->argv[state->next - 1]);
}

static void parse_reset(struct argp_state *state, const char *when)
{
	static const char *const names[] = {[RESET_AUTO] = "auto",
					    [RESET_ALWAYS] = "always",
					    [RESET_NEVER] = "never"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (streq(names[i], when)) {
			arg_request.reset = i;
			return;
		}
	}
	misuse(state, "--reset is auto, always or never, not '%.64s'", when);
}

static void parse_format(struct argp_state *state, enum list_format format)
{
	if (arg_list.format != LIST_TABLE && arg_list.format != format)
		misuse(state, "--json and --raw exclude each other");
	arg_list.format = format;
}

static void parse_timeout(struct argp_state *state, const char *seconds)
{
	char *end;

	arg_timeout = strtod(seconds, &end);
	if (end == seconds || *end || !isfinite(arg_timeout) || arg_timeout <= 0 ||
	    arg_timeout > 1e6)
		misuse(state,
		       "--timeout is a number of seconds above 0, up to 1000000, "
		       "not '%.64s'",
		       seconds);
}

/* The node's owner may open it; to others it is given or not. */
static void parse_mode(struct argp_state *state, const char *mode)
{
	char *end;
	unsigned long n = strtoul(mode, &end, 8);

	if (!isdigit((unsigned char)*mode) || *end || n & ~0666UL || ~n & 0600)
		misuse(state,
		       "--mode is octal, from 0600 to 0666 and without x, not "
		       "'%.64s'",
		       mode);
	arg_mode = n;
}

/* What stands behind "--" is all COMMAND's. */
static void parse_word(struct argp_state *state, const struct command_line *command,
		       const char *word)
{
	if (!state->quoted || state->next <= state->quoted) {
		names_add(&arg_operands, word);
		return;
	}
	if (command->bit != HANDOFF)
		misuse(state, "%s takes no COMMAND", command->name);
	arg_lease.argv = &state->argv[state->next - 1];
	state->next = state->argc;
}

/* All operands are known: check them, and make the request of them. */
static void parse_operands(struct argp_state *state, const struct command_line *command)
{
	size_t max = arg_driver ? SIZE_MAX : command->max;

	if (command->bit == HANDOFF && state->quoted && !arg_lease.argv)
		misuse(state, "COMMAND is missing");
	if (arg_all && arg_operands.n)
		misuse(state, "--all takes no DEVICE");
	if (!arg_all && arg_operands.n < command->min)
		misuse(state, "DEVICE is missing");
	if (arg_operands.n > max)
		misuse(state, "surplus operand: '%.64s'%s", arg_operands.name[max],
		       command->bit == HANDOFF ? "; for several devices, name the "
						 "driver with --driver"
					       : "");
	/* Members of a group that others have flagged or bound stay as they are. */
	if (command->bit == RELEASE && arg_group)
		arg_request.only_recorded = true;
	if (!(command->bit & (PIN | HANDOFF)))
		return;
	if (!arg_driver && arg_operands.n == 2)
		arg_driver = arg_operands.name[--arg_operands.n];
	else if (!arg_driver)
		arg_driver = command->bit == PIN ? DRIVER_NONE : "auto";
	arg_request.driver = streq(arg_driver, "auto") ? NULL : arg_driver;
	if ((arg_owner || arg_mode != (mode_t)-1) && arg_request.driver &&
	    !driver_is_vfio(arg_driver))
		misuse(state,
		       "--owner and --mode are for VFIO's nodes: '%.64s' has "
		       "none",
		       arg_driver);
}

/* Parse an option that list alone has. */
static error_t parse_list_option(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case 'b':
		arg_list.bus = arg;
		break;
	case 'J':
	case 'r':
		parse_format(state, key == 'J' ? LIST_JSON : LIST_RAW);
		break;
	case 'o':
		arg_list.columns = arg;
		break;
	case KEY_TAKEN:
		arg_list.taken = true;
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	const struct command_line *command = state->input;

	/* An option that has lost its argument, in front of COMMAND. */
	if (key != ARGP_KEY_ARG && streq(arg, "--"))
		misuse(state, "'--' is no argument of an option");
	switch (key) {
	case KEY_BOOT:
		arg_list.boot = arg_request.boot = true;
		break;
	case 'n':
		*(command->bit == LIST ? &arg_list.noheadings : &arg_dry_run) = true;
		break;
	case 'a':
		arg_all = arg_request.only_recorded = true;
		break;
	case 'g':
		arg_group = true;
		break;
	case 'd':
		arg_driver = arg;
		break;
	case 'f':
		arg_request.force = true;
		break;
	case 't':
		parse_timeout(state, arg);
		break;
	case 'v':
		arg_verbose = true;
		break;
	case KEY_RESET:
		parse_reset(state, arg);
		break;
	case KEY_OWNER:
		arg_owner = arg;
		break;
	case KEY_MODE:
		parse_mode(state, arg);
		break;
	case 'h':
		argp_state_help(state, stdout, ARGP_HELP_STD_HELP);
		break;
	case ARGP_KEY_ARG:
		parse_word(state, command, arg);
		break;
	case ARGP_KEY_END:
		parse_operands(state, command);
		break;
	case KEY_NONE:
		refuse_option(state);
		break;
	default:
		return parse_list_option(key, arg, state);
	}
	return 0;
}

/* --help lists the columns and commands from their tables. */
static char *help_columns(int key, const char *text, void *input)
{
	const struct command_line *command = input;
	const char *name, *help;
	char *list = NULL;

	if (key != ARGP_KEY_HELP_POST_DOC || !command || command->bit != LIST)
		return (char *)text;
	list = copy("Columns:");
	for (size_t i = 0; (name = list_column(i, &help)) != NULL; i++)
		append(&list, "\n", "  %-10s%s", name, help);
	return list;
}

static char *help_commands(int key, const char *text, void *input)
{
	char *list = NULL;

	(void)input;
	if (key != ARGP_KEY_HELP_POST_DOC)
		return (char *)text;
	list = copy("Commands:");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		append(&list, "\n", "  %-9s%s", commands[i].name, commands[i].summary);
	append(&list, "\n\n", "'" PROGRAM " COMMAND --help' describes each.");
	return list;
}

static void parse_command_arguments(const struct command_line *command, int argc,
				    char **argv)
{
	struct argp_option own[ARRAY_SIZE(options) + 1] = {0};
	struct argp argp = {own,	  parse_option, command->operands,
			    command->doc, NULL,		help_columns,
			    NULL};
	_cleanup_free_ char *name = format(PROGRAM " %s", command->name);
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		if (options[i].commands & command->bit)
			own[n++] = options[i].option;
	}
	argv[0] = name;
	arg_request.command = command->command;
	/* In order, or glibc would move "--" in front of all operands. */
	argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, (void *)command);
}

static const struct command_line *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (streq(commands[i].name, name))
			return &commands[i];
	}
	return NULL;
}

/* Parses up to the command's name, and leaves the command in state->input. */
static error_t parse_command(int key, char *arg, struct argp_state *state)
{
	const struct command_line **command = state->input;

	switch (key) {
	case 'h':
		argp_state_help(state, stdout, ARGP_HELP_STD_HELP);
		break;
	case ARGP_KEY_ARG:
		*command = find_command(arg);
		if (!*command)
			misuse(state, "unknown command: '%.64s'", arg);
		parse_command_arguments(*command, state->argc - state->next + 1,
					state->argv + state->next - 1);
		state->next = state->argc; /* nothing is left for this parser */
		break;
	case ARGP_KEY_NO_ARGS:
		misuse(state, "COMMAND is missing");
		break;
	case KEY_NONE:
		refuse_option(state);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

/* Where COMMAND begins: behind the first "--" after the command's name. Returns argc if
 * there is none. */
static int lease_begins_at(int argc, char **argv)
{
	int i = 1;

	while (i < argc && *argv[i] == '-')
		i++;
	if (i < argc && !streq(argv[i], "handoff"))
		return argc;
	while (i < argc && !streq(argv[i], "--"))
		i++;
	return i + 1 < argc ? i + 1 : argc;
}

/* No name contains a control character, or what is no UTF-8; and in a message one could
 * forge anything on a terminal. */
static bool has_unprintable(int argc, char **argv)
{
	struct error e;

	for (int i = 1; i < argc; i++) {
		const char *what = unprintable(argv[i]);

		if (!what)
			continue;
		error_set(&e, STATUS_USAGE, "%s in '%.64s'", what, argv[i]);
		complain(NULL, "", &e);
		return true;
	}
	return false;
}

int main(int argc, char **argv)
{
	static const struct argp_option own[] = {{0, 'h', 0, OPTION_HIDDEN, 0, 0},
						 NOT_OURS("HANG"),
						 NOT_OURS("program-name"),
						 {0}};
	static const struct argp argp = {own,
					 parse_command,
					 "COMMAND [ARGUMENT...]",
					 "Take a device from its host driver, hand it to "
					 "VFIO, and put it back.\v",
					 NULL,
					 help_commands,
					 NULL};
	static char name[] = PROGRAM;
	const struct command_line *command = NULL;
	int lease_at = lease_begins_at(argc, argv);
	_cleanup_free_ char *format_of_help = copy(getenv("ARGP_HELP_FMT"));

	open_standard_fds();
	lease_begin(&arg_lease);
	signal(SIGXFSZ, SIG_IGN); /* so that a write fails, which is told */
	atexit(end_output);
	argp_err_exit_status = lease_at < argc ? STATUS_OF_LEASE : STATUS_USAGE;
	/* Wide enough for argp's "Try ..." to stand on one line. What the environment
	 * says is not obeyed: argp would complain of it, or print what cannot be read. */
	setenv("ARGP_HELP_FMT", "no-dup-args-note,rmargin=84", 1);
	if (has_unprintable(lease_at, argv))
		return argp_err_exit_status;
	if (argc > 0)
		argv[0] = name;
	argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &command);
	if (format_of_help) /* COMMAND gets it as it was */
		setenv("ARGP_HELP_FMT", format_of_help, 1);
	else
		unsetenv("ARGP_HELP_FMT");
	if (arg_dry_run)
		sysfs_dry_run();
	return command->bit == LIST ? run_list() : run_changing();
}
