/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "name.h"
#include "sysfs.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define VIRTUAL "/sys/devices/virtual/"

struct search {
	struct devices found;
	char *virtual; /* syspath of an interface or node that has no device behind it */
};

static void clear(struct search *search)
{
	devices_clear(&search->found);
	free(search->virtual);
}

/* --- spellings ------------------------------------------------------------------- */

#define HEX "0123456789abcdefABCDEF"

/* The numbers of a PCI address: how many of which digits, and what may stand behind them;
 * as the kernel writes it, the first. */
static const struct number {
	size_t least, most;
	const char *digits, *ends;
} pci_numbers[] = {
	{4, 8, HEX, ":_"},	/* domain */
	{2, 2, HEX, ":_"},	/* bus */
	{2, 2, HEX, "._"},	/* device */
	{1, 1, "01234567", ""}, /* function */
};

/* How many digits has the number that @text begins with? 0: it begins with none such. */
static size_t count_digits(const struct number *number, const char *text)
{
	size_t n = strspn(text, number->digits);
	size_t ends = text[n] ? strspn(&text[n], number->ends) : !*number->ends;

	return n >= number->least && n <= number->most && ends ? n : 0;
}

/* The PCI address that @text spells, as "pci/0000:00:1f.2"; NULL: it spells none. In
 * upper case, and without a domain, which is 0000 then, as lspci has it; behind "pci", as
 * udev ("pci-0000:00:1f.2"), the kernel ("pci:...") and libvirt ("pci_0000_00_1f_2") have
 * it. Of many devices each is asked for: a regex would take as long as all the rest. */
static char *pci_address(const char *text)
{
	char *address = copy("pci/");

	if (strncasecmp(text, "pci", 3) == 0 && text[3] && strchr("/:_-", text[3]))
		text += 4;
	for (size_t i = 0; i < ARRAY_SIZE(pci_numbers); i++) {
		const struct number *number = &pci_numbers[i];
		size_t n = count_digits(number, text);

		if (!n && i > 0) {
			free(address);
			return NULL;
		}
		append(&address, "", "%.*s%.1s", n ? (int)n : 4, n ? text : "0000",
		       number->ends);
		text += n ? n + 1 : 0;
	}
	for (char *c = address; *c; c++)
		*c = tolower((unsigned char)*c);
	return address;
}

/* What @name may be a spelling of: a PCI address as BUS/NAME, then itself, as NAME,
 * BUS/NAME or a path, then what else. */
static struct names spellings(const char *name)
{
	static const char *const options[] = {"host=", "sysfsdev="}; /* of QEMU */
	_cleanup_free_ char *plain = NULL, *other = NULL;
	struct names list = {0};
	const char *colon;

	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		if (starts_with(name, options[i]))
			name += strlen(options[i]);
	}
	plain = copy(name);
	for (size_t n = strlen(plain); n > 1 && plain[n - 1] == '/'; n--)
		plain[n - 1] = '\0';
	other = pci_address(plain);
	if (other) {
		names_add(&list, other);
		names_add(&list, plain);
		return list;
	}
	names_add(&list, plain);
	colon = strchr(plain, ':');
	if (plain[0] == '/')
		other = format("/sys%s", plain); /* a DEVPATH, as uevents have it */
	else if (colon)
		other = format("%.*s/%s", (int)(colon - plain), plain, colon + 1);
	if (other)
		names_add(&list, other);
	return list;
}

/* --- paths ----------------------------------------------------------------------- */

static void match(struct search *search, const char *path)
{
	struct device dev;

	if (device_behind(path, &dev) == 0)
		devices_add(&search->found, &dev);
}

/* A virtio device, an I2C adapter and a serial port are on a bus of their own, but each
 * is only another face of the device above. A disk, say, is not: a controller can have
 * several. */
static bool is_face(const struct device *dev)
{
	return streq(dev->bus, "virtio") || streq(dev->bus, "serial-base") ||
	       (streq(dev->bus, "i2c") && sysfs_has(dev->path, "new_device"));
}

/* The nearest device on a bus, from the face of one up. */
static struct device behind_face(struct device dev)
{
	_cleanup_free_ char *above = copy(dev.path);

	while (is_face(&dev) && strlen(dirname(above)) > strlen("/sys/devices")) {
		struct device up;

		if (device_at(above, &up) == 0) {
			device_clear(&dev);
			dev = up;
		}
	}
	return dev;
}

/* A disk with several paths belongs to an NVMe subsystem, and stands for each controller
 * that leads to it. */
static void match_multipath(struct search *search, const char *path)
{
	_cleanup_free_ char *subsystem = format("%s/device", path);
	_cleanup_names_ struct names controllers = sysfs_names(subsystem, "nvme");

	for (size_t i = 0; i < controllers.n; i++) {
		_cleanup_free_ char *controller =
			format("%s/%s/device", subsystem, controllers.name[i]);

		match(search, controller);
	}
}

