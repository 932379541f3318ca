#!/usr/bin/env bats
# What processes have open, and what the kernel itself has open without a claim to it, is not
# taken; but for what its user lets go of.

# shellcheck disable=SC2154 # pid and disk are of the helpers
load ../helpers

SOUND=pci/0000:00:16.0
USB=pci/0000:00:17.0
SHARE=pci/0000:00:18.0
HOST_DRIVER+=(["$SOUND"]=snd_hda_intel ["$USB"]=xhci_hcd ["$SHARE"]=virtio-pci)
CONFIG=/sys/kernel/config

setup_file() {
	modprobe -a snd_hda_intel usb_storage usbhid hid_generic evdev i2c-dev loop
	modprobe -a xhci_pci configfs
	mountpoint -q $CONFIG || mount -t configfs configfs $CONFIG
	truncate -s 4M "$BATS_FILE_TMPDIR/ext4"
	mkfs.ext4 -q -U clear -O ^has_journal "$BATS_FILE_TMPDIR/ext4"
}

setup() {
	mnt=$BATS_TEST_TMPDIR/mnt
	mkdir "$mnt"
	find_disk
}

teardown() {
	umount -q "$mnt" || :
	end_background
	! losetup --associated "/dev/$disk" | grep -q . || losetup -D
	vfio-bind release --all
	udev_is_gone || stop_udev
	# udev loads what fits.
	driver_is "$VGA" none || echo "${VGA#*/}" >"$(syspath "$VGA")/driver/unbind"
	! grep -q ^bochs /proc/modules || modprobe -r bochs
	put_home "$NVME" "$SMBUS" "$PCI_NIC"
}

# in_use DEVICE TEXT: not to be had, for just that reason.
in_use() {
	vfio_bind 3 handoff "$1"
	[[ $output == "vfio-bind: ${1#*/}: in use: $2"$'\n'"vfio-bind: hint: "*"--force"* ]] ||
		{ echo "it said:" "$output" "not: $2" && return 1; }
	is_home "$1" "${HOST_DRIVER[$1]}"
}

# free DEVICE: can be had, and comes home.
free() {
	vfio_bind 0 handoff "$1"
	device_is "$1" vfio-pci vfio-pci
	vfio_bind 0 release "$1"
	is_home "$1" "${HOST_DRIVER[$1]}"
}

# --- disks -------------------------------------------------------------------------

@test "a loop device on a disk, up to the mount, and without one" {
	dd if="$BATS_FILE_TMPDIR/ext4" of="/dev/$disk" status=none
	losetup /dev/loop0 "/dev/$disk"
	in_use "$NVME" "$disk is held by loop0"
	mount /dev/loop0 "$mnt"
	in_use "$NVME" "$disk -> loop0 is mounted on $mnt"
	umount "$mnt"
	losetup -d /dev/loop0
	free "$NVME"
}

@test "a mount that only has a disk's name is no use of it, whoever else uses the disk" {
	local ready=$BATS_TEST_TMPDIR/mounted
	dd if="$BATS_FILE_TMPDIR/ext4" of="/dev/$disk" status=none
	# shellcheck disable=SC2016 # for that shell
	in_background unshare -m bash -c 'mount "$0" /mnt && : >"$1" && exec sleep infinity' "/dev/$disk" "$ready"
	until_true 10 test -e "$ready"
	mount -t tmpfs "/dev/$disk" "$mnt"
	in_use "$NVME" "$disk is opened exclusively"
	end_background
	vfio_bind 0 handoff --dry-run "$NVME"
	umount "$mnt"
}

@test "a partition of a loop device on a disk" {
	losetup /dev/loop0 "/dev/$disk"
	addpart /dev/loop0 1 2048 8192
	until_true 10 test -b /dev/loop0p1
	dd if="$BATS_FILE_TMPDIR/ext4" of=/dev/loop0p1 status=none
	mount /dev/loop0p1 "$mnt"
	in_use "$NVME" "$disk -> loop0 -> loop0p1 is mounted on $mnt"
	umount "$mnt"
	delpart /dev/loop0 1
}

@test "a guest's raw disk" {
	in_background qemu-system-x86_64 -display none -serial none -monitor none -S -m 64 \
		-drive "file=/dev/$disk,format=raw,if=virtio"
	until_true 60 is_open_in "/dev/$disk" "$pid"
	in_use "$NVME" "/dev/$disk is open in qemu-system-x86 (pid $pid)"
	end_background
	free "$NVME"
}

