#!/usr/bin/env bats
# What the system runs on is not taken: disks by any path up to a mount, interfaces below
# others, the only console.

# shellcheck disable=SC2154 # disk and interface are of the helpers
load ../helpers

setup_file() {
	truncate -s 4M "$BATS_FILE_TMPDIR/ext4"
	mkfs.ext4 -q -U clear -O ^has_journal "$BATS_FILE_TMPDIR/ext4"
}

setup() {
	mnt=$BATS_TEST_TMPDIR/mnt
	md=/sys/block/md_vb/md
	mkdir "$mnt"
	find_names
}

teardown() {
	local name
	umount -q "$mnt" || :
	grep -q "^/dev/nvme" /proc/swaps && swapoff -a
	for name in vbdm2 vbdm; do
		[[ ! -e /dev/mapper/$name ]] || dmsetup remove "$name"
	done
	[[ ! -e $md/array_state ]] || echo clear >"$md/array_state"
	for name in vbvlan vbbridge vbbond; do
		[[ ! -e /sys/class/net/$name ]] || ip link del "$name"
	done
	vfio-bind release --all
	home "$NVME" nvme
	home "$SHARED_NVME" nvme
	home "$PCI_NIC" e1000e
	home "$AHCI" ahci
	driver_is "$VGA" none || echo "${VGA#*/}" >"$(syspath "$VGA")/driver/unbind"
	find_names
	ip addr flush dev "$interface"
	ip link set "$interface" down
}

# Devices come back under other names.
find_names() {
	find_disk
	until_true 20 compgen -G "/sys/class/nvme-subsystem/nvme-subsys*/nvme*n1"
	shared=$(basename /sys/devices/virtual/nvme-subsystem/nvme-subsys*/nvme*n1)
	until_true 20 test -b "/dev/$shared"
	find_pci_interface
}

# in_use DEVICE TEXT: not to be had, for just that reason; --force would take it.
in_use() {
	local driver
	driver=$(driver_of "$1")
	vfio_bind 3 handoff "$1"
	[[ $output == "vfio-bind: ${1#*/}: in use: $2"$'\n'"vfio-bind: hint: "*"--force"* ]] ||
		{ echo "it said:" "$output" "not: $2" && return 1; }
	is_home "$1" "$driver"
	vfio_bind 0 handoff --dry-run --force "$1"
	says "/drivers/$driver/unbind"
}

@test "a mounted disk, and its name as the device's" {
	dd if="$BATS_FILE_TMPDIR/ext4" of="/dev/$disk" status=none
	mount "/dev/$disk" "$mnt"
	in_use "$NVME" "$disk is mounted on $mnt"
	vfio_bind 3 handoff "$disk"
	says "0000:00:10.0: in use: $disk is mounted on $mnt"
	umount "$mnt"
	vfio_bind 0 handoff "$disk"
	device_is "$NVME" vfio-pci vfio-pci
	vfio_bind 0 release "$NVME"
	is_home "$NVME" nvme
}

@test "a multipath disk, which the kernel puts elsewhere" {
	local name controller
	controller=$(basename "$(syspath "$SHARED_NVME")"/nvme/nvme*)
	dd if="$BATS_FILE_TMPDIR/ext4" of="/dev/$shared" status=none
	mount "/dev/$shared" "$mnt"
	in_use "$SHARED_NVME" "$shared is mounted on $mnt"
	ln -s "/dev/$shared" "$BATS_TEST_TMPDIR/disk"
	for name in "$shared" "/dev/$shared" "$BATS_TEST_TMPDIR/disk"; do
		run -0 vfio-bind list -nro USE "$name"
		[[ $output == "$controller,$shared,${shared/nvme/ng}" ]]
		vfio_bind 3 handoff "$name"
		says "0000:00:11.0: in use: "
	done
	umount "$mnt"
	vfio_bind 0 handoff "$shared"
	device_is "$SHARED_NVME" vfio-pci vfio-pci
}

@test "a partition of a multipath disk" {
	addpart "/dev/$shared" 1 2048 8192
	until_true 10 test -b "/dev/${shared}p1"
	dd if="$BATS_FILE_TMPDIR/ext4" of="/dev/${shared}p1" status=none
	mount "/dev/${shared}p1" "$mnt"
	in_use "$SHARED_NVME" "${shared}p1 is mounted on $mnt"
	umount "$mnt"
	delpart "/dev/$shared" 1
}

@test "a disk that is swapped on" {
	mkswap -q "/dev/$disk"
	swapon "/dev/$disk"
	in_use "$NVME" "$disk is swapped on"
}

