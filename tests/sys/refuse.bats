#!/usr/bin/env bats
# What is known to go wrong, before anything is touched: what is said, and what to do.

# shellcheck disable=SC2154 # sys.bash sets holder
load sys

@test "a device or a driver that is not fit for it" {
	local class

	promise "no such driver"
	expect 2 "vfio-bind: 0000:00:10.0: no driver nix on the pci bus
vfio-bind: hint: no module has that name either; if the driver's module is named differently, load it first" handoff -n 00:10.0 nix
	expect 2 "vfio-bind: fff51000.ethernet: no driver nvme on the platform bus
vfio-bind: hint: no module has that name either; if the driver's module is named differently, load it first" pin -n fff51000.ethernet nvme
	expect 2 "vfio-bind: 0000:00:10.0: no driver eth1 on the pci bus
vfio-bind: hint: that is a device: handoff takes several of them with --driver=DRIVER" handoff -n 00:10.0 eth1
	expect 2 "vfio-bind: twin: no driver vfio-platform on the amba bus
vfio-bind: hint: no module has that name either; if the driver's module is named differently, load it first" pin -n amba/twin vfio-platform
	attribute /sys/devices/spi0.0/driver_override ''
	expect 2 "vfio-bind: spi0.0: no driver vfio-spi on the spi bus
vfio-bind: hint: no module has that name either; if the driver's module is named differently, load it first" handoff -n spi0.0

	promise "a driver by its name, as modules have it"
	expect 0 "echo vfio-pci > $PCI/0000:00:10.0/driver_override" pin -n 00:10.0 vfio_pci
	expect 0 "echo i801_smbus > $PCI/0000:00:10.0/driver_override" pin -n 00:10.0 i801-smbus
	folder /sys/bus/pci/drivers/vfio_pci
	expect 0 "echo vfio_pci > $PCI/0000:00:10.0/driver_override" pin -n 00:10.0 vfio_pci
	expect 0 "echo vfio-pci > $PCI/0000:00:10.0/driver_override" pin -n 00:10.0 vfio-pci
	none /sys/bus/pci/drivers/vfio_pci

	promise "a PF with VFs"
	expect 3 "vfio-bind: 0000:00:05.0: it is a PF, and 2 of its VFs are enabled
vfio-bind: hint: to remove them: echo 0 > $PCI/0000:00:05.0/sriov_numvfs" handoff -n 00:05.0
	none "$PCI/0000:00:05.0/virtfn0"
	expect 3 "vfio-bind: 0000:00:05.0: it is a PF, and 1 of its VFs is enabled
vfio-bind: hint: to remove them: echo 0 > $PCI/0000:00:05.0/sriov_numvfs" handoff -n 00:05.0 none
	none "$PCI/0000:00:05.0/virtfn1"
	expect 0 "echo none > $PCI/0000:00:05.0/driver_override
echo 0000:00:05.0 > /sys/bus/pci/drivers/nvme/unbind
echo 1 > $PCI/0000:00:05.0/reset" handoff -n 00:05.0 none

	promise "a bridge"
	without_interface "$PCI/0000:00:1c.0/0000:01:00.0"
	for class in 0x060400 0x060700; do
		attribute "$PCI/0000:00:1c.0/class" $class
		expect 3 "vfio-bind: 0000:00:1c.0: it is a PCI bridge: what is behind it needs the bridge's own driver
vfio-bind: hint: hand off the devices behind it" handoff -n 00:1c.0
	done
	expect 0 "echo none > $PCI/0000:00:1c.0/driver_override" pin -n 00:1c.0

	promise "a driver without bind and unbind files"
	expect 1 "vfio-bind: fff37000.serial: its driver uart-pl011 cannot be unbound: it has no unbind file" \
		handoff -n fff37000.serial
	expect 0 "echo vfio-amba > /sys/devices/amba/fff37000.serial/driver_override" \
		pin -n fff37000.serial auto
	expect 1 "vfio-bind: twin: cannot bind to uart-pl011: it has no bind file" \
		handoff amba/twin uart-pl011
	[[ $(</sys/devices/amba/twin/driver_override) == "(null)" ]]

	promise "a reset that is demanded, and not to be had"
	expect 1 "vfio-bind: 0000:00:1f.2: cannot be reset: it has no reset attribute
vfio-bind: hint: --reset=auto goes without" handoff -n --reset=always 00:1f.2 pci-stub
	expect 1 "vfio-bind: 0000:00:10.0: cannot be reset: a device is not reset while a host driver has it
vfio-bind: hint: --reset=auto goes without" handoff -n --reset=always 00:10.0 pci-stub
	expect 1 "vfio-bind: twin: cannot be reset: it has no reset attribute, and only VFIO resets it otherwise
vfio-bind: hint: --reset=auto goes without" handoff -n --reset=always amba/twin none
}

