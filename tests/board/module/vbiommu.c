// SPDX-License-Identifier: GPL-2.0
/*
 * An IOMMU that confines nothing, but gives platform devices real IOMMU groups
 * and takes the mappings that VFIO makes.
 *
 *   match       the devices behind it: those whose name starts so
 *   per_group   so many devices, as they come, make a group
 *
 * A device gets its group when it is registered, or when this module is loaded
 * if no driver has it at that time. It keeps the module from being unloaded
 * until it is unregistered.
 */
#include <linux/device/bus.h>
#include <linux/iommu.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/xarray.h>

static char match[64] = "vbtest";
module_param_string(match, match, sizeof(match), 0444);
static uint per_group = 1;
module_param(per_group, uint, 0644);

struct vb_domain {
	struct iommu_domain domain;
	struct xarray pages;
};

static struct iommu_device iommu;
/* The group that is being filled. The core calls device_group() one at a time. */
static struct iommu_group *group;
static uint members;

static struct vb_domain *to_vb_domain(struct iommu_domain *domain)
{
	return container_of(domain, struct vb_domain, domain);
}

static bool vb_capable(struct device *dev, enum iommu_cap cap)
{
	return cap == IOMMU_CAP_CACHE_COHERENCY;
}

static struct iommu_device *vb_probe_device(struct device *dev)
{
	/* A driver at work has not claimed the DMA of a group that is not there yet. */
	if (!strstarts(dev_name(dev), match) || dev->driver)
		return ERR_PTR(-ENODEV);
	return &iommu;
}

static struct iommu_group *vb_device_group(struct device *dev)
{
	if (!group || members >= per_group) {
		iommu_group_put(group);
		members = 0;
		group = iommu_group_alloc();
		if (IS_ERR(group)) {
			struct iommu_group *err = group;

			group = NULL;
			return err;
		}
	}
	members++;
	return iommu_group_ref_get(group);
}

static int vb_attach_dev(struct iommu_domain *domain, struct device *dev)
{
	return 0;
}

static int vb_map_pages(struct iommu_domain *domain, unsigned long iova,
			phys_addr_t paddr, size_t pgsize, size_t pgcount, int prot,
			gfp_t gfp, size_t *mapped)
{
	struct xarray *pages = &to_vb_domain(domain)->pages;
	int err;

	for (; pgcount--; iova += pgsize, paddr += pgsize, *mapped += pgsize) {
		err = xa_err(xa_store(pages, iova >> PAGE_SHIFT,
				      xa_mk_value(paddr >> PAGE_SHIFT), gfp));
		if (err)
			return err;
	}
	return 0;
}

static size_t vb_unmap_pages(struct iommu_domain *domain, unsigned long iova,
			     size_t pgsize, size_t pgcount,
			     struct iommu_iotlb_gather *gather)
{
	size_t done;

	for (done = 0; done < pgcount; done++, iova += pgsize)
		if (!xa_erase(&to_vb_domain(domain)->pages, iova >> PAGE_SHIFT))
			break;
	return done * pgsize;
}

static phys_addr_t vb_iova_to_phys(struct iommu_domain *domain, dma_addr_t iova)
{
	void *page = xa_load(&to_vb_domain(domain)->pages, iova >> PAGE_SHIFT);

	return page ? (xa_to_value(page) << PAGE_SHIFT) | (iova & ~PAGE_MASK) : 0;
}

static void vb_free(struct iommu_domain *domain)
{
	xa_destroy(&to_vb_domain(domain)->pages);
	kfree(to_vb_domain(domain));
}

static struct iommu_domain *vb_domain_alloc_paging(struct device *dev)
{
	struct vb_domain *new = kzalloc(sizeof(*new), GFP_KERNEL);

	if (!new)
		return NULL;
	xa_init(&new->pages);
	new->domain.geometry.aperture_end = ULONG_MAX;
	new->domain.geometry.force_aperture = true;
	return &new->domain;
}

static const struct iommu_domain_ops identity_ops = {.attach_dev = vb_attach_dev};
static struct iommu_domain identity = {
	.type = IOMMU_DOMAIN_IDENTITY,
	.ops = &identity_ops,
};

static const struct iommu_domain_ops paging_ops = {
	.attach_dev = vb_attach_dev,
	.map_pages = vb_map_pages,
	.unmap_pages = vb_unmap_pages,
	.iova_to_phys = vb_iova_to_phys,
	.free = vb_free,
};

static const struct iommu_ops vb_ops = {
	.owner = THIS_MODULE,
	.capable = vb_capable,
	.probe_device = vb_probe_device,
	.device_group = vb_device_group,
	.identity_domain = &identity,
	.domain_alloc_paging = vb_domain_alloc_paging,
	.default_domain_ops = &paging_ops,
	.pgsize_bitmap = PAGE_SIZE,
};

static int __init vbiommu_init(void)
{
	int err = iommu_device_sysfs_add(&iommu, NULL, NULL, "vbiommu");

	if (err)
		return err;
	/* No firmware node: every device that has none of an IOMMU either comes here. */
	err = iommu_device_register(&iommu, &vb_ops, NULL);
	if (err)
		iommu_device_sysfs_remove(&iommu);
	return err;
}

static void __exit vbiommu_exit(void)
{
	iommu_device_unregister(&iommu);
	iommu_device_sysfs_remove(&iommu);
	iommu_group_put(group);
}

module_init(vbiommu_init);
module_exit(vbiommu_exit);
MODULE_DESCRIPTION("IOMMU groups without an IOMMU, to test vfio-bind");
MODULE_LICENSE("GPL");