static void note_virtual(struct search *search, const char *path)
{
	char resolved[PATH_MAX];

	if (search->virtual)
		return;
	if (!realpath(path, resolved))
		sysfs_note_unread(path);
	else if (starts_with(resolved, VIRTUAL) && sysfs_has(resolved, "subsystem"))
		search->virtual = copy(resolved);
}

/* An interface or a node, at @class_path, stands for the device that it belongs to: the
 * nearest one on a bus; a partition, for that of its disk. */
static void match_function(struct search *search, const char *class_path)
{
	_cleanup_free_ char *whole =
		format("%s%s", class_path,
		       sysfs_has(class_path, "partition") ? "/.." : "");
	_cleanup_free_ char *path = format("%s/device", whole);
	size_t before = search->found.n;
	struct device dev = {0};

	while (sysfs_has(path, "") && device_behind(path, &dev) < 0) {
		char *up = format("%s/device", path);

		free(path);
		path = up;
	}
	if (dev.path) {
		dev = behind_face(dev);
		devices_add(&search->found, &dev);
		return;
	}
	match_multipath(search, whole);
	if (search->found.n == before)
		note_virtual(search, whole);
}

static void match_in_sys(struct search *search, const char *path)
{
	size_t before = search->found.n;

	match(search, path);
	if (search->found.n == before)
		match_function(search, path);
}

/* VFIO's node of an IOMMU group stands for each member. */
static void match_group(struct search *search, const char *node)
{
	const char *number = node + strcspn(node, "0123456789"); /* "7", "noiommu-7" */
	_cleanup_free_ char *dir = format("/sys/kernel/iommu_groups/%s/devices", number);
	_cleanup_names_ struct names members = sysfs_names(dir, "");

	for (size_t i = 0; i < members.n; i++) {
		_cleanup_free_ char *path = format("%s/%s", dir, members.name[i]);

		match(search, path);
	}
}

/* A node is known by its number: its name may be anybody's. Returns false if there is
 * none at @path. */
static bool match_node(struct search *search, const char *path)
{
	_cleanup_free_ char *in_sys = NULL, *class = NULL, *name = NULL;
	struct stat st;

	if (stat(path, &st) < 0) {
		sysfs_note_unread(path);
		return false;
	}
	if (!S_ISBLK(st.st_mode) && !S_ISCHR(st.st_mode))
		return false;
	in_sys = format("/sys/dev/%s/%u:%u", S_ISBLK(st.st_mode) ? "block" : "char",
			major(st.st_rdev), minor(st.st_rdev));
	class = sysfs_link(in_sys, "subsystem");
	name = sysfs_link_at(AT_FDCWD, in_sys);
	if (streq(class, "vfio"))
		match_group(search, name);
	else
		match_function(search, in_sys);
	return true;
}

/* --- names ----------------------------------------------------------------------- */

static void match_on_buses(struct search *search, const char *name)
{
	_cleanup_names_ struct names buses = sysfs_names("/sys/bus", "");

	for (size_t i = 0; i < buses.n; i++) {
		_cleanup_free_ char *path =
			format("/sys/bus/%s/devices/%s", buses.name[i], name);

		match(search, path);
	}
}

/* Interfaces, disks, and whatever else has a node: of a sound card and a display that are
 * both "card0", only the display has. */
static void match_in_classes(struct search *search, const char *name)
{
	_cleanup_names_ struct names classes = sysfs_names("/sys/class", "");

	for (size_t i = 0; i < classes.n; i++) {
		const char *class = classes.name[i];
		_cleanup_free_ char *path = format("/sys/class/%s/%s", class, name);

		if (sysfs_has(path,
			      streq(class, "net") || streq(class, "block") ? "" : "dev"))
			match_function(search, path);
	}
}

/* The number of the interface with this name or alternative name, and its name; 0: there
 * is none. A socket that is bound to it tells both: the ioctl (if_nametoindex) makes the
 * kernel load a module of that name (dev_load), and an answer of rtnetlink can wait for a
 * driver that is stuck. */
static int ask_interface(const char *name, char interface[IF_NAMESIZE])
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t size = sizeof(int), name_size = IF_NAMESIZE;
	int number = 0;

	if (fd < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, strlen(name)) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &number, &size) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, interface, &name_size) < 0) {
		if (errno != EPERM) /* before 5.7 root alone may do it */
			sysfs_note_unread(name);
		return 0;
	}
	return number;
}

/* An interface by an alternative name, which /sys does not know; of more than 15
 * characters rtnetlink alone knows it. The number is compared, as /sys may be that of
 * another network namespace. */
static void match_alternative(struct search *search, const char *name)
{
	_cleanup_free_ char *path = NULL, *text = NULL;
	char interface[IF_NAMESIZE];
	int number = strlen(name) < IF_NAMESIZE ? ask_interface(name, interface) : 0;

	if (number == 0)
		return;
	path = format("/sys/class/net/%s", interface);
	text = sysfs_read(path, "ifindex");
	if (text && strtol(text, NULL, 10) == number)
		match_function(search, path);
}

