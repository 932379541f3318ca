/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "disk.h"
#include "below.h"
#include "mount.h"
#include "sysfs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

/* A use of the block device @number, or of the NVMe controller whose node has it. */
struct use {
	dev_t number;
	bool controller;
	char *text;    /* "is mounted on /mnt"; NULL: */
	char *stacked; /* the syspath of the disk that stands on it */
};

struct table {
	struct use *use;
	size_t n;
};

static void add(struct table *table, struct use use)
{
	table->use = with_room(table->use, table->n, sizeof(use));
	table->use[table->n++] = use;
}

static void table_clear(struct table *table)
{
	for (size_t i = 0; i < table->n; i++) {
		free(table->use[i].text);
		free(table->use[i].stacked);
	}
	free(table->use);
}

static int cannot_tell(struct error *e, const char *what, const char *where, int err)
{
	return error_set(e, STATUS_REFUSED, "cannot tell %s: %s: %s", what, where,
			 strerror(err));
}

/* The device that @node is a node of. Returns 0, also with *@number 0: of none of that
 * @type; or -errno. */
static int node_number(const char *node, mode_t type, dev_t *number)
{
	struct stat st;

	*number = 0;
	if (stat(node, &st) < 0)
		return -errno;
	if ((st.st_mode & S_IFMT) == type)
		*number = st.st_rdev;
	return 0;
}

/* --- mounts and swap --------------------------------------------------------------- */

static void add_mounts(struct table *table, const struct mounts *mounts)
{
	for (size_t i = 0; i < mounts->n; i++) {
		const struct mount *mount = &mounts->mount[i];
		/* Who names the stick has named the folder: it must not tell more. */
		_cleanup_free_ char *where = shell_quoted(mount->where);

		add(table, (struct use){.number = mount->number,
					.text = format("is mounted on %s", where)});
	}
}

/* btrfs shows a number of its own in mountinfo, and is on several disks; while it is
 * mounted, in whatever namespace, this folder lists them (btrfs_sysfs_add_fsid). */
#define BTRFS "/sys/fs/btrfs"

static void add_btrfs(struct table *table)
{
	_cleanup_names_ struct names ids = sysfs_names(BTRFS, "");

	for (size_t i = 0; i < ids.n; i++) {
		_cleanup_free_ char *dir = format(BTRFS "/%s/devices", ids.name[i]);
		_cleanup_names_ struct names disks = sysfs_names(dir, "");

		for (size_t j = 0; j < disks.n; j++) {
			_cleanup_free_ char *disk = format("%s/%s", dir, disks.name[j]);
			struct use use = {0};

			if (sysfs_number(disk, &use.number) < 0)
				continue;
			use.text =
				format("is in btrfs %s, which is mounted", ids.name[i]);
			add(table, use);
		}
	}
}

static void add_swap(struct table *table, const char *line)
{
	_cleanup_free_ char *node = copy(line);
	struct use use = {0};

	node[strcspn(node, " \t\n")] = '\0';
	if (node[0] != '/' || node_number(node, S_IFBLK, &use.number) < 0 || !use.number)
		return; /* the headings; a file, whose file system is mounted */
	use.text = copy("is swapped on");
	add(table, use);
}

#define SWAPS "/proc/swaps"

/* Returns 0, also if the kernel is without swap, or -errno. */
static int add_swaps(struct table *table)
{
	FILE *file = fopen(SWAPS, "re");
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	int err;

	if (!file)
		return errno == ENOENT ? 0 : -errno;
	while (errno = 0, getline(&line, &size, file) > 0)
		add_swap(table, line);
	err = -errno;
	fclose(file);
	return err;
}

/* --- loop devices --- */

/* The block device below the loop device at @path, by its number: what it was opened as
 * could be any text by now. Returns 0, also with *@number 0: a file is below it, or it
 * has been detached; or -errno. */
