#!/usr/bin/env bats
# What udev and the kernel make of a device that is pinned at boot, among its sisters. As at boot
# means: the driver's module is not loaded, no flag is set, udevd has just started and is told of
# all that is there by the triggers of the one initramfs or of the other.
#
# COLDPLUGS=N tries each kind N times.

# helpers.bash and sweep.bash use and set these.
# shellcheck disable=SC2034,SC2030,SC2031,SC2154

load ../helpers
load ../sweep

RULES=/etc/udev/rules.d/10-vfio-bind.rules
PINNED=pci/0000:00:13.3
SISTERS=("$PCI_NIC" "$NIC_BELOW" pci/0000:00:13.{0..2} pci/0000:00:13.{4..7})
for device in "$PINNED" "${SISTERS[@]}"; do HOST_DRIVER["$device"]=e1000e; done

setup_file() {
	mkdir -p "${RULES%/*}"
	hurry 1
}

setup() {
	sweep_defaults
}

teardown() {
	end_background
	[[ ! -e /run/udev/control ]] || stop_udev
	umount "${RULES%/*}" 2>/dev/null || :
	vfio-bind release --all --boot 2>/dev/null || :
	rm -f "${RULES%/*}"/*
	modprobe e1000e
	put_home "$PINNED" "${SISTERS[@]}"
}

# cold: neither driver is loaded, and nothing is flagged.
cold() {
	local device
	rmmod e1000e
	[[ ! -d /sys/module/vfio_pci ]] || rmmod vfio_pci
	for device in "$PINNED" "${SISTERS[@]}"; do echo >"$(syspath "$device")/driver_override"; done
}

# start_udevd [OPTION]...: it, without events.
start_udevd() {
	/usr/lib/systemd/systemd-udevd --daemon "$@"
}

# trigger initramfs-tools|systemd: as that does, until all is done.
trigger() {
	case $1 in
	initramfs-tools)
		udevadm trigger --type=subsystems --action=add
		udevadm trigger --type=devices --action=add
		;;
	systemd)
		udevadm trigger --type=all --action=add \
			--prioritized-subsystem=module,block,tpmrm,net,tty,input
		;;
	esac
	udevadm settle
}

# sisters_at_home: each is on the host's driver, and was never flagged.
sisters_at_home() {
	local device
	for device in "${SISTERS[@]}"; do device_is "$device" e1000e "(null)" || return; done
}

# coldplug TRIGGERS [OPTION]...: as at boot, with these options of udevd.
coldplug() {
	cold
	start_udevd "${@:2}"
	trigger "$1"
	stop_udev
}

@test "as at boot, the pinned one of eight sisters is never the host's, whatever udev is like" {
	local triggers workers i held=0 all=0
	vfio_bind 0 pin --boot "$PINNED" auto
	says "hint: renew the initramfs"
	for triggers in initramfs-tools systemd; do
		for workers in --children-max=1 --children-max=2 ''; do
			for ((i = 0; i < ${COLDPLUGS:-1}; i++)); do
				all=$((all + 1))
				coldplug $triggers $workers
				echo "$triggers $workers:"
				sisters_at_home
				# By its driver's module it came up bound.
				if device_is "$PINNED" vfio-pci vfio-pci; then held=$((held + 1)); fi
			done
			echo "# pinned $held of $all times, and no sister: $triggers $workers" >&3
		done
	done
	((held == all))
}

@test "pinned for no driver it has none; another card is not pinned, and list tells" {
	vfio_bind 0 pin --boot "$PINNED"
	coldplug systemd
	device_is "$PINNED" none none
	sisters_at_home
	vfio_bind 0 list --boot -nro DEVICE,DRIVER,BOOT
	[[ $output == "${PINNED#*/}  none" ]]
	# The file of a host whose card was another one.
	vfio_bind 0 release --boot "$PINNED"
	vfio_bind 0 pin --boot "$PINNED"
	sed -i 's/d000010D3/d000010D4/g' $RULES
	coldplug systemd
	device_is "$PINNED" e1000e "(null)"
	vfio_bind 0 list --boot -nro DEVICE,DRIVER,BOOT
	[[ $output == "${PINNED#*/} e1000e none?" ]]
}