static void match_bus_and_name(struct search *search, const char *name)
{
	const char *slash = strchr(name, '/');
	_cleanup_free_ char *path =
		format("/sys/bus/%.*s/devices/%s", (int)(slash - name), name, slash + 1);

	if (!strchr(slash + 1, '/'))
		match(search, path);
}

static void match_spelling(struct search *search, const char *name)
{
	_cleanup_free_ char *node = format("/dev/%s", name);

	if (name[0] == '/') {
		if (!match_node(search, name))
			match_in_sys(search, name);
	} else if (strchr(name, '/')) {
		match_bus_and_name(search, name);
		match_node(search, node);
	} else if (*name && !streq(name, ".") && !streq(name, "..") &&
		   strlen(name) <= NAME_MAX) {
		match_on_buses(search, name);
		match_in_classes(search, name);
		match_alternative(search, name);
		match_node(search, node);
	}
}

/* Drop those that cannot be flagged, if another can. */
static void narrow(struct devices *matches)
{
	bool any_flag = false;
	size_t kept = 0;

	for (size_t i = 0; i < matches->n; i++)
		any_flag |= sysfs_has(matches->dev[i].path, "driver_override");
	for (size_t i = 0; i < matches->n; i++) {
		struct device dev = matches->dev[i];

		if (!any_flag || sysfs_has(dev.path, "driver_override"))
			matches->dev[kept++] = dev;
		else
			device_clear(&dev);
	}
	matches->n = kept;
}

/* --- what is said ------------------------------------------------------------------ */

static int say_ambiguous(const char *name, const struct devices *found, struct error *e)
{
	_cleanup_names_ struct names names = {0};
	_cleanup_free_ char *list = NULL;

	for (size_t i = 0; i < found->n; i++) {
		_cleanup_free_ char *one = device_text(&found->dev[i]);

		names_add(&names, one);
	}
	list = names_text(&names, found->n == 2 ? " and " : ", ", LIST_MAX);
	error_set(e, STATUS_USAGE, "%s: ambiguous: %s", name, list);
	return error_hint(e, "name it with its bus, as BUS/NAME");
}

/* A device mapper or RAID disk is on its slaves; a bond, a bridge or a VLAN is on those
 * that are lower. */
static int say_virtual(const char *name, const char *path, struct error *e)
{
	_cleanup_free_ char *slaves = format("%s/slaves", path), *list = NULL;
	_cleanup_names_ struct names on = sysfs_names(slaves, "");
	_cleanup_names_ struct names lower = sysfs_names(path, "lower_");

	for (size_t i = 0; i < lower.n; i++)
		names_add(&on, lower.name[i] + strlen("lower_"));
	list = names_text(&on, ", ", LIST_MAX);
	if (!list)
		return error_set(e, STATUS_USAGE,
				 "%s: no device is behind it: it is virtual", name);
	error_set(e, STATUS_USAGE, "%s: no device of its own: it is on %s", name, list);
	return error_hint(e, "name what it is on");
}

/* Of a name, in a message: what is said of it must have room, too. */
#define NAME_SHOWN 128

int name_find(const char *name, struct device *dev, struct error *e)
{
	__attribute__((cleanup(clear))) struct search search = {0};
	_cleanup_names_ struct names list = spellings(name);
	_cleanup_free_ char *shown = shortened(*name ? name : "''", NAME_SHOWN);
	struct error why;

	for (size_t i = 0; i < list.n; i++) {
		match_spelling(&search, list.name[i]);
		if (search.found.n && starts_with(list.name[i], "pci/"))
			break; /* whatever else has an address for a name */
	}
	narrow(&search.found);
	if (sysfs_check_read(&why) < 0)
		return error_set(e, why.status, "%s: %s", shown, why.text);
	if (search.found.n > 1)
		return say_ambiguous(shown, &search.found, e);
	if (search.found.n == 0 && search.virtual)
		return say_virtual(shown, search.virtual, e);
	if (search.found.n == 0)
		return error_set(e, STATUS_USAGE, "%s: no such device", shown);
	*dev = search.found.dev[0];
	search.found.n = 0; /* @dev has it now */
	return 0;
}

bool name_means(const char *name, const char *bus_and_name)
{
	_cleanup_names_ struct names list = spellings(name);
	const char *device = strchr(bus_and_name, '/') + 1;

	for (size_t i = 0; i < list.n; i++) {
		const char *spelling = list.name[i];

		if (streq(spelling, bus_and_name) || streq(spelling, device) ||
		    (starts_with(spelling, "/sys/") &&
		     streq(strrchr(spelling, '/') + 1, device)))
			return true;
	}
	return false;
}

bool name_goes_with_driver(const char *name)
{
	_cleanup_free_ char *address = pci_address(name);

	return !address && (!strchr(name, '/') || starts_with(name, "/dev/") ||
			    starts_with(name, "/sys/class/"));
}
