#!/usr/bin/env bats
# What a launcher of virtual machines does, on the board's own devices: it takes one,
# uses it through VFIO, and puts it back; and nothing else is disturbed.

# Each test is a subshell, and run sets status and output in it.
# shellcheck disable=SC2030,SC2031

load ../helpers

PARAMETERS=/sys/module/vbtest/parameters
PLATFORM=/sys/bus/platform

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

teardown() {
	local path parameter=/sys/module/vfio/parameters/enable_unsafe_noiommu_mode
	for path in "$PLATFORM"/devices/vb*; do
		[[ ! -e $path ]] || echo "${path##*/}" >$PARAMETERS/remove
	done
	[[ -e $PLATFORM/drivers/$NIC_DRIVER ]] || modprobe xgmac
	home "$NIC" "$NIC_DRIVER"
	home "$SIBLING" "$NIC_DRIVER"
	home "$RTC" rtc-pl031
	if [[ ${connected-} ]]; then disconnect "$connected"; fi
	[[ ! -e $parameter ]] || echo N >"$parameter"
}

# make_devices NAME...: platform devices of vbtest's.
make_devices() {
	local name
	for name in "$@"; do echo "$name" >$PARAMETERS/add; done
}

# make_resettable NAME...: such that vfio-platform takes.
make_resettable() {
	printf vfio-bind,vbreset >$PARAMETERS/compatible
	make_devices "$@"
	printf vfio-bind,vbtest >$PARAMETERS/compatible
}

# netdev DEVICE: the name of its interface.
netdev() {
	local names=("$(syspath "$1")"/net/*)
	echo "${names[0]##*/}"
}

# connect DEVICE ADDRESS: bring its interface up.
connect() {
	connected=$(netdev "$1")
	ip address add "$2/24" dev "$connected"
	ip link set "$connected" up
}

disconnect() {
	ip address flush dev "$1"
	ip link set "$1" down
	connected=
}

# pings INTERFACE: its other end answers.
pings() {
	ping -q -c 1 -w 20 -I "$1" 10.0.2.2
}

# interface_works DEVICE: it sends and receives.
interface_works() {
	connect "$1" 10.0.2.20
	pings "$connected"
	disconnect "$connected"
}

# node_of DEVICE: its VFIO group's node, where there is no IOMMU.
node_of() {
	local group
	group=$(readlink "$(syspath "$1")/iommu_group")
	echo "/dev/vfio/noiommu-${group##*/}"
}

