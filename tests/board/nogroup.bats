#!/usr/bin/env bats
# A kernel whose VFIO has no groups (VFIO_GROUP is off): devices are opened by their own
# nodes and through iommufd. Run by itself, with `tests/guest/run -M board-nogroup`.

load ../helpers

PARAMETERS=/sys/module/vbtest/parameters

setup_file() {
	modprobe vfio
	if [[ -e /dev/vfio/vfio ]]; then
		export SKIP="this kernel's VFIO has groups"
		return
	fi
	modprobe iommufd
	modprobe vbiommu
	modprobe vbtest devices=2 compatible=vfio-bind,vbreset
	# The handler comes with the first device; it is wanted before.
	modprobe vbreset
}

teardown_file() {
	[[ ${SKIP-} ]] || modprobe -r vbtest vbiommu vbreset
}

setup() {
	holder=
	[[ ! ${SKIP-} ]] || skip "$SKIP"
}

teardown() {
	[[ ! ${SKIP-} ]] || return 0
	[[ ! $holder ]] || kill "$holder" 2>/dev/null || :
	wait
	echo 0 >/sys/module/vbreset/parameters/passes
	echo 0 >/sys/module/vbreset/parameters/fails
	vfio-bind release --all
}

resets() {
	cat /sys/module/vbreset/parameters/resets
}

cdev_of() {
	echo "/dev/vfio/devices/$(ls "$(syspath "$1")/vfio-dev")"
}

@test "no groups: handoff, reset, use and release by the device's own node" {
	local before
	before=$(resets)
	vfio_bind 0 handoff vbtest.0
	[[ -z $output ]]
	device_is vbtest.0 vfio-platform vfio-platform
	# By its opening, when asked for, and by its closing.
	(($(resets) == before + 3))
	[[ $(ls /dev/vfio) == devices ]]
	vfio_bind 0 list --raw --noheadings --output DEVICE,DRIVER,HOST,NODE vbtest.0
	[[ $output == "vbtest.0 vfio-platform vbtest-host $(cdev_of vbtest.0)" ]]
	run vfio-open "$(cdev_of vbtest.0)" vbtest.0
	echo "$output"
	[[ $status == 0 ]]
	says "flags reset platform"

	vfio_bind 0 handoff vbtest.0 # again
	vfio_bind 0 release vbtest.0
	is_home vbtest.0 vbtest-host
}

@test "no groups: --owner is of the device's own node" {
	local cdev
	vfio_bind 0 handoff --reset=never --owner=4711 vbtest.0
	cdev=$(cdev_of vbtest.0)
	[[ $output == "vfio-bind: vbtest.0: warning: /dev/iommu is root:root 0660: 4711 cannot use $cdev" ]]
	run -0 vfio-bind list -rno OWNER vbtest.0
	[[ $output == '4711:root\x200600' ]]
	chmod 666 /dev/iommu
	vfio_bind 0 handoff --owner=4711:4711 vbtest.0
	[[ ! $output ]]
	setpriv --reuid=4711 --clear-groups vfio-open "$cdev" vbtest.0
	run setpriv --reuid=4712 --clear-groups vfio-open "$cdev" vbtest.0
	says "Permission denied"
	chmod 660 /dev/iommu
	vfio_bind 0 release vbtest.0
	is_home vbtest.0 vbtest-host
}

@test "no groups: --reset" {
	local before
	before=$(resets)
	vfio_bind 0 handoff --reset=never vbtest.0
	(($(resets) == before))
	vfio_bind 0 handoff --reset=always vbtest.0
	(($(resets) == before + 3))
	vfio_bind 0 release vbtest.0
	vfio_bind 0 handoff --reset=always vbtest.0
	(($(resets) == before + 6))
}