# is_open_in FILE PID
is_open_in() {
	readlink "/proc/$2"/fd/* | grep -qxF "$1"
}

@test "a disk that is exported: nvmet, and LIO's fileio" {
	local subsystem=$CONFIG/nvmet/subsystems/vb
	modprobe -a nvmet target_core_mod target_core_file
	mkdir $subsystem $subsystem/namespaces/1
	echo -n "/dev/$disk" >$subsystem/namespaces/1/device_path
	vfio_bind 0 handoff --dry-run "$NVME"
	echo 1 >$subsystem/namespaces/1/enable
	in_use "$NVME" "$disk is exported by nvmet (nvmet/subsystems/vb/namespaces/1)"
	# Whom nobody can ask exports it all the same.
	umount $CONFIG
	vfio_bind 3 handoff "$NVME"
	says "cannot tell what is exported by nvmet: configfs is not mounted on $CONFIG/"
	mount -t configfs configfs $CONFIG
	echo 0 >$subsystem/namespaces/1/enable
	rmdir $subsystem/namespaces/1
	echo -n "/dev/${disk%n*}" >$subsystem/passthru/device_path
	vfio_bind 0 handoff --dry-run "$NVME"
	echo 1 >$subsystem/passthru/enable
	in_use "$NVME" "${disk%n*} is exported by nvmet (nvmet/subsystems/vb/passthru)"
	echo 0 >$subsystem/passthru/enable
	rmdir $subsystem

	mkdir -p $CONFIG/target/core/fileio_0/vb
	echo "fd_dev_name=/dev/$disk,fd_dev_size=4194304" >$CONFIG/target/core/fileio_0/vb/control
	echo 1 >$CONFIG/target/core/fileio_0/vb/enable
	in_use "$NVME" "$disk is exported by LIO (target/core/fileio_0/vb)"
	rmdir $CONFIG/target/core/fileio_0/vb $CONFIG/target/core/fileio_0
	free "$NVME"
}

@test "a share that is mounted by its tag, or in another mount namespace" {
	local ready=$BATS_TEST_TMPDIR/mounted
	modprobe -a virtio_pci 9pnet_virtio 9p
	until_true 10 test -e "$(syspath "$SHARE")/virtio0/mount_tag"
	mount -t 9p -o trans=virtio "vb share" "$mnt"
	in_use "$SHARE" "its share vb share is mounted on $mnt"
	umount "$mnt"
	# shellcheck disable=SC2016 # for that shell
	in_background unshare -m bash -c 'mount -t 9p -o trans=virtio "vb share" "$0" && : >"$1" && exec sleep infinity' \
		"$mnt" "$ready"
	until_true 10 test -e "$ready"
	in_use "$SHARE" "the kernel counts users of its module 9pnet_virtio"
	end_background
	until_true 10 grep -qx 0 /sys/module/9pnet_virtio/refcnt
	free "$SHARE"
}

# --- processes ---------------------------------------------------------------------

@test "a node that a process has open, whatever its name is, mapped, or in a thread" {
	local number way
	number=$(<"/sys/class/block/$disk/dev")
	mknod /dev/vb-other b "${number%:*}" "${number#*:}"
	for way in open mapped thread; do
		used $way /dev/vb-other
		in_use "$NVME" "/dev/$disk is open in node-user (pid $pid)"
		run -0 vfio-bind list -rno HOLDER "$NVME"
		[[ $output == "node-user\\x20(pid\\x20$pid)" ]]
		end_background
	done
	rm /dev/vb-other
	# As anybody can without any right to it.
	used path "/dev/$disk"
	free "$NVME"
}

@test "one that is called as another one, or is a plain file of that name, is not it" {
	touch "$BATS_TEST_TMPDIR/file"
	in_background unshare -m bash -c "mount --bind $BATS_TEST_TMPDIR/file /dev/$disk
		exec node-user open /dev/$disk $BATS_TEST_TMPDIR/ready"
	until_true 10 test -e "$BATS_TEST_TMPDIR/ready"
	free "$NVME"
}

@test "the node of an NVMe controller" {
	local node
	node=$(basename "$(syspath "$NVME")"/nvme/nvme*)
	used open "/dev/$node"
	in_use "$NVME" "/dev/$node is open in node-user (pid $pid)"
}

@test "an i2c bus" {
	local node
	node=$(basename "$(syspath "$SMBUS")"/i2c-*)
	used open "/dev/$node"
	vfio_bind 3 handoff --group "$SMBUS"
	says "0000:00:1f.3: in use: /dev/$node is open in node-user (pid $pid)"
}

@test "a graphics card" {
	modprobe bochs
	until_true 20 compgen -G "/dev/dri/card*"
	local node console
	console=$(dirname "$(grep -l 'frame buffer' /sys/class/vtconsole/*/name)")
	until_true 20 grep -qx 1 "$console/bind"
	echo 0 >"$console/bind"
	node=$(basename "$(syspath "$VGA")"/drm/card*)
	used open "/dev/dri/$node"
	vfio_bind 3 handoff "$VGA"
	says "0000:00:15.0: in use: /dev/dri/$node is open in node-user (pid $pid)"
	end_background
	echo 1 >"$console/bind"
	echo "${VGA#*/}" >"$(syspath "$VGA")/driver/unbind"
	modprobe -r bochs
}