static int loop_number(const char *path, dev_t *number)
{
	_cleanup_free_ char *node = below_dev(path);
	_cleanup_close_ int fd = -1;
	struct loop_info64 info;
	dev_t own;
	int err = sysfs_number(path, &own);

	*number = 0;
	if (err < 0)
		return err;
	fd = sysfs_open_node(node, O_RDONLY | O_NONBLOCK, S_IFBLK, own);
	if (fd < 0)
		return fd;
	if (ioctl(fd, LOOP_GET_STATUS64, &info) < 0)
		return errno == ENXIO ? 0 : -errno;
	*number = info.lo_rdevice; /* of the kernel's making, which is ours */
	return 0;
}

static int add_loops(struct table *table, struct error *e)
{
	_cleanup_names_ struct names loops = sysfs_names("/sys/class/block", "loop");

	for (size_t i = 0; i < loops.n; i++) {
		_cleanup_free_ char *path = format("/sys/class/block/%s", loops.name[i]);
		struct use use = {0};
		int err;

		if (!sysfs_has(path, "loop/backing_file"))
			continue;
		err = loop_number(path, &use.number);
		if (err < 0)
			return cannot_tell(e, "what is below a loop device",
					   loops.name[i], -err);
		use.stacked = copy(path);
		add(table, use);
	}
	return 0;
}

/* --- exports --- */

/* What the kernel opened by this path, maybe long ago, or in another mount namespace. If
 * it leads nowhere, it is a file that was removed, unless it was in somebody's /dev: who
 * owns the folder can also have put a file, or a link to itself, in its place. */
static int number_of(const char *path, mode_t type, dev_t *number)
{
	int err = node_number(path, type, number);
	bool nowhere = err == -ENOENT || err == -ENOTDIR || err == -ELOOP;

	return nowhere && !strstr(path, "/dev/") ? 0 : err;
}

static int number_of_path(const char *path, dev_t *number)
{
	return number_of(path, S_IFBLK, number);
}

static int number_of_controller(const char *path, dev_t *number)
{
	return number_of(path, S_IFCHR, number);
}

/* LIO's info: "File: PATH  Size: N" of a file, "Major: N Minor: N" of a block device. A
 * path can be any text. */
static int number_of_info(const char *text, dev_t *number)
{
	static const char before[] = "File: ", behind[] = "  Size: ";
	const char *file = strstr(text, before), *block = strstr(text, "Major: ");
	const char *end = NULL;
	_cleanup_free_ char *path = NULL;
	unsigned int major, minor;

	*number = 0;
	if (!file) {
		if (block && sscanf(block, "Major: %u Minor: %u", &major, &minor) == 2)
			*number = makedev(major, minor);
		return 0;
	}
	file += strlen(before);
	for (const char *size = file; (size = strstr(size, behind)); size++)
		end = size;
	path = end ? format("%.*s", (int)(end - file), file) : copy(file);
	return number_of_path(path, number);
}

#define CONFIG "/sys/kernel/config/"

/* Attributes that tell what is exported; a * is the rest of any name. The kernel has
 * opened it, not exclusively; a controller by the path of its node. */
static const struct exported {
	const char *who, *module, *attribute;
	int (*number)(const char *text, dev_t *number);
} exports[] = {
	{"nvmet", "nvmet", CONFIG "nvmet/subsystems/*/namespaces/*/device_path",
	 number_of_path},
	{"nvmet", "nvmet", CONFIG "nvmet/subsystems/*/passthru/device_path",
	 number_of_controller},
	{"LIO", "target_core_mod", CONFIG "target/core/*/*/info", number_of_info},
	{"a USB gadget", "usb_f_mass_storage",
	 CONFIG "usb_gadget/*/functions/mass_storage.*/lun.*/file", number_of_path},
};

/* Of Linux's fs/configfs/mount.c. */
#define CONFIGFS_MAGIC 0x62656570

/* Can be seen what the module exports? It goes on when nobody has configfs mounted. */
static bool is_shown(const char *module)
{
	struct statfs fs;

	return !sysfs_has("/sys/module", module) ||
	       (statfs(CONFIG, &fs) == 0 && fs.f_type == CONFIGFS_MAGIC);
}

