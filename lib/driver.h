/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Drivers and their modules, and which VFIO driver a device takes. */
#pragma once

#include "device.h"

/* The word for "a driver nobody has". */
#define DRIVER_NONE "none"

/* The registered name of driver @name, which may be written with `_` for `-` and the
 * other way round, as modules are. NULL: @bus has no such driver. */
char *driver_registered(const char *bus, const char *name);

/* As above, loading the module of that name if need be (a step). In a dry run the
 * module's presence is enough. NULL with @e: STATUS_USAGE when there is no such driver
 * even then; STATUS_FAILED, that could not be told. */
_must_check_ char *driver_load(const char *bus, const char *name, struct error *e);

/* Load the modules that fit the device's modalias, as udev does (steps). */
void driver_load_for(const struct device *dev);

/* The drivers on the device's bus, those of its modules first. */
struct names driver_all(const struct device *dev);

/* The VFIO driver of the device, its module loaded as above: the one of its bus, and for
 * a PCI device the variant whose vfio_pci: alias fits with the fewest wildcards. The
 * driver's name comes from the module, which may have another. NULL with @e, as
 * driver_load(). */
_must_check_ char *driver_load_vfio(const struct device *dev, struct error *e);

/* How many wildcards are in the closest of the module's aliases that fit the modalias? 0
 * if none does: then an alias of modprobe.d(5) has led to the module, and the admin's
 * choice comes first. */
size_t driver_alias_wildcards(const struct names *aliases, const char *modalias);

/* Is the device among the hardware that the driver's module says it is for? True also if
 * it says nothing, as uio_pci_generic's and pci-stub's. A driver_override makes any
 * driver probe any device (pci_match_device), and one that takes the device for another
 * can bring the machine down. */
bool driver_knows(const struct device *dev, const char *driver);

/* Is it a VFIO driver, which hands devices to VFIO users? */
bool driver_is_vfio(const char *driver);

/* Does it leave the device's DMA alone, so that its IOMMU group stays viable
 * (driver_managed_dma)? */
bool driver_is_harmless(const char *driver);

/* @name with its separators folded, as module names are compared; a new string. */
char *driver_folded(const char *name);

/* Is the driver there, and no module that was loaded? */
bool driver_is_built_in(const char *bus, const char *driver);

/* Can devices be bound to and unbound from it by hand (not suppress_bind_attrs)? */
bool driver_has_bind(const char *bus, const char *driver);
