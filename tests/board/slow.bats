#!/usr/bin/env bats
# A kernel that takes its time, commands told to stop, and outputs and places that cannot
# be written: no command hangs, and none leaves half a transition.

# bats runs each test in a subshell.
# shellcheck disable=SC2030,SC2031

load ../helpers

PARAMETERS=/sys/module/vbtest/parameters

setup_file() {
	modprobe vbtest devices=4
}

teardown_file() {
	modprobe -r vbtest
}

setup() {
	background=()
	declare -gA command=()
}

teardown() {
	local parameter
	for parameter in {host,target}_{probe_ms,remove_ms,probe_defer} target_probe_errno; do
		echo 0 >"$PARAMETERS/$parameter"
	done
	((${#background[@]} == 0)) || kill "${background[@]}" 2>/dev/null || :
	wait
	until_true 80 nobody_works
	vfio-bind release --all
}

# are_home DEVICE...: as before the test.
are_home() {
	local device
	for device in "$@"; do is_home "$device" vbtest-host; done
}

# launch DEVICE ARGUMENT...: a launcher, which no signal ends, runs it in the background,
# and reads its output to the end.
launch() {
	local device=$1
	shift
	# Background jobs of a shell ignore the signals from the keyboard.
	# shellcheck disable=SC2016 # for the launcher to expand
	env --default-signal=INT,QUIT setsid bash -c '
		trap : INT TERM HUP QUIT
		output=$(exec vfio-bind "$@" 2>&1)
		printf "%s\n" "$?" "$output" >"$0"
	' "$BATS_TEST_TMPDIR/$device" "$@" >/dev/null 2>&1 3>&- &
	command[$device]=$!
}

# signal NAME DEVICE: as the terminal sends it, to all that belong to the command.
signal() {
	kill "-$1" -- "-${command[$2]}"
}

# ended DEVICE STATUS: wait for its launcher; what the command said is in $output.
ended() {
	local said=()
	wait "${command[$1]}" || :
	mapfile -t said <"$BATS_TEST_TMPDIR/$1"
	printf -v output '%s\n' "${said[@]:1}"
	if [[ ${said[0]} != "$2" ]]; then
		echo "status ${said[0]}, not $2; it said:"
		echo "$output"
		return 1
	fi
}

# is_pending DEVICE STATUS REASON WRITE OUTLOOK: the command has ended so, saying which
# step the kernel is not done with; and its worker waits for that.
is_pending() {
	ended "$1" "$2"
	says "vfio-bind: $1: $3: the kernel is not done with: echo $1 > /sys/bus/platform/$4"
	says "vfio-bind: hint: $5 when it is; pid "
	[[ $output =~ "pid "([0-9]+)" waits for it" ]]
	grep -qx vfio-bind "/proc/${BASH_REMATCH[1]}/comm"
}

@test "a slow remove: a handoff ends at its deadline or when told to, and is undone later" {
	local before device write=drivers/vbtest-host/unbind back="the device is put back"
	before=$(<$PARAMETERS/host_probes)
	echo "$FOR_EVER" >$PARAMETERS/host_remove_ms
	launch vbtest.0 handoff vbtest.0 vbtest-target -t "$DEADLINE"
	until_true 20 driver_is vbtest.0 none
	for device in vbtest.{1..3}; do
		launch "$device" handoff "$device" vbtest-target -t 400
	done
	for device in vbtest.{1..3}; do
		until_true 20 driver_is "$device" none
	done
	signal INT vbtest.1
	signal TERM vbtest.2
	signal HUP vbtest.3
	is_pending vbtest.0 4 "timed out" "$write" "$back"
	is_pending vbtest.1 4 interrupted "$write" "$back"
	is_pending vbtest.2 4 interrupted "$write" "$back"
	is_pending vbtest.3 4 interrupted "$write" "$back"
	# They have not waited for it.
	device_is vbtest.0 none vbtest-target
	[[ $(<$PARAMETERS/host_probes) == "$before" ]]

	vfio_bind 3 handoff vbtest.0 vbtest-target -t 0.1
	says "vfio-bind: vbtest.0: timed out: locked by vfio-bind (pid "
	vfio_bind 0 list vbtest.0 --noheadings --raw --output DEVICE,DRIVER,OVERRIDE,HOST
	[[ $output == "vbtest.0  vbtest-target vbtest-host" ]]

	echo 0 >$PARAMETERS/host_remove_ms
	until_true 80 nobody_works
	are_home vbtest.{0..3}
	[[ $(<$PARAMETERS/target_probes) == 0 ]]
}

@test "a slow remove: a release ends at its deadline or when told to, and is completed later" {
	local write=drivers/vbtest-target/unbind rest="the release is completed"
	vfio_bind 0 handoff --driver=vbtest-target vbtest.0 vbtest.1
	echo "$FOR_EVER" >$PARAMETERS/target_remove_ms
	launch vbtest.0 release vbtest.0 -t "$DEADLINE"
	launch vbtest.1 release vbtest.1 -t 400
	until_true 20 driver_is vbtest.1 none
	signal INT vbtest.1
	is_pending vbtest.0 4 "timed out" "$write" "$rest"
	is_pending vbtest.1 4 interrupted "$write" "$rest"
	device_is vbtest.0 none vbtest-target

	echo 0 >$PARAMETERS/target_remove_ms
	until_true 80 nobody_works
	are_home vbtest.{0..1}
}

@test "a slow probe: the same" {
	local back="the device is put back" rest="the release is completed"
	vfio_bind 0 handoff vbtest.2 vbtest-target
	echo "$FOR_EVER" >$PARAMETERS/target_probe_ms
	echo "$FOR_EVER" >$PARAMETERS/host_probe_ms
	launch vbtest.0 handoff vbtest.0 vbtest-target -t "$DEADLINE"
	launch vbtest.2 release vbtest.2 -t "$DEADLINE"
	launch vbtest.1 handoff vbtest.1 vbtest-target -t 400
	until_true 20 driver_is vbtest.1 vbtest-target # there before it probes
	signal INT vbtest.1
	is_pending vbtest.0 4 "timed out" drivers/vbtest-target/bind "$back"
	is_pending vbtest.2 4 "timed out" drivers/vbtest-host/bind "$rest"
	is_pending vbtest.1 4 interrupted drivers/vbtest-target/bind "$back"
	device_is vbtest.0 vbtest-target vbtest-target

	echo 0 >$PARAMETERS/host_probe_ms
	echo 0 >$PARAMETERS/target_probe_ms
	until_true 80 nobody_works
	are_home vbtest.{0..2}
}

@test "a slow remove within the deadline is no reason to fail" {
	echo 1000 >$PARAMETERS/host_remove_ms
	vfio_bind 0 handoff vbtest.0 vbtest-target
	[[ -z $output ]]
	device_is vbtest.0 vbtest-target vbtest-target
}

@test "Ctrl-C while a probe is deferred: undone at once" {
	echo 1000000 >$PARAMETERS/target_probe_defer
	launch vbtest.0 handoff vbtest.0 vbtest-target -t 400
	deferred() { (($(<$PARAMETERS/target_probe_defer) < 999999)); }
	until_true 20 deferred
	signal INT vbtest.0
	ended vbtest.0 130
	says "vfio-bind: vbtest.0: interrupted; it is back on vbtest-host, not flagged"
	until_true 20 nobody_works
	are_home vbtest.0
}

# slowed CALL PATH ARGUMENT...: vfio-bind, with a worker that gets no turn for four seconds, or
# DELAY, before its system CALL on PATH (empty: any). Of what was said, strace's own lines are left out.
slowed() {
	ASAN_OPTIONS=detect_leaks=0 run taskset 1 strace -f -qqq -o "$BATS_TEST_TMPDIR/trace" \
		-e trace="$1" -e inject="$1:delay_enter=${DELAY:-4s}:when=1" ${2:+-P "$2"} vfio-bind "${@:3}"
	output=$(grep -v '^strace: ' <<<"$output")
	mapfile -t lines <<<"$output"
	printf '%s\n' "vfio-bind ${*:3}: status $status; it said:" "$output"
	until_true 20 nobody_works
}

@test "a worker that is slow to its lock, or behind it: nobody is blamed, nothing touched" {
	local text="vfio-bind: vbtest.0: timed out: the checks are not done yet: nothing was touched"
	slowed flock /run/vfio-bind/lock/platform:vbtest.0 handoff -t 1 vbtest.0 vbtest-target
	((status == 3))
	[[ $output == "$text" ]]
	slowed sendmsg "" handoff -t 1 vbtest.0 vbtest-target # its word that it has the lock
	((status == 3))
	[[ $output == "$text" ]]
	are_home vbtest.0
}

@test "a worker that is slow between two steps: waited for, and the kernel is not blamed" {
	slowed close /sys/bus/platform/drivers/vbtest-target/bind \
		handoff -t "$DEADLINE" vbtest.0 vbtest-target
	((status == 1))
	[[ $output == "vfio-bind: vbtest.0: timed out; it is back on vbtest-host, not flagged" ]]
	are_home vbtest.0
}

@test "told to stop twice, and its worker between two steps: left at once, and how to look" {
	local pid
	{
		slowed close /sys/bus/platform/drivers/vbtest-target/bind \
			handoff vbtest.0 vbtest-target
		printf '%s\n' "$status" "$output" >"$BATS_TEST_TMPDIR/vbtest.0"
	} 3>&- &
	command[vbtest.0]=$!
	until_true 20 grep -qs "close(" "$BATS_TEST_TMPDIR/trace"
	pid=$(pgrep -x vfio-bind -P "$(pgrep -x strace)")
	kill -TERM "$pid"
	kill -HUP "$pid"
	ended vbtest.0 4
	says "vfio-bind: vbtest.0: interrupted: its worker (pid "
	says "vfio-bind: hint: to see how it ends: vfio-bind list platform/vbtest.0"
	are_home vbtest.0
}

@test "a worker that goes on while it is being left: what it has said is heard" {
	echo 4000 >$PARAMETERS/host_remove_ms
	ASAN_OPTIONS=detect_leaks=0 run strace -qqq -o "$BATS_TEST_TMPDIR/trace" -e trace=shutdown \
		-e inject=shutdown:delay_enter=10s:when=1 vfio-bind handoff -t 1 vbtest.0 vbtest-target
	grep -q DELAYED "$BATS_TEST_TMPDIR/trace"
	((status == 1))
	[[ $output == "vfio-bind: vbtest.0: timed out; it is back on vbtest-host, not flagged" ]]
	are_home vbtest.0
}

@test "a module that takes long to load: it is named" {
	[[ ! -d /sys/module/vfio_platform ]] || rmmod vfio_platform
	DELAY=12s slowed finit_module "" handoff -t 10 vbtest.0 vfio-platform
	((status == 3))
	[[ ${lines[0]} == "vfio-bind: vbtest.0: timed out: the kernel is not done with: modprobe vfio_platform" ]]
	are_home vbtest.0
}

@test "a release whose module takes long to load is refused, and nothing is touched" {
	vfio_bind 0 handoff "$NIC" none
	modprobe -r xgmac
	DELAY=12s slowed finit_module "" release -t 10 "$NIC"
	((status == 3))
	[[ ${lines[0]} == "vfio-bind: $NIC: timed out: the kernel is not done with: modprobe xgmac" ]]
	device_is "$NIC" none none
	[[ -e $(record_of "$NIC") ]]
	vfio_bind 0 release "$NIC"
	is_home "$NIC" "$NIC_DRIVER"
}

@test "a release whose time is up tries a deferred probe again all the same" {
	vfio_bind 0 handoff vbtest.0 vbtest-target
	echo 3 >$PARAMETERS/host_probe_defer
	echo "$FOR_EVER" >$PARAMETERS/target_remove_ms
	launch vbtest.0 release vbtest.0 -t "$DEADLINE"
	is_pending vbtest.0 4 "timed out" drivers/vbtest-target/unbind "the release is completed"
	echo 0 >$PARAMETERS/target_remove_ms
	until_true 80 nobody_works
	are_home vbtest.0
}

# locked_out DEVICE STATUS REASON: nothing was touched, and nobody is left.
locked_out() {
	ended "$1" "$2"
	says "vfio-bind: $1: $3: locked by sleep (pid ${background[0]})"
	until_true 20 nobody_works
	are_home "$1"
}

@test "Ctrl-C while it waits for a lock: nothing touched, nobody left" {
	local lock=/run/vfio-bind/lock/platform:vbtest.0 waiting
	vfio_bind 0 pin vbtest.0
	vfio_bind 0 release vbtest.0
	flock -F "$lock" sleep infinity 3>&- &
	background=($!)
	until_true 10 grep -qx sleep "/proc/$!/comm"

	for signal in INT:130 TERM:143; do
		launch vbtest.0 handoff vbtest.0 vbtest-target -t 400
		waiting=$(stat -c %i "$lock")
		until_true 20 grep -q -- "-> FLOCK.*:$waiting " /proc/locks
		signal "${signal%:*}" vbtest.0
		locked_out vbtest.0 "${signal#*:}" interrupted
	done
	launch vbtest.0 release vbtest.0 -t 1
	locked_out vbtest.0 3 "timed out"
}

@test "an output that cannot be written leaves no half transition" {
	local where broken=$BATS_TEST_TMPDIR/broken
	mkfifo "$broken"
	# A pipe that nobody reads any more.
	exec 8<>"$broken"
	exec 9>"$broken" 8>&-
	for where in '>&-' '2>&-' '>&- 2>&-' '<&- >&- 2>&-' '>/dev/full 2>&1' '>&9 2>&1' \
		'2>&9 9>&-'; do
		echo "$where"
		run bash -c "vfio-bind handoff --verbose vbtest.0 vbtest-target $where"
		[[ $status == 0 ]]
		device_is vbtest.0 vbtest-target vbtest-target
		run bash -c "vfio-bind release --verbose vbtest.0 $where"
		[[ $status == 0 ]]
		are_home vbtest.0
		echo 5 >$PARAMETERS/target_probe_errno
		run bash -c "vfio-bind handoff --verbose vbtest.0 vbtest-target $where"
		[[ $status == 1 ]]
		are_home vbtest.0
		echo 0 >$PARAMETERS/target_probe_errno
	done
	exec 9>&-
}

@test "a dry run whose output cannot be written fails" {
	local where
	for where in '>&-' '>/dev/full'; do
		run bash -c "vfio-bind handoff --dry-run vbtest.0 vbtest-target $where"
		[[ $status == 1 ]]
		says "vfio-bind: write error: "
		are_home vbtest.0
	done
}

# contained SETUP ARGUMENT...: vfio-bind where mounts are as SETUP, shell code, makes them.
contained() {
	run timeout --foreground "$LIMIT" \
		unshare -m bash -ec "$1"'; exec vfio-bind "$@"' bash "${@:2}"
}

@test "/sys is read-only: refused, nothing touched" {
	local command record
	vfio_bind 0 handoff vbtest.1 vbtest-target
	record=$(<"$(record_of vbtest.1)")
	for command in "vbtest.0 pin" "vbtest.0 handoff --driver=vbtest-target" "vbtest.1 release"; do
		# shellcheck disable=SC2086 # a command line
		contained "mount -o remount,ro,bind /sys" ${command#* } "${command%% *}"
		[[ $status == 1 ]]
		[[ $output == "vfio-bind: ${command%% *}: cannot write below /sys: Read-only file system" ]]
		are_home vbtest.0
		device_is vbtest.1 vbtest-target vbtest-target
		[[ $(<"$(record_of vbtest.1)") == "$record" ]]
	done
}

@test "/run cannot be written: refused, nothing touched" {
	local tmpfs="mount -t tmpfs none /run" place
	for place in "$tmpfs -o ro" "$tmpfs; touch /run/vfio-bind" \
		"$tmpfs; mkdir /run/vfio-bind; chmod 777 /run/vfio-bind" \
		"$tmpfs; ln -s /tmp /run/vfio-bind" \
		"$tmpfs -o nr_inodes=5"; do
		echo "$place:"
		contained "$place" handoff vbtest.0 vbtest-target
		[[ $status == 1 ]]
		[[ $output == "vfio-bind: vbtest.0: cannot "* || $output == *"/run/vfio-bind"* ]]
		((${#lines[@]} == 1))
		are_home vbtest.0
		contained "$place" pin vbtest.0
		[[ $status == 1 ]]
		are_home vbtest.0
	done
}

@test "/run turned read-only: a release is refused, nothing touched" {
	local record
	vfio_bind 0 handoff vbtest.0 vbtest-target
	record=$(<"$(record_of vbtest.0)")
	contained "mount -o remount,ro,bind /run" release vbtest.0
	[[ $status == 1 ]]
	says "Read-only file system"
	device_is vbtest.0 vbtest-target vbtest-target
	[[ $(<"$(record_of vbtest.0)") == "$record" ]]
	vfio_bind 0 release vbtest.0
	are_home vbtest.0
}

as_nobody() {
	run setpriv --reuid=65534 --regid=65534 --clear-groups vfio-bind "$@"
}

@test "not root: said at once, nothing touched; list and a dry run do not mind" {
	local command
	for command in "pin vbtest.0" "handoff vbtest.0 vbtest-target" "release vbtest.0" \
		"release --all"; do
		# shellcheck disable=SC2086 # a command line
		as_nobody $command
		[[ $status == 2 ]]
		[[ $output == "vfio-bind: this needs root"* ]]
		((${#lines[@]} == 1))
		are_home vbtest.0
	done
	as_nobody list vbtest.0 --raw --noheadings --output DEVICE,DRIVER
	[[ $status == 0 && $output == "vbtest.0 vbtest-host" ]]
	vfio_bind 0 handoff --dry-run vbtest.0 vbtest-target
	says "echo vbtest.0 > "
	local as_root=$output
	as_nobody handoff --dry-run vbtest.0 vbtest-target
	[[ $status == 0 && $output == "$as_root" ]]
	are_home vbtest.0
}
