# shellcheck shell=bash
# Killed at every call that changes something: whatever is left then, `release` ends well.
# The kill.bats of each machine share this.
#
# Those calls are kill-at's changes. Of the others one in OTHERS is killed at, too: a process
# that is killed between two changes leaves what it leaves at the second one. STRIDE=N tries
# every Nth of both kinds only, beginning with one of the first N by chance. Counted is from
# the exec on, so the calls of the dynamic loader are among the others.
#
# First they are counted, in a run without a kill; and a sweep that was not killed at its
# share of what was counted fails.
#
# A device is named as BUS/NAME here. The .bats file says what it sweeps:
#   SWEPT    two devices, swept side by side
#   HOST_DRIVER  the host driver of each of its devices, to those of helpers.bash
#   TARGET   VFIO's driver for them
# and a test may change what sweep_defaults has set.

STRIDE=${STRIDE:-1}
OTHERS=40
: "${TARGET=}" "${device=}"
# Under ptrace, LeakSanitizer does not work.
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0

# An interface waits for RCU when it goes. That makes half of the time of a handoff, and no
# difference to where it can be killed.
hurry() {
	echo "$1" >/sys/kernel/rcu_expedited
}

teardown_file() {
	hurry 0
}

sweep_defaults() {
	flag_at_home="(null)"
	before=at_home
	after=release_works
	options=() # of the commands
	behind=()  # the device: "--" and the COMMAND of a lease
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

# nothing_left MEMBER: vfio-bind keeps nothing of it but the lock.
nothing_left() {
	local left
	for left in /run/vfio-bind/*"${1#*/}"* /run/vfio-bind/record/*"${1#*/}"*; do
		[[ ! -e $left ]] || {
			echo "$left is left"
			return 1
		}
	done
}

# is_at_home MEMBER: it is back, as it was, and nothing is left.
is_at_home() {
	in_state "$1" "${HOST_DRIVER[$1]}" "$flag_at_home" && nothing_left "$1" &&
		[[ ! $child || -d /sys/bus/${1%%/*}/devices/${1#*/}/$child ]]
}

# at_home: all are.
at_home() {
	local member
	for member in "${members[@]}"; do
		is_at_home "$member" || {
			echo "$member is not at home"
			return 1
		}
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
			{ [[ ($command == release || ${behind[*]}) && ! $by_flag ]] && { in_state "$member" none "(null)" ||
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

# counted: runs the command without a kill. What calls each process makes, its changes and
# its others, is in made, at "PROCESS KIND"; the number of processes in processes, and the
# others of that with the fewest in least.
counted() {
	local calls=$BATS_TEST_TMPDIR/calls.$name word process changes others
	echo "vfio-bind $command ${options[*]} $device, its calls counted:"
	"$before" || return
	kill-at count vfio-bind "$command" "${options[@]}" "$device" "${behind[@]}" >"$calls" || return
	"$after" || return
	while read -r word process changes others what; do
		[[ $word == calls ]] || continue
		made["$process change"]=$changes made["$process other"]=$others
		role[process]=$what
		[[ $process == 1 || $what == looks ]] || workers=$((workers + 1))
		processes=$process
		((others == 0 || (least && least < others))) || least=$others
	done <"$calls"
	((workers == ${#members[@]})) || {
		echo "$workers workers, and not one for each of ${members[*]}"
		return 1
	}
}

# attempt: once $before, a kill, $after. Returns kill-at's status; 2: something is wrong.
attempt() {
	local status=0
	echo "vfio-bind $command ${options[*]} $device, killed at $kind $call of process $process:"
	"$before" || { echo "$before: status $?" && return 2; }
	kill-at "$process" "$kind" "$call" vfio-bind "$command" "${options[@]}" "$device" \
		"${behind[@]}" || status=$?
	((status <= 1)) || echo "kill-at: status $status"
	sane || return 2
	"$after" || { echo "$after: status $?" && return 2; }
	return "$status"
}

# sweep_calls: at its turn's share of these calls, of this process and kind. Without a stride
# it goes on until the process has ended by itself, so that it was killed at each.
sweep_calls() {
	local every=$stride all=${made["$process $kind"]} sure first call status=0 here=0
	((all)) || return 0 # one that was ended before it made any
	# What it makes for sure. How often it asks for news varies, or what others are at, or a
	# module that is still being loaded; and with a group, how often it is its turn.
	sure=$((${#members[@]} == 1 ? all - all / 10 : (all + 1) / 2))
	# Nor is there much to be seen of one that only looks who has a node open.
	if [[ $kind == other || ${role[process]} == looks ]]; then
		every=$((stride * OTHERS)) sure=$(((least + 1) / 2))
		((sure < all)) || sure=$(((all + 1) / 2))
	fi
	first=$((luck % (every < sure ? every : sure) + 1 + turn * every))
	for ((call = first; every == 1 || call <= all; call += turns * every)); do
		attempt >"$BATS_TEST_TMPDIR/said.$name" 2>&1 3>&- || status=$?
		((status == 0)) || break
		here=$((here + 1))
		# A test's output is how its machine shows that it does not hang.
		((SECONDS < tell_at)) || {
			echo "# $command of $device: at $kind $call of $all of process $process" >&3
			tell_at=$((SECONDS + 60))
		}
	done
	killed[$kind]=$((${killed[$kind]} + here)) total[$kind]=$((${total[$kind]} + all))
	# There may be one fewer that looks.
	[[ $status != 3 || " ${role[*]} " != *" looks "* ]] || return 0
	((status <= 1)) || return
	((${#members[@]} > 1 || first > sure || here > (sure - first) / (turns * every))) ||
		short="$here of $all of process $process, every $((turns * every))th from $first on"
}

# sweep_processes: all that one run of the command has made.
sweep_processes() {
	local process processes=0 least=0 kind workers=0 role=()
	local -A made=()
	killed=([change]=0 [other]=0) total=([change]=0 [other]=0) short=''
	counted >"$BATS_TEST_TMPDIR/said.$name" 2>&1 3>&- || return
	for ((process = 1; process <= processes; process++)); do
		for kind in change other; do sweep_calls || return; done
	done
}

# swept: was it killed at its share? Else says so.
swept() {
	((killed[change] && killed[change] >= total[change] / (2 * stride * turns))) ||
		short="${killed[change]} of all ${total[change]} changes"
	[[ ! $short ]] || echo "$command of $device: killed at $short"
	[[ ! $short ]]
}

# sweep COMMAND DEVICE STRIDE LUCK [TURN TURNS]: at every STRIDEth change of each process, and
# the others; LUCK says with which it begins. Those of TURNS share the calls, from turn 0 on.
# Leaves in the file points.NAME how many changes it was killed at, of how many, and others;
# and what the last one said in said.NAME.
sweep() {
	local command=$1 device=$2 stride=$3 luck=$4 turn=${5:-0} turns=${6:-1} name=${2#*/}
	local short tell_at=$((SECONDS + 60)) members=("${group[@]}") try
	local -A killed total
	((${#members[@]})) || members=("$device")
	# Whether somebody must look once more is chance, and those behind it have other numbers
	# then: counted in such a run, hardly one is where it was.
	for try in 1 2 3; do
		sweep_processes || return
		! swept >>"$BATS_TEST_TMPDIR/said.$name" || break
		echo "# $(tail -n 1 "$BATS_TEST_TMPDIR/said.$name"), try $try" >&3
	done
	[[ ! $short ]] || return
	echo "${killed[change]} ${total[change]} ${killed[other]} ${total[other]}" \
		>"$BATS_TEST_TMPDIR/points.$name"
}

# say_points WHAT DEVICE...: how often WHAT was killed, by sweeps of these that shared its calls.
say_points() {
	local what=$1 device changes=0 others=0 of_changes of_others points
	shift
	for device; do
		read -ra points <"$BATS_TEST_TMPDIR/points.${device#*/}"
		changes=$((changes + points[0])) of_changes=${points[1]}
		others=$((others + points[2])) of_others=${points[3]}
	done
	echo "# killed at $changes of $of_changes calls of $what that change something," \
		"and at $others of $of_others others" >&3
}

# stride_of FACTOR: prints at every how many changes; by FAULTS=all, of make check-faults, at all.
stride_of() {
	if [[ ${FAULTS:-} == all ]]; then echo 1; else echo $((STRIDE * $1)); fi
}

# sweep_both FACTOR COMMAND: every (FACTOR * STRIDE)th change, half of them on each of the
# two devices, side by side.
sweep_both() {
	local device turn=0 luck=$RANDOM
	for device in "${SWEPT[@]}"; do
		sweep "$2" "$device" "$(stride_of "$1")" $luck $turn ${#SWEPT[@]} &
		background+=($!)
		turn=$((turn + 1))
		taskset -p $((1 << turn % $(nproc))) $! >/dev/null # one each, if there are two
	done
	for device in "${SWEPT[@]}"; do
		if ! wait "${background[0]}"; then
			cat "$BATS_TEST_TMPDIR/said.${device#*/}"
			return 1
		fi
		background=("${background[@]:1}")
	done
	say_points "a $2" "${SWEPT[@]}"
}

# sweep_one FACTOR COMMAND DEVICE WHAT: every (FACTOR * STRIDE)th change, of WHAT.
sweep_one() {
	sweep "$2" "$3" "$(stride_of "$1")" $RANDOM ||
		{ cat "$BATS_TEST_TMPDIR/said.${3#*/}" && return 1; }
	say_points "$4" "$3"
}

# changes_are_known COMMAND...: strace finds no more calls that change something than kill-at.
changes_are_known() {
	local log=$BATS_TEST_TMPDIR/strace word process count changes=0
	# On one CPU: across two, a traced write takes so long that its timer rings again and again.
	local calls="write,rename,unlink,mkdir,ioctl,flock,clone,setsid,?send,?sendto,sendmsg,exit_group"
	taskset 1 strace -f -qqq -o "$log" -e signal=none -e "trace=$calls" vfio-bind "$@"
	release_works
	kill-at count vfio-bind "$@" >"$log.counted"
	release_works
	while read -r word process count _; do
		[[ $word != calls ]] || changes=$((changes + count))
	done <"$log.counted"
	echo "# $changes changes, $(grep -vc ' resumed>' "$log") of them known to strace"
	(($(grep -vc ' resumed>' "$log") < changes)) # it is not told of the opens
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