static int add_export(struct table *table, const struct exported *exported,
		      const char *path)
{
	_cleanup_free_ char *dir = copy(path);
	_cleanup_free_ char *enabled = NULL, *text = NULL;
	struct use use = {.controller = exported->number == number_of_controller};
	int err;

	*strrchr(dir, '/') = '\0';
	enabled = sysfs_read(dir, "enable");
	if (streq(enabled, "0"))
		return 0;
	text = sysfs_read(dir, strrchr(path, '/') + 1);
	if (!text)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	if (!*text)
		return 0;
	err = exported->number(text, &use.number);
	if (err < 0)
		return err;
	use.text = format("is exported by %s (%s)", exported->who, dir + strlen(CONFIG));
	add(table, use);
	return 0;
}

/* Add what could be the files that the pattern behind @path means. glob(3) would take a
 * folder that it cannot read for an empty one. */
static void find_files(const char *path, const char *pattern, struct names *files)
{
	size_t n = strcspn(pattern, "*");
	_cleanup_free_ char *dir = format("%s%.*s", path, (int)n, pattern);
	_cleanup_names_ struct names names = {0};
	char *prefix;

	if (!pattern[n]) {
		names_add(files, dir);
		return;
	}
	prefix = strrchr(dir, '/');
	*prefix++ = '\0';
	names = sysfs_names(dir, prefix);
	for (size_t i = 0; i < names.n; i++) {
		_cleanup_free_ char *inner = format("%s/%s", dir, names.name[i]);

		find_files(inner, pattern + n + 1, files);
	}
}

static int add_exports(struct table *table, struct error *e)
{
	int err = 0;

	for (size_t i = 0; i < ARRAY_SIZE(exports) && err == 0; i++) {
		_cleanup_names_ struct names files = {0};

		if (!is_shown(exports[i].module))
			return error_set(e, STATUS_REFUSED,
					 "cannot tell what is exported by %s: configfs "
					 "is not mounted on " CONFIG,
					 exports[i].who);
		find_files("", exports[i].attribute, &files);
		for (size_t j = 0; j < files.n && err == 0; j++) {
			err = add_export(table, &exports[i], files.name[j]);
			if (err < 0)
				cannot_tell(e, "what is exported", files.name[j], -err);
		}
	}
	return err < 0 ? -1 : 0;
}

/* --- a disk --- */

static int read_table(struct table *table, struct error *e)
{
	_cleanup_mounts_ struct mounts mounts = {0};
	int err;

	if ((err = mounts_read(&mounts)) < 0)
		return cannot_tell(e, "what is mounted", MOUNTS_FILE, -err);
	add_mounts(table, &mounts);
	add_btrfs(table);
	if ((err = add_swaps(table)) < 0)
		return cannot_tell(e, "what is swapped on", SWAPS, -err);
	return add_loops(table, e) < 0 ? -1 : add_exports(table, e);
}

static bool is_controller(const char *path)
{
	_cleanup_free_ char *subsystem = sysfs_link(path, "subsystem");

	return streq(subsystem, "nvme");
}

static void find_uses(const struct table *table, const char *path, const char *chain,
		      struct names *uses);

/* The disk at @path stands on the one that the chain of names @below ends with: add what
 * uses it and its partitions; if nothing does, that it stands there. */
static void find_stacked(const struct table *table, const char *path, const char *below,
			 struct names *uses)
{
	_cleanup_free_ char *dm = sysfs_read(path, "dm/name");
	_cleanup_free_ char *chain =
		dm ? format("%s -> %s (%s)", below, below_name(path), dm)
		   : format("%s -> %s", below, below_name(path));
	_cleanup_names_ struct names partitions = sysfs_names(path, below_name(path));
	size_t before = uses->n;

