# shellcheck shell=bash
# Something goes wrong at one call of a process of vfio-bind: the call fails, or a signal comes.
# Whatever it is, the status and what is said are so. faults.bats and signals.bats of each machine
# share this, and sweep.bash, whose words these are on top of.
#
# Each test sweeps one command: first its calls are counted, then it is run again and again, with
# kill-at, for each call of each of its processes and each of `actions`. That takes hours. Without
# FAULTS, it is done at some points by chance; FAULTS=all: at all; FAULTS=N: at every Nth.
#
# A test says what it sweeps:
#   operands   what is behind the command's options
#   actions    of kill-at
#   before     brings all devices to where the command finds them
#   as_it_was MEMBER, done_is MEMBER   is it where the command found it, or where it leads?
# Where there are thousands of runs, this shell forks nothing: it is too big for that. A small
# one does, which it tells by `ran`.

# sweep.bash's and the tests'.
options=()
: "${device=}" "${command=}" "${TARGET=}" "${flag_at_home=}" "${child=}"
LOOKED=${LOOKED:-41}
SEED=${SEED:-$((RANDOM * 32768 + RANDOM))}

declare -gA EXCEPTIONS=()
# No call is an exception but these, by number, each with the reason.
[[ $(uname -m) != x86_64 ]] || EXCEPTIONS=(
	[231]="exit_group does not return"
	[15]="rt_sigreturn returns to where the signal came"
	[39]="getpid cannot fail, and nobody asks"
	[110]="getppid cannot fail"
)
# The calls for memory, whatever their errno: without it vfio-bind ends at once, which is as safe as any other kill.
MEMORY=" 9 12 25 "

# Those that end a command, once and twice.
# shellcheck disable=SC2034 # signals.bats uses them
FOUR_SIGNALS=(signal:INT signal:TERM signal:HUP signal:QUIT
	signals:INT signals:TERM signals:HUP signals:QUIT)

fault_defaults() {
	sweep_defaults
	RANDOM=$SEED
	echo "# seed $SEED" >&3
	members=("$device") operands=("$device") actions=() said=() out=()
	declare -gA records=() # as the handoff wrote them, by MEMBER
	before=all_home as_it_was=is_at_home done_is=is_taken
	ulimit -c 0
	start_shell
}

# of_release, of_pin: where the swept command is that, and not a handoff.
of_release() {
	before=all_taken as_it_was=is_as_taken done_is=is_at_home
}

of_pin() {
	done_is=is_pinned
}

# start_shell: what runs commands for `ran`. It has 7 and 8: bash uses what is above 9 itself,
# and bats 3 and 4.
start_shell() {
	mkfifo "$BATS_TEST_TMPDIR/status"
	# shellcheck disable=SC2094 # a FIFO
	exec 7> >(exec sh >"$BATS_TEST_TMPDIR/status" 3>&- 4>&-) 8<"$BATS_TEST_TMPDIR/status"
}

# end_shell: first of all in a teardown, as a wait waits for it, too.
end_shell() {
	exec 7>&- 8<&-
}

# ran COMMAND...: runs it, and returns its status. What it printed is in the array out, what it
# said on stderr in said.
ran() {
	local result word words='' quote="'"
	# As every sh understands it.
	for word; do words+=" '${word//$quote/$quote\\$quote$quote}'"; done
	echo "$words </dev/null >$BATS_TEST_TMPDIR/out 2>$BATS_TEST_TMPDIR/said; echo \$?" >&7
	read -r result <&8
	mapfile -t out <"$BATS_TEST_TMPDIR/out"
	mapfile -t said <"$BATS_TEST_TMPDIR/said"
	return "$result"
}