@test "no groups: a reset that fails is undone" {
	# The opening's passes, the one asked for does not.
	echo 1 >/sys/module/vbreset/parameters/passes
	echo 1 >/sys/module/vbreset/parameters/fails
	vfio_bind 1 handoff vbtest.0
	says "vfio-bind: vbtest.0: reset failed: Input/output error; it is back on vbtest-host"
	is_home vbtest.0 vbtest-host
	echo 0 >/sys/module/vbreset/parameters/passes
	echo 1 >/sys/module/vbreset/parameters/fails
	vfio_bind 1 handoff vbtest.0
	says "vfio-bind: vbtest.0: cannot open it through iommufd: Input/output error; it is back"
	is_home vbtest.0 vbtest-host
}

@test "no groups: without a reset handler" {
	echo vfio-bind,vbtest >$PARAMETERS/compatible
	echo vbtest.plain >$PARAMETERS/add
	vfio_bind 1 handoff vbtest.plain
	says "cannot bind to vfio-platform: no reset handler"
	is_home vbtest.plain vbtest-host
	modprobe -r vfio-platform vbreset
	modprobe vfio-platform reset_required=0
	vfio_bind 0 handoff vbtest.plain
	device_is vbtest.plain vfio-platform vfio-platform
	vfio_bind 1 handoff --reset=always vbtest.plain
	says "cannot be reset: VFIO has no reset for it"
	device_is vbtest.plain vfio-platform vfio-platform
	vfio_bind 0 release vbtest.plain
	vfio_bind 1 handoff --reset=always vbtest.plain
	says "cannot be reset: VFIO has no reset for it"
	is_home vbtest.plain vbtest-host
	modprobe -r vfio-platform
	modprobe vbreset
	echo vbtest.plain >$PARAMETERS/remove
	echo vfio-bind,vbreset >$PARAMETERS/compatible
}

# refused NAME ARGUMENT...: held by the process $holder of that name; nothing is touched.
refused() {
	local name=$1 record before
	shift
	record=$(<"$(record_of vbtest.0)")
	before=$(resets)
	vfio_bind 3 "$@" -t 1
	says "vfio-bind: vbtest.0: timed out: held by $name (pid $holder)"
	device_is vbtest.0 vfio-platform vfio-platform
	[[ $(<"$(record_of vbtest.0)") == "$record" && $(resets) == "$before" ]]
}

refused_all() {
	refused "$1" handoff vbtest.0
	refused "$1" handoff vbtest.0 none
	refused "$1" handoff vbtest.0 vbtest-target
	refused "$1" release vbtest.0
	kill "$holder"
	vfio_bind 0 release vbtest.0 # waits
	is_home vbtest.0 vbtest-host
}

@test "no groups: a device that is in use is refused, naming its user" {
	vfio_bind 0 handoff vbtest.0
	vfio-open "$(cdev_of vbtest.0)" vbtest.0 hold "$BATS_TEST_TMPDIR/open" 3>&- &
	holder=$!
	until_true 20 test -e "$BATS_TEST_TMPDIR/open"
	refused_all vfio-open
}

@test "no groups: a device whose node is merely open is refused" {
	vfio_bind 0 handoff vbtest.0
	sleep infinity 9<>"$(cdev_of vbtest.0)" 3>&- &
	holder=$!
	until_true 10 grep -qx sleep "/proc/$holder/comm"
	refused_all sleep
}

@test "no groups: a node that is not in this /dev is looked for all the same" {
	vfio_bind 0 handoff vbtest.0
	sleep infinity 9<>"$(cdev_of vbtest.0)" 3>&- &
	holder=$!
	until_true 10 grep -qx sleep "/proc/$holder/comm"
	run -3 unshare -m bash -c 'mount -t tmpfs none /dev/vfio && exec vfio-bind release -t 0.2 vbtest.0'
	says "vfio-bind: vbtest.0: timed out: held by sleep (pid $holder)"
	kill "$holder"
	vfio_bind 0 release vbtest.0
	is_home vbtest.0 vbtest-host
}

@test "no groups: without an IOMMU it is refused" {
	vfio_bind 3 handoff "$NIC"
	says "no IOMMU group"
	is_home "$NIC" "$NIC_DRIVER"
}
