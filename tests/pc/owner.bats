#!/usr/bin/env bats
# Whose the VFIO nodes are, with a real udev and its rules, and without one.

load ../helpers

# shellcheck disable=SC2154 # of the helpers
: "$pid" "$interface"

USB=pci/0000:00:17.0 # with a stick
HOST_DRIVER+=(["$USB"]=xhci_hcd)
ALICE=4711 BOB=4712

setup_file() {
	modprobe -a vfio-pci xhci_pci usb_storage
	cp /etc/passwd /etc/group "$BATS_FILE_TMPDIR"
	echo "alice:x:$ALICE:$ALICE::/:/bin/sh" >>/etc/passwd
	echo "alice:x:$ALICE:" >>/etc/group
}

teardown_file() {
	cp "$BATS_FILE_TMPDIR"/{passwd,group} /etc
}

setup() {
	NODE=/dev/vfio/$(group_of "$PCI_NIC")
}

teardown() {
	if ! udev_is_gone; then
		pkill -CONT -x systemd-udevd
		stop_udev
	fi
	end_background
	vfio-bind release --all
	put_home "$USB" "$NVME" "$PCI_NIC" "$NIC_BELOW" "${TRIO[@]}"
}

# udev RULE...: runs, with these rules.
udev() {
	mkdir -p /run/udev/rules.d
	printf '%s\n' "$@" >/run/udev/rules.d/99-vb.rules
	/usr/lib/systemd/systemd-udevd --daemon 3>&- # bats would wait for it
}

# node_is NODE TEXT: its owner and mode are.
node_is() {
	local is
	is=$(stat -c '%U:%G %a' "$1")
	[[ $is == "$2" ]] || { echo "$1 is $is, not $2" && return 1; }
}

# as UID COMMAND...
as() {
	setpriv --reuid="$1" --regid="$1" --clear-groups "${@:2}"
}

# --- without udev ------------------------------------------------------------------

@test "without udev: the owner is as asked, and may use the device; another user may not" {
	vfio_bind 0 handoff --owner=alice "$PCI_NIC"
	[[ ! $output ]]
	node_is "$NODE" "alice:root 600"
	node_is /dev/vfio/vfio "root:root 666"
	as $ALICE vfio-open "$NODE" "${PCI_NIC#*/}"
	run as $BOB vfio-open "$NODE" "${PCI_NIC#*/}"
	says "Permission denied"
	run -0 vfio-bind list -rno OWNER "$PCI_NIC"
	[[ $output == 'alice:root\x200600' ]]

	# It has it already: set when it differs, and left alone when nobody is asked for.
	vfio_bind 0 handoff -v --owner=:kvm "$PCI_NIC"
	[[ $output == "chown :kvm $NODE"$'\n'"chmod 0660 $NODE" ]]
	vfio_bind 0 handoff -v --owner=alice:kvm "$PCI_NIC"
	[[ ! $output ]]
	vfio_bind 0 handoff "$PCI_NIC"
	node_is "$NODE" "alice:kvm 660"
	vfio_bind 0 handoff --owner=0:0 "$PCI_NIC"
	node_is "$NODE" "root:root 660"
}

