#!/usr/bin/env bats
# What a dry run would write, and in which order.

# shellcheck disable=SC2154 # tree() sets answer
load sys

# is DEVICE DRIVER FLAG: what it has, from now on; empty: none.
is() {
	driver "$1" "$2"
	echo "${3:-(null)}" >"$PCI/$1/driver_override"
}

@test "the steps of pin and handoff" {
	promise "pin: the flag, and nothing else"
	expect 0 "echo none > $NVME/driver_override" pin -n nvme0n1
	expect 0 "echo nvme > $NVME/driver_override" pin -n nvme0n1 nvme
	expect 0 "echo vfio-pci > $NVME/driver_override" pin -n nvme0n1 auto
	is 0000:00:10.0 nvme none
	expect 0 "" pin --dry-run nvme0n1
	is 0000:00:10.0 nvme vfio-pci
	expect 0 "" pin -n nvme0n1 auto
	expect 0 "echo none > $NVME/driver_override" pin -n nvme0n1

	promise "handoff: flag, unbind, bind, reset"
	expect 0 "echo vfio-pci > $NVME/driver_override
echo 0000:00:10.0 > $DRIVERS/nvme/unbind
echo 0000:00:10.0 > $DRIVERS/vfio-pci/bind
echo 1 > $NVME/reset" handoff -n nvme0n1
	expect 0 "echo vfio-pci > $NVME/driver_override
echo 0000:00:10.0 > $DRIVERS/nvme/unbind
echo 0000:00:10.0 > $DRIVERS/vfio-pci/bind" handoff -nv --reset=never nvme0n1
	# Without a reset attribute only VFIO could.
	expect 0 "echo vfio-amba > /sys/devices/amba/twin/driver_override
echo twin > /sys/bus/amba/drivers/vfio-amba/bind
# open twin through VFIO, VFIO_DEVICE_RESET, close" handoff -n amba/twin
	is 0000:00:10.0 '' none
	expect 0 "echo vfio-pci > $NVME/driver_override
echo 0000:00:10.0 > $DRIVERS/vfio-pci/bind
echo 1 > $NVME/reset" handoff -n nvme0n1
	is 0000:00:10.0 nvme vfio-pci
	expect 0 "echo 0000:00:10.0 > $DRIVERS/nvme/unbind
echo 0000:00:10.0 > $DRIVERS/vfio-pci/bind
echo 1 > $NVME/reset" handoff -n nvme0n1
	is 0000:00:10.0 vfio-pci ''
	expect 0 "echo vfio-pci > $NVME/driver_override
echo 1 > $NVME/reset" handoff -n nvme0n1

	promise "a dry run does not wait for a udev that is there"
	is 0000:00:10.0 nvme vfio-pci
	mkdir -p /run/udev
	: >/run/udev/control
	expect 0 "echo 0000:00:10.0 > $DRIVERS/nvme/unbind
echo 0000:00:10.0 > $DRIVERS/vfio-pci/bind
echo 1 > $NVME/reset" handoff -n nvme0n1
	rm /run/udev/control
	is 0000:00:10.0 vfio-pci ''

	promise "handoff to another driver, and to none"
	expect 0 "echo none > $NVME/driver_override
echo 0000:00:10.0 > $DRIVERS/nvme/unbind
echo 1 > $NVME/reset" handoff -n nvme0n1 none
	expect 0 "echo pci-stub > $NVME/driver_override
echo 0000:00:10.0 > $DRIVERS/nvme/unbind
echo 0000:00:10.0 > $DRIVERS/pci-stub/bind" handoff -n nvme0n1 pci_stub
	is 0000:00:10.0 '' none
	expect 0 "" handoff -n 00:10.0 none
	expect 0 "echo 1 > $NVME/reset" handoff -n --reset=always 00:10.0 none

	promise "several devices, in the order of their paths; one that is there already"
	expect 0 "echo none > $PCI/0000:00:05.2/driver_override" pin -n 00:05.2 none
	expect 0 "" handoff -n 00:05.2
	expect 0 "echo 1 > $PCI/0000:00:05.2/reset" handoff -n --reset=always 00:05.2
	vfio_bind handoff -n --driver=none nvme0n1 amba/twin nvme0n1
	[[ $status == 0 && $(sort <<<"$output") == "echo 0000:00:10.0 > $DRIVERS/nvme/unbind
echo 1 > $NVME/reset
echo none > /sys/devices/amba/twin/driver_override
echo none > $NVME/driver_override" ]]
	expect 2 "vfio-bind: nix: no such device" handoff -n --driver=none nvme0n1 nix
}

@test "the steps of release, without a record and with one" {
	local name output

	promise "release of what vfio-bind has not taken: the kernel's choice"
	expect 0 "" release -n nvme0n1
	is 0000:00:10.0 vfio-pci ''
	expect 0 "echo 0000:00:10.0 > $DRIVERS/vfio-pci/unbind
echo 0000:00:10.0 > /sys/bus/pci/drivers_probe" release -n 00:10.0
	is 0000:00:10.0 vfio-pci vfio-pci
	expect 0 "echo 0000:00:10.0 > $DRIVERS/vfio-pci/unbind
echo > $NVME/driver_override
echo 0000:00:10.0 > /sys/bus/pci/drivers_probe" release -n 00:10.0
	is 0000:00:10.0 nvme vfio-pci # it keeps that
	expect 0 "echo > $NVME/driver_override" release -n 00:10.0
	is 0000:00:10.0 nvme nvme # by its flag only
	expect 0 "echo 0000:00:10.0 > $DRIVERS/nvme/unbind
echo > $NVME/driver_override
echo 0000:00:10.0 > /sys/bus/pci/drivers_probe" release -n 00:10.0
	is 0000:00:10.0 '' none # it was free to take: flag first
	expect 0 "echo > $NVME/driver_override
echo 0000:00:10.0 > /sys/bus/pci/drivers_probe" release -n 00:10.0
	is 0000:00:10.0 '' ''
	expect 0 "echo 0000:00:10.0 > /sys/bus/pci/drivers_probe" release -n 00:10.0

	promise "a VF of a PF with sriov_drivers_autoprobe 0 binds when flagged only"
	is 0000:00:05.1 '' ''
	expect 0 "echo nvme > $PCI/0000:00:05.1/driver_override
echo 0000:00:05.1 > $DRIVERS/nvme/bind" handoff -n 00:05.1 nvme
	is 0000:00:05.1 nvme nvme # flagged so for its host driver: it keeps it
	expect 0 "echo > $PCI/0000:00:05.1/driver_override" release -n 00:05.1
	is 0000:00:05.1 vfio-pci vfio-pci
	record pci:0000:00:05.1 "$PCI/0000:00:05.1" "driver nvme" "given vfio-pci"
	expect 0 "echo nvme > $PCI/0000:00:05.1/driver_override
echo 0000:00:05.1 > $DRIVERS/vfio-pci/unbind
echo 0000:00:05.1 > $DRIVERS/nvme/bind
echo > $PCI/0000:00:05.1/driver_override" release -n 00:05.1
	echo 1 >"$PCI/0000:00:05.0/sriov_drivers_autoprobe"
	expect 0 "echo 0000:00:05.1 > $DRIVERS/vfio-pci/unbind
echo > $PCI/0000:00:05.1/driver_override
echo 0000:00:05.1 > $DRIVERS/nvme/bind" release -n 00:05.1
	# The home of one whose PF is VFIO's is VFIO.
	is 0000:00:05.0 vfio-pci vfio-pci
	rm -r /run/vfio-bind
	is 0000:00:05.1 '' vfio-pci
	expect 0 "echo 0000:00:05.1 > $DRIVERS/vfio-pci/bind" release -n 00:05.1

	promise "release of what is recorded: to where it was"
	record pci:0000:00:10.0 "$NVME" "driver nvme" "given vfio-pci"
	is 0000:00:10.0 vfio-pci vfio-pci
	expect 0 "echo 0000:00:10.0 > $DRIVERS/vfio-pci/unbind
echo > $NVME/driver_override
echo 0000:00:10.0 > $DRIVERS/nvme/bind" release -n 00:10.0
	is 0000:00:10.0 nvme vfio-pci # not moved yet
	expect 0 "echo > $NVME/driver_override" release -n --all
	is 0000:00:10.0 '' '' # half way back
	expect 0 "echo 0000:00:10.0 > $DRIVERS/nvme/bind" release -n --all
	is 0000:00:10.0 '' vfio-pci
	expect 0 "echo > $NVME/driver_override
echo 0000:00:10.0 > $DRIVERS/nvme/bind" release -n --all
	is 0000:00:10.0 pci-stub '' # somebody else has taken it since
	expect 0 "" release -n --all

	# With the flag it had, which another driver than its own has.
	record pci:0000:00:10.0 "$NVME" "driver nvme" "driver_override none" "given vfio-pci"
	is 0000:00:10.0 vfio-pci vfio-pci
	expect 0 "echo 0000:00:10.0 > $DRIVERS/vfio-pci/unbind
echo > $NVME/driver_override
echo 0000:00:10.0 > $DRIVERS/nvme/bind
echo none > $NVME/driver_override" release -n 00:10.0
	record pci:0000:00:10.0 "$NVME" "driver nvme" "driver_override nvme" "given vfio-pci"
	expect 0 "echo nvme > $NVME/driver_override
echo 0000:00:10.0 > $DRIVERS/vfio-pci/unbind
echo 0000:00:10.0 > $DRIVERS/nvme/bind" release -n 00:10.0
	# It had no driver.
	record pci:0000:00:10.0 "$NVME" "driver_override none" "given vfio-pci"
	expect 0 "echo none > $NVME/driver_override
echo 0000:00:10.0 > $DRIVERS/vfio-pci/unbind" release -n 00:10.0
	record pci:0000:00:10.0 "$NVME" "given vfio-pci" "given none"
	expect 0 "echo 0000:00:10.0 > $DRIVERS/vfio-pci/unbind
echo > $NVME/driver_override" release -n 00:10.0

	promise "a parked device goes home, and so does a group"
	record pci:0000:00:10.0 "$NVME" "driver nvme" "given none"
	is 0000:00:10.0 '' none
	expect 0 "echo > $NVME/driver_override
echo 0000:00:10.0 > $DRIVERS/nvme/bind" release -n 00:10.0
	record pci:0000:00:1f.0 "$PCI/0000:00:1f.0" "driver lpc_ich" "given vfio-pci"
	record pci:0000:00:1f.3 "$PCI/0000:00:1f.3" "driver i801_smbus" "given vfio-pci"
	for name in 0000:00:1f.{0,2,3}; do is "$name" vfio-pci vfio-pci; done
	# What somebody else has taken of it stays.
	vfio_bind release -n --group 00:1f.2
	[[ $status == 0 && $(sort <<<"$output") == "\
echo 0000:00:1f.0 > $DRIVERS/lpc_ich/bind
echo 0000:00:1f.0 > $DRIVERS/vfio-pci/unbind
echo 0000:00:1f.3 > $DRIVERS/i801_smbus/bind
echo 0000:00:1f.3 > $DRIVERS/vfio-pci/unbind
echo > $PCI/0000:00:1f.0/driver_override
echo > $PCI/0000:00:1f.3/driver_override" ]]

	promise "--all: a record of a device that is gone, or of another one by its name"
	record pci:0000:00:10.0 "$NVME" "driver nvme" "given vfio-pci"
	is 0000:00:10.0 vfio-pci vfio-pci
	echo "incarnation 1" >/run/vfio-bind/record/pci:0000:77:00.0
	echo "incarnation 1
driver nvme
given vfio-pci" >/run/vfio-bind/record/pci:0000:00:05.2
	expect 0 "echo 0000:00:10.0 > $DRIVERS/vfio-pci/unbind
echo > $NVME/driver_override
echo 0000:00:10.0 > $DRIVERS/nvme/bind" release --dry-run --all
}

@test "a line for a root shell is whole, however long it is" {
	local flag
	flag=$(printf '\xc3\xa4%.0s' {1..2000})
	is 0000:00:10.0 vfio-pci vfio-pci
	record pci:0000:00:10.0 "$NVME" "driver nvme" "driver_override $flag" "given vfio-pci"
	expect 0 "echo 0000:00:10.0 > $DRIVERS/vfio-pci/unbind
echo > $NVME/driver_override
echo 0000:00:10.0 > $DRIVERS/nvme/bind
echo '$flag' > $NVME/driver_override" release -n 00:10.0
}

@test "what is left in /run" {
	# /sys takes what is written, as the kernel does with a flag.
	promise "what a pin leaves: the flag, and a record of what was before"
	is 0000:00:10.0 nvme ' '
	: >"$NVME/driver_override"
	expect 0 "" pin 00:10.0 pci-stub
	[[ $(<"$NVME/driver_override") == pci-stub ]]
	tree inode "$NVME"
	[[ $(</run/vfio-bind/record/pci:0000:00:10.0) == "incarnation $answer
driver nvme
given pci-stub
functions 1" ]]
	[[ $(stat -c %a /run/vfio-bind/{lock,record}/pci:0000:00:10.0) == $'600\n600' ]]
	# And again: the origin stays, and the record knows both flags.
	expect 0 "echo vfio-pci > $NVME/driver_override" pin -v 00:10.0 auto
	[[ $(</run/vfio-bind/record/pci:0000:00:10.0) == "incarnation $answer
driver nvme
given pci-stub
given vfio-pci
functions 1" ]]
	: >"$NVME/driver_override"
	expect 0 "" release 00:10.0
	[[ ! -e /run/vfio-bind/record/pci:0000:00:10.0 ]]

	promise "a FIFO in the place of each file there: nothing waits for it"
	local fifo=pci:0000:00:10.0 lock
	changing
	mkdir -p /run/vfio-bind/{lock,record}
	mkfifo /run/vfio-bind/{record/,lock/,}$fifo
	run -1 timeout -s KILL 9 vfio-bind list -nro HOST,LEASE 00:10.0
	[[ $output == *"cannot read /run/vfio-bind/record/$fifo: it is no record"* ]]
	rm /run/vfio-bind/record/$fifo
	exec {lock}<>/run/vfio-bind/lock/$fifo
	flock "$lock"
	run -1 timeout -s KILL 9 vfio-bind list -nro DEVICE,LEASE 00:10.0
	[[ $output == *"0000:00:10.0 ?"* && $output == *"cannot read /run/vfio-bind/lock/$fifo: "* ]]
	exec {lock}<&-
	: >"$NVME/driver_override"
	timeout -s KILL 9 vfio-bind pin -t 1 00:10.0 pci-stub
	[[ -f /run/vfio-bind/record/$fifo && ! -e /run/vfio-bind/$fifo ]]

	promise "release --all leaves nothing of a record that was never written to its end"
	changing
	mkdir -p /run/vfio-bind/{lock,record}
	: >/run/vfio-bind/pci:0000:00:10.0
	expect 0 "" release --all
	[[ ! -e /run/vfio-bind/pci:0000:00:10.0 ]]
}
