# shellcheck shell=bash
# The lanes of the suite, for tests/check and tests/one. Sourced, not run, at the top of the
# repository.
#
# A lane is a build of the program on a machine of tests/guest/run, or on this host; -sanitized
# is the build with ASan and UBSan. Its tests run in parts, each on a machine of its own.

# A part is a lane and some files of the tests of its machine; "*" is all that no other part
# of the lane has. Longest first.
#
# A sanitizer sees no more of the checks, the list and the command line on a machine than in
# host-sanitized, which has them over a made-up /sys; nothing of who has a lock for how long,
# nor in a process that is killed. On the machines it watches the ways that only a kernel
# leads to.
parts='
pc-6.12 kill.bats
board kill.bats
pc-6.12-sanitized group.bats sriov.bats
pc-6.12 *
board held.bats list.bats slow.bats
pc-6.12 interface.bats open.bats usage.bats
pc-6.1 *
board *
pc-6.12 contend.bats faults.bats rounds.bats signals.bats soak.bats
pc-6.12-sanitized scenario.bats undo.bats
board-sanitized scenario.bats
board-nogroup *
pc-6.12-noiommu *
pc-6.12-boot *
host *
host-sanitized *
'

# What make check-faults runs: whole sweeps, all rounds and a long soak, of which the parts above
# have a little each. It takes hours.
[[ ! ${FAULTS:-} ]] || parts='
pc-6.12 faults.bats
pc-6.12 signals.bats
pc-6.12 kill.bats lease.bats
board signals.bats kill.bats
pc-6.12-boot boot.bats
pc-6.12 rounds.bats soak.bats
host sys/faults.bats
'

# Processes race on two processors: these files' machines have them. With one, a machine takes
# a sixth less of this host's time.
races=(contend.bats rounds.bats signals.bats soak.bats)

# What vfio-bind leaves when it is killed, or a call fails, or another one is at work, it does
# itself; and who has a node open, what an interface is used for, and what variants there are,
# both kernels of the PC tell alike: one of them is enough.
once=(contend.bats faults.bats interface.bats kill.bats launcher.bats open.bats rounds.bats
	signals.bats soak.bats undo.bats variant.bats)

# A machine that says nothing for so many seconds hangs. The longest tests say nothing for
# two minutes, where two lanes share a processor.
silence=900

# lane_names: prints them.
lane_names() {
	awk 'NF && !seen[$1]++ { print $1 }' <<<"$parts"
}

# use_lane LANE: sets what a lane is: machine, folder (of its tests), build (the folder of
# the program and the tools), flags (of that build), variables (of the tests).
use_lane() {
	local variable
	lane=$1 machine=${1%-sanitized} flags=() variables=()
	folder=tests/${machine%%-*} build=build/${machine%%-*}
	[[ $machine != host ]] || folder=tests # what make check-fast runs
	if [[ $lane == *-sanitized ]]; then
		build+=-sanitized
		flags=(CFLAGS='-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all')
		variables=(UBSAN_OPTIONS=print_stacktrace=1)
		# On a guest, to look for leaks takes longer than the commands.
		[[ $machine == host ]] || variables+=(ASAN_OPTIONS=detect_leaks=0)
	fi
	# The sweeps in full are the PC's.
	case $lane in
	host*) variables+=("VFIO_BIND=$build/vfio-bind") ;;
	board) variables+=(STRIDE=2) ;;
	*-sanitized) variables+=(STRIDE=4) ;;
	pc-6.12-boot) variables+=("COLDPLUGS=${COLDPLUGS:-1}") ;;
	esac
	# What make check-faults, or one of its tests, is run with.
	for variable in FAULTS SEED SOAK; do
		[[ ! ${!variable:-} ]] || variables+=("$variable=${!variable}")
	done
}

