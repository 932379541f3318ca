/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "usage.h"
#include "link.h"
#include "pci.h"
#include "sysfs.h"

#include <errno.h>
#include <fcntl.h>
#include <libudev.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static const char *last_component(const char *path)
{
	return strrchr(path, '/') + 1;
}

/* Add the multipath NVMe disk, with its partitions, that this hidden disk is a path to:
 * that disk belongs to the NVMe subsystem, and is not below the device
 * (nvme_mpath_alloc_disk). */
static void add_multipath(struct names *disks, const char *path)
{
	unsigned int subsystem, controller, namespace;
	_cleanup_free_ char *link = NULL, *disk = NULL;
	_cleanup_names_ struct names partitions = {0};

	if (sscanf(last_component(path), "nvme%uc%un%u", &subsystem, &controller,
		   &namespace) != 3)
		return;
	link = format("/sys/class/block/nvme%un%u", subsystem, namespace);
	disk = realpath(link, NULL);
	if (!disk)
		return;
	names_add(disks, disk);
	partitions = sysfs_names(disk, last_component(disk));
	for (size_t i = 0; i < partitions.n; i++) {
		_cleanup_free_ char *partition =
			format("%s/%s", disk, partitions.name[i]);

		names_add(disks, partition);
	}
}

/* The syspaths of the device's own interfaces ("net") or disks and partitions ("block").
 */
static struct names parts_of(const struct device *dev, const char *subsystem)
{
	/* udev's walk takes long, and without a driver there is nothing to find. */
	struct udev *udev = sysfs_has(dev->path, "driver") ? udev_new() : NULL;
	struct udev_device *parent =
		udev ? udev_device_new_from_syspath(udev, dev->path) : NULL;
	struct udev_enumerate *all = parent ? udev_enumerate_new(udev) : NULL;
	struct udev_list_entry *entry;
	struct names paths = {0};

	if (all && udev_enumerate_add_match_parent(all, parent) >= 0 &&
	    udev_enumerate_add_match_subsystem(all, subsystem) >= 0 &&
	    udev_enumerate_scan_devices(all) >= 0) {
		udev_list_entry_foreach(entry, udev_enumerate_get_list_entry(all)) {
			const char *path = udev_list_entry_get_name(entry);
			_cleanup_free_ char *hidden = sysfs_read(path, "hidden");

			if (streq(hidden, "1"))
				add_multipath(&paths, path);
			else
				names_add(&paths, path);
		}
	}
	udev_enumerate_unref(all);
	udev_device_unref(parent);
	udev_unref(udev);
	return paths;
}

/* Is @node the path of a node of the block device @number? */
static bool is_block(const char *node, dev_t number)
{
	struct stat st;

	return node[0] == '/' && stat(node, &st) == 0 && S_ISBLK(st.st_mode) &&
	       st.st_rdev == number;
}

#define MOUNTS "/proc/self/mountinfo"

/* Where the block device is mounted (proc_pid_mountinfo(5)); the source is compared, too,
 * as btrfs and others show a made-up number. */
static void mounts_check(const char *chain, dev_t number, char **uses)
{
	FILE *file = fopen(MOUNTS, "re");
	_cleanup_free_ char *line = NULL;
	size_t size = 0;

	while (file && getline(&line, &size, file) > 0) {
		unsigned int major, minor;
		int start, end;
		const char *dash = strstr(line, " - ");
		_cleanup_free_ char *source = NULL;

		if (!dash || sscanf(line, "%*d %*d %u:%u %*s %n%*s%n", &major, &minor,
				    &start, &end) != 2)
			continue;
		if (sscanf(dash, " - %*s %ms", &source) != 1)
			continue;
		if (makedev(major, minor) == number || is_block(source, number))
			append(uses, "; ", "%s is mounted on %.*s", chain, end - start,
			       line + start);
	}
	if (file)
		fclose(file);
}

static void swaps_check(const char *chain, dev_t number, char **uses)
{
	FILE *file = fopen("/proc/swaps", "re");
	_cleanup_free_ char *line = NULL;
	size_t size = 0;

	while (file && getline(&line, &size, file) > 0) {
		line[strcspn(line, " \t\n")] = '\0';
		if (is_block(line, number))
			append(uses, "; ", "%s is swapped on", chain);
	}
	if (file)
		fclose(file);
}

/* Tries to open a disk exclusively, and the pause between two: another worker may try the
 * same with a disk that both their devices lead to. */
#define EXCLUSIVE_TRIES 5
#define EXCLUSIVE_PAUSE (10 * MSEC)

/* Has a process opened the disk exclusively (O_EXCL)? The kernel has, for a mount in
 * another mount namespace, which mountinfo does not show. */
