#!/usr/bin/env bats
# Whatever fails, and wherever: the device is put back, its record too, and the message
# says why. What cannot be put back is said, with the command that mends it.

# Each test is a subshell, and run sets status and output in it.
# undo.bash uses and sets what seems unused or unset.
# shellcheck disable=SC2030,SC2031,SC2034,SC2154

load ../helpers
load ../undo

PARAMETERS=/sys/module/vbtest/parameters
RESET=/sys/module/vbreset/parameters
PLATFORM=/sys/bus/platform
# What fails in turn, fails for this one.
tested=vbtest.0
host=vbtest-host
target=vbtest-target

setup_file() {
	modprobe vbtest
}

teardown_file() {
	modprobe -r vbtest
	modprobe -qr vbreset || :
}

setup() {
	rm -rf /run/vfio-bind
}

# On the board every new process takes its time: here is none, unless a test has left
# something.
teardown() {
	local path parameter required=/sys/module/vfio_platform/parameters/reset_required
	local value=Y
	for parameter in host target nobind; do
		set_parameter ${parameter}_probe_errno 0
		set_parameter ${parameter}_probe_defer 0
	done
	for path in "$PLATFORM"/devices/vb*; do
		[[ ! -e $path ]] || set_parameter remove "${path##*/}"
	done
	set_parameter compatible vfio-bind,vbtest
	home "$RTC" rtc-pl031
	home "$SATA" highbank-ahci
	home "$NIC" "$NIC_DRIVER"
	[[ ! -e $required ]] || read -r value <$required
	[[ $value == Y ]] || modprobe -r vfio_platform
	parameter=/sys/module/vfio/parameters/enable_unsafe_noiommu_mode
	[[ ! -e $parameter ]] || echo N >"$parameter"
}

# set_parameter NAME VALUE: of vbtest's.
set_parameter() {
	printf '%s' "$2" >"$PARAMETERS/$1"
}

make_devices() {
	local name
	for name in "$@"; do set_parameter add "$name"; done
}

# make_resettable NAME...: such that vfio-platform takes; vbreset resets them.
make_resettable() {
	modprobe vbreset
	echo 0 >$RESET/fails
	set_parameter compatible vfio-bind,vbreset
	make_devices "$@"
	noiommu
}

# --- what can go wrong with a driver --------------------------------------------------

@test "no reset handler: undone, with the hint that works" {
	noiommu
	make_devices vbtest.0
	undone vbtest.0 handoff vbtest.0 vfio-platform
	says "cannot bind to vfio-platform: no reset handler"
	says "it is back on vbtest-host, not flagged"
	says "reset_required=0"

	# That a host without IOMMU is accepted goes with the module, when that is reloaded.
	bash -e <<<"$(hint_of "$output")"
	noiommu
	vfio_bind 0 handoff vbtest.0 vfio-platform
	device_is vbtest.0 vfio-platform vfio-platform
	vfio_bind 0 release vbtest.0
	is_home vbtest.0 vbtest-host
}

@test "no reset handler: the message names what the device is compatible with" {
	noiommu
	undone "$SATA" handoff "$SATA"
	says "no reset handler for calxeda,hb-ahci"
	is_home "$SATA" highbank-ahci
}

@test "probe fails: undone, and the message says how" {
	local row
	make_devices vbtest.0
	for row in "EIO 5 Input/output error" "EBUSY 16 busy" "ENODEV 19 does not match" \
		"EINVAL 22 Invalid argument" "ENOENT 2 No such file" "ENOMEM 12 Cannot allocate"; do
		# shellcheck disable=SC2086 # words
		set -- $row
		set_parameter target_probe_errno "$2"
		undone vbtest.0 handoff vbtest.0 vbtest-target
		says "vfio-bind: vbtest.0: cannot bind to vbtest-target: "
		says "${row#"$1 $2 "}"
		says "it is back on vbtest-host, not flagged"
		is_home vbtest.0 vbtest-host
	done
}

