/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "usage.h"
#include "below.h"
#include "disk.h"
#include "driver.h"
#include "link.h"
#include "pci.h"
#include "share.h"
#include "sysfs.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

/* What the kinds of users are found from. */
struct context {
	const struct device *dev;
	const struct below *below;
	const struct holders *holders;
};

static void add_use(struct usage *usage, const char *fmt, ...) _printf_(2, 3);

static void add_use(struct usage *usage, const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list args;

	va_start(args, fmt);
	if (vasprintf(&text, fmt, args) < 0)
		abort();
	va_end(args);
	names_add(&usage->uses, text);
}

/* --- processes --------------------------------------------------------------------- */

/* Nodes that a session's daemons keep open on every desktop, and let go of when the
 * device goes (logind, PipeWire). */
static const struct {
	const char *subsystem, *name; /* the beginning of it */
} let_go[] = {
	{"input", ""},
	{"hidraw", ""},
	{"sound", "control"},
};

static bool is_let_go(const struct node *node)
{
	for (size_t i = 0; i < ARRAY_SIZE(let_go); i++) {
		if (streq(node->subsystem, let_go[i].subsystem) &&
		    starts_with(below_name(node->path), let_go[i].name))
			return true;
	}
	return false;
}

static int process_uses(const struct context *c, struct usage *usage, struct error *e)
{
	_cleanup_files_ struct file_ids all = {0};
	size_t before = usage->uses.n;

	(void)e;
	for (size_t i = 0; i < c->below->n; i++) {
		const struct node *node = &c->below->node[i];
		struct file_ids one = {(struct file_id *)&node->file, 1};
		_cleanup_free_ char *who = holders_text(c->holders, &one, LIST_MAX);
		_cleanup_free_ char *path = NULL, *use = NULL;

		if (!who)
			continue;
		path = below_node(node);
		use = format("%s is open in %s", path, who);
		names_add(is_let_go(node) ? &usage->let_go : &usage->uses, use);
	}
	below_files(c->below, &all);
	usage->processes = holders_text(c->holders, &all, LIST_MAX);
	usage->momentary = before == 0 && usage->uses.n;
	return 0;
}

/* --- disks, interfaces, shares ----------------------------------------------------- */

static int block_uses(const struct context *c, struct usage *usage, struct error *e)
{
	_cleanup_names_ struct names disks = {0};

	for (size_t i = 0; i < c->below->n; i++) {
		const struct node *node = &c->below->node[i];

		if (streq(node->subsystem, "block") || streq(node->subsystem, "nvme"))
			names_add(&disks, node->path);
	}
	return disk_uses(&disks, &usage->uses, e);
}

static int mounted_share_uses(const struct context *c, struct usage *usage,
			      struct error *e)
{
	return share_uses(c->dev, &usage->uses, e);
}

static int interface_uses(const struct context *c, struct usage *usage, struct error *e)
{
	return link_uses(&c->below->net_parents, &usage->uses, e);
}

/* Would the consumer that the link leads to be unbound with the device? What is below it
 * is looked at itself, and can have the device for a consumer. */
static bool goes_too(const struct device *dev, const char *link)
{
	_cleanup_free_ char *consumer = format("%s/consumer", link);
	_cleanup_free_ char *status = sysfs_read(link, "status");
	_cleanup_free_ char *sync_only = sysfs_read(link, "sync_state_only");

	return streq(status, "active") && !streq(sync_only, "1") &&
	       !below_has(dev, consumer);
}

static int consumer_uses(const struct context *c, struct usage *usage, struct error *e)
{
	const struct names *links = &c->below->consumers;

	(void)e;
	for (size_t i = 0; i < links->n; i++) {
		const char *link = links->name[i];
		const char *name = below_name(link) + strlen("consumer:");
		_cleanup_free_ char *supplier =
			format("%.*s", (int)(below_name(link) - 1 - link), link);

		if (!goes_too(c->dev, link))
			continue;
		if (streq(supplier, c->dev->path))
			add_use(usage, "its consumer %s would be unbound too", name);
		else
			add_use(usage, "%s, a consumer of its %s, would be unbound too",
				name, below_name(supplier));
	}
	return 0;
}

/* Is the framebuffer console in use? */
static bool console_on_framebuffer(void)
{
	_cleanup_names_ struct names consoles = sysfs_names("/sys/class/vtconsole", "");
	bool on = false;

	for (size_t i = 0; i < consoles.n; i++) {
		_cleanup_free_ char *dir =
			format("/sys/class/vtconsole/%s", consoles.name[i]);
		_cleanup_free_ char *name = sysfs_read(dir, "name");
		_cleanup_free_ char *bound = sysfs_read(dir, "bind");

		on |= name && strstr(name, "frame buffer") && streq(bound, "1");
	}
	return on;
}

/* Is it a framebuffer of @dev? The firmware's, on the platform bus, belongs to the
 * display that the host booted with. */
static bool is_framebuffer_of(const struct device *dev, const char *name)
{
	_cleanup_free_ char *link = format("/sys/class/graphics/%s/device", name);
	_cleanup_free_ char *boot_vga = sysfs_read(dev->path, "boot_vga");
	_cleanup_device_ struct device owner = {0};

	if (device_behind(link, &owner) < 0)
		return false;
	return device_same(&owner, dev) ||
	       (streq(owner.bus, "platform") && streq(boot_vga, "1"));
}

