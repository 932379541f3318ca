# shellcheck shell=bash
# What the tests over a made-up /sys share. machine.bash tells what is there.

bats_require_minimum_version 1.5.0

PATH=${REAL%/*}:$PATH

# Where the PCI devices are, and their drivers.
# shellcheck disable=SC2034
PCI=/sys/devices/pci0000:00 DRIVERS=/sys/bus/pci/drivers NVME=/sys/devices/pci0000:00/0000:00:10.0

# make_sys: makes the machine, in the place of the last one.
make_sys() {
	rm -rf /sys/*
	perl -ne '
		chomp;
		my ($kind, $path, $text) = split /\t/, $_, 3;
		my @folders = split m,/,, "/sys/$path";
		pop @folders if $kind ne "folder";
		my $made = "";
		mkdir $made .= "$_/" for @folders;
		if ($kind eq "link") {
			symlink "../" x (@folders - 2) . $text, "/sys/$path" or die "$path: $!";
		} elsif ($kind eq "file") {
			open my $file, ">", "/sys/$path" or die "$path: $!";
			print $file "$text\n";
		}' "$MADE_UP/tree"
}

# --- what the tests do with it -------------------------------------------------------

# Each test finds the machine as it is told above.
setup() {
	[[ -d ${MADE_UP-} ]] || { echo "run it by tests/sys/run" && return 1; }
	if [[ ! -e /sys/made-up || -e $MADE_UP/changed ]]; then
		make_sys
		: >"$MADE_UP/cmdline"
		: >"$MADE_UP/swaps"
		rm -rf /run/vfio-bind "$MADE_UP/changed"
	fi
	# Whatever comes here can be written: vfio-bind must not get at the real one.
	[[ -e /sys/made-up ]]
}

# changing: the test changes something of it.
changing() { : >"$MADE_UP/changed"; }

# attribute PATH TEXT: of the machine, from now on.
attribute() {
	changing
	printf '%s\n' "$2" >"$1"
}

# without_interface PATH: from now on. Only eth0 is one that the kernel knows.
without_interface() {
	changing
	rm -r "$1/net"
}

# expect STATUS TEXT ARGUMENT...: run vfio-bind, and demand this status and all of the text.
# By way of a file: that takes fewer processes than a substitution.
expect() {
	local status=0 output
	vfio-bind "${@:3}" >"$MADE_UP/output" 2>&1 || status=$?
	IFS= read -rd '' output <"$MADE_UP/output" || :
	output=${output%$'\n'}
	if [[ $status != "$1" || $output != "$2" ]]; then
		printf '%s\n' "vfio-bind ${*:3}: status $status, not $1; it said:" "$output" \
			"and not:" "$2"
		return 1
	fi
}

# record BUS:NAME PATH LINE...: of the device at PATH, as vfio-bind left it.
record() {
	changing
	mkdir -p /run/vfio-bind/{lock,record}
	printf '%s\n' "incarnation $(stat -c %i "$2")" "${@:3}" >"/run/vfio-bind/record/$1"
}

# hold FILE [COMMAND...]: a process that has it open, with COMMAND in front. Its name is sleep,
# and its pid is in $holder.
holder=''
hold() {
	local comm=''
	touch "$1"
	"${@:2}" sleep 600 <"$1" >/dev/null 2>&1 3>&- &
	holder=$!
	until [[ $comm == sleep ]]; do read -r comm <"/proc/$holder/comm"; done
}

let_go() {
	[[ ! $holder ]] || kill "$holder"
	wait
	holder=''
}

teardown() { let_go; }
