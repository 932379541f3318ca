/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device.h"
#include "sysfs.h"

#include <errno.h>
#include <libgen.h>
#include <libudev.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

char *device_flag_value(char *text)
{
	if (text && (*text == '\0' || streq(text, "(null)"))) {
		free(text);
		return NULL;
	}
	return text;
}

int device_binding(const struct device *dev, struct binding *binding, struct error *e)
{
	char *text = sysfs_read(dev->path, "driver_override");

	if (!text)
		return error_set(e, STATUS_FAILED, "cannot read driver_override: %s",
				 errno == ENOENT ? "the device is gone"
						 : strerror(errno));
	binding->driver_override = device_flag_value(text);
	binding->driver = sysfs_link(dev->path, "driver");
	return 0;
}

void binding_clear(struct binding *binding)
{
	free(binding->driver);
	free(binding->driver_override);
	*binding = (struct binding){0};
}

int device_at(const char *path, struct device *dev)
{
	_cleanup_free_ char *link = format("%s/subsystem", path);
	char subsystem[PATH_MAX];
	ssize_t n = readlink(link, subsystem, sizeof(subsystem) - 1);

	if (n < 0)
		return -1;
	subsystem[n] = '\0';
	if (!starts_with(path, "/sys/devices/") || !strstr(subsystem, "/bus/")) {
		errno = ENODEV;
		return -1;
	}
	*dev = (struct device){
		.bus = copy(strrchr(subsystem, '/') + 1),
		.name = copy(strrchr(path, '/') + 1),
		.path = copy(path),
	};
	return 0;
}

int device_of_bus(int devices, const char *bus, const char *name, struct device *dev)
{
	char target[PATH_MAX]; /* "../../../devices/...", as sysfs_create_link makes it */
	ssize_t n = readlinkat(devices, name, target, sizeof(target) - 1);
	const char *path = target;

	if (n < 0)
		return -1;
	target[n] = '\0';
	while (starts_with(path, "../"))
		path += strlen("../");
	if (!starts_with(path, "devices/")) {
		errno = ENODEV;
		return -1;
	}
	*dev = (struct device){
		.bus = copy(bus),
		.name = copy(name),
		.path = format("/sys/%s", path),
	};
	return 0;
}

int device_behind(const char *path, struct device *dev)
{
	char resolved[PATH_MAX];

	/* access() first, as most names are not there: realpath() makes a system call for
	 * each component. */
	if (access(path, F_OK) < 0 || !realpath(path, resolved))
		return -1;
	return device_at(resolved, dev);
}

struct device device_copy(const struct device *dev)
{
	return (struct device){.bus = copy(dev->bus),
			       .name = copy(dev->name),
			       .path = copy(dev->path)};
}

void device_clear(struct device *dev)
{
	free(dev->bus);
	free(dev->name);
	free(dev->path);
	*dev = (struct device){0};
}

bool device_same(const struct device *a, const struct device *b)
{
	return streq(a->path, b->path);
}

bool devices_have(const struct devices *devices, const struct device *dev)
{
	for (size_t i = 0; i < devices->n; i++) {
		if (device_same(&devices->dev[i], dev))
			return true;
	}
	return false;
}

void devices_append(struct devices *devices, struct device *dev)
{
	if ((devices->n & (devices->n - 1)) ==
	    0) { /* may be full: make room for as many */
		devices->dev = reallocarray(devices->dev, 2 * devices->n + !devices->n,
					    sizeof(*dev));
		if (!devices->dev)
			abort();
	}
	devices->dev[devices->n++] = *dev;
	*dev = (struct device){0};
}

void devices_add(struct devices *devices, struct device *dev)
{
	if (devices_have(devices, dev))
		device_clear(dev);
	else
		devices_append(devices, dev);
}

void devices_clear(struct devices *devices)
{
	for (size_t i = 0; i < devices->n; i++)
		device_clear(&devices->dev[i]);
	free(devices->dev);
	*devices = (struct devices){0};
}

static void match(struct devices *matches, const char *path)
{
	struct device dev;

	if (device_behind(path, &dev) == 0)
		devices_add(matches, &dev);
}

static void match_on_buses(struct devices *matches, const char *name)
{
	_cleanup_names_ struct names buses = sysfs_names("/sys/bus", "");

	for (size_t i = 0; i < buses.n; i++) {
		_cleanup_free_ char *path =
			format("/sys/bus/%s/devices/%s", buses.name[i], name);

		match(matches, path);
	}
}

/* An interface or a disk, at @class_path, stands for the device that it belongs to: the
 * nearest one on a bus. A virtio device has a transport of its own: there it is the
 * transport. A disk does not stand for a controller that serves other disks, too. */
static void match_function(struct devices *matches, const char *class_path)
{
	_cleanup_free_ char *path = format("%s/device", class_path);
	size_t before = matches->n;

	while (access(path, F_OK) == 0 && matches->n == before) {
		char *up = format("%s/device", path);

		match(matches, path);
		free(path);
		path = up;
	}
	if (matches->n > before && streq(matches->dev[before].bus, "virtio")) {
		_cleanup_free_ char *transport =
			format("%s/..", matches->dev[before].path);

		device_clear(&matches->dev[before]);
		matches->n = before;
		match(matches, transport);
	}
}

/* A multipath NVMe disk belongs to a subsystem, and stands for each controller that leads
 * to it. */
