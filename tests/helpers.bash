# shellcheck shell=bash
# What the tests share. A device is named as BUS/NAME or, on the platform bus, NAME.

# shellcheck source=tests/trace.bash
. "${BASH_SOURCE%/*}/trace.bash"
bats_require_minimum_version 1.5.0

# The board's devices.
NIC=fff51000.ethernet
SIBLING=fff50000.ethernet
NIC_DRIVER=calxedaxgmac
RTC=amba/fff35000.rtc
SATA=ffe08000.sata
# The PC's; tests/pc/machine.bash says what they are.
NVME=pci/0000:00:10.0
SHARED_NVME=pci/0000:00:11.0
PF=pci/0000:00:05.0
PCI_NIC=pci/0000:00:12.0
NIC_BELOW=pci/0000:01:00.0
BRIDGE=pci/0000:00:14.0
VGA=pci/0000:00:15.0
LPC=pci/0000:00:1f.0
AHCI=pci/0000:00:1f.2
SMBUS=pci/0000:00:1f.3
# Its IOMMU group of three.
TRIO=("$LPC" "$AHCI" "$SMBUS")
# The host driver of each; a file adds those of its own.
declare -gA HOST_DRIVER=(["$LPC"]=lpc_ich ["$AHCI"]=ahci ["$SMBUS"]=i801_smbus
	["$NVME"]=nvme ["$PCI_NIC"]=e1000e ["$NIC_BELOW"]=e1000e)
# shellcheck disable=SC2034
: "$NIC $SIBLING $NIC_DRIVER $RTC $SATA $NVME $SHARED_NVME $PF $PCI_NIC $NIC_BELOW" \
	"$BRIDGE $VGA $LPC $AHCI $SMBUS"

# No command may hang: none here comes near this many seconds.
LIMIT=${LIMIT:-60}

# Seconds in which a command comes to a step that is slow, and not past it.
# shellcheck disable=SC2034
DEADLINE=${DEADLINE:-3}

# Milliseconds that a test driver takes for what the test will end.
# shellcheck disable=SC2034
FOR_EVER=1000000

# run sets these.
# shellcheck disable=SC2154
: "${status=}" "${output=}"
# So do in_background, find_disk and find_pci_interface these.
: "${pid=}" "${disk=}" "${interface=}"

# vfio_bind STATUS ARGUMENT...: run vfio-bind, and demand this exit status.
# Its output, both streams, is in $output.
vfio_bind() {
	local expected=$1
	shift
	run timeout --foreground "$LIMIT" vfio-bind "$@"
	if ((status != expected)); then
		echo "vfio-bind $*: status $status, not $expected; it said:"
		echo "$output"
		return 1
	fi
}

# says TEXT: $output has it.
says() {
	if [[ $output != *"$1"* ]]; then
		printf '%s\n' "'$1' is not in:" "$output"
		return 1
	fi
}

syspath() {
	case $1 in
	*/*) echo "/sys/bus/${1%%/*}/devices/${1#*/}" ;;
	*) echo "/sys/bus/platform/devices/$1" ;;
	esac
}

# driver_of DEVICE: prints its driver, or "none".
driver_of() {
	local link
	link=$(readlink "$(syspath "$1")/driver") || link=none
	echo "${link##*/}"
}

# flag_of DEVICE: prints its driver_override, or "(null)".
flag_of() {
	local flag
	flag=$(<"$(syspath "$1")/driver_override")
	echo "${flag:-(null)}"
}

