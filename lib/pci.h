/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What only PCI devices have: bridges, displays, SR-IOV. For a device on another bus each
 * function answers no, 0, NULL or -1. */
#pragma once

#include "device.h"

/* "VENDOR:DEVICE", four hexadecimal digits each, as lspci(8) has it; NULL: no PCI. */
char *pci_id(const struct device *dev);

/* Class and subclass, four hexadecimal digits; NULL: no PCI. */
char *pci_class(const struct device *dev);

/* Is it a bridge to another bus? VFIO takes none (vfio_pci_core_register_device: EINVAL).
 */
bool pci_is_bridge(const struct device *dev);

/* Is it a graphics card, of whatever kind? */
bool pci_is_display(const struct device *dev);

/* How many VFs of this PF are enabled; 0 also for what is no PF. */
size_t pci_vfs(const struct device *dev);

/* The PF of this VF. Returns 0 with @pf to be cleared, or -1: it is no VF. */
_must_check_ int pci_pf(const struct device *dev, struct device *pf);

/* The driver of this VF's PF, a new string; NULL: it has none, or the device is no VF. */
char *pci_pf_driver(const struct device *dev);

/* Is it a VF that the kernel binds only with a driver_override, as the admin has set
 * sriov_drivers_autoprobe of its PF to 0 (pci_device_can_probe)? */
bool pci_binds_flagged_only(const struct device *dev);
