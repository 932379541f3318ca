#!/usr/bin/env bats
# Who would be hurt: in use by the host.

# shellcheck disable=SC2154 # sys.bash sets holder
load sys

# in_use TEXT DEVICE: refused for that, but not with --force.
in_use() {
	expect 3 "vfio-bind: $2: in use: $1
vfio-bind: hint: end that use first; --force takes it all the same" handoff -n "$2" none
	vfio_bind handoff -nf "$2" none
	if [[ $status != 0 || $output != "echo none > "* ]]; then
		printf '%s\n' "forced, $2: status $status; it said:" "$output"
		return 1
	fi
}

# free DEVICE: it is not in use.
free() {
	vfio_bind handoff -n "$1" none
	if ((status)); then
		printf '%s\n' "$1 is not free: status $status; it said:" "$output"
		return 1
	fi
}

SDA="$PCI/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda"

@test "each way in which the host can use a device" {
	local number

	promise "an interface with an address, and what stands on it"
	local net="$PCI/0000:00:12.0/net"
	ip link set eth0 up
	in_use "interface eth0 is up with address 127.0.0.1; interface eth0 is up with address ::1" \
		0000:00:12.0 ||
		in_use "interface eth0 is up with address 127.0.0.1" 0000:00:12.0
	ip link set eth0 down
	free 0000:00:12.0
	folder /sys/devices/virtual/net/{vlan0,br0/bridge,bond0/bonding}
	link "$net/eth0/upper_vlan0" /sys/devices/virtual/net/vlan0
	in_use "interface eth0 is below vlan0" 0000:00:12.0
	link "$net/eth0/upper_br0" /sys/devices/virtual/net/br0
	link "$net/eth0/upper_bond0" /sys/devices/virtual/net/bond0
	none "$net/eth0/upper_vlan0"
	in_use "interface eth0 is in bond bond0; interface eth0 is in bridge br0" 0000:00:12.0

	promise "an interface by which the kernel sends its messages"
	local target=/sys/kernel/config/netconsole/a
	folder $target
	echo eth0 >$target/dev_name
	echo 0 >$target/enabled
	free 0000:00:12.0
	echo 1 >$target/enabled
	in_use "interface eth0 sends the kernel's messages" 0000:00:12.0
	echo eth1 >$target/dev_name
	free 0000:00:12.0

	promise "an interface that is in no network namespace that can be looked into"
	local unseen="cannot tell who uses it: its interface is in a network namespace that cannot be looked into
vfio-bind: hint: --force takes it all the same"
	none "$PCI/0000:00:12.0/net/eth0"
	expect 3 "vfio-bind: 0000:00:12.0: $unseen" handoff -n 0000:00:12.0 none
	# Of the device behind it, too.
	expect 3 "vfio-bind: 0000:00:03.0: $unseen" handoff -n 00:03.0 none
	none "$PCI/0000:00:03.0/virtio0/net"
	free 0000:00:03.0
	# Another one of that name is not it.
	folder "$PCI/0000:00:12.0/net/eth0"
	attribute "$PCI/0000:00:12.0/net/eth0/ifindex" 1000
	expect 3 "vfio-bind: 0000:00:12.0: $unseen" handoff -n 0000:00:12.0 none
	none "$PCI/0000:00:12.0/net"
	free 0000:00:12.0

	promise "a disk that is mounted or held"
	free 0000:00:1f.2
	mkdir -p /run/mounted
	mount -t tmpfs vb /run/mounted
	number=$(mountpoint -d /run/mounted)
	attribute "$SDA/sda1/dev" "$number"
	in_use "sda1 is mounted on /run/mounted" 0000:00:1f.2
	# By what is stacked on it.
	attribute "$SDA/sda1/dev" 1023:1
	folder /sys/devices/virtual/block/dm-0/{holders,dm} "$SDA/sda1/holders"
	link /sys/class/block/dm-0 /sys/devices/virtual/block/dm-0
	: >"$SDA/sda1/holders/dm-0"
	echo 1023:9 >/sys/devices/virtual/block/dm-0/dev
	echo vg-root >/sys/devices/virtual/block/dm-0/dm/name
	in_use "sda1 is held by dm-0" 0000:00:1f.2
	echo "$number" >/sys/devices/virtual/block/dm-0/dev
	in_use "sda1 -> dm-0 (vg-root) is mounted on /run/mounted" 0000:00:1f.2
	none /sys/devices/virtual/block/dm-0/dm/name
	in_use "sda1 -> dm-0 is mounted on /run/mounted" 0000:00:1f.2
	umount /run/mounted
	# No name of a folder tells of another use.
	local forged="/run/mounted; sda1 is open in init (pid 1)"
	mkdir "$forged"
	mount -t tmpfs vb "$forged"
	mountpoint -d "$forged" >"$SDA/sda1/dev"
	echo 1023:9 >/sys/devices/virtual/block/dm-0/dev
	in_use "sda1 is mounted on '$forged'; sda1 is held by dm-0" 0000:00:1f.2
	umount "$forged"
	# A long one is cut, and hides no other.
	local long
	long=/run/mounted$(printf '/%0200d' 1 2 3 4 5)
	mkdir -p "$long"
	mount -t tmpfs vb "$long"
	mountpoint -d "$long" >"$SDA/sda1/dev"
	echo 1023:9 >/sys/devices/virtual/block/dm-0/dev
	in_use "$(printf %.800s "sda1 is mounted on $long")... and 1 more" 0000:00:1f.2
	umount "$long"

	promise "a disk that LIO exports"
	local core=/sys/kernel/config/target/core
	attribute "$SDA/sda1/dev" 1023:1
	none "$SDA/sda1/holders"
	folder "$core/iblock_0/vb.disk" "$core/alua"
	echo "HBA Index: 1" >"$core/iblock_0/hba_info"
	free 0000:00:1f.2
	echo "Status: ACTIVATED
        Major: 1023 Minor: 1  CLAIMED: IBLOCK" >"$core/iblock_0/vb.disk/info"
	in_use "sda1 is exported by LIO (target/core/iblock_0/vb.disk)" 0000:00:1f.2

	promise "an export of a file, which may have a blank in its name, or be gone"
	local namespace=/sys/kernel/config/nvmet/subsystems/a/namespaces/1 path
	folder "$core/fileio_0/vb" "$namespace"
	mkdir -p "/dev/vb  Size: "
	: >"/dev/vb  Size: /img"
	for path in "/dev/vb  Size: /img" "/run/gone/a b" "/run/gone (deleted)"; do
		echo "Status: ACTIVATED
        TCM FILEIO ID: 0        File: $path  Size: 4096  Mode: O_DSYNC Async: 0" >"$core/fileio_0/vb/info"
		free 0000:00:1f.2
	done
	ln -sfn loop "$MADE_UP/loop"
	for path in "/run/gone (deleted)" "$MADE_UP/loop" "$MADE_UP/cmdline/image"; do
		echo "$path" >"$namespace/device_path"
		free 0000:00:1f.2
	done
	# That could be a node of the disk.
	for path in "/dev/vb-gone" "/run/root/dev/a b"; do
		echo "$path" >"$namespace/device_path"
		expect 3 "vfio-bind: 0000:00:1f.2: cannot tell what is exported: $namespace/device_path: No such file or directory
vfio-bind: hint: --force takes it all the same" handoff -n 0000:00:1f.2 none
	done
	# And one that a USB gadget has.
	namespace=/sys/kernel/config/usb_gadget/g/functions/mass_storage.a/lun.0
	none /sys/kernel/config/nvmet
	folder $namespace
	echo "$path" >$namespace/file
	expect 3 "vfio-bind: 0000:00:1f.2: cannot tell what is exported: $namespace/file: No such file or directory
vfio-bind: hint: --force takes it all the same" handoff -n 0000:00:1f.2 none
	none /sys/kernel/config/usb_gadget
	rm -r "/dev/vb  Size: "

	promise "a controller that nvmet exports"
	local passthru=/sys/kernel/config/nvmet/subsystems/a/passthru
	attribute "$NVME/nvme/nvme0/dev" 1:7
	folder "$passthru"
	echo /dev/full >$passthru/device_path
	echo 0 >$passthru/enable
	free 0000:00:10.0
	echo 1 >$passthru/enable
	in_use "nvme0 is exported by nvmet (nvmet/subsystems/a/passthru)" 0000:00:10.0
	# A disk of that number is another one.
	none "$NVME/nvme/nvme0/dev"
	echo 1:7 >"$NVME/nvme/nvme0/nvme0n1/dev"
	free 0000:00:10.0

	promise "what is exported, where nobody has mounted what tells it"
	folder /sys/module/target_core_mod
	expect 3 "vfio-bind: 0000:00:1f.2: cannot tell what is exported by LIO: configfs is not mounted on /sys/kernel/config/
vfio-bind: hint: --force takes it all the same" handoff -n 0000:00:1f.2 none

	promise "a multipath disk, by each controller"
	changing
	mkdir -p /run/mounted
	mount -t tmpfs vb /run/mounted
	mountpoint -d /run/mounted >/sys/devices/virtual/nvme-subsystem/nvme-subsys1/nvme1n1/dev
	in_use "nvme1n1 is mounted on /run/mounted" 0000:00:11.1
	in_use "nvme1n1 is mounted on /run/mounted" 0000:00:11.2
	umount /run/mounted

	promise "consumers that would be unbound too"
	local link="$PCI/0000:00:10.0/consumer:platform:half"
	folder "$link" "$PCI/0000:00:10.0/consumer:pci:0000:00:1f.3"
	echo available >"$PCI/0000:00:10.0/consumer:pci:0000:00:1f.3/status"
	echo active >"$link/status"
	in_use "its consumer platform:half would be unbound too" 0000:00:10.0
	echo 1 >"$link/sync_state_only"
	free 0000:00:10.0
	echo active >"$PCI/0000:00:10.0/consumer:pci:0000:00:1f.3/status"
	in_use "its consumer pci:0000:00:1f.3 would be unbound too" 0000:00:10.0
	# Those of what is below it, but not what is there itself, nor the device.
	local consumer="$NVME/nvme/nvme0/consumer"
	folder "$consumer:"{platform:half,nvme:below,pci:0000:00:10.0}
	for link in "$consumer:"{platform:half,nvme:below,pci:0000:00:10.0}; do echo active >"$link/status"; done
	link "$consumer:nvme:below/consumer" "$NVME/nvme"
	link "$consumer:pci:0000:00:10.0/consumer" "$NVME"
	none "$NVME/consumer:pci:0000:00:1f.3"
	in_use "platform:half, a consumer of its nvme0, would be unbound too" 0000:00:10.0

	promise "what VFIO has below it, as a mediated device: who has its group open"
	local mdev=$NVME/0a1b group
	none "$NVME/nvme"
	link "$mdev/driver" /sys/bus/mdev/drivers/vfio_mdev
	link "$mdev/iommu_group" /sys/kernel/iommu_groups/30
	for group in 30 noiommu-30; do
		folder "/sys/class/vfio/$group"
		attribute "/sys/class/vfio/$group/dev" 1:7
		free 0000:00:10.0
		hold /dev/full
		in_use "/dev/$group is open in sleep (pid $holder)" 0000:00:10.0
		let_go
		none "/sys/class/vfio/$group"
	done

	promise "the only console"
	folder /sys/class/graphics/fbcon /sys/class/vtconsole/vtcon{0,1}
	echo "(S) dummy device" >/sys/class/vtconsole/vtcon0/name
	echo 0 >/sys/class/vtconsole/vtcon0/bind
	echo "(M) frame buffer device" >/sys/class/vtconsole/vtcon1/name
	echo 1 >/sys/class/vtconsole/vtcon1/bind
	free 0000:00:02.0 # no framebuffer
	folder "$PCI/0000:00:02.0/graphics/fb0"
	link /sys/class/graphics/fb0 "$PCI/0000:00:02.0/graphics/fb0"
	link "$PCI/0000:00:02.0/graphics/fb0/device" "$PCI/0000:00:02.0"
	in_use "fb0 has the only console of this host" 0000:00:02.0
	echo 0 >/sys/class/vtconsole/vtcon1/bind
	free 0000:00:02.0 # no console on it
	echo 1 >/sys/class/vtconsole/vtcon1/bind
	# That of the firmware is on the display that was booted with.
	none /sys/class/graphics/fb0
	folder /sys/devices/platform/half/graphics/fb0
	link /sys/class/graphics/fb0 /sys/devices/platform/half/graphics/fb0
	link /sys/devices/platform/half/graphics/fb0/device /sys/devices/platform/half
	in_use "fb0 has the only console of this host" 0000:00:02.0
	echo 0 >"$PCI/0000:00:02.0/boot_vga"
	free 0000:00:02.0

	promise "a serial line with the kernel's console"
	folder "$NVME/tty/ttyS4" /sys/class/tty/console
	link "$NVME/tty/ttyS4/subsystem" /sys/class/tty
	attribute "$NVME/tty/ttyS4/dev" 1023:4
	echo "tty0 ttyS40" >/sys/class/tty/console/active
	free 0000:00:10.0
	echo "tty0 ttyS4" >/sys/class/tty/console/active
	in_use "ttyS4 is a console of the kernel" 0000:00:10.0

	promise "a line of a hypervisor's console, which is not below it"
	folder "$NVME/ports/vport0p1" /sys/class/tty/{hvc0,console}
	link "$NVME/ports/vport0p1/subsystem" /sys/class/virtio-ports
	attribute "$NVME/ports/vport0p1/dev" 1023:6
	attribute /sys/class/tty/hvc0/dev 1:7
	link /sys/class/tty/hvc0/subsystem /sys/class/tty
	free 0000:00:10.0
	echo "tty0 hvc0" >/sys/class/tty/console/active
	in_use "hvc0 is a console of the kernel" 0000:00:10.0
	: >/sys/class/tty/console/active
	hold /dev/full
	in_use "/dev/hvc0 is open in sleep (pid $holder)" 0000:00:10.0
	vfio_bind list -nro USE 00:10.0
	[[ $output == *vport0p1* && $output != *hvc0* ]]
	let_go

	promise "what cannot be seen, but keeps its driver's module"
	local module=/sys/module/nvme
	none "$NVME/nvme"
	folder "$module/holders/other" "$module/drivers"
	link "$module/drivers/pci:nvme" /sys/bus/pci/drivers/nvme
	link /sys/bus/pci/drivers/nvme/module "$module"
	link /sys/bus/pci/drivers/nvme/0000:00:10.0 "$NVME"
	attribute "$module/refcnt" 1
	free 0000:00:10.0
	echo 2 >"$module/refcnt"
	in_use "the kernel counts users of its module nvme" 0000:00:10.0
	# It could be another device of that module.
	link /sys/bus/pci/drivers/nvme/0000:00:05.0 "$PCI/0000:00:05.0"
	free 0000:00:10.0

	promise "a /proc that does not show all processes"
	folder "$NVME/tty/ttyX"
	attribute "$NVME/tty/ttyX/dev" 1:7
	none "$NVME/nvme"
	free 0000:00:10.0
	local unseen="vfio-bind: 0000:00:10.0: cannot tell who has it open: /proc does not show all processes
vfio-bind: hint: --force takes it all the same"
	# A sanitizer cannot do without it either.
	if [[ $(ldd "$REAL") != *libasan* ]]; then
		run -3 unshare -m bash -c "mount -t tmpfs vb /proc; vfio-bind handoff -n 0000:00:10.0 none"
		[[ $output == "$unseen" ]]
	fi
	run -3 unshare -m bash -c "mount -t proc -o hidepid=ptraceable vb /proc
		setpriv --bounding-set=-sys_ptrace vfio-bind handoff -n 0000:00:10.0 none"
	[[ $output == "$unseen" ]]
	# Process 1, which can be seen, has no more rights either.
	local poor=(setpriv --bounding-set=-sys_ptrace unshare -mpf --kill-child bash -c)
	local handoff="vfio-bind handoff -n 0000:00:10.0 none; exit"
	run -3 "${poor[@]}" "mount -t proc -o hidepid=ptraceable vb /proc; $handoff"
	[[ $output == "$unseen" ]]
	run -0 "${poor[@]}" "mount -t proc vb /proc; $handoff"
}