	find_uses(table, path, chain, uses);
	for (size_t i = 0; i < partitions.n; i++) {
		_cleanup_free_ char *partition =
			format("%s/%s", path, partitions.name[i]);
		_cleanup_free_ char *longer =
			format("%s -> %s", chain, partitions.name[i]);

		find_uses(table, partition, longer, uses);
	}
	if (uses->n == before) {
		_cleanup_free_ char *text =
			format("%s is held by %s", below, below_name(path));

		names_add(uses, text);
	}
}

/* Add the uses of the disk at @path; @chain: the names from the device's own disk up to
 * it. */
static void find_uses(const struct table *table, const char *path, const char *chain,
		      struct names *uses)
{
	_cleanup_free_ char *dir = format("%s/holders", path);
	_cleanup_names_ struct names holders = sysfs_names(dir, "");
	bool controller = is_controller(path);
	dev_t number;

	if (sysfs_number(path, &number) < 0)
		return;
	for (size_t i = 0; i < table->n; i++) {
		const struct use *use = &table->use[i];
		_cleanup_free_ char *what = NULL;

		if (use->number != number || use->controller != controller)
			continue;
		if (use->stacked) {
			find_stacked(table, use->stacked, chain, uses);
			continue;
		}
		what = format("%s %s", chain, use->text);
		names_add(uses, what);
	}
	for (size_t i = 0; i < holders.n; i++) {
		_cleanup_free_ char *holder =
			format("/sys/class/block/%s", holders.name[i]);

		find_stacked(table, holder, chain, uses);
	}
}

/* Tries to open a disk exclusively, and the pause between two: another worker may try the
 * same with a disk that both their devices lead to. */
#define EXCLUSIVE_TRIES 5
#define EXCLUSIVE_PAUSE (10 * MSEC)

/* Is the file that is open a node of the block device at @path? Returns 0 or -errno. */
static int check_node(int fd, const char *path)
{
	dev_t number;
	struct stat st;
	int err = sysfs_number(path, &number);

	if (err < 0)
		return err;
	if (fstat(fd, &st) < 0)
		return -errno;
	return S_ISBLK(st.st_mode) && st.st_rdev == number ? 0 : -ENOTBLK;
}

/* Has somebody opened the disk exclusively (O_EXCL)? The kernel has, for a mount in
 * another mount namespace, which mountinfo does not show. Returns 1, 0 or -errno. */
static int opened_exclusively(const char *path)
{
	_cleanup_free_ char *node = below_dev(path);
	_cleanup_free_ char *size = sysfs_read(path, "size");
	_cleanup_close_ int fd = -1;

	if (streq(size, "0")) /* an empty drive */
		return 0;
	for (int i = 0; i < EXCLUSIVE_TRIES; i++) {
		fd = open(node, O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC);
		if (fd >= 0)
			return check_node(fd, path);
		if (errno != EBUSY) /* it is empty, or gone */
			return errno == ENOMEDIUM || errno == ENXIO || errno == ENODEV
				       ? 0
				       : -errno;
		sleep_for(EXCLUSIVE_PAUSE);
	}
	return 1;
}

/* What the table does not tell of the disk at @path: a mount in another namespace, say.
 */
static int find_exclusive(const char *path, struct names *uses, struct error *e)
{
	int exclusive = opened_exclusively(path);
	_cleanup_free_ char *text = format("%s is opened exclusively", below_name(path));

	if (exclusive < 0)
		return cannot_tell(e, "whether it is in use", below_name(path),
				   -exclusive);
	if (exclusive)
		names_add(uses, text);
	return 0;
}

int disk_uses(const struct names *paths, struct names *uses, struct error *e)
{
	struct table table __attribute__((cleanup(table_clear))) = {0};

	if (paths->n && read_table(&table, e) < 0)
		return -1;
	for (size_t i = 0; i < paths->n; i++)
		find_uses(&table, paths->name[i], below_name(paths->name[i]), uses);
	for (size_t i = 0; i < paths->n && !uses->n; i++) {
		if (!is_controller(paths->name[i]) &&
		    find_exclusive(paths->name[i], uses, e) < 0)
			return -1;
	}
	return 0;
}