/* Is every framebuffer of the host on this display, with the console on it? */
static int console_uses(const struct context *c, struct usage *usage, struct error *e)
{
	const struct device *dev = c->dev;
	_cleanup_names_ struct names framebuffers =
		sysfs_names("/sys/class/graphics", "fb");
	const char *own = NULL;

	(void)e;
	if (!pci_is_display(dev))
		return 0;
	for (size_t i = 0; i < framebuffers.n; i++) {
		if (streq(framebuffers.name[i], "fbcon"))
			continue;
		if (!is_framebuffer_of(dev, framebuffers.name[i]))
			return 0;
		own = framebuffers.name[i];
	}
	if (own && console_on_framebuffer())
		add_use(usage, "%s has the only console of this host", own);
	return 0;
}

/* Is the kernel's console on one of its serial lines? The kernel writes to it without an
 * open node, and who has /dev/console open has that one's number. */
static int serial_console_uses(const struct context *c, struct usage *usage,
			       struct error *e)
{
	_cleanup_free_ char *consoles = sysfs_read("/sys/class/tty/console", "active");
	char *rest = consoles;
	const char *console;

	(void)e;
	while ((console = strsep(&rest, " "))) {
		for (size_t i = 0; i < c->below->n; i++) {
			const struct node *node = &c->below->node[i];

			if (streq(node->subsystem, "tty") &&
			    streq(below_name(node->path), console))
				add_use(usage, "%s is a console of the kernel", console);
		}
	}
	return 0;
}

#define NETCONSOLE "/sys/kernel/config/netconsole"

/* Does the kernel send its messages by one of its interfaces? That needs no address of
 * the interface. */
static int netconsole_uses(const struct context *c, struct usage *usage, struct error *e)
{
	_cleanup_names_ struct names targets = {0};

	(void)e;
	if (c->below->interfaces.n)
		targets = sysfs_names(NETCONSOLE, "");
	for (size_t i = 0; i < targets.n; i++) {
		_cleanup_free_ char *dir = format(NETCONSOLE "/%s", targets.name[i]);
		_cleanup_free_ char *enabled = sysfs_read(dir, "enabled");
		_cleanup_free_ char *name = sysfs_read(dir, "dev_name");

		for (size_t j = 0; j < c->below->interfaces.n; j++) {
			if (streq(enabled, "1") &&
			    streq(name, below_name(c->below->interfaces.name[j])))
				add_use(usage, "interface %s sends the kernel's messages",
					name);
		}
	}
	return 0;
}

/* What a driver has made need not be below the device: the watchdog of some, an algorithm
 * of the kernel's crypto, a channel for DMA, a clock. Of a device that has nothing to be
 * seen below it, the driver's module tells whether there are users. */
static int module_uses(const struct context *c, struct usage *usage, struct error *e)
{
	const struct below *below = c->below;

	(void)e;
	if (below->n || below->net_parents.n || usage->uses.n)
		return 0;
	for (size_t i = 0; i < below->drivers.n; i++) {
		_cleanup_free_ char *module = driver_module_used(below->drivers.name[i]);

		if (module)
			add_use(usage, "the kernel counts users of its module %s",
				module);
	}
	return 0;
}

/* --- all of them ------------------------------------------------------------------- */

/* Each adds what it finds to @usage. Returns 0 or -1 with @e: it could not be looked at.
 * What is open comes last: it can be over in a moment. */
static int (*const kinds[])(const struct context *c, struct usage *usage,
			    struct error *e) = {
	interface_uses,	 block_uses,   mounted_share_uses,
	consumer_uses,	 console_uses, serial_console_uses,
	netconsole_uses, module_uses,  process_uses,
};

/* A scan that is older may not know of a process that has come since. */
#define FRESH SEC

/* Returns @known, if it is fresh and tells of all @files; or looks for them now, in @own.
 */
static const struct holders *find_holders(const struct holders *known,
					  const struct file_ids *files,
					  struct holders *own, int *result,
					  struct error *e)
{
	if (known && now() - known->at < FRESH && holders_know(known, files))
		return known;
	if (holders_find(files, INT64_MAX, -1, own, e) < 0)
		*result = -1;
	return own;
}

int usage_find(const struct device *dev, const struct holders *known, struct usage *usage,
	       struct error *e)
{
	_cleanup_below_ struct below below = {0};
	_cleanup_holders_ struct holders own = {0};
	_cleanup_files_ struct file_ids files = {0};
	struct context context = {.dev = dev, .below = &below};
	int result = 0, err = below_read(dev, &below);
	struct error other;

	*usage = (struct usage){0};
	if (err < 0)
		result = error_set(e, STATUS_REFUSED,
				   "cannot tell what it is used for: %s", strerror(-err));
	below_files(&below, &files);
	context.holders =
		find_holders(known, &files, &own, &result, result < 0 ? &other : e);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (kinds[i](&context, usage, result < 0 ? &other : e) < 0)
			result = -1;
	}
	return result;
}

void usage_clear(struct usage *usage)
{
	names_free(&usage->uses);
	names_free(&usage->let_go);
	free(usage->processes);
	*usage = (struct usage){0};
}

int usage_files(const struct device *dev, struct file_ids *files)
{
	_cleanup_below_ struct below below = {0};
	int err = below_read(dev, &below);

	below_files(&below, files);
	return err;
}

char *usage_names(const struct device *dev)
{
	_cleanup_below_ struct below below = {0};
	char *list = NULL;

	int err = below_read(dev, &below);

	if (err < 0) { /* some is better than none, if that is said */
		errno = -err;
		sysfs_note_unread(dev->path);
	}
	for (size_t i = 0; i < below.interfaces.n; i++)
		append(&list, ",", "%s", below_name(below.interfaces.name[i]));
	for (size_t i = 0; i < below.n; i++) {
		if (!below.node[i].elsewhere)
			append(&list, ",", "%s", below_name(below.node[i].path));
	}
	return list;
}
