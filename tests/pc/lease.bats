#!/usr/bin/env bats
# A lease with a real kernel below it: what holds the device, and who is killed. What
# needs no kernel for that is in tests/sys/lease.bats.

# sweep.bash uses what is set for it; and a COMMAND's shell knows its devices.
# shellcheck disable=SC2016,SC2034

load ../helpers
load ../sweep

: "${pid=}" "${holder=}" "${disk=}" # helpers set them

# For the sweep.
TARGET=vfio-pci
OPEN=/run/lease.open

setup_file() {
	modprobe vfio-pci
	hurry 1
}

setup() {
	rm -f "$OPEN"
	lease=(vfio-bind handoff --force "$PCI_NIC" --)
	user='exec vfio-open ${VFIO_BIND_NODES%% *} ${VFIO_BIND_DEVICES%% *}'
	# It is left behind, and has the device.
	leaving="($user hold $OPEN) & until [ -e $OPEN ]; do sleep 0.1; done"
}

teardown() {
	pkill -KILL -x vfio-open || :
	end_background
	vfio-bind release --all
	put_home "$PCI_NIC" "$NIC_BELOW" "${TRIO[@]}"
	home "$NVME" nvme
}

lock_is_free() { flock -n "/run/vfio-bind/lock/${PCI_NIC/\//:}" true; }
nic_is_home() { is_home "$PCI_NIC" e1000e >/dev/null; }
# held: COMMAND has the device open. Its pid is in user_pid.
held() {
	until_true "$LIMIT" test -e "$OPEN"
	user_pid=$(pgrep -x vfio-open)
}

@test "COMMAND has the device, and its status is vfio-bind's when it is home" {
	run -7 "${lease[@]}" sh -c "($user) && exit 7"
	says "flags reset pci"
	is_home "$PCI_NIC" e1000e
	lock_is_free
	# It is looked for first.
	vfio_bind 127 handoff -v "$PCI_NIC" -- /nix
	[[ $output == "vfio-bind: /nix: command not found: nothing was touched" ]]
	vfio_bind 126 handoff -v "$PCI_NIC" -- /etc/passwd
	[[ $output == "vfio-bind: /etc/passwd: cannot run it: Permission denied: nothing was touched" ]]
	# And must not be of another architecture.
	printf '\177ELF\2\1\1' >"$BATS_TEST_TMPDIR/alien"
	chmod +x "$BATS_TEST_TMPDIR/alien"
	run -126 "${lease[@]}" "$BATS_TEST_TMPDIR/alien"
	is_home "$PCI_NIC" e1000e
	run -139 "${lease[@]}" sh -c 'kill -SEGV $$'
	is_home "$PCI_NIC" e1000e
}

@test "one device of two is refused, or fails: COMMAND is not run, and both are home" {
	find_disk
	mkfs.ext4 -q "/dev/$disk"
	mkdir -p /mnt/leased
	mount "/dev/$disk" /mnt/leased
	vfio_bind 125 handoff -d auto "$NVME" "$PCI_NIC" -- touch "$OPEN"
	umount /mnt/leased
	says "vfio-bind: 0000:00:10.0: in use: "
	says "vfio-bind: 0000:00:12.0: another device of the lease cannot be taken: nothing was touched"
	is_home "$NVME" nvme
	# Half way.
	run -125 taskset 1 strace -f -qqq -o /dev/null -P "$(realpath "$(syspath "$NIC_BELOW")")/reset" \
		-e trace=write -e inject=write:error=EIO \
		vfio-bind handoff --force -d auto "$PCI_NIC" "$NIC_BELOW" -- touch "$OPEN"
	says "vfio-bind: 0000:01:00.0: reset failed: Input/output error; it is back on e1000e"
	says "vfio-bind: 0000:00:12.0: another device of the lease cannot be taken; it is back on e1000e"
	[[ ! -e $OPEN ]]
	is_home "$PCI_NIC" e1000e
	is_home "$NIC_BELOW" e1000e
}

