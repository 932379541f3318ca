#!/usr/bin/env bats
# A device that a VFIO user holds, before a command and between its check and its unbind.

# shellcheck disable=SC2154 # helpers.bash sets pid
load ../helpers

setup_file() {
	modprobe vbiommu
	modprobe vbtest devices=2 compatible=vfio-bind,vbreset
}

teardown_file() {
	modprobe -r vbtest vbiommu vbreset
}

setup() {
	trace=$BATS_TEST_TMPDIR/trace
	said=$BATS_TEST_TMPDIR/said
	vfio_bind 0 handoff vbtest.0
	device_is vbtest.0 vfio-platform vfio-platform
	group=/dev/vfio/$(group_of vbtest.0)
	cdev=/dev/vfio/devices/$(ls "$(syspath vbtest.0)/vfio-dev")
}

teardown() {
	let_go
	go_on || :
	end_background
	until_true 20 nobody_works || :
	vfio-bind release --all
	echo N >/sys/module/vfio/parameters/enable_unsafe_noiommu_mode
}

resets() {
	cat /sys/module/vbreset/parameters/resets
}

# hold_open NODE: a process that has opened it, and no more.
hold_open() {
	sleep infinity 9<>"$1" 3>&- &
	holder=$! name=sleep
	holders+=("$holder")
	until_true 10 test /proc/$holder/fd/9 -ef "$1"
	until_true 10 grep -qx sleep /proc/$holder/comm
}

# use NODE DEVICE: a process that uses it through VFIO.
use() {
	hold "$@"
	name=vfio-open
}

# state_of DEVICE: all that a command could touch.
state_of() {
	local record
	record=$(record_of "$1")
	driver_of "$1"
	flag_of "$1"
	cat "$record"
	stat -c '%i %y' "$record"
	resets
	cat /sys/module/vbtest/parameters/{host,target}_probes
}

# refused DEVICE ARGUMENT...: it waits for the holder until the deadline, refuses, names
# the holder, and has touched nothing.
refused() {
	local dev=$1 before after started
	shift
	before=$(state_of "$dev")
	started=${EPOCHREALTIME/./}
	vfio_bind 3 "$@" -t "${timeout:-0.2}"
	((${EPOCHREALTIME/./} - started >= ${timeout:+800000} + 200000))
	says "vfio-bind: $dev: timed out: held by $name (pid $holder)"
	after=$(state_of "$dev")
	diff <(echo "$before") <(echo "$after")
	nobody_works
}

@test "a device in use through its group is refused, whatever is wanted of it" {
	use "$group" vbtest.0
	timeout=1 refused vbtest.0 handoff vbtest.0 vbtest-target
	refused vbtest.0 handoff vbtest.0 none
	refused vbtest.0 handoff vbtest.0 # its caller would not get it
	refused vbtest.0 release vbtest.0
	refused vbtest.0 release --all
}

@test "a device whose group or own node is merely open is refused" {
	local node
	for node in "$group" "$cdev"; do
		hold_open "$node"
		refused vbtest.0 handoff vbtest.0 none
		refused vbtest.0 handoff vbtest.0
		refused vbtest.0 release vbtest.0
		let_go
	done
}

# holds NAME: the last process that in_background or used has started, of that name.
holds() {
	holder=$pid name=$1
	until_true 10 grep -qx "$1" "/proc/$pid/comm"
}

@test "who has a node open is known by its number: under another name, in a thread, from another PID namespace" {
	local node=/dev/vb-node # /tmp is for no nodes
	mknod "$node" c "$((0x$(stat -c %t "$cdev")))" "$((0x$(stat -c %T "$cdev")))"
	hold_open "$node"
	rm "$node"
	refused vbtest.0 release vbtest.0
	let_go
	used thread "$cdev"
	holds node-user
	refused vbtest.0 release vbtest.0
	end_background
	# shellcheck disable=SC2016 # for that shell
	in_background unshare -pf --kill-child --mount-proc bash -c 'exec 9<>"$0"; sleep infinity & wait' "$cdev"
	until_true 10 pgrep -x sleep
	vfio_bind 3 release -t 0.2 vbtest.0
	says "vbtest.0: timed out: held by bash (pid $(pgrep -P "$pid")), sleep (pid $(pgrep -x sleep))"
	pkill -KILL -P "$pid" # unshare itself does not listen
	end_background
	vfio_bind 0 release vbtest.0
}

@test "a name forges no holder" {
	# shellcheck disable=SC2016 # for that shell
	in_background unshare -m bash -c 'mount -t tmpfs none /dev && mkdir -p "${0%/*}" &&
		exec 9>"$0" && exec sleep infinity' "$cdev"
	holds sleep
	run readlink "/proc/$pid/fd/9"
	[[ $output == "$cdev" ]]
	run -0 vfio-bind list -nro HOLDER vbtest.0
	[[ ! $output ]]
	vfio_bind 0 release vbtest.0
	is_home vbtest.0 vbtest-host
	end_background
}