@test "a mount that names a disk as its source, but is not of it; and btrfs, whose number tells nothing" {
	promise "the source is any text"
	if ! mknod /dev/vb-dm b 1023 9; then skip "no node can be made here"; fi
	changing
	folder /sys/devices/virtual/block/dm-0/holders "$SDA/sda1/holders"
	link /sys/class/block/dm-0 /sys/devices/virtual/block/dm-0
	: >"$SDA/sda1/holders/dm-0"
	echo 1023:9 >/sys/devices/virtual/block/dm-0/dev
	mkdir -p "/run/a mount"
	mount -t tmpfs /dev/vb-dm "/run/a mount"
	in_use "sda1 is held by dm-0" 0000:00:1f.2
	rm /dev/vb-dm

	promise "a mount point with a blank"
	attribute "$SDA/sda1/dev" "$(mountpoint -d "/run/a mount")"
	in_use "sda1 is mounted on '/run/a mount'" 0000:00:1f.2
	umount "/run/a mount"

	promise "btrfs"
	folder /sys/fs/btrfs/features
	free 0000:00:1f.2
	link /sys/fs/btrfs/0a1b/devices/sda1 "$SDA/sda1"
	in_use "sda1 is in btrfs 0a1b, which is mounted" 0000:00:1f.2
}

