#!/usr/bin/env bats
# The PC as it is, and the handoff by plain writes: what the other tests stand on.

load ../helpers

teardown() {
	home "$NVME" nvme
}

@test "the PC is what the tests take it for" {
	local device
	device_is "$PF" nvme "(null)"
	device_is "$NVME" nvme "(null)"
	device_is "$SHARED_NVME" nvme "(null)"
	device_is "$PCI_NIC" e1000e "(null)"
	device_is "$NIC_BELOW" e1000e "(null)"
	device_is "$BRIDGE" pcieport "(null)"
	device_is "$VGA" none "(null)"
	device_is "$LPC" lpc_ich "(null)"
	device_is "$AHCI" ahci "(null)"
	device_is "$SMBUS" i801_smbus "(null)"
	for device in "$LPC" "$SMBUS"; do
		[[ $(syspath "$device")/iommu_group -ef $(syspath "$AHCI")/iommu_group ]]
	done
	[[ $(syspath "$BRIDGE")/iommu_group -ef $(syspath "$NIC_BELOW")/iommu_group ]]
	[[ $(realpath /sys/block/nvme*n1) == */virtual/nvme-subsystem/* ]]
}

@test "by plain writes, to vfio-pci, opened, and home" {
	local path group
	path=$(syspath "$NVME")
	group=$(readlink "$path/iommu_group")
	modprobe vfio-pci
	echo vfio-pci >"$path/driver_override"
	echo "${NVME#*/}" >"$path/driver/unbind"
	echo "${NVME#*/}" >/sys/bus/pci/drivers/vfio-pci/bind
	device_is "$NVME" vfio-pci vfio-pci
	run -0 vfio-open "/dev/vfio/${group##*/}" "${NVME#*/}"
	says "flags reset pci"
	home "$NVME" nvme
	is_home "$NVME" nvme
}

@test "sixteen virtual functions, each of which a host driver takes, also after VFIO had it" {
	local path functions vf=pci/0000:00:05.1
	path=$(syspath "$PF")
	modprobe vfio-pci
	vfs 16
	functions=("$path"/virtfn*/reset)
	((${#functions[@]} == 16))
	[[ $(realpath "$path/virtfn0") == */0000:00:05.1 ]]
	[[ $(realpath "$path/virtfn15") == */0000:00:07.0 ]]
	bind_vf "$vf"
	device_is "$vf" nvme "(null)"
	echo "${vf#*/}" >"$(syspath "$vf")/driver/unbind"
	echo 1 >"$(syspath "$vf")/reset"
	echo vfio-pci >"$(syspath "$vf")/driver_override"
	echo "${vf#*/}" >/sys/bus/pci/drivers/vfio-pci/bind
	run -0 vfio-open "/dev/vfio/$(group_of "$vf")" "${vf#*/}"
	echo "${vf#*/}" >"$(syspath "$vf")/driver/unbind"
	bind_vf "$vf"
	bind_vf pci/0000:00:07.0
	no_vfs
	[[ ! -e $path/virtfn0 ]]
}

@test "the variant driver is found once depmod has seen it, by another name than its own" {
	local alias=vfio_pci:v00001B36d00000010sv00000000sd00000000bc01sc08i02
	run modprobe -R "$alias"
	says "vfio_pci"
	install -D -m 644 -t "/usr/lib/modules/$(uname -r)/extra" /modules/vbvariant.ko
	depmod
	run -0 modprobe -R "$alias"
	says "vbvariant"
	modprobe vbvariant
	[[ -d /sys/bus/pci/drivers/vb-special-vfio-pci ]]
	modprobe -r vbvariant
	rm "/usr/lib/modules/$(uname -r)/extra/vbvariant.ko"
	depmod
}