@test "a /dev without the group's node: it cannot be told who holds it" {
	local command
	use "$group" vbtest.0
	for command in release 'handoff --force'; do
		# shellcheck disable=SC2016 # for that shell
		run -3 unshare -m bash -c 'mount -t tmpfs none /dev/vfio && exec vfio-bind '"$command"' -t 0.2 vbtest.0'
		# Its user has the group's node open: that is seen by its number.
		says "vfio-bind: vbtest.0: timed out: held by vfio-open (pid $holder)"
	done
	let_go
	# shellcheck disable=SC2016
	run -3 unshare -m bash -c 'mount -t tmpfs none /dev/vfio && exec vfio-bind release vbtest.0'
	says "vfio-bind: vbtest.0: cannot tell who holds it: $group: No such file or directory"
	device_is vbtest.0 vfio-platform vfio-platform
}

@test "a device that is unplugged on the way: it is said, and nothing is left" {
	ASAN_OPTIONS=detect_leaks=0 in_background taskset 1 strace -D -f -o "$trace" -e trace=write \
		-P "$(syspath vbtest.1)/driver_override" -e inject=write:delay_exit=100s \
		vfio-bind handoff vbtest.1
	until_true 100 grep -qs 'write(' "$trace"
	until_true 10 flag_is vbtest.1 vfio-platform
	echo vbtest.1 >/sys/module/vbtest/parameters/remove
	go_on
	ended "$pid" 4
	echo vbtest.1 >/sys/module/vbtest/parameters/add
	says "; it was unplugged"
	[[ $output != *hint* && ! -e $(record_of vbtest.1) ]]
	until_true 20 nobody_works
	is_home vbtest.1 vbtest-host
}

flag_is() {
	[[ $(flag_of "$1") == "$2" ]]
}

@test "locked by a process that has ended: that is said" {
	# flock(1) takes the lock, and leaves it to who stays.
	# shellcheck disable=SC2016 # for that shell
	in_background bash -c 'exec 9>"$0"; flock 9; exec sleep infinity' /run/vfio-bind/lock/platform:vbtest.0
	holds sleep
	vfio_bind 3 release -t 0.2 vbtest.0
	[[ $output =~ "timed out: locked by process "([0-9]+)", which has ended and left it to another" ]]
	is_gone "${BASH_REMATCH[1]}"
	end_background
	vfio_bind 0 release vbtest.0
}

@test "a device without an IOMMU is refused while it is in use" {
	noiommu
	vfio_bind 0 handoff "$NIC"
	use "/dev/vfio/noiommu-$(group_of "$NIC")" "$NIC"
	refused "$NIC" handoff "$NIC" none
	refused "$NIC" handoff "$NIC"
	refused "$NIC" release "$NIC"
	let_go
	vfio_bind 0 release "$NIC"
	is_home "$NIC" "$NIC_DRIVER"
}

@test "all who hold the device are named" {
	hold_open "$cdev"
	local first=$holder
	hold_open "$cdev"
	vfio_bind 3 release vbtest.0 -t 1
	says "sleep (pid $first)"
	says "sleep (pid $holder)"
}

@test "pin does not take the device from its user, who is not asked" {
	use "$group" vbtest.0
	vfio_bind 0 pin vbtest.0 vbtest-target
	device_is vbtest.0 vfio-platform vbtest-target
}

# waits_for PATTERN ARGUMENT...: run it until the kernel has answered it so, which tells
# that the device is held. Its pid, and that of its group, is $command.
waits_for() {
	local pattern=$1
	shift
	# The signals that a shell makes its background jobs ignore.
	ASAN_OPTIONS=detect_leaks=0 env --default-signal=INT,QUIT setsid \
		taskset 1 strace -DDD -f -o "$trace" -e trace=openat,readlinkat \
		vfio-bind "$@" >"$said" 2>&1 3>&- &
	command=$!
	until_true 30 grep -qs "$pattern" "$trace"
	go_on
}

@test "a handoff waits for the device's user, and succeeds when that closes it" {
	use "$group" vbtest.0
	waits_for "\"$group\".*EBUSY" handoff vbtest.0 vbtest-target -t 40
	device_is vbtest.0 vfio-platform vfio-platform
	let_go
	wait "$command"
	[[ ! -s $said ]]
	device_is vbtest.0 vbtest-target vbtest-target
}

@test "a repeated handoff waits for the device's user too" {
	use "$group" vbtest.0
	waits_for "\"$group\".*EBUSY" handoff vbtest.0 -t 40
	let_go
	wait "$command"
	device_is vbtest.0 vfio-platform vfio-platform
}

@test "a release waits for who has the device's own node open" {
	hold_open "$cdev"
	waits_for '"/proc", ' release vbtest.0 -t 40 # it looks who has it open
	device_is vbtest.0 vfio-platform vfio-platform
	let_go
	wait "$command"
	[[ ! -s $said ]]
	is_home vbtest.0 vbtest-host
}

