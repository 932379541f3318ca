#!/usr/bin/env bats
# What others do meanwhile, at calls by chance: the device is unplugged, a module is removed, a
# second user takes a part of the same group, a worker is stopped. No status is wrong, nothing
# takes longer than its deadline, and all is at home in the end. A few rounds here; FAULTS=all,
# by make check-faults: hundreds.

# sweep.bash and faults.bash use and set them.
# shellcheck disable=SC2030,SC2031,SC2034,SC2154

load ../helpers
load ../sweep
load ../faults

TARGET=vfio-pci
PCI=/sys/bus/pci
CGROUP=/tmp/cgroup

setup_file() {
	modprobe -a vfio-pci pci-stub
	hurry 1
}

setup() {
	device=$PCI_NIC
	fault_defaults
	declare -gA calls=() worker=() ends=()
}

teardown() {
	end_shell
	go_on_all
	[[ -e $PCI/devices/${PCI_NIC#*/} ]] || echo 1 >$PCI/rescan
	modprobe -a e1000e vfio-pci
	vfio-bind release --all
	put_home "$PCI_NIC" "$NIC_BELOW" "${TRIO[@]}"
	! mountpoint -q "$CGROUP" || umount "$CGROUP"
}

# --- a round -----------------------------------------------------------------------

# rounds ALL SAMPLE ROUND...: so many of them, in turn. A ROUND is a command of words that notes
# what is wrong.
rounds() {
	local -i round n=$2 violations=0 tell_at=$((SECONDS + 60))
	local wrongs=() said=() out=() what status number text='' began
	case ${FAULTS:-} in
	'') ;;
	all) n=$1 ;;
	*) n=$(($1 / FAULTS + 1)) ;;
	esac
	shift 2
	for ((round = 1; round <= n; round++)); do
		wrongs=() said=() out=() what='' status=none began=$SECONDS
		# shellcheck disable=SC2068 # words
		${@:round % $# + 1:1} || wrong "it could not be tried"
		((SECONDS - began < LIMIT)) || wrong "it took $((SECONDS - began)) s"
		ends[$status]=$((${ends[$status]:-0} + 1))
		((SECONDS < tell_at)) || {
			echo "# round $round of $n, $violations violations" >&3
			tell_at=$((SECONDS + 60))
		}
		((${#wrongs[@]})) || continue
		violations+=1
		echo "round $round, $what: status $status"
		printf '   %s\n' "${wrongs[@]/#/WRONG: }" "${said[@]}"
		put_all_home
	done
	for status in "${!ends[@]}"; do text+=" $status: ${ends[$status]},"; done
	echo "# $n rounds; by status$text $violations violations" >&3
	((n && !violations))
}

# count_calls: how many each process makes of a handoff, and then of a release, and which one
# is the worker.
count_calls() {
	local command word process changes others role
	all_home || return
	for command in handoff release; do
		while read -r word process changes others role; do
			[[ $word == calls ]] || continue
			calls["$command $process"]=$((changes + others)) worker[$command]=$process
		done < <(kill-at count vfio-bind "$command" "$device" 2>/dev/null)
	done
	all_home
}

# begin COMMAND: sets command, and what it means; its devices are where it finds them.
begin() {
	command=$1 before=all_home as_it_was=is_at_home done_is=is_taken
	[[ $command == handoff ]] || of_release
	"$before"
}

# by_chance: at which call; three times in four it is the worker's.
by_chance() {
	process=1
	((RANDOM % 4 == 0)) || process=${worker[$command]}
	call=$((RANDOM % ${calls["$command $process"]} + 1))
}

# run_at ACTION: runs the command, with that at this call of this process.
run_at() {
	what="$1 at call $call of process $process of vfio-bind $command ${operands[*]}"
	ran_at "$1" "$call"
	[[ $status == [0-4] ]] || wrong "what status is that?"
	((status == 0)) || ! is_silent || wrong "silent"
}

# ends_at_home: a release works, and all are there.
ends_at_home() {
	local said out
	ran vfio-bind release "${members[@]}" || wrong "in the end, a release failed: ${said[*]}"
	all_are is_at_home || wrong "not at home in the end"
	nobody_locks || wrong "a lock is left"
}

# --- unplugged ---------------------------------------------------------------------

# unplug COMMAND: the device is removed, or removed and plugged in again, side by side with the
# command; or while it is held up at one call, and what it says then is judged by that.
unplug() {
	local process call path again=''
	local line hint state='it is (still|back|now) (on|without a driver)'
	begin "$1" && by_chance || return
	path=$(readlink -f "$PCI/devices/${device#*/}")
	((RANDOM % 2)) || again="; echo 1 >$PCI/rescan"
	if ((RANDOM % 2)); then
		run_at "start:echo 1 >$path/remove$again"
	else
		run_at "wait:echo 1 >$path/remove$again"
	fi
	lines_of "$device"
	if [[ -e $path ]]; then
		((status == 4)) || is_at_home "$device" || is_taken "$device" || is_fresh ||
			wrong "it came back, and is neither here nor there"
	else
		# Its driver goes first: what was said then may have been so.
		[[ $hint != *"vfio-bind release"* || ( $what == start:* && $line =~ $state ) ]] ||
			wrong "it is gone, and cannot be released"
		[[ $what != wait:* || ! $line =~ $state ]] || wrong "it is gone, and is not anywhere"
		((status)) || [[ $what != wait:* ]] || is_late ||
			wrong "it was gone, and the command says that it is done"
		echo 1 >$PCI/rescan
	fi
	ends_at_home
}

# is_fresh: it came back, and its record is of the one that it was.
is_fresh() {
	in_state "$device" "${HOST_DRIVER[$device]}" "(null)"
}

# is_late: the worker has nothing more to look at, or may have none.
is_late() {
	((process != ${worker[$command]} || call > ${calls["$command $process"]} - 12))
}

@test "unplugged in a handoff or a release" {
	options=(--timeout=5)
	count_calls
	rounds 200 4 "unplug handoff" "unplug release"
}

# --- without its module --------------------------------------------------------------

# unload COMMAND MODULE: it is removed meanwhile.
unload() {
	local process call way='start'
	modprobe -a vfio-pci e1000e
	begin "$1" && by_chance || return
	((RANDOM % 2)) || way='wait'
	run_at "$way:rmmod $2 2>/dev/null"
	case $status in
	0) is_but_for_module "$done_is" || wrong "it is not done" ;;
	[1-3]) is_but_for_module "$as_it_was" || wrong "it is not as it was" ;;
	esac
	modprobe -a vfio-pci e1000e
	# What had no driver when it was looked at has none when it is back.
	if [[ $2 == e1000e && $command == handoff ]] && ((status == 0)); then
		ran vfio-bind release "$device" && in_state "$device" none "(null)" && nothing_left "$device" &&
			home "$device" e1000e
	fi
	ends_at_home
}

# is_but_for_module STATE: or it would be, but its driver's module was removed there.
is_but_for_module() {
	if [[ $1 == is_at_home ]]; then
		is_at_home "$device" ||
			{ [[ ! -e $PCI/drivers/e1000e ]] && in_state "$device" none "(null)"; }
	else
		is_taken "$device" ||
			{ [[ ! -e $PCI/drivers/vfio-pci ]] && in_state "$device" none vfio-pci; }
	fi
}

@test "a driver's module is removed meanwhile" {
	options=(--timeout=5)
	count_calls
	rounds 100 4 "unload handoff vfio_pci" "unload release e1000e" "unload handoff e1000e" \
		"unload release vfio_pci"
}

# --- two users ----------------------------------------------------------------------

# two_users: the first one hands off two members of the group, or releases them; at some call of
# his the second one begins to hand off two, one of which is the first one's. Who is done has
# his own, and the common one is where one of them has it; who is not has left his own.
two_users() {
	local turn=$((RANDOM % 3)) process=$((RANDOM % 3 + 1)) call=$((RANDOM % 200 + 1))
	local own common other from=home first=none second=pci-stub seconds
	own=${TRIO[turn]} common=${TRIO[(turn + 1) % 3]} other=${TRIO[(turn + 2) % 3]}
	operands=("${TRIO[@]}")
	all_home || return
	command=handoff options=(--force --driver=none --timeout=50)
	if ((RANDOM % 2)); then
		ran vfio-bind handoff "${options[@]}" "${TRIO[@]}" || return
		command=release options=(--timeout=50) from=none first=home
	fi
	operands=("$own" "$common")
	rm -f "$BATS_TEST_TMPDIR/second"
	run_at "start:vfio-bind handoff --force --driver=pci-stub --timeout=50 $common $other \
		2>$BATS_TEST_TMPDIR/second.said; echo \$? >$BATS_TEST_TMPDIR/second"
	[[ $status == [013] ]] || wrong "the first user's status"
	((status == 0)) || first=$from
	seconds=none
	[[ ! $number ]] || read -r seconds <"$BATS_TEST_TMPDIR/second"
	[[ ! $number || $seconds == [013] ]] ||
		wrong "the second user's status: $seconds, $(<"$BATS_TEST_TMPDIR/second.said")"
	[[ $seconds == 0 ]] || second=$from
	is_where "$own" $first || wrong "$own is not $first"
	is_where "$other" $second || wrong "$other is not $second"
	is_where "$common" $first || is_where "$common" $second ||
		wrong "$common is neither $first nor $second"
	status="$status and $seconds"
	ends_at_home
}

# is_where MEMBER home|none|pci-stub
is_where() {
	case $2 in
	home) is_at_home "$1" ;;
	*) in_state "$1" "$2" "$2" && is_recorded "$1" ;;
	esac
}