static bool opened_exclusively(const char *path)
{
	_cleanup_free_ char *node = format("/dev/%s", last_component(path));
	_cleanup_close_ int fd = -1;

	for (char *c = node; *c; c++) {
		if (*c == '!')
			*c = '/';
	}
	for (int i = 0; i < EXCLUSIVE_TRIES; i++) {
		fd = open(node, O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC);
		if (fd >= 0 || errno != EBUSY)
			return false;
		sleep_for(EXCLUSIVE_PAUSE);
	}
	return true;
}

/* @chain: the names from the device's own disk up to this one. */
static void block_check(const char *path, const char *chain, char **uses)
{
	_cleanup_free_ char *number = sysfs_read(path, "dev");
	_cleanup_free_ char *dir = format("%s/holders", path);
	_cleanup_names_ struct names holders = sysfs_names(dir, "");
	unsigned int major, minor;

	if (!number || sscanf(number, "%u:%u", &major, &minor) != 2)
		return;
	mounts_check(chain, makedev(major, minor), uses);
	swaps_check(chain, makedev(major, minor), uses);
	for (size_t i = 0; i < holders.n; i++) {
		_cleanup_free_ char *holder =
			format("/sys/class/block/%s", holders.name[i]);
		_cleanup_free_ char *dm = sysfs_read(holder, "dm/name");
		_cleanup_free_ char *longer =
			dm ? format("%s -> %s (%s)", chain, holders.name[i], dm)
			   : format("%s -> %s", chain, holders.name[i]);
		_cleanup_free_ char *before_holder = copy(*uses);

		block_check(holder, longer, uses);
		if (streq(before_holder, *uses))
			append(uses, "; ", "%s is held by %s", chain, holders.name[i]);
	}
}

static void consumers_check(const struct device *dev, char **uses)
{
	_cleanup_names_ struct names links = sysfs_names(dev->path, "consumer:");

	for (size_t i = 0; i < links.n; i++) {
		_cleanup_free_ char *dir = format("%s/%s", dev->path, links.name[i]);
		_cleanup_free_ char *status = sysfs_read(dir, "status");
		_cleanup_free_ char *sync_only = sysfs_read(dir, "sync_state_only");

		if (streq(status, "active") && !streq(sync_only, "1"))
			append(uses, "; ", "its consumer %s would be unbound too",
			       links.name[i] + strlen("consumer:"));
	}
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

/* Is every framebuffer of the host on the display @dev, with the console on it? */
static void console_check(const struct device *dev, char **uses)
{
	_cleanup_names_ struct names framebuffers =
		sysfs_names("/sys/class/graphics", "fb");
	const char *own = NULL;

	for (size_t i = 0; i < framebuffers.n; i++) {
		if (streq(framebuffers.name[i], "fbcon"))
			continue;
		if (!is_framebuffer_of(dev, framebuffers.name[i]))
			return;
		own = framebuffers.name[i];
	}
	if (own && console_on_framebuffer())
		append(uses, "; ", "%s has the only console of this host", own);
}

int usage_check(const struct device *dev, struct error *e)
{
	_cleanup_names_ struct names links = {0};
	struct open_files *open = open_files_scan();
	_cleanup_names_ struct names disks = parts_of(dev, "block");
	_cleanup_free_ char *uses = NULL;
	int r;

	if (disks.n && access(MOUNTS, R_OK) < 0)
		return error_set(e, STATUS_REFUSED, "cannot tell what is mounted: %s: %s",
				 MOUNTS, strerror(errno));
	r = link_uses(dev, open, &links, e);
	open_files_free(&open);
	if (r < 0)
		return -1;
	for (size_t i = 0; i < links.n; i++)
		append(&uses, "; ", "%s", links.name[i]);
	for (size_t i = 0; i < disks.n; i++)
		block_check(disks.name[i], last_component(disks.name[i]), &uses);
	for (size_t i = 0; i < disks.n && !uses; i++) {
		if (opened_exclusively(disks.name[i]))
			uses = format("%s is opened exclusively",
				      last_component(disks.name[i]));
	}
	consumers_check(dev, &uses);
	if (pci_is_display(dev))
		console_check(dev, &uses);
	if (!uses)
		return 0;
	error_set(e, STATUS_REFUSED, "in use: %s", uses);
	return error_hint(e, "end that use first; --force takes it all the same");
}

char *usage_names(const struct device *dev)
{
	static const char *const subsystems[] = {"net", "block"};
	char *list = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(subsystems); i++) {
		_cleanup_names_ struct names paths = parts_of(dev, subsystems[i]);

		for (size_t j = 0; j < paths.n; j++)
			append(&list, ",", "%s", last_component(paths.name[j]));
	}
	return list;
}
