#!/usr/bin/env bats
# What is pinned at boot: the file, what is said of it, and what list tells. What udev makes of
# it is for tests/pc/boot.bats and tests/board/coldplug.bats.

# The $ of a rule are udev's.
# shellcheck disable=SC2016,SC2154
load sys

RULES=/etc/udev/rules.d/10-vfio-bind.rules
DRACUT=/etc/dracut.conf.d/10-vfio-bind.conf
NIC=$PCI/0000:00:12.0
HEAD="# Devices that are pinned at boot: change it by 'vfio-bind pin --boot' and
# 'vfio-bind release --boot', and then renew the initramfs, which has a copy.
# To boot without these pins: vfio_bind.pins=off on the kernel's command line."
BEGIN='ACTION!="add", GOTO="vfio_bind_end"
IMPORT{cmdline}="vfio_bind.pins"
ENV{vfio_bind.pins}=="off", GOTO="vfio_bind_end"'
END='LABEL="vfio_bind_end"'
NVME_PIN='# pin pci/0000:00:10.0 vfio-pci pci:v00001B36d00000010sv00000000sd00000000* vfio_pci'
NVME_RULES='SUBSYSTEM=="bus|subsystem", KERNEL=="pci", ENV{.vfio_bind_id}="$attr{[pci/0000:00:10.0]modalias}", ENV{.vfio_bind_flag}="$attr{[pci/0000:00:10.0]driver_override}"
SUBSYSTEM=="bus|subsystem", KERNEL=="pci", ENV{.vfio_bind_id}=="pci:v00001B36d00000010sv00000000sd00000000*", ENV{.vfio_bind_flag}=="?null?|", ATTR{[pci/0000:00:10.0]driver_override}="vfio-pci"
SUBSYSTEM=="pci", KERNEL=="0000:00:10.0", ATTR{modalias}=="pci:v00001B36d00000010sv00000000sd00000000*", ATTR{driver_override}=="(null)|vfio-pci|", ATTR{driver_override}="vfio-pci", RUN{builtin}+="kmod load vfio_pci"'
MAC_PIN='# pin platform/fff51000.ethernet none of:NethernetT*null*Ccalxeda,hb-xgmac'
MAC_RULES='SUBSYSTEM=="bus|subsystem", KERNEL=="platform", ENV{.vfio_bind_id}="$attr{[platform/fff51000.ethernet]modalias}", ENV{.vfio_bind_flag}="$attr{[platform/fff51000.ethernet]driver_override}"
SUBSYSTEM=="bus|subsystem", KERNEL=="platform", ENV{.vfio_bind_id}=="of:NethernetT*null*Ccalxeda,hb-xgmac", ENV{.vfio_bind_flag}=="?null?|", ATTR{[platform/fff51000.ethernet]driver_override}="none"
SUBSYSTEM=="platform", KERNEL=="fff51000.ethernet", ATTR{modalias}=="of:NethernetT*null*Ccalxeda,hb-xgmac", ATTR{driver_override}=="(null)|none|", ATTR{driver_override}="none"'
ONE="$HEAD
$NVME_PIN
$BEGIN
$NVME_RULES
$END"
BOTH="$HEAD
$NVME_PIN
$MAC_PIN
$BEGIN
$NVME_RULES
$MAC_RULES
$END"
RENEW="vfio-bind: hint: renew the initramfs, if there is one: it has to have $RULES as it is now"
AGAIN="warning: pinned again at the next boot; --boot ends that"

# module BUS DRIVER MODULE: the driver's, which was loaded.
module() {
	link "/sys/bus/$1/drivers/$2/module" "/sys/module/$3"
	attribute "/sys/module/$3/initstate" live 2>/dev/null ||
		{ folder "/sys/module/$3" && echo live >"/sys/module/$3/initstate"; }
}

# modules: what all tests here need: these, and flags that a plain file can hold, shorter than
# what is written over them.
modules() {
	local path
	for path in "$NVME" "$NIC" "$PCI/0000:00:05.1" /sys/devices/platform/fff51000.ethernet; do
		attribute "$path/driver_override" ''
	done
	module pci nvme nvme
	module pci vfio-pci vfio_pci
	module pci e1000e e1000e
	module platform calxedaxgmac xgmac
}