@test "a deferred probe is tried again, and succeeds" {
	local probes
	make_devices vbtest.0
	set_parameter target_probe_defer 4
	probes=$(<$PARAMETERS/target_probes)
	vfio_bind 0 handoff vbtest.0 vbtest-target
	[[ $output == "" ]]
	device_is vbtest.0 vbtest-target vbtest-target
	(($(<$PARAMETERS/target_probes) == probes + 5))

	# A release does so as well.
	set_parameter host_probe_defer 4
	vfio_bind 0 release vbtest.0
	is_home vbtest.0 vbtest-host
}

@test "a probe that is deferred for ever ends at the deadline, and is undone" {
	local probes
	make_devices vbtest.0
	set_parameter target_probe_defer 1000000
	probes=$(<$PARAMETERS/target_probes)
	undone vbtest.0 handoff --timeout="$DEADLINE" vbtest.0 vbtest-target
	says "deferred"
	says "it is back on vbtest-host, not flagged"
	(($(<$PARAMETERS/target_probes) > probes + 2))
	is_home vbtest.0 vbtest-host
}

@test "a host driver that cannot be unbound: nothing is touched" {
	make_devices vbnobind.0
	undone vbnobind.0 handoff --verbose vbnobind.0 vbtest-target
	says "vbtest-nobind cannot be unbound"
	[[ $output != *echo* ]]
	undone vbnobind.0 handoff --verbose vbnobind.0 none
	is_home vbnobind.0 vbtest-nobind

	# The board has one of its own, which this comes over.
	undone amba/fff36000.serial handoff amba/fff36000.serial none
	says "uart-pl011 cannot be unbound"
}

@test "a target that cannot be bound to: nothing is touched" {
	make_devices vbtest.0
	undone vbtest.0 handoff --verbose vbtest.0 vbtest-nobind
	says "cannot bind to vbtest-nobind: it has no bind file"
	[[ $output != *echo* ]]
	is_home vbtest.0 vbtest-host
}

@test "a release to a driver that it cannot be bound to says so" {
	# Only by the module it is in could the device come back.
	make_devices vbnobind.0
	[[ $(driver_of vbnobind.0) == vbtest-nobind ]]
	vfio_bind 0 pin vbnobind.0
	device_is vbnobind.0 vbtest-nobind none
	vfio_bind 0 release vbnobind.0
	is_home vbnobind.0 vbtest-nobind
}

# --- what can go wrong with a reset ----------------------------------------------------

@test "the reset fails: undone, with auto as with always" {
	local when
	make_resettable vbtest.0
	for when in auto always; do
		# Opening the device resets it too; that one is to pass.
		echo 1 >$RESET/passes
		echo 1 >$RESET/fails
		undone vbtest.0 handoff --reset=$when vbtest.0
		says "reset failed: Input/output error"
		says "it is back on vbtest-host, not flagged"
		is_home vbtest.0 vbtest-host
		[[ $(<$RESET/fails) == 0 ]]
	done
	vfio_bind 0 handoff --reset=always vbtest.0
	device_is vbtest.0 vfio-platform vfio-platform
}

@test "the device cannot even be opened: undone" {
	make_resettable vbtest.0
	echo 0 >$RESET/passes
	echo 1 >$RESET/fails
	undone vbtest.0 handoff vbtest.0
	says "cannot open it through VFIO: Input/output error"
	is_home vbtest.0 vbtest-host

	# Who wants no reset does not open it, either.
	echo 1 >$RESET/fails
	vfio_bind 0 handoff --reset=never vbtest.0
	device_is vbtest.0 vfio-platform vfio-platform
	[[ $(<$RESET/fails) == 1 ]]
	echo 0 >$RESET/fails
}

@test "--reset=always of a device that has none: undone" {
	noiommu
	undone "$RTC" handoff --reset=always "$RTC"
	says "cannot be reset"
	says "it is back on rtc-pl031, not flagged"
	is_home "$RTC" rtc-pl031

	# Without VFIO, that can be told before.
	make_devices vbtest.0
	undone vbtest.0 handoff --verbose --reset=always vbtest.0 vbtest-target
	says "cannot be reset"
	[[ $output != *echo* ]]
}

