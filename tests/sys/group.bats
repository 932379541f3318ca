#!/usr/bin/env bats
# IOMMU groups: which can be VFIO's, who is in the way, and why there is none.

load sys

# not_viable DEVICE GROUP BLOCKERS: refused, with each of them.
not_viable() {
	expect 3 "vfio-bind: 0000:$1: IOMMU group $2 is not viable: in it with host drivers: $3
vfio-bind: hint: --group takes these as well; or park them: vfio-bind handoff DEVICE none" \
		handoff -n "$1"
}

# viable DEVICE DRIVER: it can be taken.
viable() {
	local path name=0000:$1
	path=$(realpath "/sys/bus/pci/devices/$name")
	expect 0 "echo vfio-pci > $path/driver_override
echo $name > /sys/bus/pci/drivers/$2/unbind
echo $name > /sys/bus/pci/drivers/vfio-pci/bind${3-}" handoff -n "$1"
}

# no_iommu HINT: that is what can be done about it.
no_iommu() {
	expect 3 "vfio-bind: 0000:00:12.0: no IOMMU group: no IOMMU confines its DMA${1:+
vfio-bind: hint: $1}" handoff -n eth0
}

@test "who is in the way of an IOMMU group, and who is not" {
	local name output

	promise "each member with a host driver is in the way"
	not_viable 00:1f.2 7 "0000:00:1f.0 (lpc_ich), 0000:00:1f.3 (i801_smbus)"
	driver 0000:00:1f.0 ''
	not_viable 00:1f.2 7 "0000:00:1f.3 (i801_smbus)"
	driver 0000:00:1f.3 vfio-pci
	viable 00:1f.2 ahci

	promise "what leaves DMA alone is not in the way: no driver, VFIO, pci-stub, pcieport"
	driver 0000:00:1f.0 pci-stub
	driver 0000:00:1f.3 vfio-pci
	viable 00:1f.2 ahci
	without_interface "$PCI/0000:00:1c.0/0000:01:00.0"
	viable 01:00.0 e1000e "
echo 1 > $PCI/0000:00:1c.0/0000:01:00.0/reset" # its port is pcieport's
	driver 0000:00:1c.0 shpchp
	not_viable 01:00.0 3 "0000:00:1c.0 (shpchp)"

	promise "what goes along is not in the way, and a bridge stays where it is"
	vfio_bind handoff -n --group --driver=vfio-pci 00:1f.2 00:1f.0
	((status == 0))
	for name in 0:lpc_ich 2:ahci 3:i801_smbus; do # side by side, each in its order
		[[ $(grep "0000:00:1f.${name%:*}" <<<"$output") == "\
echo vfio-pci > $PCI/0000:00:1f.${name%:*}/driver_override
echo 0000:00:1f.${name%:*} > /sys/bus/pci/drivers/${name#*:}/unbind
echo 0000:00:1f.${name%:*} > /sys/bus/pci/drivers/vfio-pci/bind" ]]
	done
	without_interface "$PCI/0000:00:1c.0/0000:01:00.0"
	expect 0 "echo vfio-pci > $PCI/0000:00:1c.0/0000:01:00.0/driver_override
echo 0000:01:00.0 > /sys/bus/pci/drivers/e1000e/unbind
echo 0000:01:00.0 > /sys/bus/pci/drivers/vfio-pci/bind
echo 1 > $PCI/0000:00:1c.0/0000:01:00.0/reset" handoff -ng 01:00.0
	# Two of three: the third is in the way of both, and one may hear it of the other.
	vfio_bind handoff -n --driver=auto 00:1f.0 00:1f.2
	[[ $status == 3 && $output == *"IOMMU group 7 is not viable: in it with host drivers: 0000:00:1f.3 (i801_smbus)"$'\n'* ]]
	[[ $output != *"echo "* ]]

	promise "a group without any node, or with nobody to hold it, is asked for neither"
	expect 0 "" handoff -n 00:05.2 vfio-pci
}

@test "no IOMMU group: why, and what can be done about it" {
	local word

	promise "no IOMMU group: why, as the firmware and the kernel's command line tell it"
	no_iommu "no IOMMU of this machine is in front of it"
	none /sys/class/iommu/dmar0
	no_iommu ''
	: >/sys/firmware/acpi/tables/FACP
	no_iommu "the firmware reports no IOMMU: see VT-d or AMD-Vi in its setup"
	: >/sys/firmware/acpi/tables/IVRS
	no_iommu "the kernel has not taken the AMD IOMMU that the firmware reports (amd_iommu)"
	: >/sys/firmware/acpi/tables/DMAR
	no_iommu "boot with the kernel parameter intel_iommu=on"
	echo "quiet intel_iommu=on,sm_on" >"$MADE_UP/cmdline"
	no_iommu "the kernel has not taken the IOMMU that the firmware reports (dmesg tells more)"
	echo "quiet intel_iommu=off ro" >"$MADE_UP/cmdline"
	no_iommu "boot with the kernel parameter intel_iommu=on instead of intel_iommu=off"
	for word in amd_iommu=off iommu=off; do
		echo "root=/dev/sda1 $word" >"$MADE_UP/cmdline"
		no_iommu "boot without the kernel parameter $word"
	done

	promise "no IOMMU, and the admin may accept that, or has"
	folder /sys/module/vfio/parameters
	echo N >/sys/module/vfio/parameters/enable_unsafe_noiommu_mode
	no_iommu "no IOMMU of this machine is in front of it; or to go without an IOMMU: echo Y > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode"
	none /sys/class/iommu/dmar0
	no_iommu "or to go without an IOMMU: echo Y > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode"
	echo Y >/sys/module/vfio/parameters/enable_unsafe_noiommu_mode
	expect 0 "vfio-bind: 0000:00:12.0: warning: no IOMMU: nothing confines its DMA, its user can read and write all memory
echo vfio-pci > $PCI/0000:00:12.0/driver_override
echo 0000:00:12.0 > /sys/bus/pci/drivers/e1000e/unbind
echo 0000:00:12.0 > /sys/bus/pci/drivers/vfio-pci/bind" handoff -n eth0
	# A group that VFIO made up confines nothing either.
	folder /sys/kernel/iommu_groups/30/devices
	echo vfio-noiommu >/sys/kernel/iommu_groups/30/name
	link "$PCI/0000:00:12.0/iommu_group" /sys/kernel/iommu_groups/30
	echo N >/sys/module/vfio/parameters/enable_unsafe_noiommu_mode
	no_iommu "or to go without an IOMMU: echo Y > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode"
}
