#!/usr/bin/env bats
# A lease with a real kernel below it. What needs no kernel for that is in
# tests/sys/lease.bats, and with a VMM on tests/pc.

load ../helpers

: "${pid=}" # in_background sets it

setup_file() {
	noiommu
	# What the VMM does with its device, without the VMM.
	cat >"$BATS_FILE_TMPDIR/vmm" <<-'EOT'
		#!/bin/bash
		exec vfio-open "$VFIO_BIND_NODES" "$VFIO_BIND_DEVICES" "$@"
	EOT
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
	in_background vfio-bind handoff "$NIC" -- "$vmm" hold "$open"
	until_true "$LIMIT" test -e "$open"
}

nic_is_home() {
	is_home "$NIC" "$NIC_DRIVER" >/dev/null
}

@test "COMMAND ends by itself: its status, and the device is home" {
	run -0 vfio-bind handoff "$NIC" -- "$vmm"
	says platform
	is_home "$NIC" "$NIC_DRIVER"
	# By its interface, whose name goes with the host's driver.
	run -7 vfio-bind handoff "$(ls "$(syspath "$NIC")/net")" -- bash -c 'exit 7'
	is_home "$NIC" "$NIC_DRIVER"
	run -125 vfio-bind handoff eth9 -- "$vmm"
	says "eth9: no such device"
}

@test "COMMAND is killed: the device is home" {
	start_guest
	device_is "$NIC" vfio-platform vfio-platform
	pkill -KILL vfio-open
	ended "$pid" 137
	is_home "$NIC" "$NIC_DRIVER"
}

@test "vfio-bind is told to end: COMMAND ends, and the device is home" {
	start_guest
	vfio_bind 3 release -t 1 "$NIC"
	says "timed out: leased to vfio-open (pid $(pgrep vfio-open)) by vfio-bind (pid "
	kill -TERM "$pid"
	ended "$pid" 143
	is_home "$NIC" "$NIC_DRIVER"
	run ! pgrep vfio-open
}

@test "vfio-bind is killed: the device goes home after COMMAND; or with all, by a release" {
	start_guest
	kill -KILL "$pid"
	ended "$pid" 137
	device_is "$NIC" vfio-platform vfio-platform
	pkill -KILL vfio-open
	until_true 20 nic_is_home
	rm "$open"
	start_guest
	pkill -KILL -x vfio-bind
	wait "$pid" || :
	vfio_bind 3 release -t 1 "$NIC"
	says "held by vfio-open (pid $(pgrep vfio-open))"
	pkill -KILL vfio-open
	vfio_bind 0 release "$NIC"
	is_home "$NIC" "$NIC_DRIVER"
}