@test "two users with overlapping sets of one group" {
	members=("${TRIO[@]}") child=''
	rounds 100 2 two_users
}

# --- stopped ------------------------------------------------------------------------

# go_on_all: whoever is stopped or frozen does.
go_on_all() {
	[[ ! -e $CGROUP/frozen ]] || echo 0 >"$CGROUP/frozen/cgroup.freeze"
	pkill -CONT -x vfio-bind || :
	until_true 60 nobody_works
}

# stopped COMMAND SCRIPT: that stops its worker at some call. The command ends in time all the
# same; what it has begun, the worker ends when it goes on.
stopped() {
	local process call began
	begin "$1" || return
	process=${worker[$command]} began=$SECONDS
	call=$((RANDOM % ${calls["$command $process"]} + 1))
	run_at "leave:$2"
	# Its deadline, and what one that does not look stuck gets; on a slow machine.
	((SECONDS - began < 20)) || wrong "it took $((SECONDS - began)) s"
	case $status in
	0) "$done_is" "$device" || wrong "it is not done" ;;
	[1-3]) "$as_it_was" "$device" || wrong "it is not as it was" ;;
	esac
	go_on_all || wrong "a worker is left"
	case $status in
	0) "$done_is" "$device" || wrong "when the worker went on, it is not done any more" ;;
	[1-3]) "$as_it_was" "$device" || wrong "when the worker went on, it is not as it was" ;;
	4) "$as_it_was" "$device" || "$done_is" "$device" || wrong "it is neither here nor there" ;;
	esac
	ends_at_home
}

# stopped_by COMMAND SIGSTOP|freezer
stopped_by() {
	# shellcheck disable=SC2016 # kill-at's shell expands them
	local script='kill -STOP $KILL_AT_PID'
	[[ $2 == SIGSTOP ]] || script="echo \$KILL_AT_PID >$CGROUP/frozen/cgroup.procs &&
		echo 1 >$CGROUP/frozen/cgroup.freeze"
	stopped "$1" "$script"
}

@test "a worker is stopped by SIGSTOP, or frozen" {
	mkdir -p "$CGROUP"
	mount -t cgroup2 none "$CGROUP"
	mkdir -p "$CGROUP/frozen"
	count_calls
	options=(--timeout=1)
	rounds 40 2 "stopped_by handoff SIGSTOP" "stopped_by release freezer" \
		"stopped_by handoff freezer" "stopped_by release SIGSTOP"
}
