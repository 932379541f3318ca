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

#define NOIOMMU_DIR "/sys/module/vfio/parameters"
#define NOIOMMU_MODE "enable_unsafe_noiommu_mode"

static bool noiommu_mode(void)
{
	_cleanup_free_ char *mode = sysfs_read(NOIOMMU_DIR, NOIOMMU_MODE);

	return streq(mode, "Y");
}

struct devices group_members(const struct device *dev)
{
	_cleanup_free_ char *dir = format("%s/iommu_group/devices", dev->path);
	_cleanup_names_ struct names names = sysfs_names(dir, "");
	struct devices members = {0};

	for (size_t i = 0; i < names.n; i++) {
		_cleanup_free_ char *path = format("%s/%s", dir, names.name[i]);
		struct device member;

		/* realpath() is slow, and @dev is known. */
		if (streq(names.name[i], dev->name))
			member = device_copy(dev);
		else if (device_behind(path, &member) < 0)
			continue;
		devices_add(&members, &member);
	}
	return members;
}

/* Why there is no IOMMU, as far as the firmware and the kernel's command line tell. */
static const char *why_no_iommu(void)
{
	static const struct {
		const char *parameter, *advice;
	} off[] = {
		{"intel_iommu=off", "boot with the kernel parameter intel_iommu=on "
				    "instead of intel_iommu=off"},
		{"amd_iommu=off", "boot without the kernel parameter amd_iommu=off"},
		{"iommu=off", "boot without the kernel parameter iommu=off"},
	};
	_cleanup_free_ char *line = sysfs_read("/proc", "cmdline");
	_cleanup_names_ struct names iommus = sysfs_names("/sys/class/iommu", "");
	const char *tables = "/sys/firmware/acpi/tables";
	bool on = false;

	if (iommus.n)
		return "no IOMMU of this machine is in front of it";
	for (char *rest = line, *word; (word = strsep(&rest, " ")) != NULL;) {
		on |= starts_with(word, "intel_iommu=on");
		for (size_t i = 0; i < ARRAY_SIZE(off); i++) {
			if (streq(word, off[i].parameter))
				return off[i].advice;
		}
	}
	if (sysfs_has(tables, "DMAR"))
		return on ? "the kernel has not taken the IOMMU that the firmware "
			    "reports (dmesg tells more)"
			  : "boot with the kernel parameter intel_iommu=on";
	if (sysfs_has(tables, "IVRS"))
		return "the kernel has not taken the AMD IOMMU that the firmware "
		       "reports (amd_iommu)";
	if (sysfs_has(tables, "FACP"))
		return "the firmware reports no IOMMU: see VT-d or AMD-Vi in its setup";
	return NULL;
}

/* The hint: how to get an IOMMU, or how to go without. */
static int hint_no_iommu(struct error *e)
{
	const char *why = why_no_iommu();
	const char *mode = sysfs_has(NOIOMMU_DIR, NOIOMMU_MODE)
				   ? "or to go without an IOMMU: echo Y > " NOIOMMU_DIR
				     "/" NOIOMMU_MODE
				   : NULL;

	return error_hint(e, "%s%s%s", why ? why : "", why && mode ? "; " : "",
			  mode ? mode : "");
}

/* The members of the device's group, without @together, whose drivers stand in VFIO's
 * way, as "NAME (DRIVER)"; NULL: none. */
static char *blocking_members(const struct device *dev, const struct devices *together)
{
	_cleanup_devices_ struct devices members = group_members(dev);
	_cleanup_names_ struct names blocking = {0};

	for (size_t i = 0; i < members.n; i++) {
		const struct device *member = &members.dev[i];
		_cleanup_free_ char *driver = sysfs_link(member->path, "driver");
		_cleanup_free_ char *text = format("%s (%s)", member->name, driver);

		if (!driver_is_harmless(driver) && !devices_have(together, member))
			names_add(&blocking, text);
	}
	return names_text(&blocking, ", ", LIST_MAX);
}

int group_check(const struct device *dev, const struct devices *together,
		bool *unconfined, struct error *e)
{
	_cleanup_free_ char *number = group_number(dev);
	_cleanup_free_ char *blocking = NULL;

	*unconfined = !number || group_is_noiommu(dev);
	if (*unconfined) {
		if (noiommu_mode())
			return 0;
		error_set(e, STATUS_REFUSED, "no IOMMU group: no IOMMU confines its DMA");
		return hint_no_iommu(e);
	}
	blocking = blocking_members(dev, together);
	if (!blocking)
		return 0;
	error_set(e, STATUS_REFUSED,
		  "IOMMU group %s is not viable: in it with host drivers: %s", number,
		  blocking);
	return error_hint(e,
			  "--group takes these as well; or park them: vfio-bind handoff "
			  "DEVICE none");
}
