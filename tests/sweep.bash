# shellcheck shell=bash
# Killed at every system call: whatever is left then, `release` ends well. The kill.bats of
# each machine share this.
#
# STRIDE=N tries every Nth call only, beginning with one of the first N by chance. Counted
# is from the exec on, so the calls of the dynamic loader are tried as well.
#
# A device is named as BUS/NAME here. The .bats file says what it sweeps:
#   SWEPT    two devices, swept side by side
#   HOST_DRIVER  the host driver of each of its devices, to those of helpers.bash
#   TARGET   VFIO's driver for them
# and a test may change what sweep_defaults has set.

STRIDE=${STRIDE:-1}
: "${TARGET=}" "${device=}"
# Under ptrace, LeakSanitizer does not work.
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0

# An interface waits for RCU when it goes. That makes half of the time of a handoff, and no
# difference to where it can be killed.
hurry() {
	echo "$1" >/sys/kernel/rcu_expedited
}

sweep_defaults() {
	flag_at_home="(null)"
	before=at_home
	after=release_works
	options=() # of the commands
	group=()   # all that go with the swept device; it alone, if there are none
	child=net  # what the host driver makes below its device, if anything
	by_flag='' # the host driver gets the device only while that is flagged for it
}

# A fork takes tens of milliseconds on the board: where there are hundreds of points,
# there are no others than those for kill-at and vfio-bind.

# in_state DEVICE DRIVER FLAG
in_state() {
	local bus=/sys/bus/${1%%/*} flag
	local path=$bus/devices/${1#*/}
	read -r flag <"$path/driver_override"
	if [[ $2 == none ]]; then
		[[ ! -e $path/driver && $flag == "$3" ]]
	else
		[[ $path/driver -ef $bus/drivers/$2 && $flag == "$3" ]]
	fi
}

# at_home: all are back, as they were, and vfio-bind keeps nothing of them but the lock.
at_home() {
	local member left
	for member in "${members[@]}"; do
		if ! in_state "$member" "${HOST_DRIVER[$member]}" "$flag_at_home" ||
			[[ $child && ! -d /sys/bus/${member%%/*}/devices/${member#*/}/$child ]]; then
			echo "$member is not at home"
			return 1
		fi
		for left in /run/vfio-bind/*"${member#*/}"* /run/vfio-bind/record/*"${member#*/}"*; do
			[[ ! -e $left ]] || {
				echo "$left is left"
				return 1
			}
		done
	done
}

# sane: each is on the way that vfio-bind takes, and nowhere else, and the way back is on
# record.
sane() {
	local member host
	for member in "${members[@]}"; do
		host=${HOST_DRIVER[$member]}
		in_state "$member" "$host" "$flag_at_home" ||
			[[ -e /run/vfio-bind/record/${member/\//:} ]] || {
			echo "$member was changed, and there is no record"
			return 1
		}
		in_state "$member" "$host" "$flag_at_home" || in_state "$member" "$host" "$TARGET" ||
			in_state "$member" none "$TARGET" || in_state "$member" "$TARGET" "$TARGET" ||
			# A release clears the flag right before it binds, and then sets the old one.
			{ [[ $command == release && ! $by_flag ]] && { in_state "$member" none "(null)" ||
				in_state "$member" "$host" "(null)"; }; } ||
			# Or it has the host driver's from before the unbind until after the bind.
			{ [[ $command == release && $by_flag ]] && {
				in_state "$member" "$TARGET" "$host" || in_state "$member" none "$host" ||
					in_state "$member" "$host" "$host"; }; } || {
			echo "killed, it left $member as it must never be"
			return 1
		}
	done
}

handed_off() {
	local member
	vfio-bind handoff "${options[@]}" "$device" || return
	for member in "${members[@]}"; do in_state "$member" "$TARGET" "$TARGET" || return; done
}

release_works() {
	vfio-bind release "${options[@]}" "$device" && at_home
}

release_all_works() {
	vfio-bind release --all && at_home
}

# The same command again, before the release.
handoff_and_release_work() {
	handed_off && release_works
}

# Is tried once: $before, kill, $after. Returns kill-at's status; 2: something is wrong.
attempt() {
	local status=0
	echo "vfio-bind $command ${options[*]} $device, killed at call $call of process $process:"
	"$before" || return 2
	kill-at "$process" "$call" vfio-bind "$command" "${options[@]}" "$device" || status=$?
	if sane && "$after"; then return "$status"; fi
	return 2
}

# sweep FIRST STEP COMMAND DEVICE: at each of these calls of each process. Leaves the
# number of points in the file points.NAME, and what the last one said in said.NAME.
sweep() {
	local first=$1 step=$2 command=$3 device=$4 name=${4#*/}
	local process=0 call points=0 status=1 members=("${group[@]}")
	((${#members[@]})) || members=("$device")
	while ((status == 1)); do
		process=$((process + 1)) call=$((first - step)) status=0
		while ((status == 0)); do
			call=$((call + step))
			attempt >"$BATS_TEST_TMPDIR/said.$name" 2>&1 || status=$?
			((points += status == 0)) || :
		done
	done
	echo "$points" >"$BATS_TEST_TMPDIR/points.$name"
	# The last one found no such process: there was a worker for each.
	((status == 3 && process == ${#members[@]} + 2))
}

# sweep_both FACTOR COMMAND: every (FACTOR * STRIDE)th call, half of them on each of the
# two devices, side by side. The number of points is in $points.
sweep_both() {
	local stride=$((STRIDE * $1)) device first
	first=$((stride > 1 ? RANDOM % stride + 1 : 1))
	for device in "${SWEPT[@]}"; do
		sweep "$first" $((2 * stride)) "$2" "$device" 3>&- &
		background+=($!)
		taskset -p "${#background[@]}" $! >/dev/null # a processor each
		first=$((first + stride))
	done
	points=0
	for device in "${SWEPT[@]}"; do
		if ! wait "${background[0]}"; then
			cat "$BATS_TEST_TMPDIR/said.${device#*/}"
			return 1
		fi
		background=("${background[@]:1}")
		((points += $(<"$BATS_TEST_TMPDIR/points.${device#*/}"))) || :
	done
	echo "# killed at $points system calls of a $2" >&3
}

# sweep_one FACTOR COMMAND DEVICE WHAT: every (FACTOR * STRIDE)th call, of WHAT.
sweep_one() {
	local stride=$((STRIDE * $1)) name=${3#*/}
	sweep $((RANDOM % stride + 1)) "$stride" "$2" "$3" ||
		{ cat "$BATS_TEST_TMPDIR/said.$name" && return 1; }
	points=$(<"$BATS_TEST_TMPDIR/points.$name")
	echo "# killed at $points system calls of $4" >&3
}

# pin_both: a flag that is not vfio-bind's, and that forbids the host driver.
pin_both() {
	local device
	flag_at_home=$TARGET
	for device in "${SWEPT[@]}"; do
		echo "$flag_at_home" >"$(syspath "$device")/driver_override"
	done
}

# --- killed in part ----------------------------------------------------------------

# killed PID: a process of this shell; wait until it is gone.
killed() {
	local status=0
	kill -KILL "$1"
	wait "$1" || status=$?
	((status == 128 + 9))
}