@test "at no call the node is more open than before and than asked, and an ACL goes" {
	local trace=$BATS_TEST_TMPDIR/trace
	vfio_bind 0 handoff --reset=never "$PCI_NIC"
	chown root:kvm "$NODE"
	chmod 660 "$NODE"
	taskset 1 strace -f --seccomp-bpf -qq -s 100 -o "$trace" \
		-e signal=none -e trace=chmod,fchmod,fchmodat,chown,fchown,fchownat,lchown,removexattr \
		vfio-bind handoff --owner=alice "$PCI_NIC"
	cat "$trace"
	[[ $(sed -E 's/^[0-9]+ +//; s/ += 0$//; s,fd/[0-9]+,fd/N,; s/fchownat\([0-9]+/fchownat(N/' "$trace") == "\
chmod(\"/proc/self/fd/N\", 0600)
fchownat(N, \"\", $ALICE, -1, AT_EMPTY_PATH)
chmod(\"/proc/self/fd/N\", 0600)" ]]
	node_is "$NODE" "alice:kvm 600"

	give-acl "$NODE" $BOB
	as $BOB test -r "$NODE"
	vfio_bind 0 handoff -v --owner=alice:kvm "$PCI_NIC"
	says "setfacl --remove-all $NODE"
	node_is "$NODE" "alice:kvm 660"
	run ! as $BOB test -r "$NODE"
}

@test "an owner that cannot be set: undone, and a node that stays is whose it was" {
	local fails=(strace -f --seccomp-bpf -qq -o /dev/null -e trace=fchownat
		-e inject=fchownat:error=EPERM:when=1)
	run -1 taskset 1 "${fails[@]}" vfio-bind handoff --owner=alice "$PCI_NIC"
	says "cannot chown alice $NODE: Operation not permitted; it is back on e1000e"
	is_home "$PCI_NIC" e1000e
	vfio_bind 0 handoff --mode=0660 --owner=:kvm "$PCI_NIC"
	run -1 taskset 1 "${fails[@]}" vfio-bind handoff --owner=alice "$PCI_NIC"
	says "cannot chown alice $NODE: Operation not permitted; it is still on vfio-pci"
	node_is "$NODE" "root:kvm 660"
}

@test "a group: its node is given once for all, and stays given while VFIO has one of them" {
	local node
	node=/dev/vfio/$(group_of "$AHCI")
	vfio_bind 0 handoff -v --group --owner=alice:kvm "$AHCI"
	[[ $(grep -c "^chown alice:kvm $node$" <<<"$output") == 1 ]]
	[[ $(grep -c "^chmod 0660 $node$" <<<"$output") == 1 ]]
	node_is "$node" "alice:kvm 660"
	vfio_bind 0 release "$SMBUS"
	node_is "$node" "alice:kvm 660"
}

@test "killed at its calls: the owner is the old one or the new one, and nobody else may open it" {
	local process changes call is kinds=() command=(vfio-bind handoff --owner=alice:kvm "$PCI_NIC")
	vfio_bind 0 handoff --reset=never "$PCI_NIC"
	read -r _ process changes _ < <(kill-at count "${command[@]}" | grep 'works$' | tail -1)
	node_is "$NODE" "alice:kvm 660"
	# From the last one on: what comes before the owner leaves it.
	for ((call = changes; call > 0; call -= 2)); do
		chmod 600 "$NODE"
		chown root:root "$NODE"
		kill-at "$process" change "$call" "${command[@]}" || continue
		is=$(stat -c '%U:%G %a' "$NODE")
		echo "# $call of $changes: $is"
		[[ $is == "root:root 600" || $is == "alice:kvm 600" || $is == "alice:kvm 660" ]]
		[[ "${kinds[*]}" == *"$is"* ]] || kinds+=("$is")
		((${#kinds[@]} < 3)) || break
	done
	# Before, within and after.
	[[ "${kinds[*]}" == "alice:kvm 660 alice:kvm 600 root:root 600" ]]
	"${command[@]}"
	node_is "$NODE" "alice:kvm 660"
}

# --- with udev ---------------------------------------------------------------------

@test "udev, with a rule, a program of a rule, and none: the owner is as asked, and stays" {
	local device
	udev "SUBSYSTEM==\"vfio\", KERNEL==\"$(group_of "$NVME")\", GROUP=\"kvm\", MODE=\"0666\"" \
		"SUBSYSTEM==\"vfio\", KERNEL==\"$(group_of "$PCI_NIC")\", RUN+=\"/bin/sh -c 'sleep 1; chown root:root $NODE; chmod 660 $NODE'\""
	vfio_bind 0 handoff --driver=auto --owner=alice:alice --mode=0600 "$NVME" "$PCI_NIC" "$NIC_BELOW"
	[[ ! $output ]]
	for device in "$NVME" "$PCI_NIC" "$NIC_BELOW"; do
		node_is "/dev/vfio/$(group_of "$device")" "alice:alice 600"
	done
	# Nothing is left to udev that could change that.
	udevadm settle
	for device in "$NVME" "$PCI_NIC" "$NIC_BELOW"; do
		node_is "/dev/vfio/$(group_of "$device")" "alice:alice 600"
	done
}

@test "udev: handoff and release end when nodes, links and names are as its rules have them" {
	local old
	find_pci_interface
	old=$interface
	until_true 30 compgen -G "$(syspath "$USB")/usb*/*/*/host*/target*/*/block/sd*"
	udev 'SUBSYSTEM=="vfio", PROGRAM="/bin/sleep 1", GROUP="kvm", MODE="0660"' \
		'SUBSYSTEM=="block", KERNELS=="0000:00:17.0", SYMLINK+="vb-stick"' \
		'SUBSYSTEM=="net", ACTION=="add", KERNELS=="0000:00:12.0", PROGRAM="/bin/sleep 1", NAME="vb-nic"'
	vfio_bind 0 handoff --driver=auto "$USB" "$PCI_NIC"
	node_is "$NODE" "root:kvm 660"
	node_is "/dev/vfio/$(group_of "$USB")" "root:kvm 660"
	vfio_bind 0 release "$USB" "$PCI_NIC"
	# The kernel finds the stick seconds after the bind; or, on a machine that has much else
	# to do, later than it is waited for.
	[[ -b /dev/vb-stick || $output == *"17.0: warning: udev is not done with it: disks"* ]]
	[[ -d /sys/class/net/vb-nic && $output != *"12.0: "* ]]
	ip link set vb-nic name "$old"
}

@test "udev does not answer: the owner is set all the same, with a warning" {
	udev
	pkill -STOP -o -x systemd-udevd
	vfio_bind 0 handoff --reset=never -t 5 --owner=alice "$PCI_NIC"
	[[ $output == "vfio-bind: ${PCI_NIC#*/}: warning: udev is not done with $NODE: it may set another owner" ]]
	node_is "$NODE" "alice:root 600"
	vfio_bind 0 release -t 2 "$PCI_NIC"
	[[ $output == "vfio-bind: ${PCI_NIC#*/}: warning: udev is not done with it: disks, interfaces, names or links of it may be missing still" ]]
	is_home "$PCI_NIC" e1000e

	# It is not waited for where it cannot be heard, nor by a program that it waits for.
	run -0 unshare -n vfio-bind handoff --reset=never --owner=alice "$PCI_NIC"
	[[ ! $output ]]
	SEQNUM=1 DEVPATH=/devices/x vfio_bind 0 release "$PCI_NIC"
	[[ ! $output ]]

	# A signal ends the wait.
	in_background vfio-bind handoff --reset=never --owner=alice "$PCI_NIC"
	until_true 20 test -e "$NODE"
	kill -TERM "$pid"
	ended "$pid" 143
	says "interrupted; it is back on e1000e"
	is_home "$PCI_NIC" e1000e
}
