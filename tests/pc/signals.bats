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
	child='' before=group_home disks="$(syspath "$AHCI")/ata*/host*/target*/*/block/*"
}

# With its disk, which comes back some time after the driver has taken it: without one nobody
# looks who uses it, and the processes have other numbers.
group_home() {
	all_home && until_true 20 compgen -G "$disks" >/dev/null
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

# One of the three keeps VFIO users out of the group, until its release has ended: it is gone
# when another one looks who has it open.
@test "a release of a group is interrupted: nobody is taken for a VFIO user" {
	local sendmsg=46 command=release process=2 action=signals:QUIT judge=judge call at
	local -a calls=() errors=()
	local -i total=9 runs=0 excepted=0 missed=0 violations=0
	of_group
	options=(--group) operands=("$AHCI")
	of_release
	: >"$BATS_TEST_TMPDIR/violations"
	for ((call = 1; call <= total; call++)); do
		at=$sendmsg:$call
		try_once || missed+=1
	done
	say_result
}