# record_of DEVICE: the path of its record.
record_of() {
	case $1 in
	*/*) echo "/run/vfio-bind/record/${1/\//:}" ;;
	*) echo "/run/vfio-bind/record/platform:$1" ;;
	esac
}

# device_is DEVICE DRIVER FLAG: demand this binding; "none" and "(null)" for none.
device_is() {
	if [[ $(driver_of "$1") != "$2" || $(flag_of "$1") != "$3" ]]; then
		echo "$1 is on $(driver_of "$1"), flagged $(flag_of "$1"); not on $2, flagged $3"
		return 1
	fi
}

# is_home DEVICE DRIVER: as if vfio-bind had never been: on DRIVER, unflagged, no record.
is_home() {
	device_is "$1" "$2" "(null)" || return
	if [[ -e $(record_of "$1") ]]; then
		echo "$1 has a record still:" && cat "$(record_of "$1")"
		return 1
	fi
}

# home DEVICE DRIVER: put it there by plain writes, whatever a failed test has left.
# Nearly all tests leave nothing, and on the board every new process takes its time.
home() {
	local bus=platform name=${1#*/} path driver flag
	[[ $1 != */* ]] || bus=${1%%/*}
	path=/sys/bus/$bus/devices/$name
	driver=/sys/bus/$bus/drivers/$2
	read -r flag <"$path/driver_override"
	[[ ! $path/driver -ef $driver || $flag != "(null)" ]] || return 0
	[[ ! -e $path/driver ]] || echo "$name" >"$path/driver/unbind"
	echo >"$path/driver_override"
	[[ -e $driver ]] || modprobe "$(<"$path/modalias")"
	[[ -e $path/driver ]] || echo "$name" >"$driver/bind"
}

# nobody_works: no vfio-bind is left, neither a command nor a worker.
nobody_works() {
	! pgrep -x vfio-bind >/dev/null
}

# kernel_is_content: it has not complained, of a task that hangs or of worse.
kernel_is_content() {
	! dmesg | grep -E -A 20 'BUG:|WARNING:|Oops|Out of memory|blocked for more than'
}

# driver_is DEVICE DRIVER: true or false, in silence.
driver_is() {
	[[ $(driver_of "$1") == "$2" ]]
}

# is_gone PID: the process is.
is_gone() {
	[[ ! -d /proc/$1 ]]
}

# in_background COMMAND...: sets pid. A test that uses it calls end_background at its end.
background=()
in_background() {
	{ exec "$@" >"$BATS_TEST_TMPDIR/said.$BASHPID" 2>&1 3>&-; } &
	pid=$!
	background+=("$pid")
}

# ended PID STATUS: wait for it, and demand this status. What it said is in $output.
ended() {
	local status=0
	wait "$1" || status=$?
	output=$(<"$BATS_TEST_TMPDIR/said.$1")
	if ((status != $2)); then
		echo "status $status, not $2; it said: $output"
		return 1
	fi
}

# end_background: kill what runs there, and wait until its workers are done.
end_background() {
	((${#background[@]} == 0)) || kill "${background[@]}" 2>/dev/null || :
	wait
	background=()
	until_true 60 nobody_works
}

# held_up PATH ARGUMENT...: in the background, vfio-bind whose workers' first writes to PATH
# wait for go_on. One has come so far.
held_up() {
	local log=$BATS_TEST_TMPDIR/held
	rm -f "$log"
	in_background taskset 1 strace -D -f -qqq -o "$log" -P "$1" -e trace=write \
		-e inject=write:delay_enter=1000s:when=1 vfio-bind "${@:2}" -t 1000
	until_true 30 grep -qs 'write(' "$log"
}

# go_on: whom a tracer held goes on when the tracer is gone.
go_on() {
	pkill -KILL -x strace
}

# readme_launcher: makes the launcher script of the README, as it stands there, in $launch.
readme_launcher() {
	launch=$BATS_FILE_TMPDIR/launch
	# shellcheck disable=SC2016 # a fence is no command
	sed -n '/^```bash$/,/^```$/{/^```/d;p}' /src/README.md >"$launch"
	chmod +x "$launch"
	export launch
}

# until_true SECONDS COMMAND...: wait for it, and fail if it does not come. On a machine that
# has much else to do it may take some times as long.
until_true() {
	local deadline=$((SECONDS + 4 * $1))
	shift
	until "$@"; do
		((SECONDS < deadline)) || return 1
		sleep 0.05
	done
}

# noiommu: VFIO as on a board without an IOMMU whose admin accepts that.
noiommu() {
	modprobe vfio-platform
	echo Y >/sys/module/vfio/parameters/enable_unsafe_noiommu_mode
}

# group_of DEVICE: prints the number of its IOMMU group.
group_of() {
	local link
	link=$(readlink "$(syspath "$1")/iommu_group")
	echo "${link##*/}"
}

# group_is home|taken [DEVICE]: the PC's group of three is at home, or with VFIO; all of it
# but DEVICE.
group_is() {
	local member
	for member in "${TRIO[@]}"; do
		[[ $member != "${2-}" ]] || continue
		if [[ $1 == home ]]; then
			is_home "$member" "${HOST_DRIVER[$member]}" || return
		else
			device_is "$member" vfio-pci vfio-pci || return
		fi
	done
}

# put_home DEVICE...: each on its HOST_DRIVER, as home does.
put_home() {
	local device
	for device in "$@"; do home "$device" "${HOST_DRIVER[$device]}"; done
}