# ran_at ACTION CALL: the command is run with that at this call of this process, as kill-at
# counts it. Sets status; deaths, as "died 2 KILL"; and number, the system call's, which is empty
# if it did not come there.
ran_at() {
	local line
	status=0 number='' deaths=()
	ran kill-at "$process" "$1" "$2" vfio-bind "$command" "${options[@]}" "${operands[@]}" ||
		status=$?
	[[ ${out[*]} == *"call "* ]] || return 0
	number=${out[-1]#call }
	unset "out[-1]"
	for line in "${!out[@]}"; do
		[[ ${out[line]} != "died "* ]] || { deaths+=("${out[line]}") && unset "out[line]"; }
	done
}

# --- where a device is -------------------------------------------------------------

# nobody_locks: no lock is left.
nobody_locks() {
	local lock
	while read -r lock; do
		[[ $lock != *FLOCK* ]] || return 1
	done </proc/locks
}

is_recorded() {
	[[ -e /run/vfio-bind/record/${1/\//:} ]]
}

is_taken() {
	in_state "$1" "$TARGET" "$TARGET" && is_recorded "$1"
}

is_pinned() {
	in_state "$1" "${HOST_DRIVER[$1]}" none && is_recorded "$1"
}

# is_as_taken: with the very record that the handoff wrote.
is_as_taken() {
	local record=()
	is_taken "$1" || return
	mapfile -t record <"/run/vfio-bind/record/${1/\//:}"
	[[ ${record[*]} == "${records[$1]}" ]]
}

all_are() {
	local member
	for member in "${members[@]}"; do "$1" "$member" || return; done
}

all_home() {
	all_are is_at_home || { ran vfio-bind release "${members[@]}" && all_are is_at_home; }
}

all_taken() {
	local member record=()
	((${#records[@]} == 0)) || ! all_are is_as_taken || return 0
	{ ran vfio-bind handoff --force --driver="$TARGET" "${members[@]}" && all_are is_taken; } || return
	for member in "${members[@]}"; do
		mapfile -t record <"/run/vfio-bind/record/${member/\//:}"
		records[$member]=${record[*]}
	done
}

# --- is it as it was said? ---------------------------------------------------------

# wrong TEXT: note what is not so.
wrong() {
	wrongs+=("$1")
}

# lines_of MEMBER: sets line, the error that was said of it, and hint, right below it; empty:
# none.
lines_of() {
	local text mine=''
	line='' hint=''
	for text in "${said[@]}"; do
		if [[ $text == "vfio-bind: ${1#*/}: warning: "* ]]; then
			continue
		elif [[ $text == "vfio-bind: ${1#*/}: "* ]]; then
			line=${text#"vfio-bind: ${1#*/}: "} hint='' mine=1
		elif [[ $text == "vfio-bind: hint: "* ]]; then
			[[ ! $mine ]] || hint=${text#"vfio-bind: hint: "}
			mine=''
		else
			mine=''
		fi
	done
}

# is_as_said MEMBER WORD DRIVER FLAG: "it is WORD on DRIVER, FLAG".
is_as_said() {
	local driver=${3#on } flag=${4#flagged for }
	[[ $3 != "without a driver" ]] || driver=none
	[[ $4 != "not flagged" ]] || flag="(null)"
	in_state "$1" "$driver" "$flag" || wrong "$1 is not $3, $4, as was said"
	[[ $2 == now ]] || "$as_it_was" "$1" || wrong "$1 is not as it was, as was said"
}

# judge_member MEMBER: is it where it was said to be, or where the status means?
judge_member() {
	local line hint
	local state='it is (now|still|back) (on [^ ,]+|without a driver), (not flagged|flagged for [^ ;]+)'
	lines_of "$1"
	if [[ $line =~ $state ]]; then
		is_as_said "$1" "${BASH_REMATCH[@]:1:3}"
	elif [[ $line == *"was killed"* ]]; then
		((${#deaths[@]})) || wrong "no worker of $1 was killed"
		((status == 4)) || "$as_it_was" "$1" || wrong "$1 is not as it was"
	elif [[ $hint == "the release is completed when it is;"* ]]; then
		"$done_is" "$1" || wrong "the release of $1 was not completed"
	elif [[ $line == *"is still at work"* ]]; then
		((status == 4)) || wrong "still at work, with status $status"
	elif [[ $line ]] || ((status > 128)) || { ((status)) && [[ ! ${named-} ]]; }; then
		"$as_it_was" "$1" || wrong "$1 is not as it was"
	else
		"$done_is" "$1" || wrong "$1 is not done"
	fi
}

# anyone_named: is there a line about any of the devices? Then those without one are done.
anyone_named() {
	local member line hint
	for member in "${members[@]}"; do
		lines_of "$member"
		[[ ! $line ]] || return 0
	done
	return 1
}

# is_silent: vfio-bind has not said why.
is_silent() {
	[[ " ${said[*]}" != *" vfio-bind: "* ]]
}

# was_memory: it was memory that could not be had.
was_memory() {
	[[ $action == fail:* && $MEMORY == *" $number "* ]]
}

# goes_home: what is hinted brings them home.
goes_home() {
	local member line hint was
	for member in "${members[@]}"; do
		lines_of "$member"
		[[ ! $line || ! $hint ]] || [[ $hint == *"vfio-bind "@(release|list)" ${member%%/*}/${member#*/}" ||
			$hint == *"when it is; pid "* ]] || wrong "hint: $hint"
	done
	was=("${said[@]}")
	{ ran vfio-bind release "${members[@]}" && all_are is_at_home; } ||
		wrong "a release does not bring home: ${said[*]}"
	said=("${was[@]}")
}

# judge: status and said tell what is so.
judge() {
	local member named=''
	nobody_locks || wrong "a lock is left"
	! anyone_named || named=1
	case $status in
	[0-3])
		for member in "${members[@]}"; do judge_member "$member"; done
		# What fails may be the very write to stderr.
		! ((status)) || ! is_silent || [[ $action == fail:* && $number == 1 ]] || wrong "silent"
		;;
	4)
		for member in "${members[@]}"; do judge_member "$member"; done
		! is_silent || [[ $action == fail:* && $number == 1 ]] || wrong "silent"
		goes_home
		;;
	127) # not begun: the loader of libraries says why
		all_are "$as_it_was" || wrong "something was touched"
		[[ ${said[*]} ]] || wrong "silent"
		;;
	*)
		if ! all_are "$as_it_was"; then
			# Without memory it ends as if it was killed.
			{ was_memory && ((status == 134)); } || wrong "it died, and something was touched"
			goes_home
		fi
		;;
	esac
}

# judge_list: status 0 means that all is there that is there without a fault.
judge_list() {
	case $status in
	0) [[ ${out[*]} == "$listed" ]] || wrong "not what is listed otherwise" ;;
	[1-3]) ! is_silent || [[ $number == 1 ]] || wrong "silent" ;;
	127) [[ ${said[*]} ]] || wrong "silent" ;;
	134 | 139) was_memory || wrong "it died" ;;
	*) wrong "what status is that?" ;;
	esac
	all_are is_at_home || wrong "something was touched"
}

# --- the sweep ---------------------------------------------------------------------

# try_once: returns 1 if the process has not made that call.
try_once() {
	local status=0 number='' wrongs=() deaths=() out=() said=()
	"$before" || {
		wrong "not even at the beginning: ${said[*]}"
		put_all_home
	}
	ran_at "$action" "$at"
	((status != 125)) || { printf '%s\n' "${said[@]}" && return 2; }
	[[ $number ]] || return 1
	if [[ $action == fail:* && ${EXCEPTIONS[$number]-} ]]; then
		excepted+=1
		return 0
	fi
	runs+=1
	errors[status]=$((${errors[status]:-0} + 1))
	"$judge"
	[[ ${deaths[*]} != *" "@(SEGV|BUS|FPE|ILL|SYS|ABRT)* ]] || was_memory || wrong "${deaths[*]}"
	((${#wrongs[@]})) || return 0
	violations+=1
	((violations > 40)) || {
		echo "$action at call $call ($number) of process $process:" \
			"vfio-bind $command ${options[*]} ${operands[*]}: status $status"
		printf '   %s\n' "${wrongs[@]/#/WRONG: }" "${said[@]}"
	} >>"$BATS_TEST_TMPDIR/violations"
}

# put_all_home: by force, so that one that failed says nothing of the next one.
put_all_home() {
	local member out said
	ran vfio-bind release "${members[@]}" || :
	for member in "${members[@]}"; do
		is_at_home "$member" || {
			rm -f "/run/vfio-bind/record/${member/\//:}" "/run/vfio-bind/${member/\//:}"
			home "$member" "${HOST_DRIVER[$member]}"
		}
	done
}

# stride_for TOTAL SAMPLE: prints at every how many points of TOTAL calls it is tried. An odd
# number: so all actions have their turn.
stride_for() {
	local stride=${FAULTS:-$(($1 * each / $2))}
	[[ $stride != all ]] || stride=1
	echo $((stride | 1))
}

# come_to CALL: the next one that is tried, behind the last one. Sets at, what that is in another
# run: the Nth call with its number.
come_to() {
	while ((call < $1)); do
		nth[row[call]]+=1
		at=${row[call]}:${nth[row[call]]}
		call+=1
	done
}

# sweep_process STRIDE FIRST: of this process, beginning with point FIRST. Sets beyond, how far
# behind its last point the next one is; and reached, its last call.
sweep_process() {
	local -ai row=() nth=()
	local -i point call=0
	local action at result
	read -ra row <<<"${calls[process]}"
	reached=0
	for ((point = $2; point < ${#row[@]} * each; point += $1)); do
		come_to $((point / each + 1))
		action=${actions[point % each]}
		result=0
		try_once || result=$?
		((result < 2)) || return
		if ((result == 0)); then reached=call; else missed+=1; fi
		# A test's output is how its machine shows that it does not hang.
		((SECONDS < tell_at)) || {
			echo "# $command: $action at call $call of ${#row[@]} of process $process," \
				"$runs runs, $violations violations" >&3
			tell_at=$((SECONDS + 60))
		}
	done
	beyond=$((point - ${#row[@]} * each))
	# How often it asks for news varies.
	((${#row[@]} * each < 4 * $1 || reached > ${#row[@]} / 3)) || {
		echo "process $process has made $reached calls of ${#row[@]}"
		return 1
	}
}

# sweep_all COMMAND SAMPLE: at all calls, or SAMPLE of them.
sweep_all() {
	local command=$1 judge=judge process word rest stride each=${#actions[@]}
	local -a calls=() roles=() errors=()
	local -i total=0 runs=0 excepted=0 missed=0 violations=0 tell_at=$((SECONDS + 60))
	local -i beyond next reached looked=0
	local listed out=() said=()
	[[ $command != list ]] || judge=judge_list
	: >"$BATS_TEST_TMPDIR/violations"
	"$before" || return
	[[ $command != list ]] || ran vfio-bind list "${options[@]}" "${operands[@]}" || return
	listed=${out[*]}
	while read -r word process rest; do
		case $word in
		calls) roles[process]=${rest##* } ;;
		numbers)
			calls[process]=$rest
			[[ $process != 1 && ${roles[process]} != works ]] || total+=$(wc -w <<<"$rest")
			;;
		esac
	done < <(kill-at list vfio-bind "$command" "${options[@]}" "${operands[@]}" 2>/dev/null)
	stride=$(stride_for "$total" "$2")
	# One row of points through all of them: each process by itself could be missed by chance.
	next=$((RANDOM % stride))
	for process in "${!calls[@]}"; do
		# One that looks at all processes does the same for each.
		if ((process == 1)) || [[ ${roles[process]} == works ]]; then
			sweep_process "$stride" "$next" || return
			next=$beyond
		else
			# A second look comes only where the first one is slow.
			sweep_process "$((stride * LOOKED))" "$((RANDOM % (stride * LOOKED)))" ||
				((looked && !reached)) || return
			looked+=reached
		fi
	done
	say_result
}

# say_result: the numbers, and what was wrong.
say_result() {
	local status text=''
	for status in "${!errors[@]}"; do text+=" $status: ${errors[status]},"; done
	echo "# $command ${options[*]} ${operands[*]}: ${#calls[@]} processes, $total calls;" \
		"$runs runs, $excepted exceptions, $missed not come to; by status$text" \
		"$violations violations" >&3
	cat "$BATS_TEST_TMPDIR/violations"
	((runs && !violations))
}