@test "Ctrl-C while it waits for a holder: nothing touched, nobody left" {
	local before status
	use "$group" vbtest.0
	before=$(state_of vbtest.0)
	waits_for "\"$group\".*EBUSY" release vbtest.0 -t 40
	kill -INT -- "-$command"
	status=0
	wait "$command" || status=$?
	echo "status $status, $(<"$said")"
	[[ $status == 130 ]]
	grep -q "vbtest.0: interrupted: held by vfio-open (pid $holder)" "$said"
	until_true 10 nobody_works
	diff <(echo "$before") <(state_of vbtest.0)
}

# stop_before_unbind ARGUMENT...: a launcher runs it. Returns with its unbind begun, of which
# the kernel does not hear before go_on.
stop_before_unbind() {
	# shellcheck disable=SC2016 # for the launcher to expand
	ASAN_OPTIONS=detect_leaks=0 taskset 1 strace -DDD -f -o "$trace" \
		-P /sys/bus/platform/drivers/vfio-platform/unbind \
		-e trace=write -e inject=write:delay_enter=100s bash -c '
			output=$(vfio-bind "$@" 2>&1)
			echo "status $? $output" >"$0"
			pgrep -lP $$ >"$0.left"
			:
		' "$said" "$@" >"$said.launcher" 2>&1 3>&- &
	launcher=$!
	until_true 100 grep -qs 'write(' "$trace"
}

# slip_in FLAG ARGUMENT...: run it, and open the device's own node between check and unbind,
# when it carries this flag.
slip_in() {
	local flag=$1
	shift
	stop_before_unbind "$@"
	hold_open "$cdev"
	device_is vbtest.0 vfio-platform "$flag" # still
	go_on
	wait "$launcher"
	output=$(<"$said")
	says "status 4 vfio-bind: vbtest.0: timed out: the kernel is not done with: "
	says "echo vbtest.0 > /sys/bus/platform/drivers/vfio-platform/unbind"
	says "; held by sleep (pid $holder)"
	[[ $output =~ "pid "([0-9]+)" waits for it" ]]
	worker=${BASH_REMATCH[1]}
}

# Nobody must wait for the worker, or kill it: it has nothing of the shell's.
worker_is_on_its_own() {
	local fd
	diff /dev/null "$said.left"
	grep -qx vfio-bind "/proc/$worker/comm"
	[[ $(ps -o sid= -p "$worker") -eq $worker ]]
	[[ $(ps -o ppid= -p "$worker") -ne $$ ]]
	for fd in 0 1 2; do
		[[ $(readlink "/proc/$worker/fd/$fd") == /dev/null ]]
	done
	[[ $(readlink "/proc/$worker/cwd") == / ]]
}

# The others can work, and whoever wants the same device is told why not.
others_work() {
	vfio_bind 3 handoff vbtest.0 -t 1
	says "vfio-bind: vbtest.0: timed out: locked by vfio-bind (pid $worker)"
	vfio_bind 0 handoff vbtest.1
	vfio_bind 0 release vbtest.1
	is_home vbtest.1 vbtest-host
}

listed() {
	vfio_bind 0 list --raw --noheadings --output DEVICE,DRIVER,OVERRIDE,HOST "$@"
}

@test "a handoff whose device is opened right before the unbind is put back by itself" {
	local record
	record=$(<"$(record_of vbtest.0)")
	slip_in vbtest-target handoff vbtest.0 vbtest-target -t $((6 * DEADLINE))
	says "the device is put back when it is; pid $worker"
	worker_is_on_its_own
	listed vbtest.0
	[[ $output == "vbtest.0  vbtest-target vbtest-host" ]]
	listed
	says "vbtest.0  vbtest-target vbtest-host"
	says "$NIC $NIC_DRIVER"
	others_work

	let_go
	until_true 20 nobody_works
	device_is vbtest.0 vfio-platform vfio-platform
	diff <(echo "$record") "$(record_of vbtest.0)"
	vfio_bind 0 release vbtest.0
	is_home vbtest.0 vbtest-host
}

@test "a release whose device is opened right before the unbind is completed by itself" {
	slip_in vfio-platform release vbtest.0 -t $((6 * DEADLINE))
	says "the release is completed when it is; pid $worker"
	worker_is_on_its_own
	listed vbtest.0
	[[ $output == "vbtest.0  vfio-platform vbtest-host" ]]
	others_work

	let_go
	until_true 20 nobody_works
	is_home vbtest.0 vbtest-host
}

@test "nobody can slip in through the group" {
	noiommu
	vfio_bind 0 handoff "$NIC"
	node=/dev/vfio/noiommu-$(group_of "$NIC")
	stop_before_unbind release "$NIC" -t 40
	run bash -c "exec 9<>$node"
	says "Device or resource busy"
	device_is "$NIC" vfio-platform vfio-platform # still
	go_on
	wait "$launcher"
	diff - "$said" <<<"status 0 "
	is_home "$NIC" "$NIC_DRIVER"
}
