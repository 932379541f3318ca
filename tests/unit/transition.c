// SPDX-License-Identifier: LGPL-2.1-or-later
/* Every state that a command can leave a device in, and the way home from it.
 *
 * The commands, the plan and the record's rule are the real ones (lib/command.c,
 * binding.c, record.c). Around them, what reads and writes below /sys and /run is
 * replaced (the linker's --wrap) by one device, which knows of the kernel's rules as much
 * as a transition needs. It stands for no kernel: tests/board and tests/pc ask real ones.
 *
 * From each origin, all that three commands in a row can leave is visited, when something
 * happens to one of them: it is killed at any of its points; or any of its writes fails,
 * and then, in the undo, another one, or all that follow, or it is killed there. Also
 * another tool may clear the flag or unbind the device in between. */
#include "../../lib/below.h"
#include "../../lib/binding.h"
#include "../../lib/check.h"
#include "../../lib/command.h"
#include "../../lib/driver.h"
#include "../../lib/sysfs.h"
#include "test.h"

#include <errno.h>
#include <setjmp.h>
#include <stdio.h>

#define COMMANDS 3

/* A command that is killed here leaves by longjmp(), and its memory behind. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}

/* --- the device ---------------------------------------------------------------- */

/* The names that a driver or a flag can have here. */
enum { NONE_SET, NONE, HOST, VFIO, OTHER, N_NAMES };
static const char *const names[] = {NULL, "none", "e1000e", "vfio-pci",
				    "uio_pci_generic"};

/* All that is, and what was before vfio-bind first touched the device. */
struct world {
	int driver, flag;
	int origin_driver, origin_flag;
	char record[256]; /* "": there is none; with nothing behind it: worlds are
			   * compared as memory */
	bool faulted;	  /* something has happened to a command */
};

static struct world world;
static bool flagged_only; /* a VF of a PF whose sriov_drivers_autoprobe is 0 */
static bool vfio_has_pf;  /* a VF of a PF that VFIO has */
static bool vfio_has_id;  /* vfio-pci was told the device's (new_id), and comes first */

/* What happens to a command: it is killed before its Nth point (a write to /sys or to the
 * record), or it fails at the Nth, and at the Mth or all after it; or at the Nth a VFIO
 * driver takes the device if nothing keeps it from that. 0: never. */
static struct fault {
	int point, kill_at, fail_at, then_at, grab_at;
	bool then_all;
} fault;

static jmp_buf killed;
static bool
	exposed; /* the device was without driver and flag, and not about to be bound */

static int number_of(const char *name)
{
	for (int i = 0; i < N_NAMES; i++) {
		if (streq(names[i], name))
			return i;
	}
	return NONE_SET;
}

/* A point at which the command could be killed, or fail. Returns 0 or -EIO. */
static int point(void)
{
	fault.point++;
	if (fault.point == fault.kill_at)
		longjmp(killed, 1);
	if (fault.point == fault.grab_at && !world.driver && !world.flag)
		world.driver = VFIO;
	if (fault.fail_at &&
	    (fault.point == fault.fail_at || fault.point == fault.then_at ||
	     (fault.then_all && fault.point > fault.fail_at)))
		return -EIO;
	return 0;
}

/* driver_match_device(): with the flag, by it alone; else by the ids, and of the two host
 * drivers only one has the device's. */
static bool matches(int driver)
{
	if (world.flag)
		return world.flag == driver;
	return !flagged_only && (driver == HOST || (driver == VFIO && vfio_has_id));
}

/* bind_store() looks first whether the driver matches. */
static int bind_to(int driver)
{
	if (!matches(driver))
		return -ENODEV;
	if (world.driver)
		return -EBUSY;
	world.driver = driver;
	return 0;
}

static int first_choice(void)
{
	return world.flag ? world.flag : vfio_has_id ? VFIO : HOST;
}

static int write_attribute(const char *dir, const char *attr, const char *value)
{
	const char *driver = strrchr(dir, '/') + 1;

	if (streq(attr, "driver_override"))
		world.flag = number_of(*value ? value : NULL);
	else if (streq(attr, "bind"))
		return bind_to(number_of(driver));
	else if (streq(attr, "drivers_probe"))
		IGNORE(bind_to(first_choice()));
	else if (streq(attr, "unbind") && world.driver == number_of(driver))
		world.driver = NONE_SET;
	else
		return -ENODEV;
	return 0;
}

