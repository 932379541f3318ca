#!/usr/bin/env bats
# Killed at every call that changes something: whatever is left then, `release` ends well.
# As on the board, with PCI devices; and with a whole IOMMU group.

# sweep.bash uses and sets them.
# shellcheck disable=SC2034,SC2154

load ../helpers
load ../sweep

SWEPT=("$PCI_NIC" "$NIC_BELOW")
TARGET=vfio-pci
VF=pci/0000:00:05.1
HOST_DRIVER["$VF"]=nvme

setup_file() {
	modprobe vfio-pci
	hurry 1
}

setup() {
	sweep_defaults
}

teardown() {
	go_on || :
	end_background
	vfio-bind release --all
	[[ ! -e $(syspath "$VF") ]] || no_vfs
	put_home "${SWEPT[@]}" "${TRIO[@]}"
}

@test "what changes something is known to the one who kills" {
	local members=("$PCI_NIC") device=$PCI_NIC
	changes_are_known handoff --force "$device"
}

# Not asked what the device is used by: see below.
@test "killed at every call of a handoff that changes something, it is released" {
	options=(--force)
	sweep_both 1 handoff
}

@test "killed at every call of a release that changes something, it is released" {
	before=handed_off
	sweep_both 1 release
}

# The library that tells that makes hundreds of calls on a PC, and nothing is touched yet.
@test "killed in a handoff that asks what the device is used by, it is released" {
	sweep_both 6 handoff
}

@test "killed in a handoff of a pinned device, a second handoff and release end well" {
	pin_both
	after=handoff_and_release_work
	sweep_both 6 handoff
}

@test "killed in a release of a pinned device, a handoff and release end well" {
	pin_both
	before=handed_off
	after=handoff_and_release_work
	sweep_both 6 release
}

vfio_is_absent() {
	[[ ! -d /sys/module/vfio_pci ]] || rmmod vfio_pci
}

# host_is_absent: its driver's module, which is the other one's too.
host_is_absent() {
	handed_off && rmmod e1000e
}

@test "killed in a handoff that loads the driver's module, it is released" {
	before=vfio_is_absent
	sweep_one 8 handoff "$PCI_NIC" "such a handoff"
}

@test "killed in a release that loads the driver's module, it is released" {
	before=host_is_absent
	sweep_one 8 release "$PCI_NIC" "such a release"
}

@test "killed in a release of a VF with sriov_drivers_autoprobe 0, it is released" {
	vfs 1
	bind_vf "$VF"
	child=nvme by_flag=1
	before=handed_off
	sweep_one 3 release "$VF" "such a release"
}

# --- a whole IOMMU group -------------------------------------------------------------

# of_group: the three go together. Not asked what the disk is used by: that takes thousands
# of calls, in all of which nothing is touched.
of_group() {
	group=("${TRIO[@]}")
	options=(--force --group)
	child=''
}

@test "killed in a handoff of a group, all of it is released" {
	of_group
	sweep_one 12 handoff "$AHCI" "such a handoff"
}

@test "killed in a handoff of a group, release --all ends well" {
	of_group
	after=release_all_works
	sweep_one 24 handoff "$SMBUS" "such a handoff"
}

@test "killed in a release of a group, all of it is released" {
	of_group
	before=handed_off
	sweep_one 12 release "$AHCI" "such a release"
}

# --- killed in part ----------------------------------------------------------------

is_locked() {
	! flock -n "$1" true
}

# worker_of DEVICE: prints the pid of the process that has its lock.
worker_of() {
	local inode
	inode=$(stat -c %i "/run/vfio-bind/lock/${1/\//:}")
	awk -v "inode=$inode" '$2 == "FLOCK" && $6 ~ ":" inode "$" { print $5 }' /proc/locks
}

# worker_killed DEVICE: its worker is, and the command in the background says so.
worker_killed() {
	local worker
	worker=$(worker_of "$1")
	kill -KILL "$worker"
	go_on
	ended "$pid" 4
	says "vfio-bind: ${1#*/}: its worker (pid $worker) was killed by SIGKILL"
	says "hint: to put it back: vfio-bind release $1"
}

@test "one worker of a group is killed: the others go back, and a release ends well" {
	local member
	for member in "${TRIO[@]}"; do
		held_up "/sys/bus/pci/drivers/${HOST_DRIVER[$member]}/unbind" handoff --force --group "$AHCI"
		until_true 30 group_is taken "$member"
		worker_killed "$member"
		(($(grep -c "another device of its IOMMU group cannot be taken; it is " <<<"$output") == 2))
		group_is home "$member"
		device_is "$member" "${HOST_DRIVER[$member]}" vfio-pci
		vfio_bind 0 release --group "$AHCI"
		group_is home
	done
}

@test "one worker of a group is killed between unbind and bind: the others go back" {
	local member=$AHCI
	held_up /sys/bus/pci/drivers/vfio-pci/bind handoff --force --group "$AHCI"
	until_true 20 driver_is "$member" none
	# Whichever is being bound has the lock of the group.
	until_true 30 is_locked "/run/vfio-bind/lock/iommu_group:$(group_of "$member")"
	worker_killed "$member"
	device_is "$member" none vfio-pci
	group_is home "$member"
	vfio_bind 0 release --all
	group_is home
}

@test "one worker of a group's release is killed: the others go home, and it does then" {
	local member=$SMBUS
	vfio_bind 0 handoff --force --group "$AHCI"
	held_up "/sys/bus/pci/drivers/${HOST_DRIVER[$member]}/bind" release --group "$AHCI"
	# They do not wait for it.
	until_true 30 group_is home "$member" >/dev/null
	driver_is "$member" none
	worker_killed "$member"
	group_is home "$member"
	device_is "$member" none "(null)"
	vfio_bind 0 release --group "$AHCI"
	group_is home
}

@test "a release to where it was parked is killed between flag and unbind: the next ends it" {
	local path drivers=/sys/bus/pci/drivers
	path=$(syspath "$PCI_NIC")
	echo none >"$path/driver_override"
	echo "${PCI_NIC#*/}" >"$drivers/e1000e/unbind"
	vfio_bind 0 handoff "$PCI_NIC"
	held_up $drivers/vfio-pci/unbind release "$PCI_NIC"
	until_true 30 device_is "$PCI_NIC" vfio-pci none >/dev/null
	worker_killed "$PCI_NIC"
	device_is "$PCI_NIC" vfio-pci none
	vfio_bind 0 release "$PCI_NIC"
	device_is "$PCI_NIC" none none
	[[ ! -e $(record_of "$PCI_NIC") ]]
}

@test "only the parent of a group's handoff is killed: its workers put all back" {
	held_up /sys/bus/pci/drivers/ahci/unbind handoff --force --group "$AHCI"
	until_true 30 group_is taken "$AHCI"
	killed "$pid"
	# Those that are there already do not wait for the one that is not.
	until_true 30 group_is home "$AHCI" >/dev/null
	go_on
	until_true 40 nobody_works
	group_is home
}
