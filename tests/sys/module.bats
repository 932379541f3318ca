#!/usr/bin/env bats
# Modules: which VFIO driver a device takes, what is loaded for it, and what hardware a
# driver says it is for.

load sys

read -r modules </proc/sys/kernel/osrelease
modules=/lib/modules/$modules

setup_file() {
	mkdir -p "$modules"
	cd "$MADE_UP" || return
	# Of each module, its aliases: the generic variant's and the special one's, a host driver
	# whose module has another name, and one that says nothing of its hardware.
	module vfio-pci 'vfio_pci:v*d*sv*sd*bc*sc*i*'
	module vb-generic-vfio-pci 'vfio_pci:v00001B36d*sv*sd*bc*sc*i*'
	module vb-vfio-pci 'vfio_pci:v00001B36d00000010sv*sd*bc*sc*i*'
	module nvme 'pci:v*d*sv*sd*bc01sc08i02*'
	module e1000e 'pci:v00008086d000010D3sv*sd*bc*sc*i*'
	module xgmac 'of:N*T*Ccalxeda,hb-xgmac'
	module vfio-platform
	module uio-pci-generic
	: >"$modules/modules.order"
	: >"$modules/modules.builtin"
	depmod
}

teardown_file() {
	rm -r "$modules"
}

# module NAME ALIAS...: makes it.
module() {
	local name=$1
	shift
	{
		echo '.section .modinfo, "a"'
		printf '.string "%s"\n' "name=${name//-/_}" "${@/#/alias=}"
	} >module.s
	as -o "$modules/$name.ko" module.s
}

# without MODULE...: a tree that lacks these.
without() {
	local name
	for name; do mv "$modules/$name.ko" "$MADE_UP"; done
	depmod
}