/* --- in place of lib/ ---------------------------------------------------------- */

int __wrap_sysfs_write(const char *dir, const char *attr, const char *value);
int __wrap_sysfs_write(const char *dir, const char *attr, const char *value)
{
	int err;

	if (!world.driver && !world.flag && !streq(attr, "bind") &&
	    !streq(attr, "drivers_probe"))
		exposed = true;
	err = point();
	return err < 0 ? err : write_attribute(dir, attr, value);
}

char *__wrap_sysfs_link(const char *dir, const char *link);
char *__wrap_sysfs_link(const char *dir, const char *link)
{
	(void)dir;
	errno = ENOENT; /* if it has none */
	return streq(link, "driver") ? copy(names[world.driver]) : NULL;
}

char *__wrap_sysfs_read(const char *dir, const char *attr);
char *__wrap_sysfs_read(const char *dir, const char *attr)
{
	(void)dir;
	if (streq(attr, "driver_override"))
		return copy(world.flag ? names[world.flag] : "(null)");
	if (streq(attr, "physfn/sriov_drivers_autoprobe") && flagged_only)
		return copy("0");
	return NULL;
}

/* It is in no IOMMU group. Asked here, for the kernel takes its time for each question.
 */
struct names __wrap_sysfs_names(const char *dir, const char *prefix);
struct names __wrap_sysfs_names(const char *dir, const char *prefix)
{
	(void)dir;
	(void)prefix;
	return (struct names){0};
}

bool __wrap_sysfs_has(const char *dir, const char *entry);
bool __wrap_sysfs_has(const char *dir, const char *entry)
{
	(void)dir;
	return !streq(entry, "driver") || world.driver;
}

int __wrap_record_lock(const struct device *dev, int *lock, struct error *e);
int __wrap_record_lock(const struct device *dev, int *lock, struct error *e)
{
	(void)dev, (void)lock, (void)e;
	return 0;
}

int __wrap_record_read(const struct device *dev, const struct binding *is,
		       struct record *record, struct error *e);
int __wrap_record_read(const struct device *dev, const struct binding *is,
		       struct record *record, struct error *e)
{
	struct record found;

	(void)dev, (void)e;
	if (!*world.record)
		return 0;
	found = record_parse(world.record);
	if (!record_believes(&found, is)) {
		record_clear(&found);
		return 0;
	}
	*record = found;
	return 1;
}

int __wrap_record_write(const struct device *dev, const struct record *record,
			struct error *e);
int __wrap_record_write(const struct device *dev, const struct record *record,
			struct error *e)
{
	_cleanup_free_ char *text = record_text(record);

	(void)dev;
	if (point() < 0)
		return error_set(e, STATUS_FAILED, "cannot write the record");
	strncpy(world.record, text, sizeof(world.record) - 1);
	return 0;
}

int __wrap_record_remove(const struct device *dev, struct error *e);
int __wrap_record_remove(const struct device *dev, struct error *e)
{
	(void)dev;
	if (point() < 0)
		return error_set(e, STATUS_FAILED, "cannot remove the record");
	memset(world.record, 0, sizeof(world.record));
	return 0;
}

/* Each command is let through; what the checks check is tested elsewhere. But they must
 * be asked of the device as it is. */
int __wrap_check_all(struct job *job, struct error *e);
int __wrap_check_all(struct job *job, struct error *e)
{
	(void)e;
	if (!streq(job->from.driver, names[world.driver]))
		complain("checked on %s, and it is on %s", job->from.driver ?: "-",
			 names[world.driver] ?: "-");
	return 0;
}

char *__wrap_driver_load(const char *bus, const char *name, struct error *e);
char *__wrap_driver_load(const char *bus, const char *name, struct error *e)
{
	(void)bus, (void)e;
	return copy(name);
}

char *__wrap_driver_registered(const char *bus, const char *name);
char *__wrap_driver_registered(const char *bus, const char *name)
{
	(void)bus;
	return copy(name);
}

void __wrap_driver_load_for(const struct device *dev);
void __wrap_driver_load_for(const struct device *dev)
{
	(void)dev;
	if (!world.driver && !world.flag)
		IGNORE(bind_to(HOST));
}

