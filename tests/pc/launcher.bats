#!/usr/bin/env bats
# The launchers of the README, as they stand there, with a real QEMU and a VF.

load ../helpers

: "${launch=}" "${pid=}" # helpers set them

VF=pci/0000:00:05.1

setup_file() {
	vfs 1
	readme_launcher
}

teardown_file() {
	no_vfs
}

setup() {
	monitor=$BATS_TEST_TMPDIR/monitor
	arguments=(-M "q35,accel=tcg" -m 64 -nodefaults -display none -serial none
		-monitor "unix:$monitor,server,wait=off")
	vmm=(qemu-system-x86_64 "${arguments[@]}" -device "vfio-pci,host=${VF#*/}")
	driver_is "$VF" nvme || bind_vf "$VF"
}

teardown() {
	pkill -KILL qemu || :
	end_background
	vfio-bind release "$VF"
}

# start_guest COMMAND...: the VMM has the device, and is ready for signals when its monitor
# answers.
start_guest() {
	in_background "$@"
	until_true "$LIMIT" device_is "$VF" vfio-pci vfio-pci >/dev/null
	until_true "$LIMIT" is_held
	until_true "$LIMIT" tell "info status"
}

is_held() {
	[[ $(vfio-bind list -nro HOLDER "$VF") == qemu-system-x86* ]]
}

vf_is_home() {
	is_home "$VF" nvme >/dev/null
}

# tell COMMAND: the VMM's monitor, and wait until that is done.
tell() {
	python3 -c '
import socket, sys
monitor = socket.socket(socket.AF_UNIX)
monitor.connect(sys.argv[1])
for command in (sys.argv[2], None):
    said = b""
    while not said.endswith(b"(qemu) ") and (more := monitor.recv(4096)):
        said += more
    if command:
        monitor.send(command.encode() + b"\n")' "$monitor" "$1"
}

@test "while a VMM has the VF, nobody else gets it; it ends, and the VF is home" {
	local by command
	start_guest vfio-bind handoff "$VF" -- "${vmm[@]}"
	by="leased to qemu-system-x86 (pid $(pgrep qemu)) by vfio-bind (pid $(pgrep -P "$pid" -x vfio-bind))"
	for command in release handoff; do
		vfio_bind 3 "$command" -t 1 "$VF"
		says "0000:00:05.1: timed out: $by"
	done
	vfio_bind 3 release -t 1 --all
	says "$by"
	[[ $(vfio-bind list -no LEASE "$VF") == "qemu-system-x86 (pid $(pgrep qemu))" ]]
	device_is "$VF" vfio-pci vfio-pci
	tell quit
	ended "$pid" 0
	is_home "$VF" nvme
}

@test "the VMM is killed: the VF is home" {
	start_guest vfio-bind handoff "$VF" -- "${vmm[@]}"
	pkill -KILL qemu
	ended "$pid" 137
	is_home "$VF" nvme
}

@test "the launcher is told to end: the VMM ends, and the VF is home" {
	start_guest "$launch" "${VF#*/}" "${arguments[@]}"
	kill -TERM "$pid"
	ended "$pid" 0 # QEMU ends well when it is told to
	is_home "$VF" nvme
	run ! pgrep qemu
}

@test "vfio-bind is killed: the VMM goes on, and when it ends the VF is home" {
	start_guest "$launch" "${VF#*/}" "${arguments[@]}"
	kill -KILL "$pid"
	ended "$pid" 137
	tell "info status"
	vfio_bind 3 release -t 1 "$VF"
	says "leased to qemu-system-x86 (pid $(pgrep qemu)) by vfio-bind (pid "
	tell quit
	until_true 10 vf_is_home
}

@test "the VMM daemonizes: the lease goes on until it ends" {
	start_guest vfio-bind handoff "$VF" -- "${vmm[@]}" -daemonize
	until_true "$LIMIT" grep -q ": waiting" "$BATS_TEST_TMPDIR/said.$pid"
	[[ $(<"$BATS_TEST_TMPDIR/said.$pid") == *"0000:00:05.1: COMMAND has ended, but qemu-system-x86 (pid $(pgrep qemu)) holds it: waiting" ]]
	device_is "$VF" vfio-pci vfio-pci
	tell quit
	ended "$pid" 0
	is_home "$VF" nvme
}

# as_daemon: sets line, README's, with this user for alice, the VF and the VMM's arguments.
as_daemon() {
	install -d -o daemon /run/vmm
	monitor=/run/vmm/monitor
	line=$(sed -n '/^    vfio-bind handoff --owner=alice /,/\.\.\.$/p' /src/README.md)
	line=${line//alice/daemon}
	line=${line/01:00.0/${VF#*/}}
	line=${line/.../"${vmm[*]:1}"}
	line=${line//$BATS_TEST_TMPDIR/\/run\/vmm}
}

@test "the VMM is another user's: it ends or is killed, and the VF is home" {
	local line
	as_daemon
	start_guest bash -c "exec $line"
	[[ $(stat -c %U /dev/vfio/"$(group_of "$VF")") == daemon ]]
	[[ $(ps -o user= -p "$(pgrep qemu)") == daemon ]]
	tell quit
	ended "$pid" 0
	is_home "$VF" nvme
	start_guest bash -c "exec $line"
	pkill -KILL qemu
	ended "$pid" 137
	is_home "$VF" nvme
	rm -r /run/vmm
}