@test "--reset=always of a device that is there already and fails: it stays" {
	make_resettable vbtest.0
	vfio_bind 0 handoff vbtest.0
	echo 1 >$RESET/passes
	echo 1 >$RESET/fails
	undone vbtest.0 handoff --reset=always vbtest.0
	says "reset failed"
	device_is vbtest.0 vfio-platform vfio-platform
	vfio_bind 0 release vbtest.0
	is_home vbtest.0 vbtest-host
}

# --- undo to where it was, which is not always home ----------------------------------

@test "from an earlier handoff it goes back to that, and the record is as it was" {
	make_resettable vbtest.0
	vfio_bind 0 handoff vbtest.0
	device_is vbtest.0 vfio-platform vfio-platform
	set_parameter target_probe_errno 5
	undone vbtest.0 handoff vbtest.0 vbtest-target
	says "it is back on vfio-platform, flagged for vfio-platform"
	device_is vbtest.0 vfio-platform vfio-platform
	vfio_bind 0 release vbtest.0
	is_home vbtest.0 vbtest-host
}

@test "from parked it goes back to parked" {
	make_devices vbtest.0
	vfio_bind 0 handoff vbtest.0 none
	set_parameter target_probe_errno 5
	undone vbtest.0 handoff vbtest.0 vbtest-target
	says "it is back without a driver, flagged for none"
	device_is vbtest.0 none none
	vfio_bind 0 release vbtest.0
	is_home vbtest.0 vbtest-host
}

@test "from pinned it goes back to pinned, on a driver that the flag does not fit" {
	local driver
	make_devices vbtest.0
	set_parameter target_probe_errno 5
	for driver in none vbtest-target; do
		vfio_bind 0 pin vbtest.0 "$driver"
		undone vbtest.0 handoff vbtest.0 vbtest-target
		device_is vbtest.0 vbtest-host "$driver"
		vfio_bind 0 release vbtest.0
		is_home vbtest.0 vbtest-host
	done
}

@test "from a flag of somebody else's it goes back to that" {
	make_devices vbtest.0
	set_parameter target_probe_errno 5
	for flag in foo vbtest-host; do
		echo "$flag" >"$(syspath vbtest.0)/driver_override"
		undone vbtest.0 handoff vbtest.0 vbtest-target
		device_is vbtest.0 vbtest-host "$flag"
		[[ ! -e $(record_of vbtest.0) ]]
	done
}

# --- every write in turn ---------------------------------------------------------------

@test "handoff: each write to the kernel fails in turn, and is undone" {
	make_devices vbtest.0
	sys_paths
	fail_in_turn failed_or_done "handoff vbtest.0 vbtest-target" openat,write "${paths[@]}"
	# Flag, unbind and bind are opened and written; the flag is read as well.
	failed_in_turn 7
	is_home vbtest.0 vbtest-host
}

@test "handoff: each call for the record fails in turn, and nothing is touched" {
	make_devices vbtest.0
	vfio_bind 0 handoff vbtest.0 vbtest-target
	vfio_bind 0 release vbtest.0
	record_paths
	fail_in_turn failed_untouched_or_done "handoff --verbose vbtest.0 vbtest-target" \
		mkdir,openat,flock,write,rename "${paths[@]}"
	failed_in_turn 5
	is_home vbtest.0 vbtest-host
}

@test "pin: each write fails in turn, and is undone" {
	make_devices vbtest.0
	sys_paths
	failed_or_pinned() {
		if ((status == 0)); then
			device_is vbtest.0 vbtest-host none && vfio_bind 0 release vbtest.0
		else
			failed_or_done
		fi
	}
	fail_in_turn failed_or_pinned "pin vbtest.0" openat,write "${paths[@]}"
	failed_in_turn 3
	is_home vbtest.0 vbtest-host
}

@test "release: each write fails in turn, it goes on as far as it can, and can be repeated" {
	make_devices vbtest.0
	vfio_bind 0 handoff vbtest.0 vbtest-target
	sys_paths
	fail_in_turn released_in_the_end "release vbtest.0" openat,write "${paths[@]}"
	failed_in_turn 7
	fail_in_turn released_in_the_end "release vbtest.0" unlink \
		"$(record_of vbtest.0)" /run/vfio-bind/platform:vbtest.0
	failed_in_turn 1
}

# --- what cannot be undone -------------------------------------------------------------

