#!/usr/bin/env bats
# Whatever fails, and wherever: a PCI device is put back, all of an IOMMU group, and a
# virtual function. What cannot be put back is said, with the command that mends it.

# Each test is a subshell, and run sets status and output in it. undo.bash uses and sets
# what seems unused or unset.
# shellcheck disable=SC2030,SC2031,SC2034,SC2154

load ../helpers
load ../undo

# What fails in turn, fails for this one.
tested=$PCI_NIC
host=e1000e
target=vfio-pci
DRIVERS=/sys/bus/pci/drivers
VARIANT=vb-special-vfio-pci
PROBE_ERRNO=/sys/module/vbvariant/parameters/probe_errno
VF=pci/0000:00:05.1

setup_file() {
	modprobe vfio-pci
	insmod /modules/vbvariant.ko
}

teardown_file() {
	rmmod vbvariant
}

setup() {
	rm -rf /run/vfio-bind
}

teardown() {
	echo 0 >"$PROBE_ERRNO"
	vfio-bind release --all
	home "$PCI_NIC" e1000e
	home "$NVME" nvme
	put_home "${TRIO[@]}"
	[[ ! -e $(syspath "$VF") ]] || no_vfs
}

# --- a probe fails ---------------------------------------------------------------------

@test "probe fails: undone, and the message says how" {
	local row
	for row in "5 Input/output error" "16 busy" "19 does not match" "22 Invalid argument"; do
		echo "${row%% *}" >"$PROBE_ERRNO"
		undone "$NVME" handoff "$NVME" "$VARIANT"
		says "vfio-bind: 0000:00:10.0: cannot bind to $VARIANT: "
		says "${row#* }"
		says "it is back on nvme, not flagged"
		is_home "$NVME" nvme
	done
	echo 0 >"$PROBE_ERRNO"
	vfio_bind 0 handoff "$NVME" "$VARIANT"
	device_is "$NVME" "$VARIANT" "$VARIANT"
	vfio_bind 0 release "$NVME"
	is_home "$NVME" nvme
}

@test "a deferred probe is tried again until the deadline, and undone; or succeeds" {
	echo 517 >"$PROBE_ERRNO"
	undone "$NVME" handoff --timeout="$DEADLINE" "$NVME" "$VARIANT"
	says "deferred"
	says "it is back on nvme, not flagged"

	vfio-bind handoff "$NVME" "$VARIANT" 3>&- &
	until_true 20 driver_is "$NVME" none
	echo 0 >"$PROBE_ERRNO"
	wait $!
	device_is "$NVME" "$VARIANT" "$VARIANT"
}

@test "from an earlier handoff it goes back to that, and the record is as it was" {
	vfio_bind 0 handoff "$NVME" vfio-pci
	echo 5 >"$PROBE_ERRNO"
	undone "$NVME" handoff "$NVME" "$VARIANT"
	says "it is back on vfio-pci, flagged for vfio-pci"
	vfio_bind 0 release "$NVME"
	is_home "$NVME" nvme
}

# --- the reset fails -------------------------------------------------------------------

@test "the reset fails: undone, with auto as with always; never does without" {
	local when reset
	reset=$(realpath "$(syspath "$PCI_NIC")")/reset
	for when in auto always; do
		injected_run write EIO 1+ "$reset" -- handoff --reset=$when "$PCI_NIC"
		((status == 1))
		says "vfio-bind: 0000:00:12.0: reset failed: Input/output error; it is back on e1000e, not flagged"
		is_home "$PCI_NIC" e1000e
	done
	injected_run write EIO 1+ "$reset" -- handoff --reset=never "$PCI_NIC"
	((status == 0))
	[[ ! $injected ]]
	device_is "$PCI_NIC" vfio-pci vfio-pci
}

@test "the kernel knows no way to reset it: auto goes without, always is undone" {
	local reset
	reset=$(realpath "$(syspath "$PCI_NIC")")/reset
	injected_run write ENOTTY 1+ "$reset" -- handoff --reset=always "$PCI_NIC"
	((status == 1))
	says "reset failed: Inappropriate ioctl for device; it is back on e1000e, not flagged"
	is_home "$PCI_NIC" e1000e
	injected_run write ENOTTY 1+ "$reset" -- handoff "$PCI_NIC"
	((status == 0))
	[[ $injected && ! $output ]]
	device_is "$PCI_NIC" vfio-pci vfio-pci
}