@test "somebody else who has it, and what cannot be written" {
	promise "/sys that cannot be written"
	# shellcheck disable=SC2016
	run -1 unshare -m bash -c 'mount --bind /sys /sys && mount -o remount,bind,ro /sys &&
		exec vfio-bind handoff 00:05.1'
	[[ $output == "vfio-bind: 0000:00:05.1: cannot write below /sys: Read-only file system" ]]

	promise "but what its own user could not write is root's all the same"
	changing
	if setpriv --ruid=1 true 2>/dev/null; then
		setpriv --ruid=1 vfio-bind pin 00:10.0 pci-stub
		setpriv --ruid=1 vfio-bind release 00:10.0
	fi

	promise "held by a VFIO user"
	changing
	: >/dev/vfio/devices/vfio0
	mount --bind /dev/full /dev/vfio/devices/vfio0
	hold /dev/vfio/devices/vfio0
	expect 3 "vfio-bind: 0000:00:05.2: timed out: held by sleep (pid $holder)
vfio-bind: hint: it is free when that process closes it or ends" handoff -n -t 0.01 00:05.2
	expect 3 "vfio-bind: 0000:00:05.2: timed out: held by sleep (pid $holder)
vfio-bind: hint: it is free when that process closes it or ends" release -n -t 0.01 00:05.2
	# So is its group, for the others in it.
	link /sys/kernel/iommu_groups/8/devices/0000:00:05.2 "$PCI/0000:00:05.2"
	link "$PCI/0000:00:05.2/iommu_group" /sys/kernel/iommu_groups/8
	expect 3 "vfio-bind: 0000:00:05.1: timed out: its IOMMU group is held by sleep (pid $holder)
vfio-bind: hint: it is free when that process closes it or ends" handoff -n -t 0.01 00:05.1
	let_go
	umount /dev/vfio/devices/vfio0
	rm /dev/vfio/devices/vfio0

	promise "locked by another process"
	record pci:0000:00:10.0 "$PCI/0000:00:10.0"
	hold /run/vfio-bind/lock/pci:0000:00:10.0 flock -F /run/vfio-bind/lock/pci:0000:00:10.0
	expect 3 "vfio-bind: 0000:00:10.0: timed out: locked by sleep (pid $holder)
vfio-bind: hint: try again when that process has ended; do not kill it" pin -t 0.01 00:10.0
	expect 0 "" list -nro LEASE 00:10.0 # it has no COMMAND
	let_go
	expect 0 "" pin -t 60 00:10.0

	promise "a record's folder that others can write, or that is none: nor is it a sign that there is no record"
	local made
	local text="is not a directory that only root can write"
	mkdir "$MADE_UP/others"
	for made in "chmod 777 /run/vfio-bind/record" "chmod 777 /run/vfio-bind" \
		"chown 1 /run/vfio-bind" "mv /run/vfio-bind $MADE_UP/others/ && : >/run/vfio-bind" \
		"mv /run/vfio-bind $MADE_UP/others/ && ln -s $MADE_UP/others/vfio-bind /run" \
		"mv /run/vfio-bind $MADE_UP/others/ && ln -s nix /run/vfio-bind"; do
		record pci:0000:00:10.0 "$NVME" "driver e1000e" "given none"
		eval "$made" || continue # no other owner can be had here
		for words in "pin 00:10.0" "pin -n 00:10.0" "release 00:10.0" "release --all" "release -n --all"; do
			# shellcheck disable=SC2086
			vfio_bind $words
			[[ $status == 1 && $output == "vfio-bind: "*"/run/vfio-bind"*" $text" ]]
		done
		vfio_bind list -nro HOST,LEASE 00:10.0
		[[ $status == 1 && $output == "? ?"$'\n'"vfio-bind: /run/vfio-bind"*" $text" ]]
		rm -rf /run/vfio-bind "$MADE_UP/others/vfio-bind"
	done
	rmdir "$MADE_UP/others"
}

# bats test_tags=slow
@test "whoever has a lock is known where /run is an overlay, too" {
	local run=/run/overlay lock=/run/vfio-bind/lock/pci:0000:00
	changing
	mkdir -p $run /run/vfio-bind
	mount -t tmpfs -o mode=755 vb $run
	mkdir $run/{upper,work}
	if ! mount -t overlay -o "lowerdir=/run/vfio-bind,upperdir=$run/upper,workdir=$run/work" \
		vb /run/vfio-bind; then
		umount $run
		skip "no overlay here"
	fi
	mkdir -p /run/vfio-bind/{lock,record}
	: >$lock:05.2
	[[ $(stat -c %d $lock:05.2) != "$(stat -c %d /run/vfio-bind)" ]]
	hold $lock:05.2 flock -F $lock:05.2
	expect 3 "vfio-bind: 0000:00:05.2: timed out: locked by sleep (pid $holder)
vfio-bind: hint: try again when that process has ended; do not kill it" release -t 0.01 00:05.2
	let_go
	umount -l /run/vfio-bind $run # a worker may still end
}
