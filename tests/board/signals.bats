#!/usr/bin/env bats
# A signal at any call, once and twice: the command's end, by status or by signal, tells what is
# so. In part here; FAULTS=all, by make check-faults: at every call, each of the four.

# sweep.bash and faults.bash use and set them.
# shellcheck disable=SC2034,SC2154

load ../helpers
load ../sweep
load ../faults

TARGET=vfio-platform
HOST_DRIVER+=(["platform/$NIC"]=$NIC_DRIVER)

setup_file() {
	noiommu
	hurry 1
}

setup() {
	device=platform/$NIC
	fault_defaults
	actions=("${FOUR_SIGNALS[@]}")
}

teardown() {
	end_shell
	vfio-bind release --all
	put_home "$device"
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