# refused_by_kernel DRIVER DEVICE: a plain bind says that the two do not match.
refused_by_kernel() {
	local bus=platform
	[[ $2 != */* ]] || bus=${2%%/*}
	run bash -c 'echo "$1" >"$2"' - "${2#*/}" "/sys/bus/$bus/drivers/$1/bind"
	((status != 0))
	says "No such device"
}

unbind_by_hand() {
	echo "${1#*/}" >"$(syspath "$1")/driver/unbind"
}

reload_xgmac() {
	modprobe -r xgmac
	[[ ! -e $PLATFORM/drivers/$NIC_DRIVER ]]
	modprobe xgmac
	# It does take devices: those that are not flagged.
	[[ $(driver_of "$SIBLING") == "$NIC_DRIVER" ]]
}

# writes_nothing ARGUMENT...: vfio-bind succeeds, has no write to tell of, and opens
# neither the kernel's files nor the records for writing.
writes_nothing() {
	local log=$BATS_TEST_TMPDIR/strace before
	before=$(stat -c '%i %z' /run/vfio-bind/record/* 2>&1 || :)
	# Tracing across two emulated CPUs takes ten times as long.
	ASAN_OPTIONS=detect_leaks=0 run taskset 1 strace -f -qq -o "$log" -e trace=%file,%process \
		vfio-bind "$@" --verbose
	if ((status != 0)) || [[ $output != "" ]]; then
		echo "vfio-bind $* --verbose: status $status, it said: $output"
		return 1
	fi
	# Its workers are traced as well.
	grep -q 'driver_override", O_RDONLY' "$log"
	if grep -E '"/(sys|run/vfio-bind/record)[^"]*", O_(WRONLY|RDWR)|rename' "$log"; then
		return 1
	fi
	[[ $(stat -c '%i %z' /run/vfio-bind/record/* 2>&1 || :) == "$before" ]]
}

@test "at boot the interface is on its driver, unflagged, and works" {
	is_home "$NIC" "$NIC_DRIVER"
	is_home "$SIBLING" "$NIC_DRIVER"
	interface_works "$NIC"
}

@test "without the flag vfio-platform cannot be bound; with it, it can, and nothing else" {
	noiommu
	refused_by_kernel vfio-platform "$NIC"
	unbind_by_hand "$NIC"
	refused_by_kernel vfio-platform "$NIC"
	device_is "$NIC" none "(null)"

	vfio_bind 0 pin "$NIC" vfio-platform
	device_is "$NIC" none vfio-platform
	refused_by_kernel "$NIC_DRIVER" "$NIC"
	echo "$NIC" >$PLATFORM/drivers/vfio-platform/bind
	device_is "$NIC" vfio-platform vfio-platform
}

@test "pin keeps the driver; unbound by hand, the device stays driverless through a reload" {
	local index
	index=$(<"/sys/class/net/$(netdev "$NIC")/ifindex")
	vfio_bind 0 pin "$NIC"
	[[ $output == "" ]]
	device_is "$NIC" "$NIC_DRIVER" none
	# It is the same interface still.
	[[ $(<"/sys/class/net/$(netdev "$NIC")/ifindex") == "$index" ]]

	unbind_by_hand "$NIC"
	echo "$NIC" >$PLATFORM/drivers_probe
	reload_xgmac
	device_is "$NIC" none none

	vfio_bind 0 release "$NIC"
	is_home "$NIC" "$NIC_DRIVER"
	interface_works "$NIC"
}

@test "pin to another driver does not take the device from its own" {
	vfio_bind 0 pin "$NIC" vfio-platform
	device_is "$NIC" "$NIC_DRIVER" vfio-platform
	reload_xgmac
	device_is "$NIC" none vfio-platform
	vfio_bind 0 release "$NIC"
	is_home "$NIC" "$NIC_DRIVER"
}

@test "handoff: VFIO's user can open it; release: a working interface is back; and again" {
	noiommu
	for _ in first second; do
		vfio_bind 0 handoff "$NIC" vfio-platform
		# Success has nothing to say, but that nothing confines its DMA.
		[[ ${#lines[@]} == 1 ]]
		says "$NIC: warning: no IOMMU"
		device_is "$NIC" vfio-platform vfio-platform
		run -0 vfio-open "$(node_of "$NIC")" "$NIC"
		[[ $output == $'flags reset platform\nregions 1\nirqs 3' ]]

		vfio_bind 0 release "$NIC"
		[[ $output == "" ]]
		is_home "$NIC" "$NIC_DRIVER"
		interface_works "$NIC"
	done
}

@test "its sibling is never touched" {
	local index step
	noiommu
	connect "$SIBLING" 10.0.2.15
	index=$(<"/sys/class/net/$(netdev "$SIBLING")/ifindex")
	for step in "pin $NIC" "handoff $NIC" "handoff $NIC none" "release $NIC" \
		"handoff $NIC" "release --all"; do
		# shellcheck disable=SC2086 # words
		vfio_bind 0 $step --verbose
		[[ $output == *"$NIC"* && $output != *"$SIBLING"* ]]
		# An interface that was unbound and bound again would be another, and down.
		[[ $(<"/sys/class/net/$(netdev "$SIBLING")/ifindex") == "$index" ]]
		is_home "$SIBLING" "$NIC_DRIVER"
		pings "$connected"
	done
}

@test "while it is handed off, no module that comes takes it" {
	noiommu
	vfio_bind 0 handoff "$NIC"
	device_is "$NIC" vfio-platform vfio-platform
	reload_xgmac
	echo "$NIC" >$PLATFORM/drivers_probe
	echo add >"$(syspath "$NIC")/uevent"
	modprobe "$(<"$(syspath "$NIC")/modalias")"
	device_is "$NIC" vfio-platform vfio-platform
	vfio-open "$(node_of "$NIC")" "$NIC"
	vfio_bind 0 release "$NIC"
	is_home "$NIC" "$NIC_DRIVER"
}

@test "handoff to none keeps every driver away, through reloads of modules" {
	vfio_bind 0 handoff "$NIC" none
	device_is "$NIC" none none
	reload_xgmac
	modprobe vfio-platform
	echo "$NIC" >$PLATFORM/drivers_probe
	refused_by_kernel "$NIC_DRIVER" "$NIC"
	refused_by_kernel vfio-platform "$NIC"
	device_is "$NIC" none none
	vfio_bind 0 release "$NIC"
	is_home "$NIC" "$NIC_DRIVER"
	interface_works "$NIC"
}

@test "devices that are registered later go to their own driver, not to VFIO" {
	noiommu
	make_resettable vbtest.0
	vfio_bind 0 handoff vbtest.0
	device_is vbtest.0 vfio-platform vfio-platform
	make_resettable vbtest.1
	device_is vbtest.1 vbtest-host "(null)"

	# One that is removed has lost its flag.
	echo vbtest.0 >$PARAMETERS/remove
	make_resettable vbtest.0
	device_is vbtest.0 vbtest-host "(null)"
	vfio_bind 0 release vbtest.0
	is_home vbtest.0 vbtest-host

	vfio_bind 0 handoff vbtest.0
	device_is vbtest.0 vfio-platform vfio-platform
	vfio_bind 0 release vbtest.0
	is_home vbtest.0 vbtest-host
}

@test "what is recorded of a device that was removed is not believed of its successor" {
	make_devices vbtest.0
	unbind_by_hand vbtest.0
	vfio_bind 0 handoff vbtest.0 vbtest-target
	device_is vbtest.0 vbtest-target vbtest-target
	grep -q . "$(record_of vbtest.0)"

	# The successor looks as the record would have it: a rule of udev's has flagged
	# it. But it was on its host driver.
	echo vbtest.0 >$PARAMETERS/remove
	make_devices vbtest.0
	echo vbtest-target >"$(syspath vbtest.0)/driver_override"
	device_is vbtest.0 vbtest-host vbtest-target
	vfio_bind 0 handoff vbtest.0 vbtest-target
	device_is vbtest.0 vbtest-target vbtest-target
	vfio_bind 0 release vbtest.0
	is_home_with_flag vbtest.0 vbtest-host vbtest-target
}

# is_home_with_flag DEVICE DRIVER FLAG: released, to a flag it had before.
is_home_with_flag() {
	device_is "$@"
	[[ ! -e $(record_of "$1") ]]
}

# says_nothing ARGUMENT...: the same, as far as it tells.
says_nothing() {
	vfio_bind 0 "$@" --verbose
	[[ $output == "" ]] || { echo "vfio-bind $* --verbose: $output" && return 1; }
}

@test "what is so already is success, and nothing is written" {
	noiommu
	says_nothing release "$NIC"
	says_nothing release --all

	vfio_bind 0 pin "$NIC"
	writes_nothing pin "$NIC"
	says_nothing pin "$NIC" none
	vfio_bind 0 handoff "$NIC" none
	says_nothing handoff "$NIC" none
	says_nothing pin "$NIC"

	vfio_bind 0 handoff "$NIC"
	writes_nothing handoff "$NIC"
	says_nothing handoff "$NIC" vfio-platform
	says_nothing handoff "$NIC" vfio_platform
	says_nothing pin "$NIC" vfio-platform
	device_is "$NIC" vfio-platform vfio-platform

	vfio_bind 0 release "$NIC"
	is_home "$NIC" "$NIC_DRIVER"
	writes_nothing release "$NIC"
	is_home "$NIC" "$NIC_DRIVER"
}

@test "a driver's name may have _ for -, and - for _" {
	make_devices vbtest.0
	vfio_bind 0 handoff vbtest.0 vbtest_target
	device_is vbtest.0 vbtest-target vbtest-target
	# The kernel has drivers with an underscore in their names.
	[[ -e $PLATFORM/drivers/of_fixed_clk ]]
	vfio_bind 0 pin vbtest.0 of-fixed-clk
	device_is vbtest.0 vbtest-target of_fixed_clk
	vfio_bind 0 release vbtest.0
	is_home vbtest.0 vbtest-host
}

@test "the driver's module is loaded when it is not there, under either name" {
	local name
	noiommu
	for name in vfio-platform vfio_platform; do
		rmmod vfio_platform
		[[ ! -e $PLATFORM/drivers/vfio-platform ]]
		vfio_bind 0 handoff "$NIC" "$name"
		device_is "$NIC" vfio-platform vfio-platform
		vfio_bind 0 release "$NIC"
		is_home "$NIC" "$NIC_DRIVER"
	done
}

@test "several devices: each goes to the VFIO driver of its bus" {
	noiommu
	vfio_bind 0 handoff --driver=auto "$NIC" "$RTC"
	device_is "$NIC" vfio-platform vfio-platform
	device_is "$RTC" vfio-amba vfio-amba
	vfio_bind 0 release "$NIC" "$RTC"
	is_home "$NIC" "$NIC_DRIVER"
	is_home "$RTC" rtc-pl031
}

@test "several devices: one that fails does not stop the others, and the worst status counts" {
	make_devices vbtest.0 vbtest.1 vbtest.2
	make_devices vbnobind.0
	vfio_bind 1 handoff --driver=vbtest-target vbtest.0 vbnobind.0 vbtest.1
	says "vfio-bind: vbnobind.0: "
	[[ $output != *vbtest.0* && $output != *vbtest.1* ]]
	device_is vbtest.0 vbtest-target vbtest-target
	device_is vbtest.1 vbtest-target vbtest-target
	is_home vbnobind.0 vbtest-nobind

	vfio_bind 2 handoff --driver=vbtest-target vbnobind.0 nosuch vbtest.2
	[[ $output == "vfio-bind: nosuch: no such device" ]]
	is_home vbtest.2 vbtest-host
	vfio_bind 0 handoff --driver=vbtest-target vbtest.2

	vfio_bind 2 release vbtest.0 nosuch vbtest.1
	is_home vbtest.0 vbtest-host
	is_home vbtest.1 vbtest-host
	device_is vbtest.2 vbtest-target vbtest-target
}

@test "several devices: refused outweighs failed, whichever comes first" {
	make_devices vbtest.0
	make_devices vbnobind.0
	modprobe vfio-platform
	vfio_bind 3 handoff --driver=vfio-platform vbnobind.0 vbtest.0
	says "vbtest.0: no IOMMU group"
	says "vbnobind.0: "
	vfio_bind 3 handoff --driver=vfio-platform vbtest.0 vbnobind.0
	is_home vbtest.0 vbtest-host
}

@test "a device named twice is done once" {
	make_devices vbtest.0
	vfio_bind 0 handoff --verbose --driver=vbtest-target vbtest.0 platform/vbtest.0
	[[ $(grep -c '/bind$' <<<"$output") == 1 ]]
	device_is vbtest.0 vbtest-target vbtest-target
}

@test "release --all releases what vfio-bind has taken, and nothing else" {
	noiommu
	make_devices vbtest.0 vbtest.1 vbtest.2 vbtest.3
	vfio_bind 0 handoff --driver=auto "$NIC" "$RTC"
	vfio_bind 0 pin vbtest.0
	vfio_bind 0 handoff vbtest.1 vbtest-target
	vfio_bind 0 handoff vbtest.2 vbtest-target
	# Somebody else's, and one that is not there any more.
	echo none >"$(syspath vbtest.3)/driver_override"
	echo vbtest.2 >$PARAMETERS/remove

	vfio_bind 0 release --all
	is_home "$NIC" "$NIC_DRIVER"
	is_home "$RTC" rtc-pl031
	is_home vbtest.0 vbtest-host
	is_home vbtest.1 vbtest-host
	device_is vbtest.3 vbtest-host none
}

@test "a flag that was there before comes back with the release" {
	echo "$NIC_DRIVER" >"$(syspath "$NIC")/driver_override"
	vfio_bind 0 handoff "$NIC" none
	device_is "$NIC" none none
	vfio_bind 0 release "$NIC"
	is_home_with_flag "$NIC" "$NIC_DRIVER" "$NIC_DRIVER"

	# Also one that no driver fits: the device was, and will be, without a driver.
	make_devices vbtest.0
	unbind_by_hand vbtest.0
	echo "a flag" >"$(syspath vbtest.0)/driver_override"
	vfio_bind 0 handoff vbtest.0 vbtest-target
	device_is vbtest.0 vbtest-target vbtest-target
	vfio_bind 0 release vbtest.0
	is_home_with_flag vbtest.0 none "a flag"
}

@test "release of a device that vfio-bind has not taken: unflagged, the kernel chooses" {
	unbind_by_hand "$NIC"
	echo none >"$(syspath "$NIC")/driver_override"
	vfio_bind 0 release "$NIC"
	is_home "$NIC" "$NIC_DRIVER"

	# From a driver that only its flag has given it.
	make_devices vbtest.0 vbtest.1
	unbind_by_hand vbtest.0
	echo vbtest-target >"$(syspath vbtest.0)/driver_override"
	echo vbtest.0 >$PLATFORM/drivers_probe
	device_is vbtest.0 vbtest-target vbtest-target
	vfio_bind 0 release vbtest.0
	is_home vbtest.0 vbtest-host

	# From its own driver it is not taken.
	echo foo >"$(syspath vbtest.1)/driver_override"
	vfio_bind 0 release vbtest.1 --verbose
	is_home vbtest.1 vbtest-host
	[[ $output != *bind$ && $output != *drivers_probe* ]]
}

@test "release loads the module of the host driver, flagged by vfio-bind or by hand" {
	local how
	for how in vfio-bind hand; do
		if [[ $how == vfio-bind ]]; then
			vfio_bind 0 handoff "$NIC" none
		else
			unbind_by_hand "$NIC"
			echo none >"$(syspath "$NIC")/driver_override"
		fi
		modprobe -r xgmac
		[[ ! -e $PLATFORM/drivers/$NIC_DRIVER ]]
		vfio_bind 0 release "$NIC"
		is_home "$NIC" "$NIC_DRIVER"
		interface_works "$NIC"
	done
}

@test "the order of the writes leaves no moment without a driver and without a flag" {
	local path
	path=$(realpath "$(syspath "$NIC")")
	vfio_bind 0 pin "$NIC" --verbose
	[[ $output == "echo none > $path/driver_override" ]]
	vfio_bind 0 handoff "$NIC" none --verbose
	[[ $output == "echo $NIC > $PLATFORM/drivers/$NIC_DRIVER/unbind" ]]
	vfio_bind 0 release "$NIC" --verbose
	[[ $output == "echo > $path/driver_override"$'\n'"echo $NIC > $PLATFORM/drivers/$NIC_DRIVER/bind" ]]

	noiommu
	vfio_bind 0 handoff "$NIC" --verbose
	diff <(grep ^echo <<<"$output") - <<-EOF
		echo vfio-platform > $path/driver_override
		echo $NIC > $PLATFORM/drivers/$NIC_DRIVER/unbind
		echo $NIC > $PLATFORM/drivers/vfio-platform/bind
	EOF
	vfio_bind 0 release "$NIC" --verbose
	diff <(echo "$output") - <<-EOF
		echo $NIC > $PLATFORM/drivers/vfio-platform/unbind
		echo > $path/driver_override
		echo $NIC > $PLATFORM/drivers/$NIC_DRIVER/bind
	EOF
}

@test "where to go back to survives a pin and two handoffs" {
	noiommu
	echo "$NIC_DRIVER" >"$(syspath "$NIC")/driver_override"
	vfio_bind 0 pin "$NIC"
	vfio_bind 0 handoff "$NIC"
	device_is "$NIC" vfio-platform vfio-platform
	vfio_bind 0 handoff "$NIC" none
	device_is "$NIC" none none
	vfio_bind 0 release "$NIC"
	is_home_with_flag "$NIC" "$NIC_DRIVER" "$NIC_DRIVER"
}

@test "from one driver to the next and the next, and home" {
	noiommu
	make_resettable vbtest.0
	vfio_bind 0 handoff vbtest.0 vbtest-target
	device_is vbtest.0 vbtest-target vbtest-target
	vfio_bind 0 handoff vbtest.0
	device_is vbtest.0 vfio-platform vfio-platform
	vfio_bind 0 handoff vbtest.0 vbtest-target
	device_is vbtest.0 vbtest-target vbtest-target
	vfio_bind 0 handoff vbtest.0 vbtest-host
	device_is vbtest.0 vbtest-host vbtest-host
	vfio_bind 0 release vbtest.0
	is_home vbtest.0 vbtest-host
}

@test "a device has many names" {
	local path name
	path=$(syspath "$NIC")
	for name in "$NIC" "platform/$NIC" "$path" "$(realpath "$path")" "$(realpath "$path")/" \
		"$(netdev "$NIC")"; do
		vfio_bind 0 handoff "$name" none
		device_is "$NIC" none none
		# The interface is gone, the other names are not.
		[[ $name == *fff51000* ]] || name=$NIC
		vfio_bind 0 release "$name"
		is_home "$NIC" "$NIC_DRIVER"
	done
}

@test "an amba device: pin and park" {
	vfio_bind 0 pin "$RTC"
	device_is "$RTC" rtc-pl031 none
	[[ -e $(syspath "$RTC")/rtc ]]
	unbind_by_hand "$RTC"
	echo "${RTC#*/}" >/sys/bus/amba/drivers_probe
	refused_by_kernel rtc-pl031 "$RTC"
	device_is "$RTC" none none
	vfio_bind 0 handoff "$RTC" none
	vfio_bind 0 release "$RTC"
	is_home "$RTC" rtc-pl031
	[[ -e $(syspath "$RTC")/rtc ]]
}

@test "an amba device: handoff to vfio-amba, by name or by default, and release" {
	local driver
	noiommu
	modprobe vfio-amba
	refused_by_kernel vfio-amba "$RTC"
	unbind_by_hand "$RTC"
	refused_by_kernel vfio-amba "$RTC"
	home "$RTC" rtc-pl031 && echo "${RTC#*/}" >/sys/bus/amba/drivers_probe
	device_is "$RTC" rtc-pl031 "(null)"

	for driver in "" vfio-amba; do
		rmmod vfio_amba
		vfio_bind 0 handoff "$RTC" $driver
		device_is "$RTC" vfio-amba vfio-amba
		[[ ! -e $(syspath "$RTC")/rtc ]]
		run -0 vfio-open "$(node_of "$RTC")" "${RTC#*/}"
		[[ ${lines[0]} == "flags amba" ]]
		echo "${RTC#*/}" >/sys/bus/amba/drivers_probe
		device_is "$RTC" vfio-amba vfio-amba

		vfio_bind 0 release "$RTC"
		is_home "$RTC" rtc-pl031
		# An RTC is registered again.
		[[ -e $(syspath "$RTC")/rtc ]]
	done
}

@test "a dry run changes nothing, and what it prints does the handoff and the release" {
	local modules lines_of_handoff lines_of_release record
	noiommu
	rmmod vfio_platform
	modules=$(lsmod)
	run --separate-stderr -0 vfio-bind handoff --dry-run "$NIC"
	lines_of_handoff=$output
	is_home "$NIC" "$NIC_DRIVER"
	[[ $(lsmod) == "$modules" && ! -e /run/vfio-bind ]]

	bash -e <<<"$lines_of_handoff"
	device_is "$NIC" vfio-platform vfio-platform
	vfio-open "$(node_of "$NIC")" "$NIC"

	run --separate-stderr -0 vfio-bind release --dry-run "$NIC"
	device_is "$NIC" vfio-platform vfio-platform
	[[ ! -e /run/vfio-bind ]]
	bash -e <<<"$output"
	is_home "$NIC" "$NIC_DRIVER"

	# --verbose prints the same, as it does it.
	rmmod vfio_platform
	vfio_bind 0 handoff --verbose "$NIC"
	[[ $(grep -v '^vfio-bind: ' <<<"$output") == "$lines_of_handoff" ]]
	device_is "$NIC" vfio-platform vfio-platform

	# The record is read, and left alone.
	record=$(<"$(record_of "$NIC")")
	lines_of_release=$(vfio-bind release --dry-run "$NIC")
	device_is "$NIC" vfio-platform vfio-platform
	[[ $(<"$(record_of "$NIC")") == "$record" ]]
	vfio_bind 0 release --verbose "$NIC"
	[[ $output == "$lines_of_release" ]]
	is_home "$NIC" "$NIC_DRIVER"
}

@test "a dry run of pin prints the one write; of what is so already, nothing" {
	run --separate-stderr -0 vfio-bind pin --dry-run "$NIC"
	is_home "$NIC" "$NIC_DRIVER"
	[[ ${#lines[@]} == 1 ]]
	bash -e <<<"$output"
	device_is "$NIC" "$NIC_DRIVER" none
	run --separate-stderr -0 vfio-bind pin --dry-run "$NIC"
	[[ $output == "" ]]
}

@test "a dry run needs no root" {
	local as_root
	as_root=$(vfio-bind handoff --dry-run "$NIC" none)
	run --separate-stderr -0 setpriv --reuid=1000 --regid=1000 --clear-groups \
		vfio-bind handoff --dry-run "$NIC" none
	[[ $output == "$as_root" && $output == *unbind* ]]
	is_home "$NIC" "$NIC_DRIVER"
	[[ ! -e /run/vfio-bind ]]
}

@test "release --all leaves alone what somebody else has taken since" {
	echo vbtest.0 >$PARAMETERS/add
	vfio_bind 0 handoff vbtest.0 none
	echo vbtest-target >$PLATFORM/devices/vbtest.0/driver_override
	echo vbtest.0 >$PLATFORM/drivers/vbtest-target/bind
	vfio_bind 0 release --all
	device_is vbtest.0 vbtest-target vbtest-target
	[[ ! -e $(record_of vbtest.0) ]]
}

@test "what VFIO had, unflagged and without a record, goes to the host driver" {
	noiommu
	vfio_bind 0 handoff "$NIC"
	echo >"$(syspath "$NIC")/driver_override"
	rm "$(record_of "$NIC")"
	vfio_bind 0 handoff "$NIC" none
	vfio_bind 0 release "$NIC"
	is_home "$NIC" "$NIC_DRIVER"
}

@test "--reset=always of what cannot be reset is refused, parked already or not" {
	echo vbtest.0 >$PARAMETERS/add
	vfio_bind 1 handoff --reset=always vbtest.0 none
	is_home vbtest.0 vbtest-host
	vfio_bind 0 handoff vbtest.0 none
	vfio_bind 1 handoff --reset=always vbtest.0 none
	says "cannot be reset"
	device_is vbtest.0 none none
}