struct names __wrap_driver_all(const struct device *dev);
struct names __wrap_driver_all(const struct device *dev)
{
	struct names all = {0};

	(void)dev;
	for (int driver = HOST; driver < N_NAMES; driver++)
		names_add(&all, names[driver]);
	return all;
}

char *__wrap_pci_pf_driver(const struct device *dev);
char *__wrap_pci_pf_driver(const struct device *dev)
{
	(void)dev;
	return vfio_has_pf ? copy(names[VFIO]) : NULL;
}

uint64_t __wrap_device_incarnation(const struct device *dev);
uint64_t __wrap_device_incarnation(const struct device *dev)
{
	(void)dev;
	return 1;
}

bool __wrap_device_is_gone(const struct device *dev);
bool __wrap_device_is_gone(const struct device *dev)
{
	(void)dev;
	return false;
}

int __wrap_binding_reset(const struct device *dev, const struct binding *is,
			 enum reset reset, const struct patience *patience,
			 struct error *e);
int __wrap_binding_reset(const struct device *dev, const struct binding *is,
			 enum reset reset, const struct patience *patience,
			 struct error *e)
{
	(void)dev, (void)is, (void)reset, (void)patience;
	return point() < 0 ? error_set(e, STATUS_FAILED, "reset failed") : 0;
}

int __wrap_below_read(const struct device *dev, struct below *below);
int __wrap_below_read(const struct device *dev, struct below *below)
{
	(void)dev;
	*below = (struct below){0};
	return 0;
}

/* This machine's udev knows nothing of it. */
void __wrap_udev_watch_start(struct udev_watch *watch, const struct device *dev);
void __wrap_udev_watch_start(struct udev_watch *watch, const struct device *dev)
{
	(void)watch, (void)dev;
}

/* --- the commands -------------------------------------------------------------- */

static bool may_pass(enum phase phase)
{
	(void)phase;
	return true;
}

static const char *given_up(void)
{
	return NULL;
}

static void warn(const char *text)
{
	(void)text;
}

enum { KILLED = -1 };

/* Run it on the world, with the fault. Returns its status, or KILLED. */
static int run(enum command command, const char *driver, struct error *e)
{
	static const struct supervisor supervisor = {may_pass, given_up, warn, NULL,
						     NULL};
	static char bus[] = "pci", name[] = "0000:00:12.0",
		    path[] = "/sys/devices/pci0000:00/0000:00:12.0";
	static const struct device dev = {bus, name, path};
	const struct request request = {.command = command,
					.driver = driver,
					.reset = RESET_AUTO};

	fault.point = 0;
	exposed = false;
	*e = (struct error){0};
	if (setjmp(killed))
		return KILLED;
	return command_run(&dev, &request, &supervisor, e) < 0 ? (int)e->status
							       : STATUS_DONE;
}

static const struct action {
	const char *text;
	enum { PIN, HANDOFF, RELEASE, CLEAR_FLAG, UNBIND } kind;
	int driver;
} actions[] = {
	{"pin none", PIN, NONE},
	{"pin e1000e", PIN, HOST},
	{"pin vfio-pci", PIN, VFIO},
	{"pin uio_pci_generic", PIN, OTHER},
	{"handoff none", HANDOFF, NONE},
	{"handoff e1000e", HANDOFF, HOST},
	{"handoff vfio-pci", HANDOFF, VFIO},
	{"handoff uio_pci_generic", HANDOFF, OTHER},
	{"release", RELEASE, NONE_SET},
	{"another tool clears the flag", CLEAR_FLAG, 0},
	{"another tool unbinds it", UNBIND, 0},
};

/* --- what must be so ----------------------------------------------------------- */

static size_t now_at; /* the visit from which the world came about */
static struct deed {
	const struct action *action; /* NULL: it is the origin */
	struct fault fault;
} how; /* and how */
static char origin[128];
static void tell_story(size_t visit);

static const char *deed_text(const struct deed *deed)
{
	static char text[128];
	const struct fault *f = &deed->fault;

	if (!deed->action)
		return origin;
	snprintf(text, sizeof(text),
		 "%s (killed at %d, failing at %d, %d%s; grabbed at %d)",
		 deed->action->text, f->kill_at, f->fail_at, f->then_at,
		 f->then_all ? " and on" : "", f->grab_at);
	return text;
}