@test "a reset of one that is there already fails: it stays" {
	local reset
	reset=$(realpath "$(syspath "$PCI_NIC")")/reset
	vfio_bind 0 handoff "$PCI_NIC"
	read_state "$PCI_NIC"
	before=$state
	injected_run write EIO 1+ "$reset" -- handoff --reset=always "$PCI_NIC"
	((status == 1))
	says "reset failed: Input/output error; it is still on vfio-pci, flagged for vfio-pci"
	state_is "$before"
}

# --- every write in turn ---------------------------------------------------------------

@test "handoff: each write to the kernel fails in turn, and is undone" {
	sys_paths
	fail_in_turn failed_or_done "handoff $tested vfio-pci" openat,write "${paths[@]}"
	# Flag, unbind, bind and reset are opened and written; the flag is read as well.
	failed_in_turn 9
	is_home "$tested" e1000e
}

@test "handoff: each call for the record fails in turn, and nothing is touched" {
	vfio_bind 0 handoff "$tested"
	vfio_bind 0 release "$tested"
	record_paths
	fail_in_turn failed_untouched_or_done "handoff --verbose $tested vfio-pci" \
		mkdir,openat,flock,write,rename "${paths[@]}"
	failed_in_turn 5
	is_home "$tested" e1000e
}

@test "handoff: each call to VFIO, and for the lock of its group, fails in turn: undone" {
	local number
	number=$(group_of "$tested")
	fail_in_turn failed_or_done "handoff $tested vfio-pci" openat,ioctl,flock \
		/dev/vfio/vfio "/dev/vfio/$number" "/run/vfio-bind/lock/iommu_group:$number"
	failed_in_turn 5
	is_home "$tested" e1000e
}

@test "release: each write fails in turn, it goes on as far as it can, and can be repeated" {
	vfio_bind 0 handoff "$tested"
	sys_paths
	fail_in_turn released_in_the_end "release $tested" openat,write "${paths[@]}"
	failed_in_turn 7
	record_paths
	fail_in_turn released_in_the_end "release $tested" unlink "${paths[@]}"
	failed_in_turn 1
}

@test "the undo cannot write any more: status 4, the state, and the command that mends it" {
	local when paths path
	path=$(realpath "$(syspath "$tested")")
	# The flag is written at the beginning, and then the undo's.
	for when in "1+ $DRIVERS/e1000e/bind" "2+ $path/driver_override"; do
		injected_run write EIO "${when%% *}" "${when#* }" "$DRIVERS/vfio-pci/bind" -- \
			handoff "$tested"
		((status == 4))
		says "cannot bind to vfio-pci: "
		says "putting it back failed: cannot "
		names_state "$tested"
		[[ $(hint_of "$output") == "vfio-bind release $tested" ]]
		bash -e <<<"$(hint_of "$output")"
		is_home "$tested" e1000e
	done
}

@test "parked by the admin, two commands and an undo that fails: a release parks it again" {
	modprobe pci-stub
	echo none >"$(syspath "$tested")/driver_override"
	echo "${tested#*/}" >"$DRIVERS/e1000e/unbind"
	vfio_bind 0 handoff "$tested"
	vfio_bind 0 pin "$tested" none
	injected_run write EIO 1+ "$DRIVERS/pci-stub/bind" "$DRIVERS/vfio-pci/bind" -- \
		handoff "$tested" pci-stub
	((status == 4))
	names_state "$tested"
	bash -e <<<"$(hint_of "$output")"
	device_is "$tested" none none
	[[ ! -e $(record_of "$tested") ]]
}

@test "another tool clears the flag, or unbinds it: it goes home all the same" {
	local path
	path=$(syspath "$tested")
	vfio_bind 0 handoff "$tested"
	echo >"$path/driver_override"
	vfio_bind 0 release --all
	is_home "$tested" e1000e
	vfio_bind 0 handoff "$tested"
	echo >"$path/driver_override"
	echo "${tested#*/}" >"$DRIVERS/vfio-pci/unbind"
	vfio_bind 0 handoff "$tested"
	vfio_bind 0 release --all
	is_home "$tested" e1000e
}

# --- a virtual function goes home to a driver that the kernel does not bind by itself ----

@test "a VF with sriov_drivers_autoprobe 0: each write of handoff and release fails in turn" {
	tested=$VF host=nvme
	vfs 1
	bind_vf "$VF"
	sys_paths
	fail_in_turn failed_or_done "handoff $tested vfio-pci" write "${paths[@]}"
	failed_in_turn 4
	is_home "$VF" nvme
	vfio_bind 0 handoff "$VF" vfio-pci
	fail_in_turn released_in_the_end "release $tested" write "${paths[@]}"
	# Flag, unbind, bind, and the flag that was needed to bind.
	failed_in_turn 4
	vfio_bind 0 release "$VF"
	is_home "$VF" nvme
}

