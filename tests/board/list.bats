#!/usr/bin/env bats
# What `list` says is what /sys says, of as many devices as a big machine has; and what
# every command says of input that makes no sense.

load ../helpers

PARAMETERS=/sys/module/vbtest/parameters

# Under a sanitizer, so many take minutes: fewer will do there.
DEVICES=${DEVICES:-4096}

setup_file() {
	populate 64
}

# populate N: make so many devices, with something of everything; what /sys has of them
# is in the file "sys".
populate() {
	local i devices=/sys/bus/platform/devices
	modprobe vbiommu
	modprobe vbtest devices="$1" compatible=vfio-bind,vbreset
	for ((i = 0; i < $1; i += 3)); do
		echo none >$devices/vbtest.$i/driver_override
	done
	for ((i = 0; i < $1; i += 5)); do
		echo vbtest.$i >$devices/../drivers/vbtest-host/unbind
	done
	echo "a driver" >$devices/vbtest.8/driver_override
	from_sys >"$BATS_FILE_TMPDIR/sys"
}

teardown_file() {
	modprobe -r vbtest vbiommu vbreset
}

setup() {
	holder=
	sys=$BATS_FILE_TMPDIR/sys
}

teardown() {
	[[ ! $holder ]] || kill "$holder" 2>/dev/null || :
	wait
	vfio-bind release --all
	# Whatever was said of it.
	is_home vbtest.1 vbtest-host
}

# from_sys: every device with a driver_override, as lines of DEVICE, BUS, DRIVER,
# OVERRIDE, GROUP, MODEL and PATH, with a tab behind each; sorted. With few processes, as
# one takes tens of milliseconds here.
from_sys() {
	local file model
	cd /sys/bus || return
	{
		grep -HZ '' -- */devices/*/driver_override | tr '\0' ' '
		find ./*/devices/*/ -maxdepth 1 '(' -name driver -o -name iommu_group ')' \
			-printf '%p %l\n' | sed 's,//,/,; s,^\./,,'
		find ./*/devices -maxdepth 2 -type l -printf '%p %l\n' | sed 's,^\./,,; s, , link ,'
		for file in */devices/*/of_node/compatible; do
			IFS= read -r -d '' model <"$file"
			echo "$file $model"
		done
	} | awk '
		function last(path) { sub(".*/", "", path); return path }
		{
			split($1, p, "/")
			device = p[1] "/" p[3]
			value = substr($0, length($1) + 2)
		}
		$2 == "link" { sub("link (../)*", "/sys/", value); path[device] = value; next }
		p[4] == "driver_override" { override[device] = value == "(null)" ? "" : value }
		p[4] == "driver" { driver[device] = last(value) }
		p[4] == "iommu_group" { group[device] = last(value) }
		p[4] == "of_node" { model[device] = value }
		END {
			OFS = "\t"
			for (device in override) {
				split(device, p, "/")
				print p[2], p[1], driver[device], override[device], group[device],
				      model[device], path[device], ""
			}
		}' | LC_ALL=C sort
	cd - >/dev/null || return
}

ALL=DEVICE,BUS,DRIVER,OVERRIDE,GROUP,MODEL,PATH

# What `list` printed, as from_sys has it.
from_raw() {
	awk -F '[ ]' '{
		for (i = 1; i <= 7; i++) {
			gsub(/\\x20/, " ", $i)
			printf "%s\t", $i
		}
		print ""
	}' | LC_ALL=C sort
}