# bats test_tags=slow
@test "what udev has open for a moment is no use, however long it is at work" {
	folder "$NVME/tty/ttyX"
	attribute "$NVME/tty/ttyX/dev" 1:7
	none "$NVME/nvme"
	mkdir -p /run/udev
	: >/run/udev/queue
	# shellcheck disable=SC2217 # it only has it open
	sleep 5.5 </dev/full 3>&- &
	is_asleep $!
	free 0000:00:10.0
	# Up to the deadline.
	hold /dev/full
	expect 3 "vfio-bind: 0000:00:10.0: in use: /dev/ttyX is open in sleep (pid $holder)
vfio-bind: hint: end that use first; --force takes it all the same" handoff -n -t 0.5 00:10.0 none
	rm /run/udev/queue
}

@test "a share is mounted by its tag: not by TCP, from a source of that name" {
	local line="1 0 0:1 / /mnt rw - 9p vb rw,access=client" trans
	local in_use="vfio-bind: 0000:00:03.0: in use: its share vb is mounted on /mnt
vfio-bind: hint: end that use first; --force takes it all the same"
	# A sanitizer cannot do without /proc.
	[[ $(ldd "$REAL") != *libasan* ]] || skip "a sanitizer"
	none "$PCI/0000:00:03.0/virtio0/net"
	attribute "$PCI/0000:00:03.0/virtio0/mount_tag" vb
	for trans in tcp virtio; do
		run unshare -m bash -c "mount -t tmpfs vb /proc && mkdir /proc/thread-self &&
			echo '$line,trans=$trans' >/proc/thread-self/mountinfo; vfio-bind handoff -n 00:03.0 none"
		echo "$trans: $status: $output"
		case $trans in
		tcp) [[ $status == 0 && $output == "echo none > "* ]] ;;
		virtio) [[ $status == 3 && $output == "$in_use" ]] ;;
		esac
	done
}

