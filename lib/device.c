/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device.h"
#include "sysfs.h"

#include <errno.h>
#include <libgen.h>
#include <libudev.h>
#include <limits.h>
#include <sys/stat.h>

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
	char *driver;

	if (!text)
		return error_set(e, STATUS_FAILED, "cannot read driver_override: %s",
				 errno == ENOENT ? "the device is gone"
						 : strerror(errno));
	driver = sysfs_link(dev->path, "driver");
	if (!driver && errno != ENOENT) {
		free(text);
		return error_set(e, STATUS_FAILED, "cannot tell its driver: %s",
				 strerror(errno));
	}
	binding->driver_override = device_flag_value(text);
	binding->driver = driver;
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

	if (n < 0) {
		sysfs_note_unread(link);
		return -1;
	}
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

	if (n < 0) {
		sysfs_note_unread(name);
		return -1;
	}
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
	if (access(path, F_OK) < 0 || !realpath(path, resolved)) {
		sysfs_note_unread(path);
		return -1;
	}
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

struct device device_called(const char *text)
{
	int bus = (int)strcspn(text, "/");
	const char *name = text + bus + 1;

	return (struct device){
		.bus = format("%.*s", bus, text),
		.name = copy(name),
		.path = format("/sys/bus/%.*s/devices/%s", bus, text, name),
	};
}

char *device_text(const struct device *dev)
{
	return format("%s/%s", dev->bus, dev->name);
}

char *device_word(const struct device *dev)
{
	_cleanup_free_ char *text = device_text(dev);

	return shell_quoted(text);
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
	/* It may be full if it has a power of two: make room for as many again. */
	if ((devices->n & (devices->n - 1)) == 0) {
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

int device_check_flag(const struct device *dev, struct error *e)
{
	_cleanup_free_ char *above = copy(dev->path);

	if (sysfs_has(dev->path, "driver_override"))
		return 0;
	if (sysfs_check_read(e) < 0)
		return -1;
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

	if (stat(dev->path, &st) == 0)
		return st.st_ino;
	sysfs_note_unread(dev->path);
	return 0;
}

bool device_is_gone(const struct device *dev)
{
	/* It goes attributes first, and its folder last (device_del). */
	_cleanup_free_ char *path = format("%s/driver_override", dev->path);

	return access(path, F_OK) < 0 && errno == ENOENT;
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
		if (!hwdb)
			sysfs_note_unread("the hwdb");
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
