# shellcheck shell=bash
# A command that fails leaves everything as it was. The undo.bats of each machine share this.
#
# A test of every write in turn is about one device, and says which:
#   tested   the device
#   host     its host driver
#   target   the driver that it is handed to

: "${tested=}" "${host=}" "${target=}" "${status=}" "${output=}"

# read_state DEVICE: all that a command that failed must leave as it was, in $state.
read_state() {
	local path lines bus=platform
	[[ $1 != */* ]] || bus=${1%%/*}
	state="driver $(readlink "/sys/bus/$bus/devices/${1#*/}/driver" || echo none)"
	for path in "/sys/bus/$bus/devices/${1#*/}/driver_override" /run/vfio-bind/* \
		/run/vfio-bind/record/*; do
		[[ -f $path ]] || continue
		mapfile lines <"$path"
		state+=$'\n'"$path: ${lines[*]}"
	done
}

# state_is STATE
state_is() {
	read_state "$tested"
	[[ $state == "$1" ]]
}

# undone DEVICE ARGUMENT...: the command fails with status 1, it says so for DEVICE, and
# everything is as it was.
undone() {
	local device=$1 before
	shift
	read_state "$device"
	before=$state
	vfio_bind 1 "$@"
	says "vfio-bind: ${device##*/}: "
	read_state "$device"
	if [[ $state != "$before" ]]; then
		echo "vfio-bind $*: $output"
		diff <(echo "$before") <(echo "$state")
		return 1
	fi
}

# hint_of OUTPUT: the command that its hint ends with.
hint_of() {
	local hint=${1##*vfio-bind: hint: }
	echo "${hint##*: }"
}

# names_state DEVICE: $output says where it is.
names_state() {
	local flag driver
	flag=$(flag_of "$1") driver=$(driver_of "$1")
	[[ $driver == none ]] && driver="without a driver" || driver="on $driver"
	[[ $flag == "(null)" ]] && flag="not flagged" || flag="flagged for $flag"
	says "it is now $driver, $flag"
}

# injected_run CALL ERROR WHEN PATH... -- ARGUMENT...: run vfio-bind, and let these of its
# system calls on the PATHs fail. What was done to it is in $injected.
# On one CPU: tracing across two emulated ones takes ten times as long.
injected_run() {
	local call=$1 error=$2 when=$3 on=() log=$BATS_TEST_TMPDIR/strace
	shift 3
	while [[ $1 != -- ]]; do
		on+=(-P "$1")
		shift
	done
	ASAN_OPTIONS=detect_leaks=0 run timeout --foreground "$LIMIT" \
		taskset 1 strace -f --seccomp-bpf -qqq -o "$log" "${on[@]}" -e trace="$call" \
		-e inject="$call:error=$error:when=$when" vfio-bind "${@:2}"
	injected=$(grep INJECTED "$log") || :
}

# fail_in_turn CHECK COMMAND CALLS PATH...: run COMMAND once for each of its system CALLS on
# the PATHs, and let that one call fail. After each run CHECK is called; $before is the state
# before the first. With STRIDE=N for the first and, on average, every Nth.
fail_in_turn() {
	local check=$1 command=$2 calls=$3 call point stride=${STRIDE:-1}
	shift 3
	points=0
	read_state "$tested"
	before=$state
	for call in ${calls//,/ }; do
		for ((point = 1; ; point += RANDOM % (2 * stride - 1) + 1)); do
			# shellcheck disable=SC2086 # words
			injected_run "$call" EIO "$point" "$@" -- $command
			[[ $injected ]] || break
			points=$((points + 1))
			"$check" || {
				echo "after: $injected"
				echo "vfio-bind $command: status $status, it said: $output"
				read_state "$tested"
				echo "$state"
				return 1
			}
		done
		# The run in which no call failed.
		((status == 0)) || {
			echo "no call fails: status $status, it said: $output"
			return 1
		}
		"$check"
	done
	echo "# vfio-bind $command: $points calls failed in turn" >&3
}

# failed_in_turn N: so many calls, or more, have; of those that are there, with a stride.
failed_in_turn() {
	((points && points * (2 * ${STRIDE:-1} - 1) >= $1))
}

# Failed and as it was; or it did not matter.
failed_or_done() {
	case $status in
	1)
		[[ $output == *"vfio-bind: ${tested#*/}: "*"Input/output error"* ]] &&
			state_is "$before"
		;;
	0)
		device_is "$tested" "$target" "$target" &&
			grep -qx "driver $host" "$(record_of "$tested")" &&
			vfio_bind 0 release "$tested" && is_home "$tested" "$host"
		;;
	*) false ;;
	esac
}

# failed_or_done, and what failed was before the first write to the kernel.
failed_untouched_or_done() {
	failed_or_done && [[ $status == 0 || $output != *"echo "* ]]
}

# A release goes on as far as it can, and can be repeated.
released_in_the_end() {
	case $status in
	0) ;;
	1) # Only before it has left its driver.
		[[ $output == *"vfio-bind: ${tested#*/}: "*"Input/output error"* ]] &&
			[[ $injected != *"$host/bind"* ]] && state_is "$before"
		;;
	4)
		says "Input/output error" && ! state_is "$before" &&
			[[ -e $(record_of "$tested") ]] && names_state "$tested" &&
			[[ $(hint_of "$output") == "vfio-bind release"* ]]
		;;
	*) false ;;
	esac &&
		vfio_bind 0 release "$tested" && is_home "$tested" "$host" &&
		vfio_bind 0 handoff "$tested" "$target" &&
		state_is "$before"
}

# sys_paths: of all that is written to the kernel, in paths.
sys_paths() {
	local path driver drivers
	path=$(realpath "$(syspath "$tested")")
	drivers=$(realpath "$path/subsystem")/drivers
	paths=("$path/driver_override")
	[[ ! -e $path/reset ]] || paths+=("$path/reset")
	for driver in "$host" "$target"; do
		paths+=("$drivers/$driver/bind" "$drivers/$driver/unbind")
	done
}

# record_paths: of what is kept on disk of the device, in paths.
record_paths() {
	local record run=/run/vfio-bind
	record=$(record_of "$tested")
	paths=("$run" "$run/lock" "$run/record" "$run/${record##*/}" "$run/lock/${record##*/}"
		"$record")
}
