#!/usr/bin/env bats
# SR-IOV: PFs, VFs, and their way home.

load ../helpers

holder='' # hold sets it

VF=pci/0000:00:05.1
PF_PATH=/sys/bus/pci/devices/${PF#*/}

setup_file() {
	modprobe vfio-pci
}

teardown() {
	let_go
	vfio-bind release --all
	no_vfs
	home "$PF" nvme
	echo 0 >/sys/module/vfio_pci/parameters/enable_sriov
}

# has_children PID COUNT
has_children() {
	(($(pgrep -c -P "$1") == $2))
}

@test "a PF with VFs is refused, and told how many; without them it goes" {
	vfs 3
	for driver in vfio-pci none; do
		vfio_bind 3 handoff --force "$PF" "$driver"
		says "0000:00:05.0: it is a PF, and 3 of its VFs are enabled"
		says "hint: to remove them: echo 0 > "
	done
	is_home "$PF" nvme
	[[ $(<"$PF_PATH/sriov_numvfs") == 3 ]]
	eval "${output##*to remove them: }"
	vfio_bind 0 handoff "$PF"
	device_is "$PF" vfio-pci vfio-pci
	vfio_bind 0 release "$PF"
	is_home "$PF" nvme
}

@test "a VF goes to VFIO and back, many times" {
	vfs 1
	bind_vf "$VF"
	for _ in {1..5}; do
		vfio_bind 0 handoff "$VF"
		device_is "$VF" vfio-pci vfio-pci
		run -0 vfio-open "/dev/vfio/$(group_of "$VF")" "${VF#*/}"
		says "flags reset pci"
		vfio_bind 0 release "$VF"
		is_home "$VF" nvme
	done
}

@test "a VF that was without a driver is so again" {
	vfs 1
	vfio_bind 0 handoff "$VF"
	vfio_bind 0 release "$VF"
	is_home "$VF" none
}

@test "a VF whose PF does not probe goes home, by its flag and without it in the end" {
	vfs 1
	bind_vf "$VF"
	[[ $(<"$PF_PATH/sriov_drivers_autoprobe") == 0 ]]
	vfio_bind 0 handoff "$VF"
	vfio_bind 0 release -v "$VF"
	[[ $output == "echo nvme > $(realpath "$(syspath "$VF")")/driver_override
echo 0000:00:05.1 > /sys/bus/pci/drivers/vfio-pci/unbind
echo 0000:00:05.1 > /sys/bus/pci/drivers/nvme/bind
echo > $(realpath "$(syspath "$VF")")/driver_override" ]]
	is_home "$VF" nvme
}

@test "a VF that was bound by a flag, by hand, keeps its driver" {
	vfs 1
	bind_vf "$VF"
	echo nvme >"$(syspath "$VF")/driver_override"
	vfio_bind 0 release "$VF"
	is_home "$VF" nvme
}

@test "a VF whose PF does probe goes home as any device" {
	vfs 1
	bind_vf "$VF"
	vfio_bind 0 handoff "$VF"
	echo 1 >"$PF_PATH/sriov_drivers_autoprobe"
	vfio_bind 0 release -v "$VF"
	[[ $output != *"echo nvme > "* ]]
	is_home "$VF" nvme
}

@test "a VF whose handoff fails goes back, whether its PF probes or not" {
	vfs 1
	bind_vf "$VF"
	for autoprobe in 0 1; do
		echo $autoprobe >"$PF_PATH/sriov_drivers_autoprobe"
		run -1 taskset 1 strace -qq -f -o /dev/null -P /sys/bus/pci/drivers/vfio-pci/bind \
			-e inject=write:error=EIO vfio-bind handoff "$VF"
		says "it is back on nvme, not flagged"
		is_home "$VF" nvme
	done
}

@test "the flag that a vfio-pci PF gives its VFs stays theirs" {
	echo 1 >/sys/module/vfio_pci/parameters/enable_sriov
	vfio_bind 0 handoff "$PF"
	echo 2 >"$PF_PATH/sriov_numvfs"
	device_is "$VF" vfio-pci vfio-pci # the kernel did that
	for command in release handoff release; do
		vfio_bind 0 $command -v "$VF"
		[[ ! $output ]]
		device_is "$VF" vfio-pci vfio-pci
	done
	vfio_bind 0 handoff "$VF" none
	device_is "$VF" none none
	vfio_bind 0 release "$VF"
	device_is "$VF" vfio-pci vfio-pci
	# Such a PF does not go home under its VFs.
	vfio_bind 3 release "$PF"
	says "2 of its VFs are enabled"
	device_is "$PF" vfio-pci vfio-pci
	echo 0 >"$PF_PATH/sriov_numvfs"
	vfio_bind 0 release "$PF"
	is_home "$PF" nvme
}

@test "sixteen VFs, in one command" {
	local functions=() vf
	vfs 16
	for vf in "$PF_PATH"/virtfn*; do
		vf=$(realpath "$vf")
		functions+=("pci/${vf##*/}")
	done
	((${#functions[@]} == 16))
	vfio_bind 0 handoff --driver=auto "${functions[@]}"
	for vf in "${functions[@]}"; do
		device_is "$vf" vfio-pci vfio-pci
		[[ -c /dev/vfio/$(group_of "$vf") ]]
	done
	run -0 vfio-bind list --taken -nro DEVICE
	((${#lines[@]} == 16))
	vfio_bind 0 release "${functions[@]}"
	for vf in "${functions[@]}"; do is_home "$vf" none; done
}

@test "one of several VFs that fails does not stop the others" {
	vfs 3
	vfio_bind 0 handoff pci/0000:00:05.2
	hold "/dev/vfio/$(group_of pci/0000:00:05.2)" pci/0000:00:05.2
	vfio_bind 3 handoff -t $((3 * DEADLINE)) -d auto 0000:00:05.{1,2,3}
	says "0000:00:05.2: timed out: held by vfio-open (pid $holder)"
	device_is pci/0000:00:05.1 vfio-pci vfio-pci
	device_is pci/0000:00:05.3 vfio-pci vfio-pci
	let_go
}

@test "Ctrl-C when one of several is done: its status is no signal's" {
	local status=0
	vfs 2
	vfio_bind 0 handoff pci/0000:00:05.2
	hold "/dev/vfio/$(group_of pci/0000:00:05.2)" pci/0000:00:05.2
	env --default-signal=INT vfio-bind handoff -d auto 0000:00:05.{1,2} 3>&- &
	until_true 20 driver_is "$VF" vfio-pci
	# Its worker has ended; that of the other waits.
	until_true 20 has_children $! 1
	kill -INT $!
	wait $! || status=$?
	((status == 3))
	device_is "$VF" vfio-pci vfio-pci
	let_go
}

@test "list tells PFs and VFs" {
	vfs 2
	run -0 vfio-bind list -nro DEVICE,PF,VFS,ID,CLASS,RESET "$PF" "$VF" "$VGA"
	[[ ${lines[0]} == "0000:00:05.0  2/16 1b36:0010 0108 flr" ]]
	[[ ${lines[1]} == "0000:00:05.1 0000:00:05.0  1b36:0010 0108 flr" ]]
	[[ ${lines[2]} == "0000:00:15.0   1234:1111 0300 " ]]
}
