#!/usr/bin/env bats
# Killed at every system call: whatever is left then, `release` ends well.
#
# STRIDE=N tries every Nth call only, beginning with one of the first N by chance. Counted
# is from the exec on, so the calls of the dynamic loader are tried as well.

load ../helpers

STRIDE=${STRIDE:-1}
DRIVERS=/sys/bus/platform/drivers
# Under ptrace, LeakSanitizer does not work.
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0

setup_file() {
	noiommu
	# An interface waits for RCU when it goes. That makes half of the time of a handoff,
	# and no difference to where it can be killed.
	echo 1 >/sys/kernel/rcu_expedited
}

teardown_file() {
	echo 0 >/sys/kernel/rcu_expedited
}

setup() {
	background=()
	flag_at_home="(null)"
	before=at_home
	after=release_works
}

teardown() {
	local device
	((${#background[@]} == 0)) || kill "${background[@]}" 2>/dev/null || :
	wait
	until_true 40 nobody_works
	vfio-bind release "$NIC" "$SIBLING" 2>/dev/null
	for device in "$NIC" "$SIBLING"; do
		[[ $(flag_of "$device") == "(null)" ]] || vfio-bind release "$device"
	done
	if [[ -d /sys/module/vbtest ]]; then
		vfio-bind release --all
		modprobe -r vbtest
	fi
}

# --- the sweep ---------------------------------------------------------------------
#
# A fork takes tens of milliseconds on the board: where there are hundreds of points,
# there are no others than those for kill-at and vfio-bind.

# in_state DRIVER FLAG: the swept device.
in_state() {
	local flag
	read -r flag <"$path/driver_override"
	if [[ $1 == none ]]; then
		[[ ! -e $path/driver && $flag == "$2" ]]
	else
		[[ $path/driver -ef $DRIVERS/$1 && $flag == "$2" ]]
	fi
}

# at_home: back with its interface, and vfio-bind keeps nothing of it but the lock.
at_home() {
	local left
	if ! in_state "$NIC_DRIVER" "$flag_at_home" || [[ ! -d $path/net ]]; then
		echo "the device is not at home"
		return 1
	fi
	for left in /run/vfio-bind/*"$device"* /run/vfio-bind/record/*"$device"*; do
		[[ ! -e $left ]] || {
			echo "$left is left"
			return 1
		}
	done
}

# sane: the device is on the way that vfio-bind takes, and nowhere else, and the way back
# is on record.
sane() {
	in_state "$NIC_DRIVER" "$flag_at_home" || [[ -e $record ]] || {
		echo "it was changed, and there is no record"
		return 1
	}
	in_state "$NIC_DRIVER" "$flag_at_home" || in_state "$NIC_DRIVER" vfio-platform ||
		in_state none vfio-platform || in_state vfio-platform vfio-platform ||
		# A release clears the flag right before it binds, and then sets the old one.
		{ [[ $command == release ]] && { in_state none "(null)" ||
			in_state "$NIC_DRIVER" "(null)"; }; } || {
		echo "killed, it left the device as it must never be"
		return 1
	}
}

handed_off() {
	vfio-bind handoff "$device" && in_state vfio-platform vfio-platform
}

release_works() {
	vfio-bind release "$device" && at_home
}

# The same command again, before the release.
handoff_and_release_work() {
	handed_off && release_works
}

# Is tried once: $before, kill, $after. Returns kill-at's status; 2: something is wrong.
attempt() {
	local status=0
	echo "vfio-bind $command $device, killed at call $call of process $process:"
	"$before" || return 2
	kill-at "$process" "$call" vfio-bind "$command" "$device" || status=$?
	if sane && "$after"; then return "$status"; fi
	return 2
}

# sweep FIRST STEP COMMAND DEVICE: at each of these calls of each process. Leaves the
# number of points in the file points.DEVICE.
sweep() {
	local first=$1 step=$2 command=$3 device=$4 path record
	local process=0 call points=0 status=1 said=$BATS_TEST_TMPDIR/said.$4
	path=$(syspath "$device")
	record=$(record_of "$device")
	while ((status == 1)); do
		process=$((process + 1)) call=$((first - step)) status=0
		while ((status == 0)); do
			call=$((call + step))
			attempt >"$said" 2>&1 || status=$?
			((points += status == 0)) || :
		done
	done
	echo "$points" >"$BATS_TEST_TMPDIR/points.$device"
	# The last one found no such process.
	((status == 3 && process > 2))
}

# sweep_both FACTOR COMMAND: every (FACTOR * STRIDE)th call, half of them on each of the
# two devices, side by side. The number of points is in $points.
sweep_both() {
	local stride=$((STRIDE * $1)) device first
	first=$((stride > 1 ? RANDOM % stride + 1 : 1))
	for device in "$NIC" "$SIBLING"; do
		sweep "$first" $((2 * stride)) "$2" "$device" 3>&- &
		background+=($!)
		taskset -p "${#background[@]}" $! >/dev/null # a processor each
		first=$((first + stride))
	done
	for device in "$NIC" "$SIBLING"; do
		if ! wait "${background[0]}"; then
			cat "$BATS_TEST_TMPDIR/said.$device"
			return 1
		fi
		background=("${background[@]:1}")
	done
	points=$(($(<"$BATS_TEST_TMPDIR/points.$NIC") + $(<"$BATS_TEST_TMPDIR/points.$SIBLING")))
	echo "# killed at $points system calls of a $2" >&3
}

@test "killed at every system call of a handoff, it is released" {
	sweep_both 1 handoff
	# Fewer, and it was not all of it.
	((points * STRIDE > 200))
}

@test "killed at every system call of a release, it is released" {
	before=handed_off
	sweep_both 1 release
	((points * STRIDE > 200))
}

# pin_both: a flag that is not vfio-bind's, and that forbids the host driver.
pin_both() {
	local device
	flag_at_home=vfio-platform
	for device in "$NIC" "$SIBLING"; do
		echo "$flag_at_home" >"$(syspath "$device")/driver_override"
	done
}

@test "killed in a handoff of a pinned device, a second handoff and release end well" {
	pin_both
	after=handoff_and_release_work
	sweep_both 25 handoff
}

@test "killed in a release of a pinned device, a handoff and release end well" {
	pin_both
	before=handed_off
	after=handoff_and_release_work
	sweep_both 25 release
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
	local stride=$((STRIDE * 40))
	before=vfio_is_absent
	sweep $((RANDOM % stride + 1)) "$stride" handoff "$NIC" ||
		{ cat "$BATS_TEST_TMPDIR/said.$NIC" && false; }
	echo "# killed at $(<"$BATS_TEST_TMPDIR/points.$NIC") system calls of such a handoff" >&3
}

@test "killed in a release that loads the driver's module, it is released" {
	local stride=$((STRIDE * 40))
	before=host_is_absent
	sweep $((RANDOM % stride + 1)) "$stride" release "$NIC" ||
		{ cat "$BATS_TEST_TMPDIR/said.$NIC" && false; }
	echo "# killed at $(<"$BATS_TEST_TMPDIR/points.$NIC") system calls of such a release" >&3
}

# --- killed in part ----------------------------------------------------------------

LOCK=/run/vfio-bind/lock/platform:vbtest.0

is_gone() {
	[[ ! -d /proc/$1 ]]
}

# in_background COMMAND...: vfio-bind; sets pid, and what it says is in the file "said".
in_background() {
	vfio-bind "$@" >"$BATS_TEST_TMPDIR/said" 2>&1 3>&- &
	pid=$!
	background+=("$pid")
}

# killed PID: a process of this shell; wait until it is gone.
killed() {
	local status=0
	kill -KILL "$1"
	wait "$1" || status=$?
	((status == 128 + 9))
}

@test "only the parent of a handoff is killed: its worker puts the device back" {
	modprobe vbtest devices=1 host_remove_ms=4000
	in_background handoff vbtest.0 vbtest-target
	until_true 30 driver_is vbtest.0 none
	worker=$(pgrep -P "$pid")
	killed "$pid"
	# The kernel is not done yet.
	device_is vbtest.0 none vbtest-target
	[[ -e $(record_of vbtest.0) ]]
	run ! flock -n "$LOCK" true
	until_true 40 is_gone "$worker"
	is_home vbtest.0 vbtest-host
	flock -n "$LOCK" true
}

@test "only the parent of a release is killed: its worker completes it" {
	modprobe vbtest devices=1 target_remove_ms=4000
	vfio_bind 0 handoff vbtest.0 vbtest-target
	in_background release vbtest.0
	until_true 30 driver_is vbtest.0 none
	worker=$(pgrep -P "$pid")
	killed "$pid"
	device_is vbtest.0 none vbtest-target
	[[ -e $(record_of vbtest.0) ]]
	run ! flock -n "$LOCK" true
	until_true 40 is_gone "$worker"
	is_home vbtest.0 vbtest-host
	flock -n "$LOCK" true
}

@test "only the worker is killed: the command says so, and a release ends well" {
	modprobe vbtest devices=1 host_remove_ms=2000
	in_background handoff vbtest.0 vbtest-target
	until_true 30 driver_is vbtest.0 none
	worker=$(pgrep -P "$pid")
	kill -KILL "$worker"
	status=0
	wait "$pid" || status=$?
	((status == 4))
	output=$(<"$BATS_TEST_TMPDIR/said")
	says "vbtest.0: its worker (pid $worker) was killed"
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
	in_background handoff vbtest.0 vbtest-target {lock}<&-
	until_true 30 grep -q -e '-> FLOCK' /proc/locks
	worker=$(pgrep -P "$pid")
	killed "$pid"
	# Though the lock is never free.
	until_true 30 is_gone "$worker"
	is_home vbtest.0 vbtest-host
	exec {lock}<&-
	[[ $(<"/sys/module/vbtest/parameters/host_removes") == 0 ]]
}
