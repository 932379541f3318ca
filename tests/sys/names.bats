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

# function_at DIR CLASS [NUMBER]: what the kernel shows in DIR of a function of a device, with a
# node of this number; nodes DIR CLASS DEVICE NAME...: one that is of DEVICE, and is meant by it.
function_at() {
	folder "$1"
	link "$1/subsystem" "/sys/class/$2"
	link "/sys/class/$2/${1##*/}" "$1"
	if (($# == 3)); then
		attribute "$1/dev" "$3"
		link "/sys/dev/char/$3" "$1"
	fi
}

# null PATH...: a node there, with the number of the only one that can be had by all: 1:3.
null() {
	local node
	for node; do
		mkdir -p "${node%/*}"
		ln -sf /dev/null "$node"
	done
}

@test "a device by each of its names" {
	local name folder

	promise "by its name, its bus and name, its address without the domain, its paths"
	for name in 0000:00:10.0 pci/0000:00:10.0 00:10.0 pci/00:10.0 "$PCI/0000:00:10.0" \
		/sys/bus/pci/devices/0000:00:10.0 /sys/kernel/iommu_groups/10/devices/0000:00:10.0 \
		/sys/class/block/nvme0n1/device/device/../0000:00:10.0; do
		means "$name" pci/0000:00:10.0
	done
	means fff51000.ethernet platform/fff51000.ethernet
	means platform/fff51000.ethernet platform/fff51000.ethernet
	means_none 10.0 pci/10.0 0:00:10.0 platform/0000:00:10.0 pci/nix/0000:00:10.0

	promise "as other tools and people write it: upper case, libvirt, udev, QEMU, a slash behind it"
	for name in 0000:00:1F.2 00:1F.2 pci/00:1F.2 PCI:00:1F.2 pci_0000_00_1f_2 pci-0000:00:1f.2 \
		pci:0000:00:1f.2 host=00:1f.2 host=0000:00:1F.2 pci/0000:00:1f.2/ "$PCI/0000:00:1f.2/" \
		"sysfsdev=$PCI/0000:00:1f.2" /devices/pci0000:00/0000:00:1f.2 \
		/bus/pci/devices/0000:00:1f.2//; do
		means "$name" pci/0000:00:1f.2
	done
	means platform:fff51000.ethernet platform/fff51000.ethernet
	means PNP0C0C:00 platform/PNP0C0C:00
	means /class/net/eth1/ pci/0000:01:00.0
	means amba:twin amba/twin
	means_none 0000:00:1f:2 00:1f.8 00:1g.2 pci_00_1f_2x x00:1f.2 pci//00:1f.2 10000:00:1f.2 \
		pci_0000_00_1f_20 nix:twin host= / // 00:1f.2:

	promise "by an interface or a disk"
	means eth0 pci/0000:00:12.0
	means /sys/class/net/eth0 pci/0000:00:12.0
	means eth1 pci/0000:01:00.0
	means eth3 pci/0000:00:03.0 # of virtio, by its transport
	means nvme0n1 pci/0000:00:10.0
	means /sys/class/block/nvme0n1 pci/0000:00:10.0
	means /sys/class/nvme/nvme0 pci/0000:00:10.0
	means sda scsi/0:0:0:0 # the controller has others
	means sda1 scsi/0:0:0:0
	means /sys/class/block/sda1 scsi/0:0:0:0
	means_none pci/eth0 net/eth0 block/sda eth2

	promise "by a character node, known by its number, and by the name of one"
	null /dev/nodes/any /dev/vfio/3
	function_at "$NVME/nvme/nvme0/ng0n1" nvme-generic 1:3
	link "$NVME/nvme/nvme0/ng0n1/device" "$NVME/nvme/nvme0"
	for name in /dev/nodes/any nodes/any /dev/null ng0n1 /dev/char/1:3; do
		means "$name" pci/0000:00:10.0
	done
	# Two of that name: only one has a node.
	function_at "$PCI/0000:00:02.0/drm/card0" drm 226:0
	link "$PCI/0000:00:02.0/drm/card0/device" "$PCI/0000:00:02.0"
	function_at "$PCI/0000:00:12.0/sound/card0" sound
	link "$PCI/0000:00:12.0/sound/card0/device" "$PCI/0000:00:12.0"
	means card0 pci/0000:00:02.0
	# Both have.
	echo 116:0 >"$PCI/0000:00:12.0/sound/card0/dev"
	means card0 pci/0000:00:02.0 pci/0000:00:12.0
	function_at "$PCI/0000:00:12.0/sound/card0/controlC0" sound 116:1
	link "$PCI/0000:00:12.0/sound/card0/controlC0/device" "$PCI/0000:00:12.0/sound/card0"
	means controlC0 pci/0000:00:12.0
	# Faces of the device above; and a client of the adapter, which is none.
	folder=$PCI/0000:00:1f.3/i2c-0
	folder "$folder"
	link "$folder/subsystem" /sys/bus/i2c
	link /sys/bus/i2c/devices/i2c-0 "$folder"
	: >"$folder/new_device"
	function_at "$folder/i2c-dev/i2c-0" i2c-dev 89:0
	link "$folder/i2c-dev/i2c-0/device" "$folder"
	means i2c-0 pci/0000:00:1f.3
	folder "$folder/0-0068"
	link "$folder/0-0068/subsystem" /sys/bus/i2c
	function_at "$folder/0-0068/rtc/rtc9" rtc 251:9
	link "$folder/0-0068/rtc/rtc9/device" "$folder/0-0068"
	means rtc9 i2c/0-0068
	# VFIO's own: of the device, and of its group.
	function_at "$PCI/0000:00:05.2/vfio-dev/vfio0" vfio-dev 1:3
	link "$PCI/0000:00:05.2/vfio-dev/vfio0/device" "$PCI/0000:00:05.2"
	means /dev/null pci/0000:00:05.2
	function_at /sys/devices/virtual/vfio/7 vfio 1:3
	means /dev/vfio/3 pci/0000:00:1f.0 pci/0000:00:1f.2 pci/0000:00:1f.3
	function_at /sys/devices/virtual/vfio/noiommu-10 vfio 1:3
	means /dev/vfio/3 pci/0000:00:10.0

	promise "a multipath disk, by the controllers that lead to it"
	means nvme1n1 pci/0000:00:11.1 pci/0000:00:11.2
	none "/sys/devices/virtual/nvme-subsystem/nvme-subsys1/nvme2"
	means nvme1n1 pci/0000:00:11.1

	promise "one name on two buses: the device that can be flagged, or none"
	means twin amba/twin platform/twin
	means amba/twin amba/twin
	means half platform/half # that of spi cannot
	means spi/half spi/half
	none /sys/devices/platform/half/driver_override
	means half platform/half spi/half
	link /sys/bus/usb/devices/half /sys/devices/half
	means half platform/half spi/half # it is the same one
	folder /sys/devices/more
	link /sys/devices/more/subsystem /sys/bus/usb
	link /sys/bus/usb/devices/sda /sys/devices/more
	means sda usb/more scsi/0:0:0:0
}

@test "a name of no device, or of one that cannot be flagged" {
	local name

	promise "what is virtual: no device is behind it, but what it is on"
	function_at /sys/devices/virtual/block/dm-0 block 1:3
	folder /sys/devices/virtual/block/dm-0/slaves/{nvme0n1,sda1}
	for name in dm-0 /dev/null /sys/class/block/dm-0; do
		expect 2 "vfio-bind: $name: no device of its own: it is on nvme0n1, sda1
vfio-bind: hint: name what it is on" handoff -n $name
	done
	function_at /sys/devices/virtual/net/bond0 net
	folder /sys/devices/virtual/net/bond0/lower_eth0
	expect 2 "vfio-bind: bond0: no device of its own: it is on eth0
vfio-bind: hint: name what it is on" list bond0
	function_at /sys/devices/platform/alone net
	means_none alone
	function_at /sys/devices/virtual/mem/null mem 1:3
	expect 2 "vfio-bind: /dev/null: no device is behind it: it is virtual" list /dev/null

	promise "the operands are swapped, or a driver is in the place of a device"
	local order="DEVICE comes first, then DRIVER"
	for name in vfio-pci none nix; do
		expect 2 "vfio-bind: $name: no such device
vfio-bind: hint: 00:1F.2 is a device: are the operands swapped? $order" handoff -n $name 00:1F.2
		expect 2 "vfio-bind: $name: no such device
vfio-bind: hint: eth0 is a device: are the operands swapped? $order" pin -n $name eth0
	done
	expect 2 "vfio-bind: vfio_pci: no such device
vfio-bind: hint: that is a driver: $order" handoff -n vfio_pci eth9
	expect 2 "vfio-bind: e1000e: no such device
vfio-bind: hint: that is a driver" release -n e1000e
	expect 2 "vfio-bind: nix: no such device" handoff -n nix vfio-pci

	promise "what was removed is gone, if vfio-bind has met it; and no name that went with a driver"
	changing
	mkdir -p /run/vfio-bind/{lock,record}
	touch /run/vfio-bind/{lock/pci:0000:00:1a.0,lock/iommu_group:77,record/platform:gone.0}
	for name in 0000:00:1a.0 00:1A.0 pci_0000_00_1a_0 pci/00:1a.0 /sys/bus/pci/devices/0000:00:1a.0 \
		$PCI/0000:00:1a.0/ /devices/pci0000:00/0000:00:1a.0 gone.0 platform/gone.0; do
		expect 2 "vfio-bind: $name: the device is gone: it was removed" release -n "$name"
		expect 2 "vfio-bind: $name: the device is gone: it was removed" handoff -n "$name"
	done
	for name in 00:1b.0 pci/00:1b.0 $PCI/0000:00:1b.0 amba/gone.0 pci/eth9; do
		expect 2 "vfio-bind: $name: no such device" release -n "$name"
	done
	for name in 77 /dev/nix; do
		expect 2 "vfio-bind: $name: no such device
vfio-bind: hint: an interface or a disk goes with its driver: name the device as 'vfio-bind list --taken' does" \
			release -n $name
	done

	promise "a name of any length that cannot be looked up: why"
	changing
	ln -s loop "$MADE_UP/loop"
	local long
	long=$MADE_UP/loop$(printf '/%0200d' 1 2 3 4 5)
	expect 1 "vfio-bind: $(printf %.128s "$long")...: cannot read $(printf %.512s "$long")...: Too many levels of symbolic links" \
		list "$long"
	rm "$MADE_UP/loop"

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
	means vb-disk pci/0000:00:10.0
	mknod /dev/vb-part b 1023 1
	means /dev/vb-part scsi/0:0:0:0
	rm /dev/vb-disk /dev/vb-part
	means_none /dev/vb-disk /dev/null
}
