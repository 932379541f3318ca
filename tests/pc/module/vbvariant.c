// SPDX-License-Identifier: GPL-2.0
/*
 * vbvariant: a VFIO driver of its own for QEMU's NVMe, which does what vfio-pci
 * does. Neither its module nor its alias tells the name of the driver. Unless
 * probe_errno is 0, its probe fails with that; with 517, EPROBE_DEFER, it defers.
 */
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/pci.h>
#include <linux/vfio_pci_core.h>

static int probe_errno;
module_param(probe_errno, int, 0644);

static int open_device(struct vfio_device *device)
{
	struct vfio_pci_core_device *core =
		container_of(device, struct vfio_pci_core_device, vdev);
	int error = vfio_pci_core_enable(core);

	if (!error)
		vfio_pci_core_finish_enable(core);
	return error;
}

static const struct vfio_device_ops ops = {
	.name = "vb-special-vfio-pci",
	.init = vfio_pci_core_init_dev,
	.release = vfio_pci_core_release_dev,
	.open_device = open_device,
	.close_device = vfio_pci_core_close_device,
	.ioctl = vfio_pci_core_ioctl,
	.device_feature = vfio_pci_core_ioctl_feature,
	.read = vfio_pci_core_read,
	.write = vfio_pci_core_write,
	.mmap = vfio_pci_core_mmap,
	.request = vfio_pci_core_request,
	.match = vfio_pci_core_match,
};

static int probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct vfio_pci_core_device *core;
	int error;

	if (probe_errno)
		return -probe_errno;
	core = vfio_alloc_device(vfio_pci_core_device, vdev, &pdev->dev, &ops);
	if (IS_ERR(core))
		return PTR_ERR(core);
	dev_set_drvdata(&pdev->dev, core);
	error = vfio_pci_core_register_device(core);
	if (error)
		vfio_put_device(&core->vdev);
	return error;
}

static void remove(struct pci_dev *pdev)
{
	struct vfio_pci_core_device *core = dev_get_drvdata(&pdev->dev);

	vfio_pci_core_unregister_device(core);
	vfio_put_device(&core->vdev);
}

static const struct pci_device_id ids[] = {
	{PCI_DRIVER_OVERRIDE_DEVICE_VFIO(PCI_VENDOR_ID_REDHAT, 0x0010)},
	{},
};
MODULE_DEVICE_TABLE(pci, ids);

static struct pci_driver vbvariant_driver = {
	.name = "vb-special-vfio-pci",
	.id_table = ids,
	.probe = probe,
	.remove = remove,
	.driver_managed_dma = true,
};
module_pci_driver(vbvariant_driver);

MODULE_DESCRIPTION("VFIO driver of its own for QEMU's NVMe");
MODULE_LICENSE("GPL");
