// SPDX-License-Identifier: GPL-2.0
/*
 * vbgeneric: a module without any driver, whose alias fits QEMU's NVMe, but less well
 * than vbvariant's.
 */
#include <linux/module.h>

static int __init vbgeneric_init(void)
{
	return 0;
}
module_init(vbgeneric_init);

static void __exit vbgeneric_exit(void)
{
}
module_exit(vbgeneric_exit);

MODULE_ALIAS("vfio_pci:v00001B36d*sv*sd*bc*sc*i*");
MODULE_DESCRIPTION("No driver for QEMU's NVMe");
MODULE_LICENSE("GPL");
