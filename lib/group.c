/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "group.h"
#include "driver.h"
#include "sysfs.h"

char *group_number(const struct device *dev)
{
	return sysfs_link(dev->path, "iommu_group");
}

bool group_is_noiommu(const struct device *dev)
{
	_cleanup_free_ char *name = sysfs_read(dev->path, "iommu_group/name");

	return streq(name, "vfio-noiommu");
}

static bool noiommu_mode(void)
{
	_cleanup_free_ char *mode =
		sysfs_read("/sys/module/vfio/parameters", "enable_unsafe_noiommu_mode");

	return streq(mode, "Y");
}

int group_check(const struct device *dev, bool *unconfined, struct error *e)
{
	_cleanup_free_ char *number = group_number(dev);
	_cleanup_free_ char *members = format("%s/iommu_group/devices", dev->path);
	_cleanup_names_ struct names names = {0};
	_cleanup_free_ char *blocking = NULL;

	*unconfined = !number || group_is_noiommu(dev);
	if (*unconfined) {
		if (noiommu_mode())
			return 0;
		error_set(e, STATUS_REFUSED, "no IOMMU group: no IOMMU confines its DMA");
		return error_hint(e, "if that is acceptable: echo Y > "
				     "/sys/module/vfio/parameters/"
				     "enable_unsafe_noiommu_mode");
	}

	names = sysfs_names(members, "");
	for (size_t i = 0; i < names.n; i++) {
		_cleanup_free_ char *path = format("%s/%s", members, names.name[i]);
		_cleanup_device_ struct device member = {0};
		_cleanup_free_ char *driver = NULL;
		_cleanup_free_ char *text = NULL;

		if (device_behind(path, &member) < 0 || device_same(&member, dev))
			continue;
		driver = sysfs_link(member.path, "driver");
		if (driver_is_harmless(driver))
			continue;
		text = format("%s (%s)", member.name, driver);
		append(&blocking, ", ", text);
	}
	if (!blocking)
		return 0;
	error_set(e, STATUS_REFUSED,
		  "IOMMU group %s is not viable: in it with host drivers: %s", number,
		  blocking);
	return error_hint(e, "hand these off as well, or park them: vfio-bind handoff "
			     "DEVICE none");
}