# part_files FILE...: prints the files of a part of the lane, a line each. Those that are named
# like the end of a machine's name, as nogroup.bats, are for that machine alone.
part_files() {
	local own=${machine##*-}.bats
	if [[ $1 != "*" ]]; then
		printf '%s\n' "$@"
	elif [[ $lane == host-sanitized ]]; then # whose own calls must not fail
		(cd "$folder" && printf '%s\n' host/*.bats sys/*.bats unit/*.c) | grep -vx sys/faults.bats
	elif [[ $machine == host ]]; then
		(cd "$folder" && printf '%s\n' host/*.bats sys/*.bats unit/*.c)
	elif [[ -f $folder/$own ]]; then
		echo "$own"
	else
		comm -23 <(cd "$folder" && printf '%s\n' *.bats | sort) <({
			awk '{ sub(/-sanitized$/, "", $1); sub(/.*-/, "", $1); print $1 ".bats" }' <<<"$parts"
			awk -v lane="$lane" '$1 == lane { for (i = 2; i <= NF; i++) print $i }' <<<"$parts"
			[[ $machine != pc-6.1 ]] || printf '%s\n' "${once[@]}"
		} | sort)
	fi
}

# lane_files: prints the files of all parts of the lane.
lane_files() {
	local words
	while read -ra words; do
		[[ ${words[0]-} != "$lane" ]] || part_files "${words[@]:1}"
	done <<<"$parts"
}

# bats_options: sets options, for --filter.
bats_options() {
	options=()
	[[ ! ${FILTER:-} ]] || options=(--filter "$FILTER")
}

# count_tests FILE...: prints how many tests of the lane's files are to be run. A program in C
# is one, and has no name to be filtered by.
count_tests() {
	local options file files=() count=0
	bats_options
	for file; do
		if [[ $file == *.bats ]]; then
			files+=("$folder/$file")
		elif [[ ! ${FILTER:-} ]]; then
			((++count))
		fi
	done
	((${#files[@]} == 0)) || ((count += $(bats --count "${options[@]}" "${files[@]}"))) || :
	echo "$count"
}

# build_lane: what the lane needs; what is there and up to date stays.
build_lane() {
	if [[ $machine == host ]]; then
		make -s -j2 all tools unit BUILD="$build" "${flags[@]}"
	else
		tests/guest/build "${machine%%-*}" "$build" "${flags[@]}"
	fi
}

# run_host_tests FILE...: all of them, whatever fails; returns 1 if any does.
run_host_tests() {
	local file command status=0
	for file; do
		case $file in
		unit/*) command=("$build/${file%.c}") ;;
		sys/*) command=(tests/sys/run --tap --timing "${options[@]}" "$folder/$file") ;;
		*) command=(bats --tap --timing "${options[@]}" "$folder/$file") ;;
		esac
		if [[ $file == *.bats ]]; then
			env "${variables[@]}" "${command[@]}" || status=1
		elif [[ ! ${FILTER:-} ]]; then
			if env "${variables[@]}" "${command[@]}" | sed 's/^/# /'; then
				echo "ok $file"
			else
				echo "not ok $file" && status=1
			fi
		fi
	done
	return "$status"
}

# processors_for FILE...: prints how many its machine has.
processors_for() {
	local file
	for file; do
		[[ " ${races[*]} " != *" $file "* ]] || { echo 2 && return; }
	done
	echo 1
}

# run_tests FILE...: of the lane; returns what tests/guest/run does.
run_tests() {
	local command options tool
	bats_options
	command=(env "${variables[@]}" bats --tap --timing "${options[@]}")
	if [[ $machine == host ]]; then
		run_host_tests "$@"
		return
	fi
	options=()
	for tool in "$build"/tools/*; do options+=(-x "$tool"); done
	# Whatever ends the shell that waits for it ends it, too.
	setpriv --pdeathsig TERM tests/guest/run -M "$machine" -c "$(processors_for "$@")" \
		-t "$silence" "${options[@]}" "$build/vfio-bind" \
		"${command[@]}" "${@/#//$folder/}"
}
