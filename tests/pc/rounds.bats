#!/usr/bin/env bats
# What others do meanwhile, at calls by chance: the device is unplugged, a module is removed,
# a second user takes a part of the same group, a worker is stopped. No status is wrong, nothing
# takes longer than its deadline, and all is at home in the end. A few rounds here; FAULTS=all,
# by make check-faults: hundreds.

# sweep.bash and faults.bash use and set them.
# shellcheck disable=SC2034,SC2154

load ../helpers
load ../sweep
load ../faults

TARGET=vfio-pci
HOST_DRIVER+=(["$PCI_NIC"]=e1000e ["$NIC_BELOW"]=e1000e)
PCI=/sys/bus/pci
CGROUP=/tmp/cgroup

setup_file() {
	modprobe -a vfio-pci pci-stub
	hurry 1
}

teardown_file() {
	hurry 0
}

setup() {
	device=$PCI_NIC
	fault_defaults
	declare -gA counted=() ends=()
}

teardown() {
	go_on_all
	[[ -e $PCI/devices/${PCI_NIC#*/} ]] || echo 1 >$PCI/rescan
	modprobe -a e1000e vfio-pci
	vfio-bind release --all
	put_home "$PCI_NIC" "$NIC_BELOW" "${TRIO[@]}"
	! mountpoint -q "$CGROUP" || umount "$CGROUP"
}

# rounds ALL SAMPLE ROUND...: so many of them, in turn. ROUND is a command that notes what is
# wrong.
rounds() {
	local -i round violations=0 n=$2
	local wrongs line began
	case ${FAULTS:-} in
	'') ;;
	all) n=$1 ;;
	*) n=$(($1 / FAULTS + 1)) ;;
	esac
	shift 2
	: >"$BATS_TEST_TMPDIR/violations"
	for ((round = 1; round <= n; round++)); do
		wrongs=() said=() out=() what=''
		began=$SECONDS
		${@:round % $# + 1:1} || wrong "it could not be tried"
		((SECONDS - began < LIMIT)) || wrong "it took $((SECONDS - began)) s"
		ends[${status:-none}]=$((${ends[${status:-none}]:-0} + 1))
		((${#wrongs[@]})) || continue
		violations+=1
		{
			echo "round $round: $what: status $status"
			printf '   %s\n' "${wrongs[@]/#/WRONG: }" "${said[@]}"
		} >>"$BATS_TEST_TMPDIR/violations"
		put_all_home
	done
	line=''
	for status in "${!ends[@]}"; do line+=" $status: ${ends[$status]},"; done
	echo "# $n rounds; by status$line $violations violations" >&3
	head -n 200 "$BATS_TEST_TMPDIR/violations"
	((n && !violations))
}

# count_calls COMMAND: how many the processes make, and which one is the worker.
count_calls() {
	local word process changes others role
	while read -r word process changes others role; do
		[[ $word != calls ]] || counted[$process]=$((changes + others)) workers=$process
	done < <(kill-at count vfio-bind "$1" "${options[@]}" "${operands[@]}" 2>&1)
}

# at_some_call ACTION: runs the command with that at a call by chance; three times in four it
# is the worker's. Sets status, said, process, call and number.
at_some_call() {
	process=$((RANDOM % 4 ? workers : 1))
	call=$((RANDOM % counted[$process] + 1))
	run_at "$1"
}

# run_at ACTION: at this call of this process.
run_at() {
	status=0 number=''
	what="$1 at call $call of process $process: vfio-bind $command ${options[*]} ${operands[*]}"
	kill-at "$process" "$1" "$call" vfio-bind "$command" "${options[@]}" "${operands[@]}" \
		>"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/said" 3>&- || status=$?
	mapfile -t out <"$BATS_TEST_TMPDIR/out"
	mapfile -t said <"$BATS_TEST_TMPDIR/said"
	if ((${#out[@]})) && [[ ${out[-1]} == "call "* ]]; then number=${out[-1]#call }; fi
	[[ $status == [0-4] ]] || wrong "what status is that?"
	((status == 0)) || ! is_silent || wrong "silent"
}

# is_late: the command has nothing more to look at.
is_late() {
	((process == workers && call > counted[$process] - 12)) ||
		((process == 1 && call > counted[1] - 6))
}

# ends_at_home: a release works, and all are there.
ends_at_home() {
	vfio-bind release "${members[@]}" >"$BATS_TEST_TMPDIR/said" 2>&1 3>&- || {
		wrong "in the end, a release failed: $(<"$BATS_TEST_TMPDIR/said")"
		return
	}
	all_are is_at_home || wrong "it is not at home in the end"
}

# --- unplugged ---------------------------------------------------------------------

# unplug COMMAND WAY: remove it, or remove it and plug it in again, while the command runs; or
# while it is held up at one call, which is the sharper one. Nothing is said of one that is
# gone but that it is; one that came back is at home.
unplug() {
	local command=$1 path now before=all_home is_back=''
	local actions=(start wait) scripts=("" "; echo 1 >$PCI/rescan")
	local process call script
	path=$(readlink -f "$PCI/devices/${device#*/}")
	[[ $command == handoff ]] || before=all_taken
	records=()
	"$before" || return
	((${counted[$command]:-0})) || {
		counted=()
		count_calls "$command"
		counted[$command]=1
		"$before" || return
	}
	script=${scripts[RANDOM % 2]}
	[[ ! $script ]] || is_back=1
	at_some_call "${actions[RANDOM % 2]}:echo 1 >$path/remove$script"
	[[ ! $number || $is_back || ! -e $path ]] || wrong "it was not removed"
	judge_unplugged
	[[ -e $path ]] || echo 1 >$PCI/rescan
	ends_at_home
}

judge_unplugged() {
	local line hint state='it is (now|still|back) (on [^ ,]+|without a driver), (not flagged|flagged for [^ ;]+)'
	[[ $number ]] || return 0
	lines_of "$device"
	if ((status == 0)) && [[ $what == wait:* && ! $is_back ]]; then
		is_late || wrong "it was gone, and the command says that it is done"
	fi
	if [[ -e $path && ! $status == 4 ]] && ! is_at_home "$device" && ! is_taken "$device"; then
		wrong "it came back, and is neither here nor there"
	fi
	if [[ $what == wait:* && ! -e $path && $line =~ $state ]]; then
		wrong "it is gone, and is not ${BASH_REMATCH[0]#it is }"
	fi
	if [[ ! -e $path && $hint == *"vfio-bind release"* ]]; then
		wrong "it is gone, and cannot be released"
	fi
}

@test "unplugged in a handoff or a release" {
	options=(--timeout=5)
	rounds 200 4 "unplug handoff" "unplug release"
}

# --- without its module --------------------------------------------------------------

# unload COMMAND MODULE: it is removed meanwhile.
unload() {
	local command=$1 before=all_home process call actions=(start wait)
	[[ $command == handoff ]] || before=all_taken
	records=()
	modprobe -a vfio-pci e1000e
	"$before" || return
	((${counted[$command]:-0})) || {
		counted=()
		count_calls "$command"
		counted[$command]=1
		"$before" || return
	}
	at_some_call "${actions[RANDOM % 2]}:rmmod $2 2>/dev/null"
	judge_unloaded
	modprobe -a vfio-pci e1000e
	ends_at_home
}

# has_module DRIVER: its module is there.
has_module() {
	[[ -e $PCI/drivers/$1 ]]
}

judge_unloaded() {
	local line hint
	lines_of "$device"
	case $status in
	0)
		if [[ $command == handoff ]]; then
			is_taken "$device" || { ! has_module vfio-pci && in_state "$device" none vfio-pci; } ||
				wrong "it is not handed off"
		else
			is_at_home "$device" || { ! has_module e1000e && in_state "$device" none "(null)"; } ||
				wrong "it is not at home"
		fi
		;;
	[1-3])
		if [[ $command == handoff ]]; then
			is_at_home "$device" || { ! has_module e1000e && in_state "$device" none "(null)"; } ||
				wrong "it is not as it was"
		else
			is_taken "$device" || { ! has_module vfio-pci && in_state "$device" none vfio-pci; } ||
				wrong "it is not as it was"
		fi
		;;
	4)
		[[ ${hint-} == *"vfio-bind release pci/${device#*/}" ]] || wrong "hint: ${hint-}"
		;;
	esac
}

@test "a driver's module is removed meanwhile" {
	options=(--timeout=5)
	rounds 100 4 "unload handoff vfio_pci" "unload release e1000e" "unload handoff e1000e" \
		"unload release vfio_pci"
}

# --- two users ----------------------------------------------------------------------

# two_users: the first takes two members of the group, at some call of his the second begins
# with another two, one of which is the first one's. Who is done has all of his but the common
# one, which is where either has it; who is not, has left his own as it was.
two_users() {
	local members=("${TRIO[@]}") command=handoff child='' turn=$((RANDOM % 3)) process call
	local own common other second=0 from=home first second_status
	own=${TRIO[turn]} common=${TRIO[(turn + 1) % 3]} other=${TRIO[(turn + 2) % 3]}
	all_home || return
	((RANDOM % 2)) || {
		from=none
		vfio-bind handoff --force --driver=none "${TRIO[@]}" || return
	}
	if [[ $from == home ]]; then
		first=none options=(--force --driver=none --timeout=50)
	else
		first=home command=release options=(--timeout=50)
	fi
	operands=("$own" "$common")
	process=$((RANDOM % 3 + 1)) call=$((RANDOM % 300 + 1))
	rm -f "$BATS_TEST_TMPDIR"/second*
	run_at "start:vfio-bind handoff --force --driver=pci-stub --timeout=50 $common $other \
		2>$BATS_TEST_TMPDIR/second.said; echo \$? >$BATS_TEST_TMPDIR/second"
	[[ $status == [013] ]] || wrong "the first user's status"
	second_status=none
	[[ ! -e $BATS_TEST_TMPDIR/second ]] || second_status=$(<"$BATS_TEST_TMPDIR/second")
	[[ ! $number ]] || [[ $second_status == [013] ]] || wrong "the second user's status: \
		$second_status: $(<"$BATS_TEST_TMPDIR/second.said")"
	if ((status)); then first=$from; fi
	second=$from
	[[ $second_status != 0 ]] || second=pci-stub
	is_where "$own" $first || wrong "$own is not on $first"
	is_where "$other" $second || wrong "$other is not on $second"
	is_where "$common" $first || is_where "$common" $second ||
		wrong "$common is neither on $first nor on $second"
	nobody_locks || wrong "a lock is left"
	operands=("${TRIO[@]}")
	ends_at_home
	ends["second $second_status"]=$((${ends["second $second_status"]:-0} + 1))
}

# is_where MEMBER home|none|pci-stub
is_where() {
	case $2 in
	home) is_at_home "$1" ;;
	*) in_state "$1" "$2" "$2" && is_recorded "$1" ;;
	esac
}

@test "two users with overlapping sets of one group" {
	rounds 100 2 two_users
}

# --- stopped ------------------------------------------------------------------------

# go_on_all: whoever is stopped or frozen.
go_on_all() {
	[[ ! -e $CGROUP/frozen ]] || echo 0 >"$CGROUP/frozen/cgroup.freeze"
	pkill -CONT -x vfio-bind || :
	until_true 60 nobody_works
}

# stopped COMMAND SCRIPT: that stops its worker at some call. The command ends in time all the
# same; what it has begun, the worker ends when it goes on.
stopped() {
	local command=$1 before=all_home as_it_was=is_at_home done_is=is_taken process call began
	local line hint
	options=(--timeout=1)
	[[ $command == handoff ]] || before=all_taken as_it_was=is_as_taken done_is=is_at_home
	records=()
	"$before" || return
	((${counted[$command]:-0})) || {
		options=()
		counted=()
		count_calls "$command"
		counted[$command]=1
		options=(--timeout=1)
		"$before" || return
	}
	process=$workers call=$((RANDOM % counted[$workers] + 1)) began=$SECONDS
	run_at "leave:$2"
	# Its deadline, and then what a worker that is not stuck gets.
	((SECONDS - began < 25)) || wrong "it took $((SECONDS - began)) s"
	lines_of "$device"
	# What was refused, or has failed, is so already.
	((status != 3)) || in_binding_of "$as_it_was" || wrong "stopped, it is not as it was"
	go_on_all || wrong "a worker is left"
	if ((status == 0)); then
		"$done_is" "$device" || wrong "it is not done"
	elif ((status < 4)); then
		"$as_it_was" "$device" || wrong "it is not as it was"
	elif [[ $command == handoff ]]; then
		is_at_home "$device" || is_taken "$device" || wrong "it is neither here nor there"
	else
		is_at_home "$device" || is_as_taken "$device" || wrong "it is neither here nor there"
	fi
	ends_at_home
}

# in_binding_of PREDICATE: but for the lock, which the stopped worker has.
in_binding_of() {
	nobody_locks() { :; }
	local result=0
	"$1" "$device" || result=1
	eval "$real_nobody_locks"
	return $result
}

@test "a worker is stopped by SIGSTOP, or frozen" {
	local real_nobody_locks
	real_nobody_locks=$(declare -f nobody_locks)
	mkdir -p "$CGROUP"
	mount -t cgroup2 none "$CGROUP"
	mkdir -p "$CGROUP/frozen"
	# shellcheck disable=SC2016 # for kill-at's shell
	local freeze="echo \$KILL_AT_PID >$CGROUP/frozen/cgroup.procs; echo 1 >$CGROUP/frozen/cgroup.freeze"
	local stop='kill -STOP $KILL_AT_PID'
	STOP=$stop FREEZE=$freeze
	rounds 40 2 "stopped_by handoff STOP" "stopped_by release FREEZE" "stopped_by handoff FREEZE" \
		"stopped_by release STOP"
}

# stopped_by COMMAND STOP|FREEZE
stopped_by() {
	stopped "$1" "${!2}"
}
