/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The IOMMU group of a device: is there one, and is it viable? */
#pragma once

#include "device.h"

/* The group's number; NULL: the device is in none. */
char *group_number(const struct device *dev);

/* A group that VFIO made up for a device without an IOMMU. It lasts only as long as the
 * device is VFIO-bound, and it confines nothing. */
bool group_is_noiommu(const struct device *dev);

/* The members of the device's group, itself included; none: it is in no group. */
struct devices group_members(const struct device *dev);

/* Would the device's group be viable if VFIO had all devices of @together? Call this
 * before the bind, as VFIO makes up a group for a device without one, and with the VFIO
 * module loaded, as the noiommu mode is its parameter.
 * Returns 0, with *@unconfined telling whether nothing will confine the device's DMA, or
 * -1 with @e (STATUS_REFUSED): no group, or members that make it not viable
 * (iommu_group_claim_dma_owner in the kernel). */
_must_check_ int group_check(const struct device *dev, const struct devices *together,
			     bool *unconfined, struct error *e);
