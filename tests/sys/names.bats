#!/usr/bin/env bats
# A device by each of its names.

load sys

# means NAME BUS/DEVICE...: each is meant; with more than one it is ambiguous.
means() {
	local list
	if (($# == 2)); then
		expect 0 "${2/\// }" list -nro BUS,DEVICE "$1"
		return
	fi
	printf -v list ', %s' "${@:2}"
	list=${list#, }
	(($# > 3)) || list=${list/, / and }
	expect 2 "vfio-bind: $1: ambiguous: $list
vfio-bind: hint: name it with its bus, as BUS/NAME" list "$1"
}

# means_none NAME...
means_none() {
	local name
	for name; do expect 2 "vfio-bind: $name: no such device" list "$name"; done
}

@test "a device by each of its names" {
	local name

	promise "by its name, its bus and name, its address without the domain, its paths"
	for name in 0000:00:10.0 pci/0000:00:10.0 00:10.0 pci/00:10.0 "$PCI/0000:00:10.0" \
		/sys/bus/pci/devices/0000:00:10.0 /sys/kernel/iommu_groups/10/devices/0000:00:10.0 \
		/sys/class/block/nvme0n1/device/device/../0000:00:10.0; do
		means "$name" pci/0000:00:10.0
	done
	means fff51000.ethernet platform/fff51000.ethernet
	means platform/fff51000.ethernet platform/fff51000.ethernet
	means_none 10.0 pci/10.0 0:00:10.0 platform/0000:00:10.0 pci/nix/0000:00:10.0

	promise "by an interface or a disk"
	means eth0 pci/0000:00:12.0
	means /sys/class/net/eth0 pci/0000:00:12.0
	means eth1 pci/0000:01:00.0
	means eth3 pci/0000:00:03.0 # of virtio, by its transport
	means nvme0n1 pci/0000:00:10.0
	means /sys/class/block/nvme0n1 pci/0000:00:10.0
	means /sys/class/nvme/nvme0 pci/0000:00:10.0
	means sda scsi/0:0:0:0 # the controller has others
	means_none pci/eth0 net/eth0 block/sda eth2

	promise "a multipath disk, by the controllers that lead to it"
	means nvme1n1 pci/0000:00:11.1 pci/0000:00:11.2
	changing
	none "/sys/devices/virtual/nvme-subsystem/nvme-subsys1/nvme2"
	means nvme1n1 pci/0000:00:11.1

	promise "one name on two buses: the device that can be flagged, or none"
	means twin amba/twin platform/twin
	means amba/twin amba/twin
	means half platform/half # that of spi cannot
	means spi/half spi/half
	changing
	none /sys/devices/platform/half/driver_override
	means half platform/half spi/half
	link /sys/bus/usb/devices/half /sys/devices/half
	means half platform/half spi/half # it is the same one
	folder /sys/devices/more
	link /sys/devices/more/subsystem /sys/bus/usb
	link /sys/bus/usb/devices/sda /sys/devices/more
	means sda usb/more scsi/0:0:0:0

	promise "what cannot be flagged: so it is said, and what can"
	expect 2 "vfio-bind: spi0.0: the spi bus has no driver_override for it" pin -n spi0.0
	expect 2 "vfio-bind: 1-1: the usb bus has no driver_override for it
vfio-bind: hint: it is a part of pci/0000:00:04.0, which has one" handoff -n 1-1
	expect 2 "vfio-bind: 0:0:0:0: the scsi bus has no driver_override for it
vfio-bind: hint: it is a part of pci/0000:00:1f.2, which has one" release -n sda
	# One that is not there is no reason not to release the others.
	expect 2 "vfio-bind: eth9: no such device
vfio-bind: hint: an interface or a disk goes with its driver: name the device as 'vfio-bind list --taken' does
echo 0000:00:05.2 > /sys/bus/pci/drivers/vfio-pci/unbind
echo > $PCI/0000:00:05.2/driver_override
echo 0000:00:05.2 > /sys/bus/pci/drivers_probe" release -n eth9 00:05.2
}

@test "by a node in /dev" {
	if ! mknod /dev/vb-disk b 1022 0; then skip "no node can be made here"; fi
	means /dev/vb-disk pci/0000:00:10.0
	rm /dev/vb-disk
	means_none /dev/vb-disk /dev/null
}