static void match_multipath(struct devices *matches, const char *name)
{
	_cleanup_free_ char *subsystem = format("/sys/class/block/%s/device", name);
	_cleanup_names_ struct names controllers = sysfs_names(subsystem, "nvme");

	for (size_t i = 0; i < controllers.n; i++) {
		_cleanup_free_ char *path =
			format("%s/%s/device", subsystem, controllers.name[i]);

		match(matches, path);
	}
}

static void match_disk(struct devices *matches, const char *name)
{
	_cleanup_free_ char *path = format("/sys/class/block/%s", name);
	size_t before = matches->n;

	match_function(matches, path);
	if (matches->n == before && starts_with(name, "nvme"))
		match_multipath(matches, name);
}

/* A path in /sys, or of a disk in /dev. */
static void match_path(struct devices *matches, const char *path)
{
	_cleanup_free_ char *number = NULL, *disk = NULL;
	struct stat st;

	if (stat(path, &st) == 0 && S_ISBLK(st.st_mode)) {
		number = format("%u:%u", major(st.st_rdev), minor(st.st_rdev));
		disk = sysfs_link("/sys/dev/block", number);
	}
	if (disk)
		match_disk(matches, disk);
	else
		match(matches, path);
	if (matches->n == 0)
		match_function(matches, path);
}

/* A PCI address without its domain, which is 0000. */
static void match_short_pci(struct devices *matches, const char *name)
{
	_cleanup_free_ char *path = format("/sys/bus/pci/devices/0000:%s", name);

	match(matches, path);
}

static void match_name(struct devices *matches, const char *name)
{
	_cleanup_free_ char *interface = format("/sys/class/net/%s", name);

	match_on_buses(matches, name);
	match_short_pci(matches, name);
	match_function(matches, interface);
	match_disk(matches, name);
}

static void match_bus_and_name(struct devices *matches, const char *name)
{
	const char *slash = strchr(name, '/');
	_cleanup_free_ char *path =
		format("/sys/bus/%.*s/devices/%s", (int)(slash - name), name, slash + 1);

	if (strchr(slash + 1, '/'))
		return;
	match(matches, path);
	if (starts_with(name, "pci/"))
		match_short_pci(matches, slash + 1);
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

int device_find(const char *name, struct device *dev, struct error *e)
{
	_cleanup_devices_ struct devices found = {0};
	_cleanup_free_ char *list = NULL;

	if (name[0] == '/') {
		match_path(&found, name);
	} else if (strchr(name, '/')) {
		match_bus_and_name(&found, name);
	} else if (*name && !streq(name, ".") && !streq(name, "..") &&
		   strlen(name) <= NAME_MAX) {
		match_name(&found, name);
	}
	narrow(&found);

	for (size_t i = 0; i < found.n; i++)
		append(&list, found.n == 2 ? " and " : ", ", "%s/%s", found.dev[i].bus,
		       found.dev[i].name);
	if (found.n == 0)
		return error_set(e, STATUS_USAGE, "%.64s%s: no such device",
				 *name ? name : "''", strlen(name) > 64 ? "..." : "");
	if (found.n > 1) {
		error_set(e, STATUS_USAGE, "%s: ambiguous: %s", name, list);
		return error_hint(e, "name it with its bus, as BUS/NAME");
	}
	*dev = found.dev[0];
	found.n = 0; /* @dev has it now */
	return 0;
}

int device_check_flag(const struct device *dev, struct error *e)
{
	_cleanup_free_ char *above = copy(dev->path);

	if (sysfs_has(dev->path, "driver_override"))
		return 0;
	error_set(e, STATUS_USAGE, "the %s bus has no driver_override for it", dev->bus);
	while (strlen(dirname(above)) > strlen("/sys/devices")) {
		_cleanup_device_ struct device up = {0};

		if (sysfs_has(above, "driver_override") && device_at(above, &up) == 0) {
			error_hint(e, "it is a part of %s/%s, which has one", up.bus,
				   up.name);
			break;
		}
	}
	return -1;
}

uint64_t device_incarnation(const struct device *dev)
{
	struct stat st;

	return stat(dev->path, &st) == 0 ? st.st_ino : 0;
}

static char *hwdb_model(int dir)
{
	/* Kept for the life of the program: opening the hwdb again would map its file
	 * anew. */
	static struct udev_hwdb *hwdb;
	_cleanup_free_ char *modalias = sysfs_read_at(dir, "modalias");
	struct udev_list_entry *entry, *list;

	if (!hwdb) {
		struct udev *udev = udev_new();

		hwdb = udev ? udev_hwdb_new(udev) : NULL;
		udev_unref(udev);
	}
	list = hwdb && modalias ? udev_hwdb_get_properties_list_entry(hwdb, modalias, 0)
				: NULL;
	udev_list_entry_foreach(entry, list) {
		if (streq(udev_list_entry_get_name(entry), "ID_MODEL_FROM_DATABASE"))
			return copy(udev_list_entry_get_value(entry));
	}
	return NULL;
}

char *device_model(const struct device *dev, int dir)
{
	char *model = streq(dev->bus, "pci") ? hwdb_model(dir) : NULL;

	if (!model)
		model = sysfs_read_at(dir, "of_node/compatible");
	return model ? model : sysfs_read_at(dir, "firmware_node/hid");
}
