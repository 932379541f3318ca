/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "share.h"
#include "sysfs.h"

#include <errno.h>
#include <stdio.h>

#define VIRTIOFS "/sys/fs/virtiofs"

static void add_9p_tags(const struct device *dev, struct names *tags)
{
	_cleanup_names_ struct names functions = sysfs_names(dev->path, "virtio");

	for (size_t i = 0; i < functions.n; i++) {
		_cleanup_free_ char *dir = format("%s/%s", dev->path, functions.name[i]);
		_cleanup_free_ char *tag = sysfs_read(dir, "mount_tag");

		if (tag)
			names_add(tags, tag);
	}
}

static void add_virtiofs_tags(const struct device *dev, struct names *tags)
{
	_cleanup_names_ struct names shares = sysfs_names(VIRTIOFS, "");

	for (size_t i = 0; i < shares.n; i++) {
		_cleanup_free_ char *dir = format(VIRTIOFS "/%s", shares.name[i]);
		_cleanup_free_ char *link = format("%s/device", dir);
		_cleanup_free_ char *path = realpath(link, NULL);
		_cleanup_free_ char *tag = sysfs_read(dir, "tag");
		size_t n = strlen(dev->path);

		if (tag && path && strncmp(path, dev->path, n) == 0 && path[n] == '/')
			names_add(tags, tag);
	}
}

/* Look at a line of proc_pid_mountinfo(5). */
static void add_mount(const char *line, const struct names *tags, struct names *uses)
{
	const char *dash = strstr(line, " - ");
	_cleanup_free_ char *type = NULL, *source = NULL, *use = NULL;
	int start, end;

	if (!dash || sscanf(dash, " - %ms %ms", &type, &source) != 2 ||
	    sscanf(line, "%*d %*d %*s %*s %n%*s%n", &start, &end) < 0)
		return;
	if ((!streq(type, "9p") && !streq(type, "virtiofs")) || !names_have(tags, source))
		return;
	use = format("its share %s is mounted on %.*s", source, end - start,
		     line + start);
	names_add(uses, use);
}

int share_uses(const struct device *dev, struct names *uses, struct error *e)
{
	static const char mounts[] = "/proc/self/mountinfo";
	_cleanup_names_ struct names tags = {0};
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	FILE *file;

	add_9p_tags(dev, &tags);
	add_virtiofs_tags(dev, &tags);
	if (!tags.n)
		return 0;
	file = fopen(mounts, "re");
	if (!file)
		return error_set(e, STATUS_REFUSED, "cannot tell what is mounted: %s: %s",
				 mounts, strerror(errno));
	while (getline(&line, &size, file) > 0)
		add_mount(line, &tags, uses);
	fclose(file);
	return 0;
}
