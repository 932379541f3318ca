#!/usr/bin/env bats
# A device that its host driver's users would miss is not taken, unless by force.

# shellcheck disable=SC2154 # pid is of the helpers
load ../helpers

PARAMETERS=/sys/module/vbtest/parameters

setup_file() {
	modprobe vbtest devices=3
	truncate -s 4M "$BATS_FILE_TMPDIR/ext4"
	mkfs.ext4 -q -U clear -O ^has_journal "$BATS_FILE_TMPDIR/ext4"
}

teardown_file() {
	modprobe -r vbtest
}

setup() {
	holders=()
	mnt=$BATS_TEST_TMPDIR/mnt
	mkdir "$mnt"
	find_interface
	until_true 20 test -b /dev/sda
}

teardown() {
	local name
	end_background
	((${#holders[@]} == 0)) || kill "${holders[@]}" 2>/dev/null || :
	wait
	grep -q "^/dev/sda" /proc/swaps && swapoff /dev/sda
	umount -q "$mnt"
	dmsetup ls 2>/dev/null | grep -q ^vbdm && dmsetup remove vbdm
	[[ ! -e /dev/sda1 ]] || delpart /dev/sda 1
	for name in vbbridge vbbond vbteam vbvlan; do
		[[ ! -e /sys/class/net/$name ]] || ip link del "$name"
	done
	udev_is_gone || stop_udev
	vfio-bind release --all
	find_interface
	ip addr flush dev "$interface"
	ip link set "$interface" down
	until_true 20 test -b /dev/sda
}

# The device may come back under another name.
find_interface() {
	interface=$(ls "$(syspath "$NIC")/net")
}

# in_use DEVICE TEXT...: it is not to be had, for just these reasons, and --force would
# take it.
in_use() {
	local device=$1 driver reasons
	driver=$(driver_of "$device")
	shift
	printf -v reasons '; %s' "$@"
	vfio_bind 3 handoff "$device" none
	[[ $output == "vfio-bind: $device: in use: ${reasons#; }"$'\n'"vfio-bind: hint: "*"--force"* ]] ||
		{ echo "it said:" "$output" "not: ${reasons#; }" && return 1; }
	is_home "$device" "$driver"
	vfio_bind 0 handoff --dry-run --force "$device" none
}

# The same for a disk; it is not taken, so its users are not harmed.
disk_in_use() {
	in_use "$SATA" "$@"
	[[ -b /dev/sda ]]
}

# not_in_use DEVICE: it can be taken, without force.
not_in_use() {
	local driver
	driver=$(driver_of "$1")
	vfio_bind 0 handoff "$1" none
	device_is "$1" none none
	vfio_bind 0 release "$1"
	is_home "$1" "$driver"
}

# --- interfaces ---

@test "an interface that is up with an address" {
	ip addr add 192.0.2.1/24 dev "$interface"
	ip link set "$interface" up
	in_use "$NIC" "interface $interface is up with address 192.0.2.1"
	ip addr add 198.51.100.7/24 dev "$interface" label "$interface:2"
	in_use "$NIC" "interface $interface is up with address 192.0.2.1" \
		"interface $interface is up with address 198.51.100.7"
	vfio_bind 0 handoff "$SIBLING" none # it has none of them
	vfio_bind 0 release "$SIBLING"
}

@test "the same goes for a handoff to VFIO" {
	noiommu
	ip addr add 192.0.2.1/24 dev "$interface"
	ip link set "$interface" up
	vfio_bind 3 handoff "$NIC"
	says "interface $interface is up with address 192.0.2.1"
	echo N >/sys/module/vfio/parameters/enable_unsafe_noiommu_mode
	is_home "$NIC" "$NIC_DRIVER"
}

@test "an interface with an IPv6 address" {
	# It would give every interface that is up an address otherwise.
	modprobe ipv6 disable_ipv6=1
	ip link set "$interface" up
	echo 0 >"/proc/sys/net/ipv6/conf/$interface/disable_ipv6"
	ip addr add 2001:db8::1/64 dev "$interface" nodad
	vfio_bind 3 handoff "$NIC" none
	says "interface $interface is up with address 2001:db8::1"
	is_home "$NIC" "$NIC_DRIVER"
}

@test "an address on an interface that is down, and one that is up without, are no use" {
	ip addr add 192.0.2.1/24 dev "$interface"
	not_in_use "$NIC"
	find_interface
	ip link set "$interface" up
	not_in_use "$NIC"
}

@test "an interface in a bridge" {
	ip link add vbbridge type bridge
	ip link set "$interface" master vbbridge
	in_use "$NIC" "interface $interface is in bridge vbbridge"
}

@test "an interface in a bond" {
	ip link add vbbond type bond
	ip link set "$interface" down
	ip link set "$interface" master vbbond
	in_use "$NIC" "interface $interface is in bond vbbond"
}

@test "an interface in a team" {
	ip link add vbteam type team
	ip link set "$interface" master vbteam
	in_use "$NIC" "interface $interface is below vbteam"
}

@test "an interface with a VLAN on it" {
	ip link add link "$interface" name vbvlan type vlan id 7
	in_use "$NIC" "interface $interface is below vbvlan"
}

@test "everything in the way is named" {
	ip link add link "$interface" name vbvlan type vlan id 7
	ip addr add 192.0.2.1/24 dev "$interface"
	ip link set "$interface" up
	in_use "$NIC" "interface $interface is below vbvlan" \
		"interface $interface is up with address 192.0.2.1"
}

@test "--force takes an interface that is up, and one in a bridge" {
	noiommu
	ip addr add 192.0.2.1/24 dev "$interface"
	ip link set "$interface" up
	vfio_bind 0 handoff --force "$NIC"
	device_is "$NIC" vfio-platform vfio-platform
	vfio_bind 0 release "$NIC"
	is_home "$NIC" "$NIC_DRIVER"
	find_interface

	ip link add vbbridge type bridge
	ip link set "$interface" master vbbridge
	vfio_bind 0 handoff --force "$NIC"
	device_is "$NIC" vfio-platform vfio-platform
	[[ ! -e /sys/class/net/$interface ]]
	vfio_bind 0 release "$NIC"
	is_home "$NIC" "$NIC_DRIVER"
	echo N >/sys/module/vfio/parameters/enable_unsafe_noiommu_mode
}

# --- disks ---

# put_filesystem NODE: faster than making one on the emulated disk.
put_filesystem() {
	cat "$BATS_FILE_TMPDIR/ext4" >"$1"
}

# elsewhere NODE: a process that has it mounted in a mount namespace of its own.
elsewhere() {
	# shellcheck disable=SC2016 # for that process to expand
	unshare -m bash -c 'mount "$0" "$1" && : >"$1.mounted" && exec sleep infinity' \
		"$1" "$mnt" 3>&- &
	holders+=($!)
	until_true 20 test -e "$mnt.mounted"
	! mountpoint -q "$mnt"
}

# A disk is free again a little after its last user has gone.
disk_is_free() {
	until_true 20 vfio-bind handoff --dry-run "$SATA" none
}

@test "a disk that nobody uses, or that a process only reads" {
	used open /dev/sda
	disk_in_use "/dev/sda is open in node-user (pid $pid)"
	end_background
	disk_is_free
	not_in_use "$SATA"
	until_true 20 test -b /dev/sda
}

can_be_opened() {
	: 2>/dev/null <"$1"
}

@test "a clock that a process has open" {
	local clock
	clock=$(basename "$(syspath "$RTC")"/rtc/rtc*)
	until_true 20 can_be_opened "/dev/$clock" # by one process at a time
	used open "/dev/$clock"
	vfio_bind 3 handoff "$RTC" none
	says "vfio-bind: ${RTC#*/}: in use: /dev/$clock is open in node-user (pid $pid)"
	is_home "$RTC" rtc-pl031
	end_background
	until_true 20 vfio-bind handoff --dry-run "$RTC" none
}

@test "a mounted disk" {
	put_filesystem /dev/sda
	mount /dev/sda "$mnt"
	disk_in_use "sda is mounted on $mnt"
	umount "$mnt"
	disk_is_free
}

@test "a mounted partition" {
	addpart /dev/sda 1 2048 32768
	put_filesystem /dev/sda1
	mount /dev/sda1 "$mnt"
	disk_in_use "sda1 is mounted on $mnt"
}

@test "a disk that is swapped on" {
	mkswap -U clear /dev/sda >/dev/null
	swapon /dev/sda
	disk_in_use "sda is swapped on"
	swapoff /dev/sda
	disk_is_free
}

@test "a disk with a mapping on it, and with that mounted" {
	dmsetup create vbdm --table "0 32768 linear /dev/sda 0"
	disk_in_use "sda is held by dm-0"
	dmsetup mknodes vbdm
	put_filesystem /dev/mapper/vbdm
	mount /dev/mapper/vbdm "$mnt"
	disk_in_use "sda -> dm-0 (vbdm) is mounted on $mnt"
}

@test "a mapping on a partition, swapped on" {
	addpart /dev/sda 1 2048 32768
	dmsetup create vbdm --table "0 16384 linear /dev/sda1 0"
	dmsetup mknodes vbdm
	mkswap -U clear /dev/mapper/vbdm >/dev/null
	swapon /dev/mapper/vbdm
	vfio_bind 3 handoff "$SATA" none
	swapoff /dev/mapper/vbdm
	says "in use: sda1 -> dm-0 (vbdm) is swapped on"
	is_home "$SATA" highbank-ahci
}

@test "a disk that is mounted in another mount namespace" {
	put_filesystem /dev/sda
	elsewhere /dev/sda
	vfio_bind 3 handoff "$SATA" none
	says "in use: sda is "
	is_home "$SATA" highbank-ahci
	vfio_bind 0 handoff --dry-run --force "$SATA" none
	kill "${holders[0]}"
	disk_is_free
}

@test "a partition that is mounted in another mount namespace" {
	addpart /dev/sda 1 2048 32768
	put_filesystem /dev/sda1
	elsewhere /dev/sda1
	vfio_bind 3 handoff "$SATA" none
	says "in use: sda"
	is_home "$SATA" highbank-ahci
	kill "${holders[0]}"
	disk_is_free
}

@test "--force takes a disk with a mapping on it" {
	dmsetup create vbdm --table "0 32768 linear /dev/sda 0"
	vfio_bind 0 handoff --force "$SATA" none
	device_is "$SATA" none none
	[[ ! -e /sys/class/block/sda ]]
	dmsetup remove vbdm
	vfio_bind 0 release "$SATA"
	is_home "$SATA" highbank-ahci
}

# --- consumers ---

@test "a device whose active consumer would be unbound too" {
	echo vbtest.1 vbtest.0 >$PARAMETERS/link
	in_use vbtest.0 "its consumer platform:vbtest.1 would be unbound too"
	not_in_use vbtest.2
	not_in_use vbtest.1 # the consumer itself
	in_use vbtest.0 "its consumer platform:vbtest.1 would be unbound too"

	# Parked, it is no active one.
	vfio_bind 0 handoff vbtest.1 none
	not_in_use vbtest.0
	vfio_bind 0 release vbtest.1

	vfio_bind 0 handoff --force vbtest.0 vbtest-target
	device_is vbtest.0 vbtest-target vbtest-target
}

@test "a release asks too, before it takes the device from a driver that is not VFIO's" {
	vfio_bind 0 handoff --force vbtest.0 vbtest-target
	[[ $(driver_of vbtest.1) == vbtest-host ]] || echo vbtest.1 >/sys/bus/platform/drivers/vbtest-host/bind
	vfio_bind 3 release vbtest.0
	says "in use: its consumer platform:vbtest.1 would be unbound too"
	device_is vbtest.0 vbtest-target vbtest-target
	vfio_bind 0 release --force vbtest.0
	is_home vbtest.0 vbtest-host
}

# --- no false alarms ---

@test "udev is at work, and nothing is in use: every device can be had" {
	local device driver
	start_udev
	for device in "$NIC" "$SIBLING" "$SATA" "$RTC"; do
		driver=$(driver_of "$device")
		udev_opens
		vfio_bind 0 handoff "$device" none
		[[ ! $output ]] # udev is not asked about a device without a driver
		vfio_bind 0 release "$device"
		is_home "$device" "$driver"
	done
	stop_udev
}
