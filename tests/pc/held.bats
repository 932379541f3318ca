#!/usr/bin/env bats
# A device that a VFIO user holds, and one whose unbind is stuck for that.

load ../helpers

holder='' # hold sets it

setup_file() {
	modprobe vfio-pci
}

setup() {
	vfio_bind 0 handoff "$NVME"
	group=/dev/vfio/$(group_of "$NVME")
}

teardown() {
	go_on || :
	pkill -KILL vfio-open || :
	let_go
	until_true 20 nobody_works || :
	until_true 20 device_answers
	vfio-bind release --all
	home "$NVME" nvme
}

# device_answers: can its flag be read? Not by a process that would be waited for: when
# the device is stuck, no signal ends it.
device_answers() {
	local read=$BATS_TEST_TMPDIR/read
	rm -f "$read"
	{ cat "$(syspath "$NVME")/driver_override" && : >"$read"; } >/dev/null 2>&1 3>&- &
	until_true 2 test -e "$read"
}

@test "refused with name and pid, at the deadline and not before" {
	local started
	hold "$group" "$NVME"
	for command in release handoff; do
		started=${EPOCHREALTIME/./}
		vfio_bind 3 $command -t 1 "$NVME"
		((${EPOCHREALTIME/./} - started >= 1000000))
		says "0000:00:10.0: timed out: held by vfio-open (pid $holder)"
		device_is "$NVME" vfio-pci vfio-pci
	done
	# Also at a deadline that is over before it can begin.
	vfio_bind 3 release -t 0.001 "$NVME"
	says "0000:00:10.0: timed out: held by vfio-open (pid $holder)"
	# With a group fd only, too.
	let_go
	sleep infinity 9<>"$group" 3>&- &
	holders+=($!)
	until_true 10 grep -qx sleep "/proc/$!/comm"
	vfio_bind 3 release -t 1 "$NVME"
	says "held by sleep (pid $!)"
}

@test "let go before the deadline: it goes on" {
	hold "$group" "$NVME"
	vfio-bind release "$NVME" 3>&- &
	until_true 10 pgrep -x vfio-bind
	let_go
	wait $!
	is_home "$NVME" nvme
}

# stuck_unbind: by hand, as only somebody else would; it waits for the holder.
stuck_unbind() {
	hold "$group" "$NVME"
	echo "${NVME#*/}" >/sys/bus/pci/drivers/vfio-pci/unbind 3>&- &
	until_true 10 driver_is "$NVME" none
}

# reads_hang: does this kernel (before 6.12.91, for PCI) want the device lock to read the flag?
reads_hang() {
	[[ $(uname -r) == 6.1.* ]]
}

@test "list answers at once while an unbind is stuck, and shows what it knows" {
	local flag=vfio-pci
	stuck_unbind
	if reads_hang; then
		flag='?'
		run ! device_answers
	fi
	run -0 timeout 10 vfio-bind list -nro DEVICE,DRIVER,OVERRIDE,GROUP,HOLDER "$NVME" "$PF"
	[[ ${lines[0]} == "0000:00:10.0  $flag ${group##*/} vfio-open\\x20(pid\\x20$holder)" ]]
	[[ ${lines[1]} == "0000:00:05.0 nvme  $(group_of "$PF") " ]]
	# All of them, as well; that one counts as taken.
	run -0 timeout 10 vfio-bind list -nro DEVICE,OVERRIDE --taken
	[[ $output == "0000:00:10.0 $flag" ]]
	run -0 timeout 10 vfio-bind list -nro DEVICE --bus=pci
	[[ $(sort <<<"$output") == "$(ls /sys/bus/pci/devices)" ]]
}

@test "list tells the VFs of a PF whose unbind is stuck" {
	local said=$BATS_TEST_TMPDIR/said
	vfio_bind 0 handoff "$PF"
	hold "/dev/vfio/$(group_of "$PF")" "$PF"
	echo "${PF#*/}" >/sys/bus/pci/drivers/vfio-pci/unbind 3>&- &
	until_true 10 driver_is "$PF" none
	# To read the number from the kernel takes the device lock, in all kernels.
	vfio-bind list -nro DEVICE,VFS "$PF" >"$said" 3>&- &
	until_true 10 test -s "$said"
	[[ $(<"$said") == "0000:00:05.0 0/16" ]]
	let_go
	until_true 20 vfio-bind release "$PF"
	home "$PF" nvme
}

@test "a holder that vfio-bind is the parent of is one as any other" {
	run bash -c 'vfio-open "$1" "$2" hold "$3" >/dev/null 2>&1 3>&- &
		while [[ ! -e $3 ]]; do sleep 0.05; done
		exec vfio-bind handoff -t "$4" "$2"' bash "$group" "${NVME#*/}" "$BATS_TEST_TMPDIR/open" \
		"$DEADLINE"
	((status == 3))
	says "0000:00:10.0: timed out: held by vfio-open (pid "
}

@test "while an unbind is stuck, commands end at their deadline and name the holder" {
	stuck_unbind
	for command in release handoff pin; do
		[[ $command != pin ]] || reads_hang || continue
		vfio_bind 3 $command -t 1 "$NVME"
		says "0000:00:10.0: timed out: "
		says "held by vfio-open (pid $holder)"
	done
	let_go
	wait
	until_true 20 nobody_works
	vfio_bind 0 release "$NVME"
	is_home "$NVME" nvme
}

@test "a user that comes by the group while it is reset is kept out" {
	local command
	# The reset is held up; the group is tried meanwhile.
	ASAN_OPTIONS=detect_leaks=0 taskset 1 strace -DDD -qq -f -o /dev/null \
		-P "$(realpath "$(syspath "$NVME")")/reset" -e inject=write:delay_enter=100s \
		vfio-bind handoff -t 60 --reset=always "$NVME" 3>&- &
	command=$!
	until_true 20 has_open "$(realpath "$(syspath "$NVME")")/reset"
	run ! vfio-open "$group" "${NVME#*/}"
	says "busy"
	go_on
	wait "$command"
	run -0 vfio-open "$group" "${NVME#*/}"
}
