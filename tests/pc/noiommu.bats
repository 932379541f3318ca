#!/usr/bin/env bats
# A PC whose IOMMU is switched off, under a kernel without CONFIG_VFIO_NOIOMMU. Run by
# itself, with `tests/guest/run -M pc-6.1-noiommu`.

load ../helpers

@test "no device has an IOMMU group" {
	device_is "$NVME" nvme "(null)"
	run ! compgen -G "/sys/bus/pci/devices/*/iommu_group"
}
