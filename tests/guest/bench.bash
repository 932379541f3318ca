# shellcheck shell=bash
# What the benches share. The emulated machines are slow, and so are their seconds; the
# ratios of one run are what counts.

declare -A times failures

# timed NAME COMMAND...: note how long it takes, in microseconds, and whether it fails.
timed() {
	local name=$1 start=${EPOCHREALTIME/./} status=0
	shift
	"$@" >/tmp/said 2>&1 || status=$?
	times[$name]+=" $((${EPOCHREALTIME/./} - start))"
	((status == 0)) || failed "$name" "status $status: $(tail -n 1 /tmp/said)"
}

# failed NAME WHY: what was timed has not done its job.
failed() {
	failures[$1]=$2
}

# again: forget all of that.
again() {
	times=() failures=()
}

# median NAME
median() {
	local -a sorted
	# shellcheck disable=SC2086 # words
	mapfile -t sorted < <(printf '%s\n' ${times[$1]} | sort -n)
	echo "${sorted[${#sorted[@]} / 2]}"
}

# ratio WHAT NAME FLOOR
ratio() {
	awk -v what="$1" -v a="$(median "$2")" -v b="$(median "$3")" 'BEGIN {
		printf "%-47s %9.1f ms  %6.2f times\n", what, a / 1000, a / b }'
	[[ ! ${failures[$2]:-} ]] || echo "    fails: ${failures[$2]}"
}
