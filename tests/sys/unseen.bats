#!/usr/bin/env bats
# A look that fails where somebody could be overlooked: that is refused, whoever is there.
# tests/sys/faults.bats looks for more of these by chance.

load sys

# Under ptrace, LeakSanitizer does not work.
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0

# unless_seen STATUS TEXT CALL:ERRNO PATH ARGUMENT...: vfio-bind ends with this status and says
# that TEXT if this call for PATH fails; PATH may be empty.
unless_seen() {
	local path=${4:+-P $4} status=0
	# shellcheck disable=SC2086 # options
	output=$(strace -qqqf -o "$MADE_UP/trace" -e trace="${3%%:*}" $path \
		-e inject="${3%%:*}:error=${3#*:}" vfio-bind "${@:5}" 2>&1) || status=$?
	if [[ $status != "$1" || $output != *"$2"* || $(<"$MADE_UP/trace") != *INJECTED* ]]; then
		printf '%s\n' "vfio-bind ${*:5}: status $status, not $1; it said:" "$output" \
			"and not:" "$2" "calls:" "$(<"$MADE_UP/trace")"
		return 1
	fi
}

# nodes_of_nvme NUMBER: of all, the disk has one character node.
nodes_of_nvme() {
	folder "$NVME/tty/ttyX"
	attribute "$NVME/tty/ttyX/dev" "$1"
	none "$NVME/nvme"
}

# shellcheck disable=SC2154 # of sys.bash
@test "a process, or its threads" {
	promise "a thread with descriptors of its own"
	nodes_of_nvme 1:7
	hold /dev/null
	unless_seen 3 "cannot tell who has it open: /proc/$holder/task: Input/output error" \
		getdents64:EIO "/proc/$holder/task" handoff -n 00:10.0 none
}