@test "a disk whose node is not there, or another one's: who has it is not known" {
	local why unknown="vfio-bind: 0000:00:10.0: cannot tell whether it is in use: nvme0n1"
	attribute "$NVME/nvme/nvme0/nvme0n1/size" 8
	for why in "No such file or directory" "Block device required"; do
		expect 3 "$unknown: $why
vfio-bind: hint: --force takes it all the same" handoff -n 00:10.0 none
		: >/dev/nvme0n1
		mount --bind /dev/full /dev/nvme0n1
	done
	umount -l /dev/nvme0n1 /dev/nvme0n1
	rm /dev/nvme0n1
}

@test "a disk that is swapped on" {
	if ! mknod /dev/vb-swap b 1023 1; then skip "no node can be made here"; fi
	changing
	echo "Filename Type Size Used Priority
/dev/vb-swap partition 1 0 -2" >"$MADE_UP/swaps"
	in_use "sda1 is swapped on" 0000:00:1f.2
	rm /dev/vb-swap
}

@test "an interface that two listen to: each process is looked into once for both" {
	local ready=$BATS_TEST_TMPDIR/ready one two
	ip link set eth0 up
	ip address flush dev eth0
	"${REAL%/*}/tools/link-use" eth0 packet "$ready.1" 3>&- &
	one=$!
	"${REAL%/*}/tools/link-use" eth0 packet "$ready.2" 3>&- &
	two=$!
	until [[ -e $ready.1 && -e $ready.2 ]]; do kill -0 $one $two; done
	run traced -f -qqo "$ready" -e trace=fork,clone,clone3 "$REAL" handoff -n 0000:00:12.0 none
	kill $one $two
	wait
	ip link set eth0 down
	printf '%s\n' "$output" && cat "$ready"
	[[ $status == 3 && $output == *"in use: interface eth0 is listened to by link-use (pid $one), link-use (pid $two)"$'\n'* ]]
	# The worker, and one child of it that looks.
	[[ $(grep -c '= [1-9]' "$ready") == 2 ]]
}