static void violated(const char *what, const struct error *e)
{
	tell_story(now_at);
	complain("%s: %s: now on %s, flagged for %s, record '%s'; it said: %s",
		 deed_text(&how), what, names[world.driver] ?: "-",
		 names[world.flag] ?: "-", world.record, e->text);
}

static bool is_at_origin(const struct world *w)
{
	return w->driver == w->origin_driver && w->flag == w->origin_flag;
}

/* Did VFIO have the device before vfio-bind saw it, or was it to have it next? */
static bool vfio_had_it(const struct world *w)
{
	int taker = w->origin_driver ? w->origin_driver : w->origin_flag;

	return taker == VFIO && !vfio_has_pf;
}

/* Where it was; but from VFIO it goes to the host driver that the kernel would choose. */
static bool is_at_home(const struct world *w)
{
	if (!vfio_had_it(w))
		return is_at_origin(w);
	return w->driver == (flagged_only ? NONE_SET : HOST) && !w->flag;
}

/* What the status says of the device. */
static void check_status(const struct action *action, int status,
			 const struct world *before, const struct error *e)
{
	bool same = world.driver == before->driver && world.flag == before->flag &&
		    streq(world.record, before->record);
	int flag = action->driver;
	int driver = action->kind == PIN ? before->driver
		     : flag == NONE	 ? NONE_SET
					 : flag;
	_cleanup_free_ char *state = NULL;

	if (status == KILLED)
		return;
	if (status == STATUS_DONE && action->kind != RELEASE && exposed &&
	    (before->driver || before->flag))
		violated("it was without driver and flag", e);
	if (status == STATUS_FAILED && !same)
		violated("status 1, and not as it was", e);
	if (status == STATUS_DONE && action->kind != RELEASE &&
	    (world.driver != driver || world.flag != flag))
		violated("status 0, and it is not so", e);
	if (status == STATUS_DONE && action->kind == RELEASE && *world.record)
		violated("released, and there is a record still", e);
	if (status == STATUS_DONE && action->kind == RELEASE && *before->record &&
	    !is_at_home(&world))
		violated("released, and not at home", e);
	if (status == STATUS_DONE && action->kind == RELEASE && world.driver == VFIO &&
	    !vfio_has_pf)
		violated("released, and VFIO has it", e);
	if (status == STATUS_DONE && action->kind == RELEASE && before->driver == VFIO &&
	    !*before->record && vfio_has_pf && world.driver != VFIO)
		violated("released from VFIO, which was its home", e);
	if (status == STATUS_BROKEN) {
		struct binding is = {(char *)names[world.driver],
				     (char *)names[world.flag]};

		state = binding_text(&is);
		if (!strstr(e->text, state) || !strstr(e->hint, "vfio-bind release "))
			violated("status 4, and it does not say how the device is", e);
	}
}

/* A device that was touched is on record, the record is believed, and a release brings it
 * home. */
static void check_way_home(void)
{
	const struct world left = world;
	struct binding is = {(char *)names[world.driver], (char *)names[world.flag]};
	struct record record = record_parse(world.record);
	struct error e = {0};

	memset(&fault, 0, sizeof(fault));
	if (!*world.record) {
		if (!is_at_origin(&world) && !is_at_home(&world))
			violated("touched, and there is no record", &e);
	} else {
		/* At home already, the record is needed no more. */
		if (!record_believes(&record, &is) && !is_at_home(&world))
			violated("the record is not believed", &e);
		if (run(COMMAND_RELEASE, NULL, &e) != STATUS_DONE ||
		    !is_at_home(&world) || *world.record)
			violated("a release does not bring it home", &e);
	}
	record_clear(&record);
	if (vfio_had_it(&world) &&
	    (run(COMMAND_RELEASE, NULL, &e) != STATUS_DONE || !is_at_home(&world)))
		violated("the next release does not leave it at home", &e);
	world = left;
}

/* --- the walk ------------------------------------------------------------------ */

/* The states that were met from this origin, nearest first, and how each came about. */
static struct visit {
	struct world world;
	size_t from; /* the one before; of the first: itself */
	int commands;
	struct deed how;
	size_t next; /* another one of the same bucket: its number + 1, or 0 */
} visits[8192];
static size_t n_visits, n_runs, n_worlds;
static size_t buckets[4096]; /* by what the world is: the last one's number + 1, or 0 */

