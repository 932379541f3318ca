/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pci.h"
#include "sysfs.h"

/* An attribute that reads "0x...", without that; NULL: not there, or no PCI. */
static char *hexadecimal(const struct device *dev, const char *attr)
{
	_cleanup_free_ char *text =
		streq(dev->bus, "pci") ? sysfs_read(dev->path, attr) : NULL;

	return text && starts_with(text, "0x") ? copy(text + 2) : NULL;
}

char *pci_id(const struct device *dev)
{
	_cleanup_free_ char *vendor = hexadecimal(dev, "vendor");
	_cleanup_free_ char *device = hexadecimal(dev, "device");

	return vendor && device ? format("%s:%s", vendor, device) : NULL;
}

char *pci_class(const struct device *dev)
{
	_cleanup_free_ char *all = hexadecimal(dev, "class");

	return all ? format("%.4s", all) : NULL;
}

static bool has_class(const struct device *dev, const char *prefix)
{
	_cleanup_free_ char *class = pci_class(dev);

	return class && starts_with(class, prefix);
}

bool pci_is_bridge(const struct device *dev)
{
	return has_class(dev, "0604") || has_class(dev, "0607");
}

bool pci_is_display(const struct device *dev)
{
	return has_class(dev, "03");
}

size_t pci_vfs(const struct device *dev)
{
	/* The links are counted, as a read of sriov_numvfs takes the device lock, and can
	 * hang. */
	_cleanup_names_ struct names vfs = sysfs_names(dev->path, "virtfn");

	return vfs.n;
}

int pci_pf(const struct device *dev, struct device *pf)
{
	_cleanup_free_ char *link = format("%s/physfn", dev->path);

	return device_behind(link, pf);
}

char *pci_pf_driver(const struct device *dev)
{
	_cleanup_device_ struct device pf = {0};

	return pci_pf(dev, &pf) == 0 ? sysfs_link(pf.path, "driver") : NULL;
}

bool pci_binds_flagged_only(const struct device *dev)
{
	_cleanup_free_ char *autoprobe =
		sysfs_read(dev->path, "physfn/sriov_drivers_autoprobe");

	return streq(autoprobe, "0");
}