# --- nodes that are let go of ------------------------------------------------------

find_card() {
	until_true 30 compgen -G "$(syspath "$SOUND")/sound/card*/controlC*"
	control=$(basename "$(syspath "$SOUND")"/sound/card*/controlC*)
	until_true 10 test -e "/dev/snd/$control"
}

@test "a stream of a sound card" {
	find_card
	local stream=${control/controlC/pcmC}D0p
	used open "/dev/snd/$stream"
	in_use "$SOUND" "/dev/snd/$stream is open in node-user (pid $pid)"
	end_background
	free "$SOUND"
}

@test "the control of a sound card: who lets go of it is warned of" {
	find_card
	used polite "/dev/snd/$control"
	vfio_bind 0 handoff "$SOUND"
	[[ $output == "vfio-bind: 0000:00:16.0: warning: /dev/snd/$control is open in node-user (pid $pid)"* ]]
	device_is "$SOUND" vfio-pci vfio-pci
	wait "$pid"
}

@test "the control of a sound card: who does not let go is named at the deadline" {
	find_card
	used open "/dev/snd/$control"
	vfio_bind 4 handoff -t 3 "$SOUND"
	says "timed out: the kernel is not done with: echo 0000:00:16.0 > /sys/bus/pci/drivers/snd_hda_intel/unbind; it was open in node-user (pid $pid)"
	end_background
	until_true 30 is_home "$SOUND" snd_hda_intel
	until_true 30 nobody_works
}

@test "a keyboard, and a stick" {
	local node stick
	until_true 30 compgen -G "$(syspath "$USB")/usb*/*/*/*/input/input*/event*"
	node=$(basename "$(syspath "$USB")"/usb*/*/*/*/input/input*/event*)
	until_true 30 compgen -G "$(syspath "$USB")/usb*/*/*/host*/target*/*/block/sd*"
	stick=$(basename "$(syspath "$USB")"/usb*/*/*/host*/target*/*/block/sd*)
	until_true 10 test -b "/dev/$stick"
	dd if="$BATS_FILE_TMPDIR/ext4" of="/dev/$stick" status=none
	mount "/dev/$stick" "$mnt"
	in_use "$USB" "$stick is mounted on $mnt"
	umount "$mnt"
	run -0 vfio-bind list -rno USE "$USB"
	[[ $output == *"$node"* && $output == *"$stick"* ]]
	used open "/dev/input/$node"
	vfio_bind 0 handoff "$USB"
	[[ $(grep -c "warning: " <<<"$output") == 1 ]]
	says "warning: /dev/input/$node is open in node-user (pid $pid)"
	vfio_bind 0 release "$USB"
	is_home "$USB" xhci_hcd
}

# --- no false alarms ---------------------------------------------------------------

@test "udev is at work, and nothing is in use: every device can be had" {
	local device driver
	start_udev
	for device in "$NVME" "$SHARED_NVME" "$PF" "$PCI_NIC" "$NIC_BELOW" "$SOUND" "$USB" "$SHARE"; do
		driver=$(driver_of "$device")
		udev_opens
		vfio_bind 0 handoff "$device"
		device_is "$device" vfio-pci vfio-pci
		vfio_bind 0 release "$device"
		is_home "$device" "$driver"
	done
	udev_opens
	vfio_bind 0 handoff --group "$AHCI"
	vfio_bind 0 release --group "$AHCI"
	group_is home
	stop_udev
}