# --- a whole IOMMU group ---------------------------------------------------------------

# all_undone TEXT: a handoff of the group failed with TEXT, and says so for each.
all_undone() {
	local member
	[[ $injected ]]
	((status == 1))
	says "$1: Input/output error; it is "
	for member in "${TRIO[@]}"; do says "vfio-bind: ${member#*/}: "; done
	[[ $output != *"hint: to put it back"* ]]
	group_is home
	[[ ! $(ls /run/vfio-bind/record) ]]
}

@test "a group: one member cannot be flagged, or unbound: all are put back" {
	local member path
	for member in "${TRIO[@]}"; do
		path=$(realpath "$(syspath "${member}")")
		injected_run write EIO 1 "$path/driver_override" -- handoff --force --group "$AHCI"
		all_undone "vfio-bind: ${member#*/}: cannot set driver_override"
		(($(grep -c "another device of its IOMMU group cannot be taken" <<<"$output") == 2))
		injected_run write EIO 1 "$DRIVERS/${HOST_DRIVER[$member]}/unbind" -- handoff --force --group "$AHCI"
		all_undone "vfio-bind: ${member#*/}: cannot unbind from ${HOST_DRIVER[$member]}"
		(($(grep -c "another device of its IOMMU group cannot be taken" <<<"$output") == 2))
	done
}

@test "a group: one member fails while the others wait to be bound: they give that as reason" {
	local lock path
	vfio_bind 0 release "$AHCI" # makes the folder
	exec {lock}>"/run/vfio-bind/lock/iommu_group:$(group_of "$AHCI")"
	flock "$lock"
	path=$(realpath "$(syspath "$AHCI")")
	injected_run write EIO 1 "$path/driver_override" -- handoff --force --group "$AHCI"
	exec {lock}>&-
	all_undone "vfio-bind: ${AHCI#*/}: cannot set driver_override"
	(($(grep -c "another device of its IOMMU group cannot be taken; it is back" <<<"$output") == 2))
}

@test "a group: none can be bound: all are put back, and say why" {
	injected_run write EIO 1 "$DRIVERS/vfio-pci/bind" -- handoff --force --group "$AHCI"
	all_undone "cannot bind to vfio-pci: its probe failed"
	(($(grep -Ec "it is (back|still) on (lpc_ich|ahci|i801_smbus), not flagged" <<<"$output") == 3))
	vfio_bind 0 handoff --force --group "$AHCI"
	group_is taken
}

@test "a group: the undo of one member fails: status 4 for it, and the others are back" {
	local lock
	# Nobody is bound before this one is unbound: so it has a way back that can fail.
	vfio_bind 0 release "$AHCI" # makes the folder
	exec {lock}>"/run/vfio-bind/lock/iommu_group:$(group_of "$AHCI")"
	flock "$lock"
	{ until_true 20 driver_is "$AHCI" none && flock -u "$lock"; } 3>&- &
	injected_run write EIO 1+ "$DRIVERS/ahci/bind" "$DRIVERS/vfio-pci/bind" -- \
		handoff --force --group "$AHCI"
	wait $!
	exec {lock}>&-
	((status == 4)) || { echo "status $status: $output" && return 1; }
	says "putting it back failed: cannot bind to ahci: its probe failed: Input/output error"
	names_state "$AHCI"
	(($(grep -c "hint: to put it back: vfio-bind release $AHCI" <<<"$output") == 1))
	group_is home "$AHCI"
	vfio_bind 0 release --group "$LPC"
	group_is home
}

@test "a group: one member does not go home: the others do, and it does when told again" {
	local member
	for member in "${TRIO[@]}"; do
		vfio_bind 0 handoff --force --group "$AHCI"
		injected_run write EIO 1+ "$DRIVERS/${HOST_DRIVER[$member]}/bind" -- release --group "$AHCI"
		((status == 4))
		says "vfio-bind: ${member#*/}: cannot bind to ${HOST_DRIVER[$member]}: its probe failed: Input/output error"
		names_state "${member}"
		[[ $(hint_of "$output") == "vfio-bind release ${member}" ]]
		[[ $(ls /run/vfio-bind/record) == "${member/\//:}" ]]
		bash -e <<<"$(hint_of "$output")"
		group_is home
	done
}