from_json() {
	jq -r '.devices[] |
		[.device, .bus, .driver, .override, .group, .model, .path, ""] |
		map(. // "") | join("\t")' | LC_ALL=C sort
}

# The headings tell where the columns are.
from_table() {
	awk '
		NR == 1 {
			n = split($0, name)
			for (i = 1; i <= n; i++) start[i] = index($0, name[i])
			next
		}
		{
			for (i = 1; i <= n; i++) {
				end = i < n ? start[i + 1] : length($0) + 1
				cell = substr($0, start[i], end - start[i])
				sub(/ *$/, "", cell)
				printf "%s\t", cell
			}
			print ""
		}' | LC_ALL=C sort
}

# as_user ARGUMENT...: vfio-bind as an ordinary user.
as_user() {
	setpriv --reuid=65534 --regid=65534 --clear-groups vfio-bind "$@"
}

listed() {
	vfio_bind 0 list --json --output +HOST,USE,HOLDER "$@"
}

# cell NAME: of the one device listed.
cell() {
	jq -r --arg name "$1" '.devices[0][$name]' <<<"$output"
}

# bad TEXT ARGUMENT...: status 2, with this one line, and perhaps one with a hint or
# where to learn more; nothing of it goes to the terminal as it is; nothing is touched.
bad() {
	local text=$1
	shift
	vfio_bind 2 "$@"
	if [[ ${lines[0]} != "vfio-bind"*": $text"* || ${#lines[@]} -gt 2 || ${#lines[0]} -gt 200 ]] ||
		[[ ${#lines[@]} == 2 && ${lines[1]} != "vfio-bind: hint: "* && ${lines[1]} != "Try "* ]] ||
		[[ $output == *[$'\001'-$'\011'$'\013'-$'\037'$'\177']* ]]; then
		echo "vfio-bind $*: expected: $text; it said:"
		cat -v <<<"$output"
		return 1
	fi
}

long=$(printf 'x%.0s' {1..4096})

# same A B: these files are; not all of 4,096 differences are told.
same() {
	diff "$1" "$2" >"$BATS_TEST_TMPDIR/diff" || { head -n 20 "$BATS_TEST_TMPDIR/diff" && return 1; }
}

@test "thousands of devices, as /sys has them" {
	modprobe -r vbtest vbiommu
	populate "$DEVICES"
	(($(wc -l <"$sys") > DEVICES))
	# It can tell one from another.
	grep -q $'^vbtest.15\tplatform\t\tnone\t[0-9]*\t\t/sys/devices/platform/vbtest.15\t$' "$sys"
	grep -q $'^vbtest.8\tplatform\tvbtest-host\ta driver\t' "$sys"
	grep -q "^$NIC	platform	$NIC_DRIVER			calxeda,hb-xgmac	/sys/devices/" "$sys"

	vfio-bind list --raw --noheadings --output $ALL >"$BATS_TEST_TMPDIR/raw"
	same "$sys" <(from_raw <"$BATS_TEST_TMPDIR/raw")
	same <(seq 0 $((DEVICES - 1))) <(sed -n 's/^vbtest\.\([0-9]*\) .*/\1/p' "$BATS_TEST_TMPDIR/raw")
	vfio-bind list --json --output $ALL >"$BATS_TEST_TMPDIR/json"
	same "$sys" <(from_json <"$BATS_TEST_TMPDIR/json")
	# An ordinary user sees the same.
	as_user list --output $ALL >"$BATS_TEST_TMPDIR/table"
	same "$sys" <(from_table <"$BATS_TEST_TMPDIR/table")

	modprobe -r vbtest vbiommu
	populate 64
}

@test "an ordinary user sees what becomes of a device" {
	vfio_bind 0 handoff vbtest.1
	[[ $(readlink "$(syspath vbtest.1)/iommu_group") == */1 ]]
	run as_user list --raw --noheadings --output DRIVER,OVERRIDE,GROUP,NODE vbtest.1
	[[ $status == 0 && $output == "vfio-platform vfio-platform 1 /dev/vfio/1" ]]
}

@test "only what is taken, only one bus" {
	same <(awk -F '\t' '$4 != ""' "$sys") \
		<(vfio-bind list --taken --raw --noheadings --output $ALL | from_raw)
	same <(awk -F '\t' '$2 == "amba"' "$sys") \
		<(vfio-bind list --bus=amba --raw --noheadings --output $ALL | from_raw)
	vfio_bind 0 list --bus=amba --taken --json
	jq -e '.devices == []' <<<"$output"
	vfio_bind 0 list --bus=amba --taken --noheadings
	[[ -z $output ]]
	vfio_bind 2 list --bus=nobus
	[[ $output == "vfio-bind: no such bus: 'nobus'" ]]

	# VFIO-bound is taken, too, when somebody has cleared the flag.
	vfio_bind 0 handoff vbtest.1
	echo >/sys/bus/platform/devices/vbtest.1/driver_override
	vfio_bind 0 list --taken --noheadings --raw --output DEVICE,DRIVER,OVERRIDE vbtest.1 vbtest.2
	[[ $output == "vbtest.1 vfio-platform " ]]
	echo vfio-platform >/sys/bus/platform/devices/vbtest.1/driver_override
}

@test "a reader of flags that has no turn for long is waited for" {
	local flags=/sys/devices/platform/vbtest.15/driver_override
	ASAN_OPTIONS=detect_leaks=0 run -0 strace -f -qqq -o "$BATS_TEST_TMPDIR/trace" -P "$flags" \
		-e trace=openat -e inject=openat:delay_enter=2s \
		vfio-bind list vbtest.15 vbtest.8 --raw --noheadings --output OVERRIDE
	[[ $output == none$'\n'"a\x20driver" ]]
	grep -q DELAYED "$BATS_TEST_TMPDIR/trace"
}

@test "the operands in their order, each once, by any of their names" {
	vfio_bind 0 list --noheadings --raw --output DEVICE \
		vbtest.7 "$NIC" "platform/vbtest.3" sda "/sys/bus/platform/devices/vbtest.5" vbtest.7
	[[ ${lines[*]} == "vbtest.7 $NIC vbtest.3 0:0:0:0 vbtest.5" ]]
	vfio_bind 0 list --noheadings --raw --output DEVICE \
		"$(ls "$(syspath "$NIC")/net")" "$(realpath "$(syspath "$RTC")")" /dev/sda
	[[ ${lines[*]} == "$NIC ${RTC#*/} 0:0:0:0" ]]
	vfio_bind 2 list /dev/null
	says "vfio-bind: /dev/null: no device is behind it: it is virtual"
	vfio_bind 2 list --noheadings --raw --output DEVICE nosuch vbtest.7
	says "vfio-bind: nosuch: no such device"
	says vbtest.7
}

@test "columns: the default ones, those asked for, those added" {
	vfio_bind 0 list vbtest.1
	read -ra heading <<<"${lines[0]}"
	[[ ${heading[*]} == "DEVICE BUS DRIVER OVERRIDE GROUP NODE MODEL" ]]
	vfio_bind 0 list vbtest.1 --output model,DEVICE
	read -ra heading <<<"${lines[0]}"
	[[ ${heading[*]} == "MODEL DEVICE" ]]
	vfio_bind 0 list vbtest.1 --output +host,PATH
	read -ra heading <<<"${lines[0]}"
	[[ ${heading[*]} == "DEVICE BUS DRIVER OVERRIDE GROUP NODE MODEL HOST PATH" ]]
	vfio_bind 0 list vbtest.1 --noheadings --raw --output MODALIAS
	[[ $output == "$(<"$(syspath vbtest.1)/modalias")" ]]
	vfio_bind 0 list --json vbtest.1 --output +HOST,USE,HOLDER,MODALIAS,PATH
	jq -e '.devices[0] | keys_unsorted == ["device", "bus", "driver", "override", "group",
		"node", "model", "host", "use", "holder", "modalias", "path"]' <<<"$output"
	for columns in FOO +FOO DEVICE,FOO DEVICE,,BUS "" +; do
		vfio_bind 2 list --output "$columns" vbtest.1
		[[ ${lines[0]} == "vfio-bind: unknown column: "* ]]
		[[ ${lines[1]} == "vfio-bind: hint: vfio-bind list --help shows the columns" ]]
		((${#lines[@]} == 2))
	done
}

@test "who has a device, before, during and after a handoff" {
	local group
	listed vbtest.7
	[[ $(cell driver) == vbtest-host && $(cell host) == null && $(cell node) == null ]]
	vfio_bind 0 handoff vbtest.7
	group=$(readlink "$(syspath vbtest.7)/iommu_group")
	listed vbtest.7
	[[ $(cell driver) == vfio-platform ]]
	[[ $(cell override) == vfio-platform ]]
	[[ $(cell host) == vbtest-host ]]
	[[ $(cell node) == "/dev/vfio/${group##*/}" ]]
	[[ $(cell group) == "${group##*/}" ]]
	[[ $(cell holder) == null ]]

	sleep infinity 9<>"/dev/vfio/${group##*/}" 3>&- &
	holder=$!
	until_true 10 grep -qx sleep "/proc/$holder/comm"
	listed vbtest.7
	[[ $(cell holder) == "sleep (pid $holder)" ]]
	kill "$holder"
	wait "$holder" || :

	vfio_bind 0 release vbtest.7
	listed vbtest.7
	[[ $(cell driver) == vbtest-host && $(cell host) == null && $(cell node) == null ]]
	[[ $(cell override) == null && $(cell holder) == null ]]

	# It had no driver, which is not the same as not being taken.
	vfio_bind 0 handoff vbtest.10
	listed vbtest.10
	[[ $(cell driver) == vfio-platform && $(cell host) == none ]]
	vfio_bind 0 release vbtest.10
	listed vbtest.10
	[[ $(cell driver) == null && $(cell host) == null ]]
}

@test "a device without an IOMMU that is handed off" {
	noiommu
	vfio_bind 0 handoff "$NIC"
	listed "$NIC"
	node=$(cell node) host=$(cell host) use=$(cell use) group=$(cell group)
	vfio_bind 3 handoff --owner=4711 "$NIC" # it is nothing to be given to a user
	says "$NIC: no IOMMU: opening it takes CAP_SYS_RAWIO"
	vfio_bind 0 release "$NIC"
	vfio_bind 3 handoff --owner=4711 "$NIC"
	says "$NIC: no IOMMU: opening it takes CAP_SYS_RAWIO"
	echo N >/sys/module/vfio/parameters/enable_unsafe_noiommu_mode
	is_home "$NIC" "$NIC_DRIVER"
	[[ $node == "/dev/vfio/noiommu-$group" && $host == "$NIC_DRIVER" && $use == null ]]
}

@test "the interfaces and disks of a device" {
	listed "$NIC"
	[[ $(cell use) == "$(ls "$(syspath "$NIC")/net")" ]]
	listed "$SATA"
	[[ $(cell use) == sda ]]
	addpart /dev/sda 1 2048 2048
	listed "$SATA"
	delpart /dev/sda 1
	[[ $(cell use) == sda,sda1 ]]
	listed vbtest.1
	[[ $(cell use) == null ]]
}

@test "an output that ends early, or cannot be written" {
	local broken=$BATS_TEST_TMPDIR/broken
	run bash -c 'vfio-bind list | head -n 1'
	[[ $status == 0 && $output == DEVICE*MODEL* ]]
	((${#lines[@]} == 1))
	# A pipe that nobody reads any more.
	mkfifo "$broken"
	run bash -c "exec 8<>$broken; exec 9>$broken 8>&-; vfio-bind list vbtest.1 >&9"
	[[ $status == 141 && -z $output ]] # as others die of it
	for format in "" --json; do
		run bash -c "vfio-bind list $format vbtest.1 >/dev/full"
		[[ $status == 1 && $output == "vfio-bind: write error: No space left on device" ]]
		run bash -c "vfio-bind list $format vbtest.1 >&-"
		[[ $status == 1 && $output == "vfio-bind: write error: Bad file descriptor" ]]
		run bash -c "vfio-bind list $format vbtest.1 2>&-"
		[[ $status == 0 ]]
	done
	run bash -c "vfio-bind --help >/dev/full"
	[[ $status == 1 ]]
}

# --- input that makes no sense ---

@test "bad input: commands and options" {
	bad "COMMAND is missing"
	bad "unknown command: 'frob'" frob
	bad "unknown command: 'list '" "list "
	bad "unknown command: ''" ""
	bad "unknown command: 'xxx" "$long"
	bad "unrecognized option '--frob'" --frob
	for command in list pin handoff release; do
		bad "unrecognized option '--frob'" $command --frob vbtest.1
	done
	# An option of another command.
	bad "unrecognized option '--json'" release vbtest.1 --json
	bad "unrecognized option '--reset=auto'" release vbtest.1 --reset=auto
	bad "unrecognized option '--all'" handoff vbtest.1 none --all
}

@test "bad input: operands missing or too many" {
	bad "DEVICE is missing" pin
	bad "DEVICE is missing" handoff
	bad "DEVICE is missing" handoff --driver=none
	bad "DEVICE is missing" release
	bad "surplus operand: 'vbtest.2'" pin vbtest.1 none vbtest.2
	bad "surplus operand: 'vbtest.2'" handoff vbtest.1 none vbtest.2
	bad "--all takes no DEVICE" release --all vbtest.1
}

@test "bad input: values of options" {
	for value in abc "" 0 -1 nan inf 1x 0x 1e9 " "; do
		bad "--timeout is a number of seconds above 0, up to 1000000, not '$value'" \
			handoff vbtest.1 none -t "$value"
	done
	bad "--timeout is a number of seconds above 0, up to 1000000, not '0'" \
		release vbtest.1 --timeout=0
	bad "--timeout is a number of seconds above 0, up to 1000000, not 'nan'" \
		pin vbtest.1 --timeout=nan
	bad "--reset is auto, always or never, not 'maybe'" handoff vbtest.1 none --reset=maybe
	bad "--reset is auto, always or never, not ''" handoff vbtest.1 none --reset=
}

@test "bad input: devices" {
	local command name
	for command in pin "handoff --driver=none" release list; do
		# shellcheck disable=SC2086 # a command line
		bad "nosuch: no such device" $command nosuch
	done
	for name in . .. a/b/c platform/ platform/. platform/.. /vbtest.1 nobus/vbtest.1 amba/vbtest.1 \
		platform//vbtest.1 /etc /sys /sys/bus ../devices/vbtest.1 \
		platform/../platform/devices/vbtest.1; do
		bad "$name: no such device" handoff "$name" none
	done
	bad "'': no such device" handoff "" none
	bad "xxx" handoff "$long" none
	says "...: no such device"
	bad "xxx" list "$long"
	bad "platform/xxx" list "platform/$long"
	bad "/sys/bus/platform/devices/xxx" release "/sys/bus/platform/devices/$long"
}

@test "bad input: a good device beside a bad one is released, and the status tells" {
	vfio_bind 0 handoff vbtest.1 vbtest-target
	vfio_bind 2 release nosuch vbtest.1
	[[ ${lines[0]} == "vfio-bind: nosuch: no such device" ]]
	[[ ${lines[1]} == "vfio-bind: hint: an interface or a disk goes with its driver: "* ]]
	((${#lines[@]} == 2))
	is_home vbtest.1 vbtest-host
}

@test "bad input: control characters" {
	local name=$'vb\e[31mtest\n.1\r\177'
	local text="control character in 'vb?[31mtest?.1??'"
	bad "$text" "$name"
	bad "$text" list "$name"
	bad "$text" list --output "$name"
	bad "$text" handoff "$name" none
	bad "$text" handoff vbtest.1 "$name"
	bad "$text" pin vbtest.1 none "$name"
	bad "$text" release vbtest.1 -t "$name"
	bad "control character in '--reset=vb?[31mtest?.1??'" handoff vbtest.1 none "--reset=$name"
	bad "control character in '--vb?[31mtest?.1??'" handoff vbtest.1 none "--$name"
}

@test "bad input: a name on two buses" {
	local name=${RTC#*/}
	echo "$name" >$PARAMETERS/add
	for command in list pin "handoff --driver=none" release; do
		# shellcheck disable=SC2086 # a command line
		bad "$name: ambiguous: amba/$name and platform/$name" $command "$name"
	done
	is_home "$RTC" rtc-pl031
	vfio_bind 0 list --noheadings --raw --output BUS,DRIVER "amba/$name"
	[[ $output == "amba rtc-pl031" ]]
	vfio_bind 0 pin "platform/$name"
	device_is "platform/$name" none none
	is_home "$RTC" rtc-pl031
	vfio_bind 0 release "platform/$name"
	echo "$name" >$PARAMETERS/remove
	vfio_bind 0 list --noheadings --raw --output BUS "$name"
	[[ $output == amba ]]
}

@test "bad input: a device without driver_override" {
	for command in pin "handoff --driver=none" release; do
		# shellcheck disable=SC2086 # a command line
		bad "0:0:0:0: the scsi bus has no driver_override for it" $command 0:0:0:0
		[[ ${lines[1]} == "vfio-bind: hint: "*"platform/$SATA"* ]]
		# shellcheck disable=SC2086 # a command line
		bad "fff36000.serial:0: the serial-base bus has no driver_override for it" \
			$command fff36000.serial:0
		# shellcheck disable=SC2086 # a command line
		bad "cpu0: the cpu bus has no driver_override for it" $command cpu0
	done
	is_home "$SATA" highbank-ahci
}

@test "bad input: drivers" {
	local command name
	for name in "" .. a/b ../amba/drivers/rtc-pl031 "vbtest-host " rtc-pl031; do
		bad "vbtest.1: no driver ${name:-''} on the platform bus" handoff vbtest.1 "$name"
	done
	for command in pin handoff; do
		bad "vbtest.1: no driver nosuch on the platform bus" $command vbtest.1 nosuch
		bad "vbtest.1: no driver xxx" $command vbtest.1 "$long"
		# Modules of these names there are, built in and not; but no such drivers.
		for name in ext4 dummy; do
			bad "vbtest.1: no driver $name on the platform bus, even with the module" \
				$command vbtest.1 "$name"
		done
	done
	modprobe -r dummy
}
