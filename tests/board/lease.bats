#!/usr/bin/env bats
# The launcher script of the README, as it stands there.

load ../helpers

: "${launch=}" "${pid=}" # helpers set them

setup_file() {
	noiommu
	readme_launcher
	# What the VMM does with its device, without the VMM.
	cat >"$BATS_FILE_TMPDIR/vmm" <<-'EOF'
		#!/bin/bash
		exec vfio-open "$(vfio-bind list -nro NODE "$1")" "$@"
	EOF
	chmod +x "$BATS_FILE_TMPDIR/vmm"
}

setup() {
	vmm=$BATS_FILE_TMPDIR/vmm
	open=$BATS_TEST_TMPDIR/open
}

teardown() {
	pkill -KILL vfio-open || :
	end_background
	vfio-bind release "$NIC"
}

start_guest() {
	in_background "$launch" "$NIC" "$vmm" "$NIC" hold "$open"
	until_true "$LIMIT" test -e "$open"
}

@test "the VMM ends by itself: its status, and the device is home" {
	run -0 "$launch" "$NIC" "$vmm" "$NIC"
	says platform
	is_home "$NIC" "$NIC_DRIVER"
	run -7 "$launch" "$NIC" bash -c 'exit 7'
	is_home "$NIC" "$NIC_DRIVER"
}

@test "a device that is named by its interface, whose name goes with the host's driver" {
	run -0 "$launch" "$(ls "$(syspath "$NIC")/net")" "$vmm" "$NIC"
	says platform
	is_home "$NIC" "$NIC_DRIVER"
	run -2 "$launch" eth9 "$vmm" "$NIC"
	says "eth9: no such device"
}

@test "the VMM is killed: the device is home" {
	start_guest
	device_is "$NIC" vfio-platform vfio-platform
	pkill -KILL vfio-open
	ended "$pid" 137
	is_home "$NIC" "$NIC_DRIVER"
}

@test "the launcher is told to end: the VMM ends, and the device is home" {
	start_guest
	kill -TERM "$pid"
	ended "$pid" 143
	is_home "$NIC" "$NIC_DRIVER"
	run ! pgrep vfio-open
}

@test "the launcher is killed: the next release does it" {
	start_guest
	kill -KILL "$pid"
	wait "$pid" || :
	vfio_bind 3 release -t 1 "$NIC"
	says "held by vfio-open (pid $(pgrep vfio-open))"
	pkill -KILL vfio-open
	vfio_bind 0 release "$NIC"
	is_home "$NIC" "$NIC_DRIVER"
}

@test "a second launcher does not get the device, and leaves it alone" {
	start_guest
	cat >"$BATS_TEST_TMPDIR/vfio-bind" <<-EOF
		#!/bin/sh
		[ "\$1" = list ] || set -- "\$@" --timeout=1
		exec $(type -P vfio-bind) "\$@"
	EOF
	chmod +x "$BATS_TEST_TMPDIR/vfio-bind"
	PATH=$BATS_TEST_TMPDIR:$PATH run -3 timeout "$LIMIT" "$launch" "$NIC" "$vmm" "$NIC"
	says "held by vfio-open"
	device_is "$NIC" vfio-platform vfio-platform
}
