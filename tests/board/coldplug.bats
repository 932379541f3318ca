#!/usr/bin/env bats
# A platform device that is pinned at boot, and what udev makes of it: as tests/pc/boot.bats, where
# more of it is.

load ../helpers

RULES=/etc/udev/rules.d/10-vfio-bind.rules

setup_file() {
	mkdir -p "${RULES%/*}"
	noiommu
}

teardown() {
	[[ ! -e /run/udev/control ]] || stop_udev
	vfio-bind release --all --boot 2>/dev/null || :
	rm -f "${RULES%/*}"/*
	modprobe xgmac
	home "$NIC" "$NIC_DRIVER"
	home "$SIBLING" "$NIC_DRIVER"
}

# coldplug OPTION...: as at boot, with these options of udevd.
coldplug() {
	rmmod xgmac
	[[ ! -d /sys/module/vfio_platform ]] || rmmod vfio_platform
	echo >"$(syspath "$NIC")/driver_override"
	/usr/lib/systemd/systemd-udevd --daemon "$@"
	udevadm trigger --type=all --action=add
	udevadm settle
	stop_udev
}

@test "as at boot, the pinned interface is VFIO's, and its sister the host's" {
	local workers
	vfio_bind 0 pin --boot "$NIC" auto
	for workers in --children-max=1 --children-max=2; do
		coldplug $workers
		device_is "$NIC" vfio-platform vfio-platform
		device_is "$SIBLING" "$NIC_DRIVER" "(null)"
	done
	vfio_bind 0 list --boot -nro DEVICE,BOOT
	[[ $output == "$NIC vfio-platform" ]]
	vfio_bind 0 release --boot "$NIC"
	[[ ! -e $RULES ]]
	is_home "$NIC" "$NIC_DRIVER"
	coldplug
	device_is "$NIC" "$NIC_DRIVER" "(null)"
}
