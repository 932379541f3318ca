#!/usr/bin/env bats
# A signal at any call, once and twice: the command's end, by status or by signal, tells what is
# so. In part here; FAULTS=all, by make check-faults: at every call, each of the four.

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
	actions=("${FOUR_SIGNALS[@]}")
}

teardown() {
	end_shell
	vfio-bind release --all
	put_home "$PCI_NIC" "${TRIO[@]}"
}

@test "a signal in a handoff" {
	sweep_all handoff 4
}

@test "a signal in a release" {
	of_release
	sweep_all release 3
}

@test "a signal in a pin" {
	of_pin
	sweep_all pin 2
}

# of_group: the three go together.
of_group() {
	members=("${TRIO[@]}")
	child=''
}

@test "a signal in a handoff of a group" {
	of_group
	options=(--force --group) operands=("$AHCI")
	sweep_all handoff 3
}

@test "a signal in a release of a group" {
	of_group
	options=(--group) operands=("$AHCI")
	of_release
	sweep_all release 2
}

@test "a signal in a pin of a device of a group" {
	of_group
	device=$AHCI members=("$AHCI") operands=("$AHCI")
	of_pin
	sweep_all pin 2
}