@test "the release fails: COMMAND's status is told, and a release ends well" {
	# The host driver's module is gone, and cannot be loaded.
	local module
	module=$(modinfo -n e1000e)
	vfio-bind handoff --force "$NIC_BELOW" none
	run -125 "${lease[@]}" sh -c 'rmmod e1000e; mv $0 $0.away; exit 7' "$module"
	mv "$module.away" "$module"
	says "vfio-bind: 0000:00:12.0: cannot bind to e1000e: "
	says "; it is now without a driver, "
	says "vfio-bind: hint: to try again: vfio-bind release pci/0000:00:12.0"
	says "vfio-bind: COMMAND ended with status 7"
	vfio_bind 0 release "$PCI_NIC" "$NIC_BELOW"
	is_home "$PCI_NIC" e1000e
}

@test "vfio-bind is killed: COMMAND goes on with the device, and then that is home" {
	in_background "${lease[@]}" sh -c "$user hold $OPEN"
	held
	killed "$pid"
	vfio_bind 3 release -t 1 "$PCI_NIC"
	says "timed out: leased to vfio-open (pid $user_pid) by vfio-bind (pid "
	device_is "$PCI_NIC" vfio-pci vfio-pci
	kill "$user_pid"
	until_true 10 nic_is_home
	until_true 1 lock_is_free
}

@test "all of vfio-bind is killed: a release ends well when COMMAND has ended" {
	in_background "${lease[@]}" sh -c "$user hold $OPEN"
	held
	pkill -KILL -x vfio-bind
	wait "$pid" || :
	vfio_bind 3 release -t 1 "$PCI_NIC"
	says "timed out: held by vfio-open (pid $user_pid)"
	kill "$user_pid"
	vfio_bind 0 release "$PCI_NIC"
	is_home "$PCI_NIC" e1000e
}

@test "only the worker is killed: another one takes over" {
	in_background "${lease[@]}" sh -c "$user hold $OPEN"
	held
	pkill -KILL -P "$pid" -x vfio-bind
	until_true 10 grep -q "takes over the lease" "$BATS_TEST_TMPDIR/said.$pid"
	kill -TERM "$pid"
	ended "$pid" 143
	is_home "$PCI_NIC" e1000e
}

@test "COMMAND has left a process that holds the device: the lease goes on until it ends" {
	in_background "${lease[@]}" sh -c "$leaving; exit 3"
	held
	until_true 20 grep -qxF "vfio-bind: 0000:00:12.0: COMMAND has ended, but vfio-open (pid $user_pid) holds it: waiting" \
		"$BATS_TEST_TMPDIR/said.$pid"
	[[ $(vfio-bind list -no LEASE "$PCI_NIC") == "sh (ended)" ]]
	device_is "$PCI_NIC" vfio-pci vfio-pci
	kill "$user_pid"
	ended "$pid" 3
	is_home "$PCI_NIC" e1000e
}

@test "a whole group, of which a process is left" {
	in_background vfio-bind handoff --force --group "$AHCI" -- \
		sh -c "echo \$VFIO_BIND_NODES; $leaving"
	held
	until_true 20 grep -q holds "$BATS_TEST_TMPDIR/said.$pid"
	group_is taken
	kill "$user_pid"
	ended "$pid" 0
	local node
	node=/dev/vfio/$(group_of "$AHCI")
	says "$node $node $node"
	group_is home
}

@test "a lease in a lease, and many at one device" {
	local i
	run -5 "${lease[@]}" vfio-bind handoff --force "$NIC_BELOW" -- sh -c 'exit 5'
	is_home "$PCI_NIC" e1000e
	is_home "$NIC_BELOW" e1000e
	run -125 "${lease[@]}" vfio-bind handoff --force -t 1 "$PCI_NIC" -- true
	says "timed out: leased to vfio-bind (pid "
	is_home "$PCI_NIC" e1000e
	for ((i = 0; i < 20; i++)); do
			in_background vfio-bind handoff -t 1000 --reset=never "$VGA" -- sh -c \
			'readlink '"$(syspath "$VGA")"'/driver; echo $$; sleep 0.1; echo $$'
	done
	for i in "${background[@]}"; do
		ended "$i" 0
		echo "$output" >>"$BATS_TEST_TMPDIR/log"
	done
	background=()
	(($(grep -c vfio-pci "$BATS_TEST_TMPDIR/log") == 20))
	device_is "$VGA" none "(null)"
}

@test "killed at every call of a lease that changes something, it is released" {
	sweep_defaults
	options=(--force)
	behind=(-- true)
	sweep_one 12 handoff "$PCI_NIC" "a lease"
}