teardown() {
	[[ ! -e /run/modprobe.d/vb.conf ]] || rm /run/modprobe.d/vb.conf
	if compgen -G "$MADE_UP/*.ko" >/dev/null; then
		mv "$MADE_UP"/*.ko "$modules"
		depmod
	fi
	let_go
}

# takes DRIVER LINE...: handoff of the disk flags it for that one, after these lines.
takes() {
	local driver=$1 lines
	shift
	printf -v lines '%s\n' "$@"
	expect 0 "${1:+$lines}echo $driver > $NVME/driver_override
echo 0000:00:10.0 > $DRIVERS/nvme/unbind
echo 0000:00:10.0 > $DRIVERS/$driver/bind
echo 1 > $NVME/reset" handoff -n nvme0n1
}

@test "which VFIO driver a device takes" {
	promise "the variant whose alias has the fewest wildcards, of those that are there"
	takes vb_vfio_pci "modprobe vb_vfio_pci"
	without vb-vfio-pci
	takes vb_generic_vfio_pci "modprobe vb_generic_vfio_pci"
	without vb-generic-vfio-pci
	takes vfio-pci
	without vfio-pci
	takes vfio-pci # it is registered
	none "$DRIVERS/vfio-pci"
	expect 2 "vfio-bind: 0000:00:10.0: no driver vfio-pci on the pci bus
vfio-bind: hint: no module has that name either; if the driver's module is named differently, load it first" handoff -n nvme0n1

	promise "a device that no variant fits; a variant that the admin does not want, or does"
	expect 0 "echo vfio-pci > $PCI/0000:00:1f.2/driver_override" pin -n 00:1f.2 auto
	none "$DRIVERS/vfio-pci"
	expect 0 "modprobe vfio_pci
echo vfio-pci > $PCI/0000:00:1f.2/driver_override" pin -n 00:1f.2 auto
	echo "blacklist vb_vfio_pci" >/run/modprobe.d/vb.conf
	takes vb_generic_vfio_pci "modprobe vb_generic_vfio_pci"
	echo "alias vfio_pci:v00001B36d00000010* uio_pci_generic" >/run/modprobe.d/vb.conf
	expect 0 "modprobe uio_pci_generic
echo uio_pci_generic > $NVME/driver_override" pin -n nvme0n1 auto

	promise "a variant that is loaded: its driver by the name that it has"
	folder /sys/module/vb_vfio_pci/drivers
	echo live >/sys/module/vb_vfio_pci/initstate
	expect 2 "vfio-bind: 0000:00:10.0: its VFIO driver's module vb_vfio_pci has no driver
vfio-bind: hint: to use another one, name it, as vfio-pci" handoff nvme0n1
	link /sys/module/vb_vfio_pci/drivers/pci:vb-special-vfio-pci "$DRIVERS/vb-special-vfio-pci"
	link /sys/module/vb_vfio_pci/drivers/platform:a /sys/bus/platform/drivers/a
	takes vb-special-vfio-pci
}

@test "what a driver's module tells, and when it is loaded" {
	promise "a driver that is not there is its module's; one that is named differently is not"
	expect 0 "modprobe uio_pci_generic
echo uio-pci-generic > $NVME/driver_override" pin -n nvme0n1 uio-pci-generic
	expect 2 "vfio-bind: 0000:00:10.0: no driver xgmac2 on the pci bus
vfio-bind: hint: no module has that name either; if the driver's module is named differently, load it first" pin -n nvme0n1 xgmac2
	folder /sys/module/xgmac
	echo live >/sys/module/xgmac/initstate
	expect 2 "vfio-bind: 0000:00:10.0: no driver xgmac on the pci bus, even with the module of that name loaded" \
		pin nvme0n1 xgmac

	promise "a driver that is not for this hardware"
	local refused="vfio-bind: 0000:00:10.0: the driver e1000e is not for this hardware: none of its ids fits; probing it could bring the machine down
vfio-bind: hint: --force does it all the same"
	folder /sys/module/{e1000e,nvme}/drivers
	link "$DRIVERS/e1000e/module" /sys/module/e1000e
	expect 3 "$refused" handoff -n nvme0n1 e1000e
	expect 3 "$refused" pin -n nvme0n1 e1000e
	expect 0 "echo e1000e > $NVME/driver_override" pin -nf nvme0n1 e1000e
	expect 0 "echo e1000e > $NVME/driver_override
echo 0000:00:10.0 > $DRIVERS/nvme/unbind
echo 0000:00:10.0 > $DRIVERS/e1000e/bind" handoff -nf nvme0n1 e1000e
	# It has it already.
	driver 0000:00:10.0 e1000e
	expect 0 "echo e1000e > $NVME/driver_override" handoff -n nvme0n1 e1000e
	driver 0000:00:10.0 nvme
	# For all hardware, as they do not say for which.
	expect 0 "modprobe uio_pci_generic
echo uio-pci-generic > $NVME/driver_override" pin -n nvme0n1 uio-pci-generic
	expect 0 "echo pci-stub > $NVME/driver_override" pin -n nvme0n1 pci-stub
	# Its own, from another: the module knows it by another name.
	link /sys/module/nvme/drivers/pci:nvme "$DRIVERS/nvme"
	none "$NVME/driver"
	expect 0 "echo nvme > $NVME/driver_override" pin -n 00:10.0 nvme
	none "$DRIVERS/e1000e/module"
	none "$DRIVERS/e1000e"
	expect 3 "modprobe e1000e
$refused" pin -n 00:10.0 e1000e

	promise "release loads what the device needs, but not what is blacklisted"
	none "$NVME/driver"
	expect 0 "modprobe nvme
echo 0000:00:10.0 > /sys/bus/pci/drivers_probe" release -n 00:10.0
	echo "blacklist nvme" >/run/modprobe.d/vb.conf
	expect 0 "echo 0000:00:10.0 > /sys/bus/pci/drivers_probe" release -n 00:10.0
	# A driver that is recorded is wanted all the same.
	record pci:0000:00:10.0 "$NVME" "driver nvme" "given none"
	none "$DRIVERS/nvme"
	echo none >"$NVME/driver_override"
	expect 0 "modprobe nvme
echo > $NVME/driver_override
echo 0000:00:10.0 > $DRIVERS/nvme/bind" release -n 00:10.0
	# That of a platform device, by its compatible.
	none /sys/bus/platform/drivers/calxedaxgmac /sys/devices/platform/fff51000.ethernet/driver
	expect 0 "modprobe xgmac
echo fff51000.ethernet > /sys/bus/platform/drivers_probe" release -n fff51000.ethernet
}
