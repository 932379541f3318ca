#!/usr/bin/env bats
# Killed at every call that changes something: whatever is left then, `release` ends well.

# sweep.bash uses and sets them.
# shellcheck disable=SC2034,SC2154

load ../helpers
load ../sweep

SWEPT=("platform/$NIC" "platform/$SIBLING")
TARGET=vfio-platform
for device in "${SWEPT[@]}"; do HOST_DRIVER["$device"]=$NIC_DRIVER; done

setup_file() {
	noiommu
	hurry 1
}

setup() {
	sweep_defaults
}

teardown() {
	local device
	end_removes
	end_background
	vfio-bind release "${SWEPT[@]}" 2>/dev/null
	for device in "${SWEPT[@]}"; do
		[[ $(flag_of "$device") == "(null)" ]] || vfio-bind release "$device"
	done
	if [[ -d /sys/module/vbtest ]]; then
		vfio-bind release --all
		modprobe -r vbtest
	fi
}

@test "what changes something is known to the one who kills" {
	local members=("${SWEPT[0]}") device=${SWEPT[0]}
	changes_are_known handoff "$device"
}

@test "killed at every call of a handoff that changes something, it is released" {
	sweep_both 1 handoff
}

@test "killed at every call of a release that changes something, it is released" {
	before=handed_off
	sweep_both 1 release
}

@test "killed in a handoff of a pinned device, a second handoff and release end well" {
	pin_both
	after=handoff_and_release_work
	sweep_both 6 handoff
}

@test "killed in a release of a pinned device, a handoff and release end well" {
	pin_both
	before=handed_off
	after=handoff_and_release_work
	sweep_both 6 release
}

# vfio_is_absent: its driver, not the core, which has the parameter of noiommu().
vfio_is_absent() {
	[[ ! -d /sys/module/vfio_platform ]] || rmmod vfio_platform
}

# host_is_absent: its driver's module, which is the sibling's too.
host_is_absent() {
	handed_off && rmmod xgmac
}

@test "killed in a handoff that loads the driver's module, it is released" {
	before=vfio_is_absent
	sweep_one 6 handoff "${SWEPT[0]}" "such a handoff"
}

@test "killed in a release that loads the driver's module, it is released" {
	before=host_is_absent
	sweep_one 6 release "${SWEPT[0]}" "such a release"
}

# --- killed in part ----------------------------------------------------------------

LOCK=/run/vfio-bind/lock/platform:vbtest.0

# end_removes: those of vbtest's drivers take no longer.
end_removes() {
	local parameter
	for parameter in /sys/module/vbtest/parameters/{host,target}_remove_ms; do
		[[ ! -e $parameter ]] || echo 0 >"$parameter"
	done
}

# parent_killed COMMAND...: it is, and its worker left alone with vbtest.0, whose driver
# takes its time to go.
parent_killed() {
	in_background "$@"
	until_true 30 driver_is vbtest.0 none
	worker=$(pgrep -P "$pid")
	killed "$pid"
	# The kernel is not done yet.
	device_is vbtest.0 none vbtest-target
	[[ -e $(record_of vbtest.0) ]]
	run ! flock -n "$LOCK" true
	end_removes
	until_true 80 is_gone "$worker"
	flock -n "$LOCK" true
}

@test "only the parent of a handoff is killed: its worker puts the device back" {
	modprobe vbtest devices=1 host_remove_ms="$FOR_EVER"
	parent_killed vfio-bind handoff vbtest.0 vbtest-target
	is_home vbtest.0 vbtest-host
}

@test "only the parent of a release is killed: its worker completes it" {
	modprobe vbtest devices=1 target_remove_ms="$FOR_EVER"
	vfio_bind 0 handoff vbtest.0 vbtest-target
	parent_killed vfio-bind release vbtest.0
	is_home vbtest.0 vbtest-host
}

@test "only the worker is killed: the command says so, and a release ends well" {
	modprobe vbtest devices=1 host_remove_ms="$FOR_EVER"
	in_background vfio-bind handoff vbtest.0 vbtest-target
	until_true 30 driver_is vbtest.0 none
	worker=$(pgrep -P "$pid")
	kill -KILL "$worker"
	end_removes
	ended "$pid" 4
	says "vbtest.0: its worker (pid $worker) was killed by SIGKILL"
	says "hint: to put it back: vfio-bind release platform/vbtest.0"
	device_is vbtest.0 none vbtest-target
	vfio_bind 0 release vbtest.0
	is_home vbtest.0 vbtest-host
}

@test "the parent is killed before anything is touched: its worker goes with it" {
	modprobe vbtest devices=1
	vfio_bind 0 release vbtest.0 # makes the lock
	exec {lock}<"$LOCK"
	flock "$lock"
	in_background vfio-bind handoff vbtest.0 vbtest-target {lock}<&-
	until_true 30 grep -q -e '-> FLOCK' /proc/locks
	worker=$(pgrep -P "$pid")
	killed "$pid"
	# Though the lock is never free.
	until_true 30 is_gone "$worker"
	is_home vbtest.0 vbtest-host
	exec {lock}<&-
	[[ $(<"/sys/module/vbtest/parameters/host_removes") == 0 ]]
}