@test "the undo fails as well: status 4, the state, and the command that mends it" {
	make_devices vbtest.0
	set_parameter target_probe_errno 16
	set_parameter host_probe_errno 5
	vfio_bind 4 handoff vbtest.0 vbtest-target
	says "cannot bind to vbtest-target: "
	says "putting it back failed: cannot bind to vbtest-host: its probe failed: Input/output error"
	device_is vbtest.0 none "$(flag_of vbtest.0)"
	names_state vbtest.0
	[[ $(hint_of "$output") == "vfio-bind release platform/vbtest.0" ]]

	set_parameter host_probe_errno 0
	bash -e <<<"$(hint_of "$output")"
	is_home vbtest.0 vbtest-host
}

@test "the undo cannot write any more: status 4, the state, and the command that mends it" {
	local point path
	make_devices vbtest.0
	set_parameter target_probe_errno 16
	sys_paths
	# The flag is written at the beginning, and then the undo's.
	for path in "${paths[0]}" "$PLATFORM/drivers/vbtest-host/bind"; do
		point=2+
		[[ $path == */driver_override ]] || point=1+
		injected_run write EIO "$point" "$path" -- handoff vbtest.0 vbtest-target
		((status == 4))
		says "putting it back failed: cannot "
		names_state vbtest.0
		[[ $(hint_of "$output") == "vfio-bind release platform/vbtest.0" ]]
		bash -e <<<"$(hint_of "$output")"
		is_home vbtest.0 vbtest-host
	done
}

@test "a release that the host driver fails: driverless, unflagged, recorded; then mended" {
	make_devices vbtest.0
	vfio_bind 0 handoff vbtest.0 vbtest-target
	set_parameter host_probe_errno 5
	vfio_bind 4 release vbtest.0
	says "cannot bind to vbtest-host: its probe failed: Input/output error"
	device_is vbtest.0 none "(null)"
	names_state vbtest.0
	[[ -e $(record_of vbtest.0) ]]
	[[ $(hint_of "$output") == "vfio-bind release platform/vbtest.0" ]]

	# Again, and it is as it was before that.
	undone vbtest.0 release vbtest.0

	set_parameter host_probe_errno 0
	bash -e <<<"$(hint_of "$output")"
	is_home vbtest.0 vbtest-host
}

@test "a release to the kernel's choice, whose probe fails, says so" {
	make_devices vbtest.0
	echo vbtest.0 >"$(syspath vbtest.0)/driver/unbind"
	echo none >"$(syspath vbtest.0)/driver_override"
	set_parameter host_probe_errno 5
	vfio_bind 4 release vbtest.0
	says "cannot bind to vbtest-host: its probe failed: Input/output error"
	device_is vbtest.0 none "(null)"
	set_parameter host_probe_errno 0
	vfio_bind 0 release vbtest.0
	is_home vbtest.0 vbtest-host
}

@test "a release to the kernel's choice, whose probe is deferred, says so, whatever its module" {
	make_devices vbtest.0
	echo vbtest.0 >"$(syspath vbtest.0)/driver/unbind"
	set_parameter host_probe_defer 1000000
	# Here no module is known to be for it.
	run -1 unshare -m bash -c "mount -t tmpfs none /lib/modules && exec vfio-bind release -t $DEADLINE vbtest.0"
	says "cannot bind to vbtest-host: until the deadline its probe was deferred"
	device_is vbtest.0 none "(null)"
	set_parameter host_probe_defer 4
	vfio_bind 0 release vbtest.0
	is_home vbtest.0 vbtest-host
}

@test "release --all: one that fails does not keep the others, and the worst status counts" {
	make_devices vbtest.0 vbtest.1
	vfio_bind 0 handoff --driver=vbtest-target vbtest.0 vbtest.1
	vfio_bind 0 pin "$NIC"
	set_parameter host_probe_errno 5
	vfio_bind 4 release --all
	is_home "$NIC" "$NIC_DRIVER"
	device_is vbtest.0 none "(null)"
	device_is vbtest.1 none "(null)"
	set_parameter host_probe_errno 0
	vfio_bind 0 release --all
	is_home vbtest.0 vbtest-host
	is_home vbtest.1 vbtest-host
}