# has_open FILE: has a vfio-bind?
has_open() {
	local pid
	for pid in $(pgrep -x vfio-bind); do
		[[ ! $(readlink "/proc/$pid"/fd/*) == *"$1"* ]] || return 0
	done
	return 1
}

# hold NODE DEVICE: a process that uses it through VFIO. Its pid is in $holder.
holders=()
hold() {
	rm -f "$BATS_TEST_TMPDIR/open"
	vfio-open "$1" "${2#*/}" hold "$BATS_TEST_TMPDIR/open" 3>&- &
	holder=$!
	holders+=("$holder")
	until_true 10 test -e "$BATS_TEST_TMPDIR/open"
}

# let_go: end all holders.
let_go() {
	((${#holders[@]} == 0)) || kill "${holders[@]}" 2>/dev/null || :
	wait "${holders[@]}" 2>/dev/null || :
	holders=()
}

# used WAY NODE: a process that uses a node (tests/tools/node-user.c), in the background. Its
# pid is in $pid.
used() {
	rm -f "$BATS_TEST_TMPDIR/ready"
	in_background node-user "$1" "$2" "$BATS_TEST_TMPDIR/ready"
	until_true 10 test -e "$BATS_TEST_TMPDIR/ready"
}

# find_disk: sets disk, the one of the PC's NVMe, which comes back under other numbers.
find_disk() {
	local path
	path=$(syspath "$NVME")
	until_true 20 compgen -G "$path/nvme/nvme*/nvme*n1"
	disk=$(basename "$path"/nvme/nvme*/nvme*n1)
	until_true 20 test -b "/dev/$disk"
}

# find_pci_interface: sets interface, the one of the PC's network card.
find_pci_interface() {
	local path
	path=$(syspath "$PCI_NIC")
	until_true 20 compgen -G "$path/net/*"
	interface=$(basename "$path"/net/*)
}

# vfs COUNT: makes the PC's NVMe have so many virtual functions, pci/0000:00:05.1 and on,
# without a driver, and each as good as a controller: with queues, and online.
vfs() {
	local path controller id
	path=$(syspath "$PF")
	until_true 30 grep -qsx live "$path"/nvme/nvme*/state
	controller=$(compgen -G "$path/nvme/nvme*")
	echo 0 >"$path/sriov_drivers_autoprobe"
	echo "$1" >"$path/sriov_numvfs"
	for ((id = 1; id <= $1; id++)); do
		# Two queues, one interrupt, online.
		nvme virt-mgmt "/dev/${controller##*/}" -c "$id" -r 0 -a 8 -n 2 >/dev/null
		nvme virt-mgmt "/dev/${controller##*/}" -c "$id" -r 1 -a 8 -n 1 >/dev/null
		nvme virt-mgmt "/dev/${controller##*/}" -c "$id" -a 9 >/dev/null
	done
}

# no_vfs: none any more, and as at boot.
no_vfs() {
	local path
	path=$(syspath "$PF")
	echo 0 >"$path/sriov_numvfs"
	echo 1 >"$path/sriov_drivers_autoprobe"
}

# bind_vf DEVICE: puts a virtual function that vfs made on its host driver.
bind_vf() {
	local path
	path=$(syspath "$1")
	echo nvme >"$path/driver_override"
	echo "${1#*/}" >/sys/bus/pci/drivers/nvme/bind
	echo >"$path/driver_override"
	until_true 30 grep -qsx live "$path"/nvme/nvme*/state
}

# udev is at work while it runs: udevd, and events for all devices, of which it opens nodes.
start_udev() {
	/usr/lib/systemd/systemd-udevd --daemon
	udevadm trigger --action=add
}

# udev_opens: once more for those that it opens, or whose users do.
udev_opens() {
	udevadm trigger --action=add --subsystem-match={block,drm,input,net,nvme,sound,tty,usb}
}

# stop_udev: now and then it is told, and goes on: it is killed then. One that hangs in the kernel
# would not go even so.
stop_udev() {
	udevadm control --exit || :
	until_true 5 udev_is_gone || {
		pgrep -a udev
		pkill -KILL udev
		until_true 20 udev_is_gone
	}
	# It leaves its socket, for which dmsetup would take it to be at work, and wait for it.
	rm -rf /run/udev
}

udev_is_gone() {
	! pgrep -x systemd-udevd >/dev/null
}
