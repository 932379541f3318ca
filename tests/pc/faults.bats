#!/usr/bin/env bats
# Every call of the kernel fails in turn: the status tells what is so, and what could not be
# read is not "nothing". In part here; FAULTS=all, by make check-faults: every call, with each
# errno.

# sweep.bash and faults.bash use and set them.
# shellcheck disable=SC2034,SC2154

load ../helpers
load ../sweep
load ../faults

TARGET=vfio-pci

setup_file() {
	modprobe vfio-pci
	hurry 1
}

setup() {
	device=$PCI_NIC
	fault_defaults
	actions=(fail:ENOMEM fail:EMFILE fail:EIO fail:EACCES)
}

teardown() {
	end_shell
	let_go
	[[ ! ${interface:-} ]] || { ip link set "$interface" down && ip address flush dev "$interface"; }
	vfio-bind release --all
	put_home "$PCI_NIC"
}

@test "a call of a handoff fails" {
	options=(--force)
	sweep_all handoff 5
}

@test "a call of a handoff that asks what the device is used by fails" {
	sweep_all handoff 4
}

@test "a call of a release fails" {
	of_release
	sweep_all release 2
}

@test "a call of release --all fails" {
	of_release
	options=(--all) operands=()
	sweep_all release 3
}

@test "a call of a pin fails" {
	of_pin
	sweep_all pin 3
}

@test "a call of a list fails" {
	sweep_all list 2
	operands=() options=(--bus=pci)
	sweep_all list 2
}

# never COMMAND...: whatever fails, a check that could not look refuses.
never() {
	return 1
}

@test "a call of a handoff of an interface in use fails: it is never taken" {
	find_pci_interface
	ip address add 192.0.2.1/24 dev "$interface"
	ip link set "$interface" up
	done_is=never
	sweep_all handoff 3
}

@test "a call of a release of a device that is held fails: it is never taken" {
	before=all_taken as_it_was=is_as_taken done_is=never
	"$before"
	hold "/dev/vfio/$(group_of "$device")" "$device"
	options=(--timeout=0.2)
	sweep_all release 2
}
