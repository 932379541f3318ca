#!/usr/bin/env bats
# A PC whose IOMMU is switched off, under a kernel without CONFIG_VFIO_NOIOMMU. Run by
# itself, with `tests/guest/run -M pc-6.12-noiommu`.

load ../helpers

# untouched COMMAND...: refused, with the reason and the way out, and nothing written.
untouched() {
	local device=${!#} driver inode
	driver=$(driver_of "$device")
	inode=$(stat -c %i "$(syspath "$device")/driver/module")
	vfio_bind 3 "$@"
	[[ $output == "vfio-bind: ${device#*/}: no IOMMU group: no IOMMU confines its DMA
vfio-bind: hint: boot with the kernel parameter intel_iommu=on instead of intel_iommu=off" ]]
	is_home "$device" "$driver"
	# Not even for a moment: another link would have another number.
	[[ $(stat -c %i "$(syspath "$device")/driver/module") == "$inode" ]]
}

@test "no device has an IOMMU group" {
	device_is "$NVME" nvme "(null)"
	run ! compgen -G "/sys/bus/pci/devices/*/iommu_group"
}

@test "a handoff is refused, with the kernel parameter, and nothing is touched" {
	local device
	for device in "$NVME" "$PCI_NIC"; do
		untouched handoff "$device"
		untouched handoff --force "$device"
		untouched handoff --group "$device"
		untouched handoff --dry-run "$device"
	done
	untouched handoff --owner=root "$NVME"
}

@test "a handoff writes nothing below /sys before it is refused" {
	taskset 1 strace -f -qq -e trace=openat -o "$BATS_TEST_TMPDIR/trace" \
		vfio-bind handoff "$NVME" || :
	grep -q 'openat.*"/sys/' "$BATS_TEST_TMPDIR/trace"
	run ! grep -e '"/sys/.*O_WRONLY' -e '"/sys/.*O_RDWR' "$BATS_TEST_TMPDIR/trace"
}

@test "what needs no IOMMU goes on" {
	vfio_bind 0 handoff "$NVME" none
	device_is "$NVME" none none
	vfio_bind 0 release "$NVME"
	is_home "$NVME" nvme
}