# The kernel probes as it adds a device, or with this driver a moment later: no rule can be sure to
# be first.
@test "removed and found again, with the host's module loaded: flagged, and list tells who has it" {
	local path driver
	path=$(syspath "$PINNED")
	vfio_bind 0 pin --boot "$PINNED"
	coldplug systemd
	start_udevd
	echo 1 >"$path/remove"
	echo 1 >/sys/bus/pci/rescan
	udevadm settle
	driver=$(driver_of "$PINNED")
	device_is "$PINNED" "$driver" none
	[[ $driver == e1000e || $driver == none ]]
	vfio_bind 0 list -nro DRIVER,OVERRIDE,BOOT "$PINNED"
	[[ $output == "${driver/none/} none none" ]]
	echo "# it is on $driver" >&3
	# Without it, it is nobody's.
	echo 1 >"$path/remove"
	rmmod e1000e
	echo 1 >/sys/bus/pci/rescan
	udevadm settle
	device_is "$PINNED" none none
}

@test "a trigger on a running system leaves the flag of a handoff, before the unbind and after" {
	vfio_bind 0 pin --boot "$PINNED"
	start_udevd
	held_up /sys/bus/pci/drivers/e1000e/unbind handoff "$PINNED" vfio-pci
	trigger systemd
	device_is "$PINNED" e1000e vfio-pci
	go_on
	ended "$pid" 0
	trigger systemd
	trigger initramfs-tools
	device_is "$PINNED" vfio-pci vfio-pci
	vfio_bind 0 release "$PINNED"
	says "warning: pinned again at the next boot; --boot ends that"
	device_is "$PINNED" e1000e "(null)"
	# One without a flag it pins.
	trigger systemd
	device_is "$PINNED" e1000e none
}

@test "udev takes the file as it is" {
	local device
	vfio_bind 0 pin --boot "$PINNED" auto
	vfio_bind 0 pin --boot "$NIC_BELOW"
	echo >"$(syspath "$PINNED")/driver_override"
	for device in /sys/bus/pci "$(syspath "$PINNED")"; do
		run -0 udevadm test --action=add "$device"
		says "Reading rules file: $RULES"
		# A line that it does not take it names, with the file and the number.
		! grep -E "$RULES:[0-9]+ .*(gnor|nvalid|nknown|ailed)" <<<"$output" || false
	done
	says "run: 'kmod load vfio_pci'"
	device_is "$PINNED" e1000e vfio-pci
}

@test "/etc that cannot be written, or is full: status 1, the flag is put back" {
	mount -t tmpfs -o size=4k,mode=755 full "${RULES%/*}"
	head -c 4096 /dev/zero >"${RULES%/*}/x"
	vfio_bind 1 pin --boot "$PINNED"
	says "cannot write $RULES: No space left on device; it is back on e1000e, not flagged"
	is_home "$PINNED" e1000e
	mount -o remount,ro "${RULES%/*}"
	vfio_bind 1 pin --boot "$PINNED"
	says "cannot write $RULES: Read-only file system; it is back on e1000e, not flagged"
	is_home "$PINNED" e1000e
	[[ ! -e $RULES && ! -e $RULES.new ]]
}

# old_or_new: the file is the one or the other, as a whole; and a release mends what else is.
old_or_new() {
	cmp -s $RULES "$BATS_TEST_TMPDIR/old" || cmp -s $RULES "$BATS_TEST_TMPDIR/new" || {
		echo "the file is neither:" && cat $RULES
		return 1
	}
	vfio-bind release --boot "$device" 2>/dev/null && cmp $RULES "$BATS_TEST_TMPDIR/old" && at_home
}

@test "killed at every call of a pin --boot, the file is the old or the new one; a release mends" {
	TARGET=none options=(--boot --force) after=old_or_new
	vfio_bind 0 pin --boot "${SISTERS[2]}"
	cp $RULES "$BATS_TEST_TMPDIR/old"
	vfio_bind 0 pin --boot "$PINNED"
	cp $RULES "$BATS_TEST_TMPDIR/new"
	vfio_bind 0 release --boot "$PINNED"
	sweep_one 3 pin "$PINNED" "a pin --boot"
}

# gone_or_old: after a release, the same; then once more.
gone_or_old() {
	[[ ! -e $RULES ]] || cmp -s $RULES "$BATS_TEST_TMPDIR/old" || {
		echo "the file is neither:" && cat $RULES
		return 1
	}
	vfio-bind release --boot "$device" 2>/dev/null && [[ ! -e $RULES ]] && at_home
}

pinned_for_boot() {
	vfio-bind pin --boot --force "$device" 2>/dev/null
}

@test "killed at every call of a release --boot, a second one ends it" {
	TARGET=none options=(--boot) before=pinned_for_boot after=gone_or_old
	device=$PINNED
	pinned_for_boot
	cp $RULES "$BATS_TEST_TMPDIR/old"
	vfio_bind 0 release --boot "$PINNED"
	sweep_one 4 release "$PINNED" "a release --boot"
}