# file_is TEXT: the file of rules is, and nothing else is in its folder.
file_is() {
	local files=(/etc/udev/rules.d/*)
	if [[ $(<"$RULES") != "$1" || ${#files[@]} != 1 ]]; then
		diff - "$RULES" <<<"$1" || :
		echo "${files[@]}"
		return 1
	fi
}

no_file() { ! compgen -G "/etc/udev/rules.d/*"; }

# flagged PATH FLAG: it is; the kernel's file would have nothing behind the first line.
flagged() {
	local flag
	read -r flag <"$1/driver_override"
	[[ $flag == "$2" ]]
}

# with_tools NAME...: these are installed, for the initramfs.
with_tools() {
	local name
	changing
	for name; do install -m 755 /dev/null "$MADE_UP/bin/$name"; done
}

teardown() {
	let_go
	rm -f "$MADE_UP"/bin/*
}

@test "pin --boot and release --boot: the file, and the flag" {
	promise "a pin is made now and in the file; the same again changes nothing"
	modules
	expect 0 "$RENEW" pin --boot 00:10.0 auto
	file_is "$ONE"
	[[ $(stat -c '%a %u' $RULES) == "644 0" ]]
	flagged "$NVME" vfio-pci
	touch -d @1 $RULES
	expect 0 "$RENEW" pin --boot nvme0n1 vfio_pci
	file_is "$ONE"
	[[ $(stat -c %Y $RULES) == 1 ]]

	promise "a second one stands behind it; another driver in its place"
	modules
	expect 0 "$RENEW" pin --boot 00:10.0 vfio-pci
	expect 0 "$RENEW" pin --boot fff51000.ethernet
	file_is "$BOTH"
	flagged /sys/devices/platform/fff51000.ethernet none
	expect 0 "$RENEW" pin --boot 00:10.0 none
	[[ $(grep '^# pin' $RULES) == "# pin pci/0000:00:10.0 none pci:v00001B36d00000010sv00000000sd00000000*
$MAC_PIN" ]]
	expect 0 "$RENEW" pin --boot 00:10.0 vfio-pci
	file_is "$BOTH"

	promise "release --boot ends one, and the last one the file; a second one has nothing to do"
	modules
	vfio_bind pin --boot 00:10.0 vfio-pci
	vfio_bind pin --boot fff51000.ethernet
	expect 0 "$RENEW" release --boot fff51000.ethernet
	file_is "$ONE"
	flagged /sys/devices/platform/fff51000.ethernet ''
	expect 0 "$RENEW" release --boot pci/0000:00:10.0
	no_file
	[[ ! -e /run/vfio-bind/record/pci:0000:00:10.0 ]]
	flagged "$NVME" ''
	expect 0 "" release --boot 00:10.0

	promise "a device that is absent"
	modules
	vfio_bind pin --boot 00:10.0 vfio-pci
	none "$NVME" /sys/bus/pci/devices/0000:00:10.0
	expect 2 "vfio-bind: 00:10.0: the device is gone: it was removed" release 00:10.0
	expect 0 "rm $RULES" release --boot -n 00:10.0
	expect 0 "$RENEW" release --boot 00:10.0
	no_file
	expect 2 "vfio-bind: 00:10.0: the device is gone: it was removed" release --boot 00:10.0
	echo "$ONE" >$RULES
	rm -r /run/vfio-bind # as after a boot
	expect 0 "$RENEW" release --boot 00:10.0
	no_file

	promise "release --all leaves what is pinned at boot in the file; with --boot it does not"
	modules
	vfio_bind pin --boot 00:10.0 vfio-pci
	expect 0 "vfio-bind: 0000:00:10.0: $AGAIN" release --all
	file_is "$ONE"
	flagged "$NVME" ''
	# As after a boot: flagged, and no record.
	driver 0000:00:10.0 vfio-pci
	attribute "$NVME/driver_override" vfio-pci
	expect 0 "" release --all
	# With one that is not believed neither.
	record pci:0000:00:10.0 "$NVME" "driver nvme" "given pci-stub"
	expect 0 "" release --all
	flagged "$NVME" vfio-pci
	expect 0 "rm $RULES
echo 0000:00:10.0 > $DRIVERS/vfio-pci/unbind
echo > $NVME/driver_override
echo 0000:00:10.0 > /sys/bus/pci/drivers_probe" release --all --boot -n
	# What another tool has taken since is not vfio-bind's to release.
	record pci:0000:00:05.2 "$PCI/0000:00:05.2" "driver nvme" "given pci-stub"
	driver 0000:00:10.0 ""
	vfio_bind release --all --boot
	[[ $output == "$RENEW"* && $output != *05.2* && ! -e /run/vfio-bind/record/pci:0000:00:05.2 ]]
	no_file
	flagged "$NVME" ''

	promise "a plain release warns, but not if the device goes back to where the pin has it"
	modules
	vfio_bind pin --boot 00:10.0 vfio-pci
	expect 0 "echo > $NVME/driver_override
vfio-bind: 0000:00:10.0: $AGAIN" release -n 00:10.0
	record pci:0000:00:10.0 "$NVME" "driver nvme" "driver_override vfio-pci" "given none"
	attribute "$NVME/driver_override" none
	expect 0 "" release 00:10.0
	flagged "$NVME" vfio-pci
}

@test "pin --boot: what is refused, and what is only said" {
	promise "a driver that is built in, with a folder in /sys/module or without"
	expect 3 "vfio-bind: 0000:00:10.0: its driver nvme is built into the kernel and has it before any pin
vfio-bind: hint: --force pins it all the same, which helps once that driver is a module" pin --boot 00:10.0 auto
	link "$DRIVERS/nvme/module" /sys/module/nvme
	folder /sys/module/nvme
	expect 3 "vfio-bind: 0000:00:10.0: its driver nvme is built into the kernel and has it before any pin
vfio-bind: hint: --force pins it all the same, which helps once that driver is a module" pin --boot 00:10.0 auto
	no_file
	flagged "$NVME" "(null)"
	# Nor has it another one now, or none.
	record pci:0000:00:10.0 "$NVME" "driver nvme" "given vfio-pci" "given none"
	attribute "$NVME/driver_override" none
	for driver in vfio-pci ''; do
		driver 0000:00:10.0 "$driver"
		vfio_bind pin --boot -n 00:10.0 auto
		[[ $status == 3 && $output == *"its driver nvme is built into the kernel"* ]]
	done
	driver 0000:00:10.0 nvme
	rm -r /run/vfio-bind
	attribute "$NVME/driver_override" "(null)"
	# The driver that it is pinned to may have it.
	vfio_bind pin --boot -n 00:10.0 nvme
	[[ $status == 0 && $output == "echo nvme > $NVME/driver_override"* ]]
	module pci vfio-pci vfio_pci
	expect 0 "$RENEW" pin --boot --force 00:10.0 auto
	file_is "$ONE"

	promise "what is in use by the host"
	modules
	folder /sys/devices/virtual/net/vlan0
	link "$NIC/net/eth0/upper_vlan0" /sys/devices/virtual/net/vlan0
	expect 3 "vfio-bind: 0000:00:12.0: in use: interface eth0 is below vlan0
vfio-bind: hint: end that use first; --force takes it all the same" pin --boot 00:12.0
	# Its own driver it would keep.
	expect 0 "$RENEW" pin --boot 00:12.0 e1000e
	expect 0 "$RENEW" release --boot 00:12.0
	no_file
	expect 0 "$RENEW" pin --boot --force 00:12.0
	# It is now, already.
	attribute "$NIC/driver_override" none
	expect 0 "$RENEW" pin --boot 00:12.0
	rm $RULES
	attribute "$NIC/driver_override" ''
	expect 0 "echo none > $NIC/driver_override" pin -n 00:12.0
	flagged "$NIC" ''

	promise "a bridge, and a PF with VFs; not by a plain pin"
	modules
	module pci pcieport pcieport
	without_interface "$PCI/0000:00:1c.0/0000:01:00.0"
	vfio_bind pin --boot --force 00:1c.0
	[[ $status == 3 && $output == *"it is a PCI bridge"* ]]
	vfio_bind pin --boot --force 00:05.0
	[[ $status == 3 && $output == *"it is a PF, and 2 of its VFs are enabled"* ]]
	no_file

	promise "a name that udev would read as something else"
	for name in 'a*b' 'a b' 'a]b' 'a$b' 'a"b'; do
		folder "/sys/devices/platform/$name"
		link "/sys/devices/platform/$name/subsystem" /sys/bus/platform
		link "/sys/bus/platform/devices/$name" "/sys/devices/platform/$name"
		attribute "/sys/devices/platform/$name/driver_override" "(null)"
		expect 3 "vfio-bind: $name: no udev rule can name it: platform/$name, for none" \
			pin --boot "$name"
	done
	folder '/sys/bus/pci/drivers/a"b'
	expect 3 "vfio-bind: 0000:00:10.0: no udev rule can name it: pci/0000:00:10.0, for a\"b" \
		pin --boot 00:10.0 'a"b'
	no_file

	promise "driverctl has it, too"
	modules
	mkdir /etc/driverctl.d
	: >/etc/driverctl.d/pci-0000:00:10.0
	expect 0 "vfio-bind: 0000:00:10.0: warning: driverctl has an override for it, too, and applies it later at boot: /etc/driverctl.d/pci-0000:00:10.0
$RENEW" pin --boot 00:10.0
}

# bats test_tags=slow
@test "the file as it is found" {
	local text refusal="$RULES is not as vfio-bind writes it
vfio-bind: hint: move what is yours to a file of another name, remove this one, and pin again"

	promise "lines that vfio-bind has not written are left alone, and told"
	modules
	vfio_bind pin --boot 00:10.0 auto
	for text in "$ONE
# mine" "$ONE"$'\n' "${ONE/off/no}" "${ONE/vfio_pci\"/vfio_pci2\"}" "${ONE//vfio_pci/$'vfio\e[1mpci'}" "${ONE/\# pin/# Pin}" 'KERNEL=="sda"' '' "# pin x y z"; do
		echo "$text" >$RULES
		expect 1 "vfio-bind: 0000:00:10.0: $refusal" pin --boot 00:10.0 none
		expect 1 "vfio-bind: $refusal" release --boot 00:10.0
		expect 1 "vfio-bind: $refusal" release --boot --all
		file_is "${text%$'\n'}"
		flagged "$NVME" vfio-pci
		expect 1 "vfio-bind: $refusal
?" list -nro BOOT 00:10.0
		expect 1 "vfio-bind: $refusal" list --boot -nro DEVICE
		expect 0 "vfio-bind: warning: $refusal
echo > $NVME/driver_override" release -n 00:10.0
	done

	promise "another command changes it: it is waited for, not for ever"
	modules
	record pci:0000:00:12.0 "$NIC"
	hold /run/vfio-bind/lock/boot flock -F /run/vfio-bind/lock/boot
	expect 1 "vfio-bind: timed out: another command is changing what is pinned at boot" \
		release --boot -t 0.01 00:10.0
	run -143 timeout --preserve-status 0.2 vfio-bind release --boot -t 5 00:10.0
	[[ $output == "vfio-bind: interrupted" ]]
	let_go

	promise "what a killed one has left is no obstacle"
	modules
	changing
	echo x >$RULES.new
	expect 0 "$RENEW" pin --boot 00:10.0 auto
	file_is "$ONE"

	promise "it cannot be read"
	changing
	mkdir $RULES
	expect 1 "vfio-bind: cannot read $RULES: Is a directory
?" list -nro BOOT 00:10.0
	vfio_bind pin --boot 00:10.0 auto
	[[ $status == 1 && $output == *"cannot read $RULES: Is a directory"* ]]
	flagged "$NVME" "(null)"
}

# What the kernel answers when the flag is put back is for tests/pc/boot.bats.
@test "/etc that is read-only or full: it says so, and leaves nothing" {
	local command
	modules
	for command in 'mount -o remount,bind,ro /etc/udev/rules.d' \
		'mount -t tmpfs -o size=4k,mode=755 full /etc/udev/rules.d && printf %4096s >/etc/udev/rules.d/x'; do
		# shellcheck disable=SC2016
		run unshare -m bash -c 'mount --bind /etc/udev/rules.d /etc/udev/rules.d && '"$command"' &&
			vfio-bind pin --boot 00:10.0 auto; status=$?; [[ ! -e '$RULES'.new ]] || echo left; exit $status'
		[[ $status != 0 && $output == "vfio-bind: 0000:00:10.0: cannot write $RULES: "* && $output != *left ]]
		flagged "$NVME" ''
		restore && modules
		no_file
	done
	vfio_bind pin --boot 00:10.0 auto
	run -1 unshare -m bash -c "mount --bind /etc/udev/rules.d /etc/udev/rules.d &&
		mount -o remount,bind,ro /etc/udev/rules.d && exec vfio-bind release --boot 00:10.0"
	[[ $output == "vfio-bind: cannot remove $RULES: Read-only file system" ]]
	file_is "$ONE"
	flagged "$NVME" vfio-pci
}

# bats test_tags=slow
@test "the file is neither as it was nor as it should be: that is said" {
	local pinned
	modules
	vfio_bind pin --boot 00:10.0
	((status == 0))
	pinned=$output
	run -4 traced -qqq -f -o "$MADE_UP/trace" -e trace=fsync -e inject=fsync:error=EIO \
		vfio-bind release --boot 00:10.0
	echo "$pinned" "$output"
	[[ $output == *"$RULES: Input/output error; nor can it be put back: "* && ! -e $RULES ]]
}

# bats test_tags=slow
@test "release --boot that comes no further than the end of the pin: 4, and it says so" {
	local call unpinned=", but it is not pinned at boot any more"
	local again="vfio-bind: hint: to try again: vfio-bind release pci/0000:00:10.0"

	promise "a signal as the file is removed, and later"
	for call in unlink:signal=TERM:when=2 socketpair:signal=TERM; do
		restore && modules
		vfio_bind pin --boot 00:10.0 vfio-pci
		run -4 env --default-signal=TERM ASAN_OPTIONS="$NO_LEAKS" strace -qqq -o "$MADE_UP/trace" -e trace="${call%%:*}" \
			-e inject="$call" vfio-bind release --boot 00:10.0
		[[ $output == "$RENEW
vfio-bind: 0000:00:10.0: interrupted: nothing was touched$unpinned
$again" ]]
		no_file
		flagged "$NVME" vfio-pci
	done

	promise "a lock that somebody has"
	modules
	vfio_bind pin --boot 00:10.0 vfio-pci
	hold /run/vfio-bind/lock/pci:0000:00:10.0 flock -F /run/vfio-bind/lock/pci:0000:00:10.0
	expect 4 "$RENEW
vfio-bind: 0000:00:10.0: timed out: locked by sleep (pid $holder)$unpinned
vfio-bind: hint: try again when that process has ended; do not kill it" release --boot -t 0.01 00:10.0
	no_file
	let_go
	expect 0 "" release --boot 00:10.0

	promise "nobody is there to read the hint: it is done"
	modules
	vfio_bind pin --boot 00:10.0 vfio-pci
	perl -e 'pipe my $from, my $to; close $from; open STDERR, ">&", $to; exec @ARGV' \
		vfio-bind release --boot 00:10.0
	no_file
	flagged "$NVME" ''

	promise "what cannot be read behind it"
	modules
	vfio_bind pin --boot 00:10.0 vfio-pci
	run -4 traced -fqqq -o "$MADE_UP/trace" -e trace=openat -P /run/vfio-bind/lock/pci:0000:00:10.0 \
		-e inject=openat:error=EIO vfio-bind release --boot 00:10.0
	[[ $output == "$RENEW
vfio-bind: 0000:00:10.0: cannot open /run/vfio-bind/lock/pci:0000:00:10.0: Input/output error$unpinned
$again" ]]
	no_file
}

@test "release --boot: what can be asked before the file is changed is asked before" {
	modules
	vfio_bind pin --boot 00:10.0 auto
	# There LeakSanitizer has no process to look from.
	run -3 env ASAN_OPTIONS="$NO_LEAKS" unshare -p vfio-bind release --boot 00:10.0
	[[ $output == "vfio-bind: 0000:00:10.0: /proc or its workers would be of another PID namespace: nothing was touched
vfio-bind: hint: unshare needs --fork and --mount-proc" ]]
	run -3 bash -c 'exec 5>&- 6>&- 7>&- 8>&- && ulimit -n 8 && exec vfio-bind release --boot 00:10.0'
	[[ $output == "vfio-bind: 0000:00:10.0: too few files can be open for 1 devices at once: nothing was touched
vfio-bind: hint: name fewer devices, or raise 'ulimit -n'" ]]
	run -1 traced -qqq -o "$MADE_UP/trace" -e trace=access -P "$NVME/" -e inject=access:error=EIO \
		vfio-bind release --boot 00:10.0
	# strace has a line of its own.
	[[ $(grep ^vfio-bind <<<"$output") == "vfio-bind: cannot read $NVME/: Input/output error" ]]
	file_is "$ONE"
	flagged "$NVME" vfio-pci
}

@test "twenty at once: all pins are in it; and none after twenty releases" {
	local i pids=()
	modules
	for ((i = 0; i < 20; i++)); do
		folder "/sys/devices/platform/many.$i"
		link "/sys/devices/platform/many.$i/subsystem" /sys/bus/platform
		link "/sys/bus/platform/devices/many.$i" "/sys/devices/platform/many.$i"
		attribute "/sys/devices/platform/many.$i/driver_override" ''
	done
	for ((i = 0; i < 20; i++)); do
		vfio-bind pin --boot many.$i &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i"; done
	(($(grep -c '^# pin platform/many\.[0-9]* none \*$' $RULES) == 20))
	(($(vfio-bind list --boot -nro DEVICE | sort -u | wc -l) == 20))
	pids=()
	for ((i = 0; i < 20; i++)); do
		vfio-bind release --boot many.$i &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i"; done
	no_file
}

@test "a dry run prints what would be written, for a root shell" {
	modules
	expect 0 "echo vfio-pci > $NVME/driver_override
cat > $RULES << 'END'
$ONE
END" pin --boot -n 00:10.0 auto
	no_file
	flagged "$NVME" ''
	[[ ! -e /run/vfio-bind ]]
	sh <<<"$output"
	file_is "$ONE"
	flagged "$NVME" vfio-pci
	expect 0 "$RENEW" pin --boot 00:10.0 auto
	expect 0 "rm $RULES
echo > $NVME/driver_override" release --boot -n 00:10.0
	file_is "$ONE"
	expect 0 "echo none > /sys/devices/platform/fff51000.ethernet/driver_override
cat > $RULES << 'END'
$BOTH
END" pin --boot -n fff51000.ethernet
	# With --verbose the same.
	expect 0 "rm $RULES
$RENEW
echo > $NVME/driver_override" release --boot -v 00:10.0
}

@test "list tells what is pinned at boot, and what is not any more" {
	modules
	vfio_bind pin --boot 00:10.0 vfio-pci
	vfio_bind pin --boot fff51000.ethernet
	vfio_bind pin --boot 00:05.1 none
	echo "- each with its driver"
	expect 0 "0000:00:05.1 none
0000:00:10.0 vfio-pci
fff51000.ethernet none" list --boot -nro DEVICE,BOOT
	expect 0 "0000:00:10.0 vfio-pci" list -nro DEVICE,BOOT 00:10.0
	expect 0 "0000:00:12.0 " list -nro DEVICE,BOOT 00:12.0
	expect 0 "0000:00:10.0 vfio-pci" list --boot -nro DEVICE,BOOT 00:10.0 00:12.0
	expect 0 "fff51000.ethernet" list --boot -b platform -nro DEVICE
	vfio_bind list --boot
	[[ ${output%%$'\n'*} == "DEVICE"*"BUS"*"MODEL"*"BOOT" ]]
	echo "- another card in its place, and none"
	attribute "$NVME/modalias" pci:v00001B36d00000011sv00000000sd00000000bc01sc08i02
	none "$PCI/0000:00:05.1" /sys/bus/pci/devices/0000:00:05.1
	expect 0 "0000:00:05.1 none? 
0000:00:10.0 vfio-pci? $NVME
fff51000.ethernet none /sys/devices/platform/fff51000.ethernet" list --boot -nro DEVICE,BOOT,PATH
	expect 0 "pci  none?" list --boot -nro BUS,DRIVER,BOOT 00:05.1
	expect 2 "vfio-bind: 00:05.1: the device is gone: it was removed" list 00:05.1
	expect 0 '{
   "devices": [
      {
         "device": "0000:00:05.1",
         "boot": "none?"
      }
   ]
}' list --boot -Jo DEVICE,BOOT 00:05.1
	echo "- of another class it is the same card"
	attribute "$NVME/modalias" pci:v00001B36d00000010sv00000000sd00000000bc02sc00i00
	expect 0 "vfio-pci" list -nro BOOT 00:10.0
	echo "- pinned again, it is the new one that is meant"
	attribute "$NVME/modalias" pci:v00001B36d00000011sv00000000sd00000000bc01sc08i02
	vfio_bind pin --boot 00:10.0 vfio-pci
	expect 0 "vfio-pci" list -nro BOOT 00:10.0
}

@test "what is due for the initramfs, and dracut is told of the file" {
	promise "the tool that is there"
	modules
	with_tools update-initramfs
	expect 0 "vfio-bind: hint: update-initramfs -u, as the initramfs has a copy of $RULES" pin --boot 00:10.0 auto
	rm "$MADE_UP"/bin/*
	with_tools mkinitcpio
	expect 0 "vfio-bind: hint: mkinitcpio -P, as the initramfs has a copy of $RULES" release --boot 00:10.0
	with_tools mkinitcpio update-initramfs
	expect 0 "vfio-bind: hint: update-initramfs -u or mkinitcpio -P, as the initramfs has a copy of $RULES" \
		pin --boot 00:10.0 auto

	promise "dracut, by a file that goes with the last pin"
	modules
	with_tools dracut
	mkdir /etc/dracut.conf.d
	expect 0 "vfio-bind: hint: dracut -f, as the initramfs has a copy of $RULES" pin --boot 00:10.0 auto
	[[ $(<"$DRACUT") == "install_items+=\" $RULES \"" && $(stat -c %a "$DRACUT") == 644 ]]
	vfio_bind pin --boot fff51000.ethernet
	vfio_bind release --boot 00:10.0
	[[ -e $DRACUT ]]
	expect 0 "rm $RULES
rm $DRACUT
echo > /sys/devices/platform/fff51000.ethernet/driver_override" release --boot -n fff51000.ethernet
	vfio_bind release --boot fff51000.ethernet
	[[ $status == 0 && ! -e $DRACUT ]]
	no_file

	promise "dracut's folder cannot be written: nothing is changed"
	modules
	with_tools dracut
	mkdir /etc/dracut.conf.d
	run unshare -m bash -c "mount --bind /etc/dracut.conf.d /etc/dracut.conf.d &&
		mount -o remount,bind,ro /etc/dracut.conf.d && exec vfio-bind pin --boot 00:10.0 auto"
	[[ $status != 0 && $output == "vfio-bind: 0000:00:10.0: cannot write $DRACUT: Read-only file system;"* ]]
	no_file
	[[ ! -e $DRACUT ]]

	promise "nor if the rules cannot be written"
	modules
	with_tools dracut
	mkdir /etc/dracut.conf.d
	run unshare -m bash -c "mount --bind /etc/udev/rules.d /etc/udev/rules.d &&
		mount -o remount,bind,ro /etc/udev/rules.d && exec vfio-bind pin --boot 00:10.0 auto"
	[[ $status != 0 && $output == "vfio-bind: 0000:00:10.0: cannot write $RULES: Read-only file system;"* ]]
	[[ ! -e $DRACUT ]]
}