static void tell_story(size_t visit)
{
	if (visits[visit].from != visit)
		tell_story(visits[visit].from);
	complain("%s;", deed_text(&visits[visit].how));
}

static size_t *bucket_of(const struct world *w)
{
	size_t hash = (w->driver * N_NAMES + w->flag) * 2 + w->faulted;

	for (const char *c = w->record; *c; c++)
		hash = hash * 31 + *c;
	return &buckets[hash % ARRAY_SIZE(buckets)];
}

/* The world is what came of @how. Returns whether it had not been met. */
static bool visit(size_t from, int commands)
{
	size_t *bucket = bucket_of(&world);

	for (size_t i = *bucket; i; i = visits[i - 1].next) {
		if (memcmp(&visits[i - 1].world, &world, sizeof(world)) == 0)
			return false;
	}
	if (n_visits == ARRAY_SIZE(visits))
		abort();
	visits[n_visits++] = (struct visit){world, from, commands, how, *bucket};
	*bucket = n_visits;
	n_worlds++;
	return true;
}

/* Run the action on the world of visits[@from]. Returns how many points it had. */
static int try(const struct action *action, size_t from)
{
	static const enum command commands[] = {[PIN] = COMMAND_PIN,
						[HANDOFF] = COMMAND_HANDOFF,
						[RELEASE] = COMMAND_RELEASE};
	const struct world before = visits[from].world;
	bool by_other = action->kind == CLEAR_FLAG || action->kind == UNBIND;
	struct error e = {0};
	int status, points;

	now_at = from;
	world = before;
	world.faulted |= fault.kill_at || fault.fail_at || fault.grab_at;
	how = (struct deed){action, fault};
	if (action->kind == CLEAR_FLAG) {
		world.flag = NONE_SET;
	} else if (action->kind == UNBIND) {
		world.driver = NONE_SET;
	} else {
		status = run(commands[action->kind], names[action->driver], &e);
		n_runs++;
		check_status(action, status, &before, &e);
	}
	points = fault.point;
	memset(&fault, 0, sizeof(fault));
	/* Without a record, where it goes from here is where it is at home. */
	if (!*world.record && !*before.record && (by_other || action->kind == RELEASE)) {
		world.origin_driver = world.driver;
		world.origin_flag = world.flag;
	}
	if (visit(from, visits[from].commands + 1))
		check_way_home();
	return points;
}

/* VFIO takes the device at each point in turn, after the write at @fail_at has failed (0:
 * none has). A device that has neither driver nor flag, now or at home, it could take at
 * any time. */
static void try_with_grabs(const struct action *action, size_t from, int points,
			   int fail_at)
{
	const struct world *before = &visits[from].world;

	if (!vfio_has_id || (!before->driver && !before->flag) ||
	    (!before->origin_driver && !before->origin_flag))
		return;
	for (int n = fail_at + 1; n <= points; n++) {
		fault.fail_at = fail_at;
		fault.grab_at = n;
		try(action, from);
	}
}

static void try_with_faults(const struct action *action, size_t from)
{
	int points = try(action, from);

	if (visits[from].world.faulted)
		return;
	try_with_grabs(action, from, points, 0);
	for (int n = 1; n <= points; n++) {
		int with_undo;

		fault.kill_at = n;
		try(action, from);
		fault.fail_at = n;
		fault.then_all = true;
		try(action, from);
		fault.fail_at = n;
		with_undo = try(action, from);
		if (action->kind != RELEASE) /* which is not undone */
			try_with_grabs(action, from, with_undo, n);
		for (int m = n + 1; m <= with_undo; m++) {
			fault.fail_at = n;
			fault.then_at = m;
			try(action, from);
			fault.fail_at = n;
			fault.kill_at = m;
			try(action, from);
		}
	}
}

