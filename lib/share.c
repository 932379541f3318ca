/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "share.h"
#include "below.h"
#include "mount.h"
#include "sysfs.h"

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
		_cleanup_free_ char *tag = sysfs_read(dir, "tag");

		if (below_has(dev, link) && tag)
			names_add(tags, tag);
	}
}

/* Is the source of the mount a tag? Of virtiofs it is nothing else; 9p can be mounted
 * through something else than virtio, from a source of any name. */
static bool is_by_tag(const struct mount *mount)
{
	return streq(mount->type, "virtiofs") ||
	       (streq(mount->type, "9p") && strstr(mount->options, "trans=virtio"));
}

int share_uses(const struct device *dev, struct names *uses, struct error *e)
{
	_cleanup_mounts_ struct mounts mounts = {0};
	_cleanup_names_ struct names tags = {0};
	int err;

	add_9p_tags(dev, &tags);
	add_virtiofs_tags(dev, &tags);
	if (!tags.n)
		return 0;
	err = mounts_read(&mounts);
	if (err < 0)
		return error_set(e, STATUS_REFUSED,
				 "cannot tell what is mounted: " MOUNTS_FILE ": %s",
				 strerror(-err));
	for (size_t i = 0; i < mounts.n; i++) {
		const struct mount *mount = &mounts.mount[i];
		_cleanup_free_ char *where = shell_quoted(mount->where);
		_cleanup_free_ char *use =
			format("its share %s is mounted on %s", mount->source, where);

		if (is_by_tag(mount) && names_have(&tags, mount->source))
			names_add(uses, use);
	}
	return 0;
}