@test "a disk in an md array, up to the mount" {
	modprobe raid1
	echo md_vb >/sys/module/md_mod/parameters/new_array
	echo none >"$md/metadata_version"
	echo raid1 >"$md/level"
	echo 1 >"$md/raid_disks"
	cat "/sys/class/block/$disk/dev" >"$md/new_dev"
	in_use "$NVME" "$disk is held by md_vb"
	echo 0 >"$md/dev-$disk/slot"
	echo 4096 | tee "$md/component_size" >"$md/dev-$disk/size"
	echo active >"$md/array_state"
	until_true 10 test -b /dev/md_vb
	dd if="$BATS_FILE_TMPDIR/ext4" of=/dev/md_vb status=none
	mount /dev/md_vb "$mnt"
	in_use "$NVME" "$disk -> md_vb is mounted on $mnt"
	umount "$mnt"
	echo clear >"$md/array_state"
	vfio_bind 0 handoff "/dev/$disk"
}

@test "a disk below two device mappers, up to the mount" {
	dd if="$BATS_FILE_TMPDIR/ext4" of="/dev/$disk" status=none
	dmsetup create --noudevsync vbdm --table "0 16384 linear /dev/$disk 0"
	dmsetup mknodes
	in_use "$NVME" "$disk is held by $(basename /sys/class/block/"$disk"/holders/*)"
	dmsetup create --noudevsync vbdm2 --table "0 8192 linear /dev/mapper/vbdm 0"
	dmsetup mknodes
	mount /dev/mapper/vbdm2 "$mnt"
	in_use "$NVME" "$disk -> $(dm_of vbdm) (vbdm) -> $(dm_of vbdm2) (vbdm2) is mounted on $mnt"
}

dm_of() {
	basename "$(dirname "$(dirname "$(grep -lx "$1" /sys/class/block/dm-*/dm/name)")")"
}

@test "a disk of a shared controller" {
	dd if="$BATS_FILE_TMPDIR/ext4" of=/dev/sda status=none
	mount /dev/sda "$mnt"
	vfio_bind 3 handoff --group "$AHCI"
	says "0000:00:1f.2: in use: sda is mounted on $mnt"
	is_home "$AHCI" ahci
}

@test "an interface with an address" {
	ip link set "$interface" up
	ip addr add 192.0.2.1/24 dev "$interface"
	in_use "$PCI_NIC" "interface $interface is up with address 192.0.2.1"
}

@test "an interface below a VLAN with an address" {
	ip link set "$interface" up
	ip link add link "$interface" name vbvlan type vlan id 5
	ip link set vbvlan up
	ip addr add 192.0.2.1/24 dev vbvlan
	in_use "$PCI_NIC" "interface $interface is below vbvlan"
}

@test "an interface in a bridge, and in a bond" {
	ip link add vbbridge type bridge
	ip link set "$interface" master vbbridge
	in_use "$PCI_NIC" "interface $interface is in bridge vbbridge"
	ip link set "$interface" nomaster
	ip link add vbbond type bond
	ip link set "$interface" master vbbond
	in_use "$PCI_NIC" "interface $interface is in bond vbbond"
	ip link set "$interface" nomaster
}

@test "the display with the only console" {
	local driver console
	modprobe bochs
	until_true 20 test -e /sys/class/graphics/fb0
	driver=$(driver_of "$VGA")
	[[ $driver == bochs* ]]
	console=$(dirname "$(grep -l 'frame buffer' /sys/class/vtconsole/*/name)")
	until_true 20 grep -qx 1 "$console/bind"
	in_use "$VGA" "fb0 has the only console of this host"
	# What is not the console may go.
	echo 0 >"$console/bind"
	vfio_bind 0 handoff --dry-run "$VGA"
	echo 1 >"$console/bind"
	vfio_bind 0 handoff --force "$VGA"
	device_is "$VGA" vfio-pci vfio-pci
	vfio_bind 0 release "$VGA"
	is_home "$VGA" "$driver"
}

@test "a driver that is not for the hardware is refused, whoever wants it" {
	modprobe pci-stub
	for command in handoff pin; do
		vfio_bind 3 $command "$NVME" e1000e
		says "0000:00:10.0: the driver e1000e is not for this hardware"
		is_home "$NVME" nvme
	done
	vfio_bind 0 handoff --dry-run --force "$NVME" e1000e
	# A dry run knows it with the module not loaded, too.
	modprobe -r e1000e
	vfio_bind 3 handoff --dry-run "$NVME" e1000e
	modprobe e1000e
	# One that says nothing of any hardware may be had.
	vfio_bind 0 handoff "$NVME" pci-stub
	device_is "$NVME" pci-stub pci-stub
}