static void walk_from(int driver, int flag)
{
	memset(&world, 0, sizeof(world));
	world.driver = world.origin_driver = driver;
	world.flag = world.origin_flag = flag;
	n_visits = 0;
	memset(buckets, 0, sizeof(buckets));
	how = (struct deed){0};
	snprintf(origin, sizeof(origin), "from %s, flagged for %s%s%s%s",
		 names[driver] ?: "-", names[flag] ?: "-",
		 flagged_only ? ", bound by its flag only" : "",
		 vfio_has_pf ? ", its PF on VFIO" : "",
		 vfio_has_id ? ", its id told to VFIO" : "");
	visit(0, 0);
	for (size_t i = 0; i < n_visits && visits[i].commands < COMMANDS; i++) {
		for (size_t a = 0; a < ARRAY_SIZE(actions); a++)
			try_with_faults(&actions[a], i);
	}
}

static void walk_from_vfio(int driver, int flag)
{
	if (driver == VFIO || flag == VFIO)
		walk_from(driver, flag);
}

/* --- the plan by itself -------------------------------------------------------- */

static void apply(const struct step *step)
{
	switch (step->kind) {
	case STEP_FLAG:
		world.flag = number_of(step->driver);
		break;
	case STEP_UNBIND:
		EXPECT(world.driver == number_of(step->driver));
		world.driver = NONE_SET;
		break;
	case STEP_BIND:
		EXPECT(bind_to(number_of(step->driver)) == 0);
		break;
	case STEP_PROBE:
		break;
	}
}

/* From one binding to another it gets there, and is never exposed on the way; and from
 * wherever it got to, the plan back leads back. */
static void check_plan(int from_driver, int from_flag, int to_driver, int to_flag)
{
	struct binding from = {(char *)names[from_driver], (char *)names[from_flag]};
	struct binding to = {(char *)names[to_driver], (char *)names[to_flag]};
	bool forward = flagged_only || to_driver == VFIO || to_driver == OTHER;
	bool back = flagged_only || from_driver == VFIO || from_driver == OTHER;
	struct plan plan = binding_plan(&from, &to, forward);

	EXPECT(plan.n <= ARRAY_SIZE(plan.step));
	EXPECT(binding_equal(&from, &to) == (plan.n == 0));
	for (size_t n = 0; n <= plan.n; n++) {
		struct binding is;
		struct plan undo;

		world.driver = from_driver;
		world.flag = from_flag;
		for (size_t i = 0; i < n; i++)
			apply(&plan.step[i]);
		EXPECT(n < plan.n ||
		       (world.driver == to_driver && world.flag == to_flag));
		EXPECT(n == 0 || n == plan.n || world.driver || world.flag ||
		       plan.step[n].kind == STEP_BIND);
		is = (struct binding){(char *)names[world.driver],
				      (char *)names[world.flag]};
		undo = binding_plan(&is, &from, back);
		for (size_t i = 0; i < undo.n; i++)
			apply(&undo.step[i]);
		EXPECT(world.driver == from_driver && world.flag == from_flag);
	}
}

/* Every driver and every flag: where a device can be. */
static void for_each_binding(void (*use)(int driver, int flag))
{
	for (int driver = 0; driver < N_NAMES; driver++) {
		for (int flag = 0; flag < N_NAMES; flag++) {
			if (driver != NONE)
				use(driver, flag);
		}
	}
}

static int plan_driver, plan_flag;

static void check_plan_to(int driver, int flag)
{
	check_plan(plan_driver, plan_flag, driver, flag);
}

static void check_plans_from(int driver, int flag)
{
	plan_driver = driver;
	plan_flag = flag;
	for_each_binding(check_plan_to);
}

int main(void)
{
	for_each_binding(check_plans_from);
	flagged_only = true;
	for_each_binding(check_plans_from);
	ok(content(), "a plan from every binding to every other one, and back from every "
		      "step");

	flagged_only = false;
	for_each_binding(walk_from);
	ok(content(),
	   "from every origin, no state that is left is disowned, and a release ends "
	   "well");

	flagged_only = true;
	for_each_binding(walk_from);
	ok(content(), "the same, of a VF that is bound by its flag only");

	flagged_only = false;
	vfio_has_pf = true;
	for_each_binding(walk_from_vfio);
	ok(content(), "the same, of a VF whose PF VFIO has: there VFIO is its home");

	vfio_has_pf = false;
	vfio_has_id = true;
	for_each_binding(walk_from);
	ok(content(),
	   "the same, when the kernel's choice is VFIO, which may also take it "
	   "in between");
	printf("# %zu runs of a command, %zu states\n", n_runs, n_worlds);
	return done();
}
