# The command line, as far as no device has a part in it. Nothing here can change the
# host: what gets as far as a device runs as an ordinary user.

setup_file() {
	HERE=$(realpath "$BATS_TEST_DIRNAME/../..")
	REAL=$(cd "$HERE" && realpath -e "${VFIO_BIND:-build/vfio-bind}")
	export HERE REAL
	unset ARGP_HELP_FMT
}

setup() {
	bats_require_minimum_version 1.5.0
	PATH=${REAL%/*}:$PATH
}

# call COMMAND...: as run --separate-stderr does, with a quarter of the processes.
call() {
	local out=$BATS_TEST_TMPDIR/out err=$BATS_TEST_TMPDIR/err
	status=0
	"$@" >"$out" 2>"$err" || status=$?
	IFS= read -rd '' output <"$out" || :
	IFS= read -rd '' stderr <"$err" || :
	output=${output%$'\n'} stderr=${stderr%$'\n'}
	mapfile -t lines <"$out"
	mapfile -t stderr_lines <"$err"
}

# misuse TEXT ARGUMENT...: status 2, nothing on stdout, and TEXT in the first line of stderr.
# With --dry-run where a device could be found all the same.
misuse() {
	local text=$1
	shift
	call vfio-bind "$@"
	if [[ $status != 2 || $output || ${stderr_lines[0]} != "vfio-bind"*": "*"$text"* ]]; then
		printf '%s\n' "vfio-bind ${*@Q}: status $status, not 2 and '$text'" \
			"stdout: $output" "stderr: $stderr"
		return 1
	fi
}

# no_devices NAME...: each command says so of each, and of nothing else.
no_devices() {
	local name command line said names=("${@/%/: no such device}")
	names=("${names[@]/#/vfio-bind: }")
	for command in list 'release -n' 'handoff -n --driver=none'; do
		# shellcheck disable=SC2086
		call vfio-bind $command "$@"
		[[ $status == 2 && ! $output ]]
		said=()
		for line in "${stderr_lines[@]}"; do
			[[ $line == "vfio-bind: hint: "* ]] || said+=("$line")
		done
		if [[ ${said[*]} != "${names[*]}" ]]; then
			printf '%s\n' "$command said:" "${said[@]}"
			return 1
		fi
	done
	for name; do misuse "$name: no such device" pin -n "$name"; done
}

# refused_whole ARGUMENT...: for the control character in it.
refused_whole() {
	misuse "control character in '" "$@"
	# shellcheck disable=SC2154
	if [[ ${#stderr_lines[@]} != 1 || $stderr == *[[:cntrl:]]* ]]; then
		printf 'stderr: %q\n' "$stderr"
		return 1
	fi
}

# as_user COMMAND...: as an ordinary user. The program is handed over as an open file, as
# its folder may be closed to others.
as_user() {
	if ((EUID)); then
		"$@"
	else
		setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all "$@" 9<"$REAL"
	fi
}

user_program() {
	if ((EUID)); then echo "$REAL"; else echo /proc/self/fd/9; fi
}

long_name() {
	printf "%${1}s" '' | tr ' ' x
}

@test "--help of all and of each command" {
	local command option
	for command in '' list pin handoff release; do
		for option in --help -h '-?'; do
			call vfio-bind ${command:+"$command"} "$option"
			[[ $status == 0 && ! $stderr ]]
			[[ ${lines[0]} == "Usage: vfio-bind ${command:+$command }"* ]]
			[[ $output == *--version* ]]
		done
		call vfio-bind ${command:+"$command"} --usage
		[[ $status == 0 && ! $stderr && $output == "Usage: vfio-bind "* ]]
	done
}

@test "--help tells of each command, and each tells of itself" {
	local commands command summary
	commands=$(vfio-bind --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]\)/\1/p')
	(($(wc -l <<<"$commands") == 4))
	while read -r command summary; do
		[[ $summary ]]
		run vfio-bind "$command" --help
		((status == 0))
	done <<<"$commands"
}

@test "--version" {
	local version
	version=$(sed -n 's/^VERSION := //p' "$HERE/Makefile")
	[[ $version ]]
	for option in --version -V; do
		call vfio-bind "$option"
		[[ $status == 0 && $output == "vfio-bind $version" && ! $stderr ]]
		call vfio-bind list "$option"
		[[ $status == 0 && $output == "vfio-bind $version" && ! $stderr ]]
	done
}

@test "an unknown command or option, or none" {
	local command
	misuse "COMMAND is missing"
	misuse "unknown command: 'bogus'" bogus
	misuse "unknown command: ''" ''
	misuse "unknown command: 'List'" List
	misuse "unrecognized option '--bogus'" --bogus
	misuse "unrecognized option '--bogus'" --bogus list
	for command in list pin handoff release; do
		misuse "unrecognized option '--bogus'" "$command" --bogus
		misuse "invalid option -- 'Z'" "$command" -Z
	done
}

@test "an option that another command has" {
	misuse "unrecognized option '--taken'" pin --taken eth0
	misuse "unrecognized option '--timeout=5'" list --timeout=5
	misuse "unrecognized option '--force'" pin --force eth0
	misuse "unrecognized option '--all'" handoff --all
	misuse "unrecognized option '--reset=auto'" release --reset=auto eth0
	misuse "unrecognized option '--driver=none'" release --driver=none eth0
}

@test "an option without its argument, and one with too much" {
	misuse "option '--bus' requires an argument" list --bus
	misuse "option requires an argument -- 'o'" list -o
	misuse "option '--reset' requires an argument" handoff x --reset
	misuse "option requires an argument -- 't'" pin x -t
	misuse "option '--json' doesn't allow an argument" list --json=1
}

@test "missing and surplus operands" {
	misuse "DEVICE is missing" pin
	misuse "DEVICE is missing" handoff
	misuse "DEVICE is missing" handoff --driver=none
	misuse "DEVICE is missing" release
	misuse "surplus operand: 'c'" pin -n a b c
	misuse "surplus operand: 'c'; for several devices, name the driver with --driver" \
		handoff -n a b c
	misuse "--all takes no DEVICE" release -n --all a
}

@test "a time-out that is no number of seconds" {
	local seconds
	for seconds in '' 0 -1 0.0 x 5x '5 s' nan inf -inf 1e999 1e7; do
		misuse "--timeout is a number of seconds above 0, up to 1000000, not '$seconds'" \
			pin -n --timeout="$seconds" a
	done
	for seconds in 1 0.5 1e3; do
		misuse "no such device" handoff -n --timeout="$seconds" nix
	done
}

@test "a --reset that there is not" {
	local when
	for when in '' alway ALWAYS 1 none; do
		misuse "--reset is auto, always or never, not '$when'" handoff -n --reset="$when" a
	done
}

@test "a device that there is not" {
	no_devices nix nix/nix platform/nix nix/ /nix /nix/nix /sys/nix 0000:ff:1f.7 ff:1f.7
}

@test "what is a path, and no device" {
	no_devices . .. ./. platform/. platform/.. platform/../pci /sys / /sys/devices \
		/sys/bus /sys/bus/platform /sys/bus/platform/devices /sys/kernel
	misuse "'': no such device" pin -n ''
	misuse "/dev/null: no device is behind it: it is virtual" pin -n /dev/null
}

@test "a name of any length" {
	local length name
	for length in 64 65 255 256 4096 100000; do
		name=$(long_name "$length")
		misuse "no such device" pin -n "$name"
		((${#stderr} < 200))
		misuse "no such device" pin -n "platform/$name"
		((${#stderr} < 200))
	done
	misuse "unknown command" "$name"
	((${#stderr} < 400))
	misuse "unknown column" list -o "$name"
	((${#stderr} < 200))
	misuse "no such bus" list -b "$name"
	((${#stderr} < 200))
}

# A message is one line, and no argument plays with the terminal.
@test "an argument with a control character" {
	local text=$'a\nb'
	refused_whole "$text"
	refused_whole list -o "$text"
	refused_whole list -b "$text"
	refused_whole pin -n "$text"
	refused_whole pin -n nix "$text"
	refused_whole pin -n a b "$text"
	refused_whole handoff -n --reset="$text" a
	refused_whole handoff -n --timeout="$text" a
	refused_whole handoff -n --driver="$text" a
	refused_whole "--$text"
	for text in $'a\e[2Jb' $'a\rb' $'a\tb' $'a\x7fb' $'\n'; do
		refused_whole "$text"
		refused_whole list -o "$text"
		refused_whole pin -n nix "$text"
	done
}

@test "all that cannot be used is said, and the rest is still done" {
	call vfio-bind release -n nix1 nix2
	((status == 2))
	[[ $stderr == *"nix1: no such device"*"nix2: no such device"* ]]
	call vfio-bind list -o DEVICE nix
	[[ $status == 2 && ! $output ]]
}

@test "a column or a bus that there is not" {
	local columns
	for columns in BOGUS DEVICE,BOGUS +BOGUS 'DEVICE,' ,DEVICE 'DEVICE DRIVER' '' + DEV; do
		misuse "unknown column: '" list --output="$columns"
	done
	misuse "no such bus: 'bogus'" list --bus=bogus
	misuse "no such bus: ''" list --bus=
	misuse "no such bus: '..'" list --bus=..
	misuse "no such bus: 'Platform'" list --bus=Platform
}

@test "a bus that there is not, with a device, and two formats at once" {
	misuse "--json and --raw exclude each other" list --json --raw
	misuse "--json and --raw exclude each other" list -rJ
	read -r bus device < <(vfio-bind list -nro BUS,DEVICE) ||
		skip "this host has no device that can be flagged"
	misuse "no such bus: 'bogus'" list --bus=bogus "$bus/$device"
}

@test "of several devices one is not there: a handoff begins with none" {
	local bus device
	read -r bus device < <(vfio-bind list -nro BUS,DEVICE) ||
		skip "this host has no device that can be flagged"
	misuse "nix: no such device" handoff -n --driver=none "$bus/$device" nix
}

@test "a device in the place of a driver" {
	local bus device
	read -r bus device < <(vfio-bind list -nro BUS,DEVICE) ||
		skip "this host has no device that can be flagged"
	misuse "no driver $device on the $bus bus" handoff -n "$bus/$device" "$device"
	[[ ${stderr_lines[1]} == "vfio-bind: hint: that is a device: "*"--driver=DRIVER" ]]
}

@test "every column can be asked for, in either case" {
	local columns column
	columns=$(vfio-bind list --help | sed '1,/^Columns:/d' | awk '{ print $1 }')
	(($(wc -l <<<"$columns") > 7))
	for column in $columns; do
		call vfio-bind list --bus=platform -o "${column,,}"
		[[ $status == 0 && ! $stderr ]]
		[[ ! $output || ${lines[0]%% *} == "$column" ]]
	done
	columns=${columns//$'\n'/,}
	call vfio-bind list --bus=platform -J -o "$columns"
	((status == 0))
	jq -e --arg columns "${columns,,}" \
		'.devices | map(keys_unsorted == ($columns | split(","))) | all' <<<"$output" >/dev/null
}

@test "list in three formats shows the same devices" {
	local table raw json
	table=$(vfio-bind list --noheadings --output=DEVICE,BUS | awk '{ print $1, $2 }')
	raw=$(vfio-bind list -nr -o device,bus)
	json=$(vfio-bind list -J -o DEVICE,BUS | jq -r '.devices[] | "\(.device) \(.bus)"')
	if [[ ! $raw ]]; then skip "this host has no device that can be flagged"; fi
	[[ $table == "$raw" && $json == "$raw" ]]
	[[ $(vfio-bind list -r -o DEVICE,BUS | head -n 1) == "DEVICE BUS" ]]
}

@test "a full disk behind stdout" {
	local arguments
	for arguments in --help --version 'list --help' 'list --version' --usage \
		'list --bus=platform' 'list --bus=platform -J'; do
		# shellcheck disable=SC2086
		call bash -c 'vfio-bind "$@" >/dev/full' bash $arguments
		((status == 1))
		[[ $stderr == "vfio-bind: write error: No space left on device" ]]
	done
}

@test "closed standard streams" {
	call bash -c 'vfio-bind --version >&-'
	[[ $status == 1 && $stderr == "vfio-bind: write error: "* ]]
	call bash -c 'vfio-bind list --bus=platform >&-'
	[[ $status == 1 && $stderr == "vfio-bind: write error: "* ]]
	run bash -c 'vfio-bind bogus 2>&-'
	[[ $status == 2 && ! $output ]]
	run bash -c 'vfio-bind pin -n nix 2>&-'
	[[ $status == 2 && ! $output ]]
	run bash -c 'vfio-bind bogus <&- >&- 2>&-'
	((status == 2))
	call bash -c 'vfio-bind --version <&-'
	[[ $status == 0 && $output == "vfio-bind "* && ! $stderr ]]
}

# A reader that has enough is none of our business, and no crash.
@test "a closed pipe behind stdout" {
	# shellcheck disable=SC2016
	call bash -c 'vfio-bind list --help | true; echo "${PIPESTATUS[0]}"'
	[[ $output == 0 || $output == 1 || $output == 141 ]]
}

@test "its name is its own, whatever it is called by" {
	call bash -c 'exec -a /some/thing vfio-bind bogus'
	[[ $status == 2 && ${stderr_lines[0]} == "vfio-bind: unknown command: 'bogus'" ]]
	[[ ${#stderr_lines[@]} == 2 && ${stderr_lines[1]} == *"vfio-bind --help"* ]]
	call bash -c 'exec -a "" vfio-bind pin'
	[[ $status == 2 && ${stderr_lines[0]} == "vfio-bind pin: DEVICE is missing" ]]
}

@test "an ordinary user may list, and is told at once where root is needed" {
	local program
	program=$(user_program)
	call as_user "$program" list --bus=platform
	[[ $status == 0 && ! $stderr ]]
	for arguments in 'pin nix' 'handoff nix' 'release nix' 'release --all'; do
		# shellcheck disable=SC2086
		call as_user "$program" $arguments
		[[ $status == 2 && ! $output ]]
		[[ $stderr == "vfio-bind: this needs root; --dry-run and list do not" ]]
	done
}

@test "an ordinary user's dry run says what would be written, and writes nothing" {
	local program bus device path before
	program=$(user_program)
	read -r bus device < <(vfio-bind list -nro BUS,DEVICE) ||
		skip "this host has no device that can be flagged"
	path=$(vfio-bind list -nro PATH "$bus/$device")
	before=$(vfio-bind list -r "$bus/$device")
	call as_user "$program" pin --dry-run "$bus/$device"
	((status == 0))
	[[ $output == "echo none > $path/driver_override" && ! $stderr ]]
	[[ $(vfio-bind list -r "$bus/$device") == "$before" ]]
	# -v adds nothing to it, least of all on stderr
	call as_user "$program" pin -nv "$bus/$device"
	[[ $status == 0 && $output == "echo none > $path/driver_override" && ! $stderr ]]
	call as_user "$program" pin -n "$bus/$device" no-such-driver
	[[ $status == 2 && ! $output ]]
	[[ $stderr == "vfio-bind: $device: no driver no-such-driver on the $bus bus"* ]]
}
