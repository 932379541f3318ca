#!/usr/bin/env bats
# The PC as it is, and the handoff by plain writes: what the other tests stand on.

# Each test is a subshell, and run sets status and output in it.
# shellcheck disable=SC2030,SC2031

load ../helpers

pid='' # in_background sets it

teardown() {
	# What a failed test has told it.
	[[ ! -e /sys/bus/pci/drivers/vfio-pci ]] || for id in "8086 10d3" "1234 1111"; do
		told "$id" remove_id 2>/dev/null || :
	done
	rm -f /etc/modprobe.d/vb.conf
	vfio-bind release --all
	modprobe -a e1000e vfio-pci
	home "$NVME" nvme
	home "$PCI_NIC" e1000e
	home "$NIC_BELOW" e1000e
}

@test "the PC is what the tests take it for" {
	local device
	device_is "$PF" nvme "(null)"
	device_is "$NVME" nvme "(null)"
	device_is "$SHARED_NVME" nvme "(null)"
	device_is "$PCI_NIC" e1000e "(null)"
	device_is "$NIC_BELOW" e1000e "(null)"
	device_is "$BRIDGE" pcieport "(null)"
	device_is "$VGA" none "(null)"
	device_is "$LPC" lpc_ich "(null)"
	device_is "$AHCI" ahci "(null)"
	device_is "$SMBUS" i801_smbus "(null)"
	for device in "$LPC" "$SMBUS"; do
		[[ $(syspath "$device")/iommu_group -ef $(syspath "$AHCI")/iommu_group ]]
	done
	[[ $(syspath "$BRIDGE")/iommu_group -ef $(syspath "$NIC_BELOW")/iommu_group ]]
	[[ $(realpath /sys/block/nvme*n1) == */virtual/nvme-subsystem/* ]]
}

@test "by plain writes, to vfio-pci, opened, and home" {
	local path group
	path=$(syspath "$NVME")
	group=$(readlink "$path/iommu_group")
	modprobe vfio-pci
	echo vfio-pci >"$path/driver_override"
	echo "${NVME#*/}" >"$path/driver/unbind"
	echo "${NVME#*/}" >/sys/bus/pci/drivers/vfio-pci/bind
	device_is "$NVME" vfio-pci vfio-pci
	run -0 vfio-open "/dev/vfio/${group##*/}" "${NVME#*/}"
	says "flags reset pci"
	home "$NVME" nvme
	is_home "$NVME" nvme
}

# there_and_back DEVICE DRIVER: five times, and a user opens it each time.
there_and_back() {
	local group
	group=/dev/vfio/$(group_of "$1")
	for _ in {1..5}; do
		vfio_bind 0 handoff "${1#*/}"
		[[ ! $output ]]
		device_is "$1" vfio-pci vfio-pci
		[[ -c $group ]]
		run -0 vfio-open "$group" "${1#*/}"
		says "pci"
		vfio_bind 0 release "${1#*/}"
		[[ ! $output ]]
		is_home "$1" "$2"
	done
}

@test "an NVMe controller goes to VFIO and back, many times" {
	there_and_back "$NVME" nvme
	until_true 20 compgen -G "$(syspath "$NVME")/nvme/nvme*/nvme*n1"
}

@test "a NIC goes to VFIO and back, many times" {
	there_and_back "$PCI_NIC" e1000e
	there_and_back "$NIC_BELOW" e1000e
	until_true 20 compgen -G "$(syspath "$PCI_NIC")/net/*"
}

@test "the modules of both sides are loaded if need be" {
	modprobe -r vfio_pci
	vfio_bind 0 handoff "$PCI_NIC"
	vfio_bind 0 handoff "$NIC_BELOW"
	modprobe -r e1000e
	vfio_bind 0 release "$PCI_NIC" "$NIC_BELOW"
	is_home "$PCI_NIC" e1000e
	is_home "$NIC_BELOW" e1000e
}

@test "a module that takes the device as it is loaded: that is no home, and enough for one" {
	echo "${PCI_NIC#*/}" >"$(syspath "$PCI_NIC")/driver/unbind"
	modprobe -r e1000e
	vfio_bind 0 handoff "$PCI_NIC" e1000e
	device_is "$PCI_NIC" e1000e e1000e
	vfio_bind 0 release "$PCI_NIC"
	is_home "$PCI_NIC" none
	# Never touched: the kernel chooses, and is not made to choose again.
	modprobe -r e1000e
	vfio_bind 0 release -v "$PCI_NIC"
	[[ $output == "modprobe e1000e" ]]
	is_home "$PCI_NIC" e1000e
}

@test "a driver that has none of its ids, and has it all the same, gets it back" {
	local path
	path=$(realpath "$(syspath "$PCI_NIC")")
	modprobe uio_pci_generic
	echo uio_pci_generic >"$path/driver_override"
	echo "${PCI_NIC#*/}" >"$path/driver/unbind"
	echo "${PCI_NIC#*/}" >/sys/bus/pci/drivers/uio_pci_generic/bind
	echo >"$path/driver_override"
	vfio_bind 0 handoff "$PCI_NIC"
	device_is "$PCI_NIC" vfio-pci vfio-pci
	vfio_bind 0 release "$PCI_NIC"
	is_home "$PCI_NIC" uio_pci_generic
	run -1 taskset 1 strace -qq -f -o /dev/null -P "$path/reset" -e inject=write:error=EIO \
		vfio-bind handoff "$PCI_NIC"
	says "reset failed: Input/output error; it is back on uio_pci_generic, not flagged"
	is_home "$PCI_NIC" uio_pci_generic
}

@test "no other driver gets it in between: not by a module load, not by new_id" {
	vfio_bind 0 handoff "$PCI_NIC" none
	modprobe -r e1000e
	modprobe e1000e
	device_is "$PCI_NIC" none none
	echo 8086 10d3 >/sys/bus/pci/drivers/vfio-pci/new_id
	echo 8086 10d3 >/sys/bus/pci/drivers/vfio-pci/remove_id
	device_is "$PCI_NIC" none none
	vfio_bind 0 release "$PCI_NIC"
	is_home "$PCI_NIC" e1000e
}

# told IDS COMMAND: write the IDS of devices to vfio-pci's new_id or remove_id.
told() {
	echo "$1" >"/sys/bus/pci/drivers/vfio-pci/$2"
}

@test "VFIO is no home: what another tool gave it goes to the host driver, and stays there" {
	local path
	path=$(syspath "$PCI_NIC")
	modprobe vfio-pci
	run -0 dpdk-devbind.py -b vfio-pci 00:12.0
	device_is "$PCI_NIC" vfio-pci "(null)"
	vfio_bind 0 handoff "$PCI_NIC"
	device_is "$PCI_NIC" vfio-pci vfio-pci
	run -0 vfio-bind list -nro HOST "$PCI_NIC"
	[[ $output == "?" ]]
	for _ in once twice; do
		vfio_bind 0 release "$PCI_NIC"
		is_home "$PCI_NIC" e1000e
	done
	# It was parked then, and its module is gone.
	vfio_bind 0 handoff "$PCI_NIC"
	rm "$(record_of "$PCI_NIC")"
	vfio_bind 0 pin "$PCI_NIC" none
	vfio_bind 0 handoff "$PCI_NIC" none
	modprobe -r e1000e
	for _ in once twice; do
		vfio_bind 0 release "$PCI_NIC"
		is_home "$PCI_NIC" e1000e
	done
	# Flagged for VFIO, and without a driver yet.
	echo "${PCI_NIC#*/}" >"$path/driver/unbind"
	echo vfio-pci >"$path/driver_override"
	vfio_bind 0 handoff "$PCI_NIC"
	for _ in once twice; do
		vfio_bind 0 release "$PCI_NIC"
		is_home "$PCI_NIC" e1000e
	done
	# Flagged for VFIO, while its host driver has it: that is where it was.
	echo vfio-pci >"$path/driver_override"
	vfio_bind 0 handoff "$PCI_NIC"
	vfio_bind 0 release "$PCI_NIC"
	device_is "$PCI_NIC" e1000e vfio-pci
	vfio_bind 0 release "$PCI_NIC"
	is_home "$PCI_NIC" e1000e
}

@test "VFIO was told its id, and is the kernel's choice: a release binds the host driver" {
	local id="8086 10d3" nics=("$PCI_NIC" "$NIC_BELOW") nic
	modprobe -r e1000e
	told "$id" new_id
	device_is "$PCI_NIC" vfio-pci "(null)"
	modprobe e1000e
	vfio_bind 0 release "${nics[@]}"
	[[ ! $output ]]
	for nic in "${nics[@]}"; do is_home "$nic" e1000e; done
	# Neither a handoff nor what was before it changes that.
	vfio_bind 0 handoff "$PCI_NIC"
	for _ in once twice; do
		vfio_bind 0 release "$PCI_NIC"
		is_home "$PCI_NIC" e1000e
	done
	echo "${PCI_NIC#*/}" >"$(syspath "$PCI_NIC")/driver/unbind"
	echo "${PCI_NIC#*/}" >/sys/bus/pci/drivers_probe
	device_is "$PCI_NIC" vfio-pci "(null)"
	vfio_bind 0 handoff "$PCI_NIC" none
	vfio_bind 0 release "$PCI_NIC"
	is_home "$PCI_NIC" e1000e
	told "$id" remove_id
}

@test "VFIO was told its id, and nobody else has it: a release leaves it without a driver" {
	local id="1234 1111"
	echo "blacklist bochs" >/etc/modprobe.d/vb.conf
	told "$id" new_id
	device_is "$VGA" vfio-pci "(null)"
	for _ in once twice; do
		vfio_bind 0 release "$VGA"
		says "0000:00:15.0: warning: no driver wants it: it has none now"
		is_home "$VGA" none
	done
	told "$id" remove_id
}

@test "VFIO was told its id, and the host driver's probe fails: that is said, and it can be repeated" {
	local id="8086 10d3" row when status state
	modprobe -r e1000e
	told "$id" new_id
	modprobe e1000e
	# It is asked while VFIO has the device, and again when that is unbound.
	for row in "1 1 on vfio-pci" "2+ 4 without a driver"; do
		read -r when status state <<<"$row"
		run "-$status" taskset 1 strace -qq -f -o /dev/null -P /sys/bus/pci/drivers/e1000e/bind \
			-e inject=write:error=EIO:when="$when" vfio-bind release "$PCI_NIC"
		says "0000:00:12.0: cannot bind to e1000e: its probe failed: Input/output error; it is now $state, not flagged"
		says "hint: to try again: vfio-bind release $PCI_NIC"
	done
	vfio_bind 0 release "$PCI_NIC" "$NIC_BELOW"
	is_home "$PCI_NIC" e1000e
	is_home "$NIC_BELOW" e1000e
	told "$id" remove_id
}

@test "VFIO is told its id right before the host driver is bound: it is taken from there" {
	local id="8086 10d3" log=$BATS_TEST_TMPDIR/log
	vfio_bind 0 handoff "$PCI_NIC"
	# The worker stops when it has opened the file, and has not written yet.
	in_background taskset 1 strace -qq -f -o "$log" -P /sys/bus/pci/drivers/e1000e/bind -e trace=openat,write \
		-e inject=openat:signal=SIGSTOP:when=1 vfio-bind release "$PCI_NIC"
	until_true 20 grep -qs "stopped by SIGSTOP" "$log"
	device_is "$PCI_NIC" none "(null)"
	told "$id" new_id
	device_is "$PCI_NIC" vfio-pci "(null)"
	kill -CONT "$(awk '/stopped by SIGSTOP/ { print $1 }' "$log")"
	ended "$pid" 0
	grep -Eq 'write(\(| resumed>).* EBUSY ' "$log"
	is_home "$PCI_NIC" e1000e
	told "$id" remove_id
	end_background
}

@test "its names: with and without domain, on its bus, its interface, its path" {
	local name path
	path=$(realpath "$(syspath "$PCI_NIC")")
	for name in 0000:00:12.0 00:12.0 pci/0000:00:12.0 pci/00:12.0 "$(ls "$path/net")" "$path" \
		/sys/bus/pci/devices/0000:00:12.0 "/sys/class/net/$(ls "$path/net")"; do
		run -0 vfio-bind list -nro DEVICE "$name"
		[[ $output == 0000:00:12.0 ]]
	done
	name=$(ls "$path/net")
	vfio_bind 0 handoff "$name"
	device_is "$PCI_NIC" vfio-pci vfio-pci
	# That name went with the driver.
	vfio_bind 2 release "$name"
	says "vfio-bind: $name: no such device"
	says "hint: an interface or a disk goes with its driver: "
	vfio_bind 0 release 00:12.0
	is_home "$PCI_NIC" e1000e
	for name in 00:12.1 pci/00:12.1 0:12.0 pci/00:12.0/..; do
		vfio_bind 2 handoff "$name"
		says "$name: no such device"
	done
}

# mean DEVICE NAME...: each name means it.
mean() {
	local name
	for name in "${@:2}"; do
		run -0 vfio-bind list -nro BUS,DEVICE "$name"
		[[ $output == "${1/\// }" ]]
	done
}

@test "its other names: an alternative one, libvirt's, its nodes" {
	local interface disk controller adapter
	interface=$(ls "$(syspath "$PCI_NIC")/net")
	ip link property add dev "$interface" altname enp0s18
	mean "$PCI_NIC" enp0s18 pci_0000_00_12_0 pci-0000:00:12.0 host=00:12.0 \
		/devices/pci0000:00/0000:00:12.0 pci/0000:00:12.0/
	mean "$AHCI" 00:1F.2 PCI:0000:00:1F.2
	ip link property del dev "$interface" altname enp0s18
	vfio_bind 2 list enp0s18
	says "enp0s18: no such device"
	disk=$(cd "$(syspath "$NVME")" && echo nvme/nvme*/nvme*n1)
	disk=${disk##*/} controller=${disk%n1}
	addpart "/dev/$disk" 1 2048 2048
	ln -s "/dev/${disk}p1" "$BATS_TEST_TMPDIR/link"
	mean "$NVME" "/dev/$controller" "$controller" "/dev/$disk" "/dev/${disk}p1" "${disk}p1" \
		"$BATS_TEST_TMPDIR/link" "/dev/char/$(<"/sys/class/nvme/$controller/dev")"
	delpart "/dev/$disk" 1
	# That it is on a bus of its own, and how it is told from its clients.
	adapter=$(echo "$(syspath "$SMBUS")"/i2c-*)
	[[ $adapter/subsystem -ef /sys/bus/i2c && -e $adapter/new_device ]]
	run -0 vfio-bind list -nro BUS /dev/ttyS0
	[[ $output == pnp ]]
	vfio_bind 0 handoff "$PCI_NIC"
	mean "$PCI_NIC" "$(vfio-bind list -nro NODE "$PCI_NIC")"
	dmsetup create --noudevsync over --table "0 2048 linear /dev/$disk 0"
	dmsetup mknodes
	vfio_bind 2 handoff /dev/mapper/over
	says "/dev/mapper/over: no device of its own: it is on $disk"
	dmsetup remove over
	vfio_bind 2 handoff lo
	says "lo: no device is behind it: it is virtual"
}

@test "udev is there, and cannot be listened to: that is said" {
	vfio_bind 0 handoff "$PCI_NIC"
	mkdir -p /run/udev
	: >/run/udev/control
	run -0 strace -qqqf -o "$BATS_TEST_TMPDIR/trace" -e trace=socket \
		-e inject=socket:error=EAFNOSUPPORT vfio-bind release "$PCI_NIC"
	rm -r /run/udev
	says "warning: udev is not done"
	is_home "$PCI_NIC" e1000e
}

@test "a name is looked up: no module of that name is loaded" {
	modprobe -r vfio-pci
	vfio_bind 2 list vfio-pci
	says "vfio-pci: no such device"
	[[ ! -e /sys/module/vfio_pci ]]
	modprobe vfio-pci
}

@test "the operands are swapped; a device that was removed is gone" {
	vfio_bind 2 handoff vfio-pci 00:12.0
	says "hint: 00:12.0 is a device: are the operands swapped?"
	vfio_bind 0 handoff 00:12.0
	echo 1 >"$(syspath "$PCI_NIC")/remove"
	vfio_bind 2 release 00:12.0
	[[ $output == "vfio-bind: 00:12.0: the device is gone: it was removed" ]]
	echo 1 >/sys/bus/pci/rescan
	device_is "$PCI_NIC" e1000e "(null)"
	vfio_bind 0 release 00:12.0
	is_home "$PCI_NIC" e1000e
}

# calls ARGUMENT...: run vfio-bind, and leave in $calls what it wrote to a reset attribute
# and asked of VFIO.
calls() {
	run -0 taskset 1 strace -qq -f -y -e trace=write,ioctl -o "$BATS_TEST_TMPDIR/trace" vfio-bind "$@"
	calls=$(grep -e '/reset>' -e VFIO_ -e 'dev/vfio' "$BATS_TEST_TMPDIR/trace" || :)
}

# resets: how often that was written.
resets() {
	grep -c '/reset>, "1' <<<"$calls" || :
}

@test "a handoff resets it once, and no more than it was asked to" {
	calls handoff "$NVME"
	[[ $(resets) == 1 ]]
	# The group is asked, but to open the device would reset it twice more.
	[[ $calls == *GROUP_GET_STATUS* || $calls == *"0x3b, 0x67"* ]]
	[[ $calls != *GET_DEVICE_FD* && $calls != *"0x3b, 0x6a"* ]]
	calls handoff "$NVME" # it is there already
	[[ $(resets) == 0 ]]
	calls handoff --reset=always "$NVME"
	[[ $(resets) == 1 ]]
	vfio_bind 0 release "$NVME"
	calls handoff --reset=never "$NVME"
	[[ $(resets) == 0 ]]
	calls handoff "$NVME" none # parked: it is reset, as nobody has it
	[[ $(resets) == 1 ]]
}

@test "no device is reset under a driver of the host" {
	modprobe pci-stub
	calls handoff "$NVME" pci-stub
	[[ $(resets) == 0 ]]
	vfio_bind 0 release "$NVME"
	vfio_bind 1 handoff --reset=always "$NVME" pci-stub
	says "cannot be reset: a device is not reset while a host driver has it"
	is_home "$NVME" nvme
}

@test "a device that has no reset goes without, or not at all" {
	vfio_bind 1 handoff --reset=always "$VGA"
	says "0000:00:15.0: cannot be reset: it has no reset attribute"
	says "hint: --reset=auto goes without"
	is_home "$VGA" none
	vfio_bind 0 handoff "$VGA"
	device_is "$VGA" vfio-pci vfio-pci
	vfio_bind 0 release "$VGA"
	is_home "$VGA" none
}

@test "several devices, each to the driver it shall have, and all home" {
	vfio_bind 0 handoff --driver=auto 00:10.0 00:12.0 01:00.0
	run -0 vfio-bind list --taken -nro DEVICE,HOST
	[[ $output == "0000:00:10.0 nvme
0000:00:12.0 e1000e
0000:01:00.0 e1000e" ]]
	vfio_bind 0 release --all
	is_home "$NVME" nvme
	is_home "$PCI_NIC" e1000e
	is_home "$NIC_BELOW" e1000e
}

@test "auto is the VFIO driver, by that name as well" {
	vfio_bind 0 pin "$NVME" auto
	device_is "$NVME" nvme vfio-pci
	vfio_bind 0 handoff "$NVME" auto
	device_is "$NVME" vfio-pci vfio-pci
	vfio_bind 0 release "$NVME"
	is_home "$NVME" nvme
}

@test "a device that was removed and came back starts afresh" {
	vfio_bind 0 handoff "$NIC_BELOW"
	echo 1 >"$(syspath "$NIC_BELOW")/remove"
	echo 1 >/sys/bus/pci/rescan
	until_true 20 driver_is "$NIC_BELOW" e1000e
	device_is "$NIC_BELOW" e1000e "(null)"
	vfio_bind 0 release --all
	is_home "$NIC_BELOW" e1000e
}
