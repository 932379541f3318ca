# shellcheck shell=bash
# What the tests over a made-up /sys share. machine.bash tells what is there.

load ../shared
bats_require_minimum_version 1.5.0

PATH=${REAL%/*}:$PATH

# Where the PCI devices are, and their drivers.
# shellcheck disable=SC2034
PCI=/sys/devices/pci0000:00 DRIVERS=/sys/bus/pci/drivers NVME=/sys/devices/pci0000:00/0000:00:10.0

# tree KIND [PATH [TEXT]]: makes or changes the machine, and sets answer: see make-tree.
tree() {
	local IFS=$'\t'
	echo "$*" >&5
	read -r answer <&6
}

# --- what the tests do with it -------------------------------------------------------

setup() {
	[[ -d ${MADE_UP-} ]] || { echo "run it by tests/sys/run" && return 1; }
	restore
}

# restore: the machine is as machine.bash tells, if a test has changed it.
restore() {
	if [[ ! -e /sys/made-up || -s $MADE_UP/changed ]]; then
		tree all
		: >"$MADE_UP/cmdline"
		: >"$MADE_UP/swaps"
		: >"$MADE_UP/changed"
	fi
	# Whatever comes here can be written: vfio-bind must not get at the real one.
	[[ -e /sys/made-up ]]
}

# promise TEXT: as in tests/shared.bash. What one has changed the next one does not see.
promise() {
	echo "- $1"
	teardown
	restore
}

# changing: the test changes something of it.
changing() { echo y >"$MADE_UP/changed"; }

# traced ARGUMENT...: strace, under which LeakSanitizer does not work.
NO_LEAKS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
traced() { ASAN_OPTIONS=$NO_LEAKS strace "$@"; }

# folder PATH..., link PATH TARGET, none PATH...: as in machine.bash, from now on; of none
# there is nothing any more. Below /sys, and without a process.
folder() {
	local path
	changing
	for path; do tree folder "$path"; done
}
link() {
	changing
	tree link "$1" "$2"
}
none() {
	local path
	changing
	for path; do tree none "$path"; done
}

# driver PCI_DEVICE NAME: has it, from now on; empty: none has.
driver() {
	if [[ $2 ]]; then
		link "$PCI/$1/driver" "$DRIVERS/$2"
	else
		none "$PCI/$1/driver"
	fi
}

# attribute PATH TEXT: of the machine, from now on.
attribute() {
	changing
	printf '%s\n' "$2" >"$1"
}

# without_interface PATH: from now on. Only eth0 is one that the kernel knows.
without_interface() { none "$1/net"; }

# vfio_bind ARGUMENT...: runs it, and sets status and output.
vfio_bind() {
	serve "$@"
	IFS= read -rd '' output <"$MADE_UP/output" || output=${output%$'\n'}
}

# expect STATUS TEXT ARGUMENT...: run vfio-bind, and demand this status and all of the text.
# In few commands, as bats traces each.
# shellcheck disable=SC2154 # serve() sets status
expect() {
	vfio_bind "${@:3}"
	if [[ $status != "$1" || $output != "$2" ]]; then
		printf '%s\n' "vfio-bind ${*:3}: status $status, not $1; it said:" "$output" \
			"and not:" "$2"
		return 1
	fi
}

# record BUS:NAME PATH LINE...: of the device at PATH, as vfio-bind left it.
record() {
	changing
	[[ -d /run/vfio-bind/record ]] || mkdir -p /run/vfio-bind/{lock,record}
	tree inode "$2"
	printf '%s\n' "incarnation $answer" "${@:3}" >"/run/vfio-bind/record/$1"
}

# hold FILE [COMMAND...]: a process that has it open, with COMMAND in front. Its name is sleep,
# and its pid is in $holder.
holder=''
hold() {
	: >>"$1"
	"${@:2}" sleep 600 <"$1" >/dev/null 2>&1 3>&- &
	holder=$!
	is_asleep $holder
}

# is_asleep PID: waits until this process is sleep(1), and so has open what it was told to.
is_asleep() {
	local comm=''
	until [[ $comm == sleep ]]; do read -r comm <"/proc/$1/comm"; done
}

let_go() {
	[[ ! $holder ]] || kill "$holder"
	wait
	holder=''
}

teardown() { let_go; }
