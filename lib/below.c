/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "below.h"
#include "driver.h"
#include "sysfs.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

const char *below_name(const char *path)
{
	return strrchr(path, '/') + 1;
}

char *below_dev(const char *path)
{
	char *node = format("/dev/%s", below_name(path));

	for (char *c = node; *c; c++) {
		if (*c == '!')
			*c = '/';
	}
	return node;
}

char *below_node(const struct node *node)
{
	_cleanup_free_ char *uevent = sysfs_read(node->path, "uevent");
	char *name = uevent ? strstr(uevent, "DEVNAME=") : NULL;

	if (!name)
		return below_dev(node->path);
	name += strlen("DEVNAME=");
	name[strcspn(name, "\n")] = '\0';
	return format("/dev/%s", name);
}

static void add_node(struct below *below, const char *path, dev_t number)
{
	struct node node = {.path = copy(path),
			    .subsystem = sysfs_link(path, "subsystem"),
			    .file.number = number};

	node.file.type = streq(node.subsystem, "block") ? S_IFBLK : S_IFCHR;
	below->node = with_room(below->node, below->n, sizeof(node));
	below->node[below->n++] = node;
}

static int walk(struct below *below, const char *path);

/* The multipath NVMe disk that a hidden disk is a path to, with its partitions and its
 * character node: they belong to the NVMe subsystem, and are not below the device
 * (nvme_mpath_alloc_disk). */
static int walk_multipath(struct below *below, unsigned int subsystem,
			  unsigned int namespace)
{
	_cleanup_free_ char *link =
		format("/sys/class/block/nvme%un%u", subsystem, namespace);
	_cleanup_free_ char *disk = realpath(link, NULL);
	_cleanup_free_ char *character = NULL;
	int err;

	if (!disk)
		return errno == ENOENT ? 0 : -errno;
	character = format("%s/../ng%un%u", disk, subsystem, namespace);
	err = walk(below, disk);
	return err == 0 ? walk(below, character) : err;
}

/* Is it the folder of a class, as net in net/eth0? That one is there, and empty, when the
 * interface is in another network namespace than the one /sys was mounted in. */
static bool is_class_folder(const char *path, const char *class)
{
	return streq(below_name(path), class) && !sysfs_has(path, "uevent");
}

/* Note what is at @path. Returns 0 or -errno. */
static int visit(struct below *below, const char *path)
{
	_cleanup_free_ char *subsystem = NULL;
	dev_t number;
	int err = sysfs_number(path, &number);

	if (err == 0)
		add_node(below, path, number);
	if (err == 0 || err == -EBADMSG)
		return 0;
	/* ENODEV: it has just been removed. EISDIR: a folder of that name. */
	if (err != -ENOENT && err != -ENODEV && err != -EISDIR)
		return err;
	if (is_class_folder(path, "net")) {
		_cleanup_free_ char *parent =
			format("%.*s", (int)(strlen(path) - strlen("/net")), path);

		names_add(&below->net_parents, parent);
	}
	subsystem = sysfs_link(path, "subsystem");
	if (streq(subsystem, "net"))
		names_add(&below->interfaces, path);
	return 0;
}

static bool is_hidden(const char *path)
{
	_cleanup_free_ char *hidden = sysfs_read(path, "hidden");

	return streq(hidden, "1");
}

/* Note what is at @path and below it. */
static int walk(struct below *below, const char *path)
{
	unsigned int nvme, controller, namespace;
	_cleanup_closedir_ DIR *dir = opendir(path);
	int err = dir ? 0 : -errno; /* sscanf() sets errno, too */
	struct dirent *entry;

	if (sscanf(below_name(path), "nvme%uc%un%u", &nvme, &controller, &namespace) ==
		    3 &&
	    is_hidden(path))
		return walk_multipath(below, nvme, namespace);
	if (dir)
		err = visit(below, path);
	while (err == 0 && (errno = 0, entry = readdir(dir))) {
		if (entry->d_type == DT_DIR && entry->d_name[0] != '.') {
			_cleanup_free_ char *inner = format("%s/%s", path, entry->d_name);

			err = walk(below, inner);
		}
	}
	if (err == 0)
		err = -errno;
	return err == -ENOENT ? 0 : err;
}

int below_read(const struct device *dev, struct below *below)
{
	_cleanup_free_ char *driver = sysfs_link(dev->path, "driver");

	*below = (struct below){0};
	if (!driver)
		return errno == ENOENT ? 0 : -errno;
	if (driver_is_vfio(driver))
		return 0;
	return walk(below, dev->path);
}

void below_clear(struct below *below)
{
	for (size_t i = 0; i < below->n; i++) {
		free(below->node[i].path);
		free(below->node[i].subsystem);
	}
	free(below->node);
	names_free(&below->interfaces);
	names_free(&below->net_parents);
	*below = (struct below){0};
}

void below_files(const struct below *below, struct file_ids *files)
{
	for (size_t i = 0; i < below->n; i++)
		file_ids_add(files, below->node[i].file);
}

unsigned int below_functions(const struct below *below)
{
	unsigned int n = below->interfaces.n;

	for (size_t i = 0; i < below->n; i++)
		n += below->node[i].file.type == S_IFBLK &&
		     !sysfs_has(below->node[i].path, "partition");
	return n;
}
