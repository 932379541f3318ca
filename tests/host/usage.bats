# The command line, as far as no device has a part in it. Nothing here can change the
# host: what gets as far as a device runs as an ordinary user.

load ../shared

setup_file() {
	locate_program
	start_server "$BATS_FILE_TMPDIR/out" "$BATS_FILE_TMPDIR/err"
}

# The program is handed to an ordinary user as an open file, as its folder may be closed to
# others.
setup() {
	program=$REAL
	((EUID)) || program=/proc/self/fd/9
}

# Of a failed test, what its last command was and did.
teardown() {
	[[ ${BATS_TEST_COMPLETED-} ]] || printf '%s\n' "${ran[*]@Q}: status $status" \
		"stdout: $output" "stderr: $stderr"
}

# outcome COMMAND...: sets what that left: output, stderr and their lines.
outcome() {
	ran=("$@")
	IFS= read -rd '' output <"$BATS_FILE_TMPDIR/out" || output=${output%$'\n'}
	IFS= read -rd '' stderr <"$BATS_FILE_TMPDIR/err" || stderr=${stderr%$'\n'}
	mapfile -t lines <"$BATS_FILE_TMPDIR/out"
	mapfile -t stderr_lines <"$BATS_FILE_TMPDIR/err"
}

# vfio_bind ARGUMENT...: runs it, and sets status and its outcome.
vfio_bind() {
	serve "$@"
	outcome vfio-bind "$@"
}

# call COMMAND...: the same for any command, or function; vfio-bind is the program itself.
call() {
	status=0
	"$@" >"$BATS_FILE_TMPDIR/out" 2>"$BATS_FILE_TMPDIR/err" || status=$?
	outcome "$@"
}

# misuse TEXT ARGUMENT...: status 2, nothing on stdout, and TEXT in the first line of stderr.
# With --dry-run where a device could be found all the same.
misuse() {
	local text=$1
	shift
	vfio_bind "$@"
	if [[ $status != 2 || $output || ${stderr_lines[0]} != "vfio-bind"*": "*"$text"* ]]; then
		echo "not status 2 and '$text'"
		return 1
	fi
}

# no_devices NAME...: each command says so of each, and of nothing else.
no_devices() {
	local name command line said names=("${@/%/: no such device}")
	names=("${names[@]/#/vfio-bind: }")
	for command in list 'release -n' 'handoff -n --driver=none'; do
		# shellcheck disable=SC2086
		vfio_bind $command "$@"
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

# as_user COMMAND...: as an ordinary user.
as_user() {
	if ((EUID)); then
		"$@"
	else
		setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all "$@" 9<"$REAL"
	fi
}

# called NAME ARGUMENT...: by this name.
called() { (exec -a "$1" vfio-bind "${@:2}"); }

@test "what it tells of itself" {
	local command option commands summary version columns=() column

	promise "--help of all and of each command"
	for command in '' list pin handoff release; do
		for option in --help -h '-?'; do
			vfio_bind ${command:+"$command"} "$option"
			[[ $status == 0 && ! $stderr ]]
			[[ ${lines[0]} == "Usage: vfio-bind ${command:+$command }"* ]]
			[[ $output == *--version* ]]
		done
		vfio_bind ${command:+"$command"} --usage
		[[ $status == 0 && ! $stderr && $output == "Usage: vfio-bind "* ]]
	done

	promise "--help tells of each command, and each tells of itself"
	vfio_bind --help
	commands=${output#*$'\nCommands:\n'}
	mapfile -t commands <<<"${commands%%$'\n\n'*}"
	((${#commands[@]} == 4))
	for command in "${commands[@]}"; do
		read -r command summary <<<"$command"
		[[ $summary ]]
		vfio_bind "$command" --help
		((status == 0))
	done

	promise "--version is the last one of NEWS.md, with a + if that has something newer"
	version=$(grep -m 1 -o '^## [0-9.]*$' "$HERE/NEWS.md")
	version=${version#"## "}
	[[ $version ]]
	if grep -qx '## Unreleased' "$HERE/NEWS.md"; then version+=+; fi
	for option in --version -V; do
		vfio_bind "$option"
		[[ $status == 0 && $output == "vfio-bind $version" && ! $stderr ]]
		vfio_bind list "$option"
		[[ $status == 0 && $output == "vfio-bind $version" && ! $stderr ]]
	done

	promise "every column can be asked for, in either case"
	vfio_bind list --help
	while read -r column _; do columns+=("$column"); done <<<"${output#*$'\nColumns:\n'}"
	((${#columns[@]} > 7))
	for column in "${columns[@]}"; do
		vfio_bind list --bus=platform -o "${column,,}"
		[[ $status == 0 && ! $stderr ]]
		[[ ! $output || ${lines[0]%% *} == "$column" ]]
	done
	printf -v column ',%s' "${columns[@]}"
	vfio_bind list --bus=platform -J -o "${column#,}"
	((status == 0))
	jq -e --arg columns "${column,,}" \
		'.devices | map(keys_unsorted == ($columns[1:] | split(","))) | all' \
		<<<"$output" >/dev/null

	promise "its name is its own, whatever it is called by"
	call called /some/thing bogus
	[[ $status == 2 && ${stderr_lines[0]} == "vfio-bind: unknown command: 'bogus'" ]]
	[[ ${#stderr_lines[@]} == 2 && ${stderr_lines[1]} == *"vfio-bind --help"* ]]
	call called '' pin
	[[ $status == 2 && ${stderr_lines[0]} == "vfio-bind pin: DEVICE is missing" ]]
}

@test "a command line that is refused, and why" {
	local command words seconds when columns length name=''

	promise "an unknown command or option, or none"
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
	# Those that argp has, and tells nobody.
	for words in --HANG=1 --H --program-name=nix --pro; do
		misuse "unrecognized option '$words'" $words list
		misuse "unrecognized option '$words'" list $words
	done

	promise "an option that another command has"
	misuse "unrecognized option '--taken'" pin --taken eth0
	misuse "unrecognized option '--timeout=5'" list --timeout=5
	misuse "unrecognized option '--force'" list --force eth0
	misuse "unrecognized option '--boot'" handoff --boot eth0
	misuse "unrecognized option '--all'" handoff --all
	misuse "unrecognized option '--reset=auto'" release --reset=auto eth0
	misuse "unrecognized option '--driver=none'" release --driver=none eth0
	misuse "unrecognized option '--owner=root'" pin --owner=root eth0
	misuse "unrecognized option '--owner=root'" release --owner=root eth0
	misuse "unrecognized option '--mode=0660'" list --mode=0660

	promise "an option without its argument, and one with too much"
	misuse "option '--bus' requires an argument" list --bus
	misuse "option requires an argument -- 'o'" list -o
	misuse "option '--reset' requires an argument" handoff x --reset
	misuse "option requires an argument -- 't'" pin x -t
	misuse "option '--json' doesn't allow an argument" list --json=1

	promise "two formats at once"
	misuse "--json and --raw exclude each other" list --json --raw
	misuse "--json and --raw exclude each other" list -rJ

	promise "a COMMAND that is missing, or that no command but handoff takes"
	misuse "COMMAND is missing" handoff nix --
	for command in list pin release; do
		misuse "$command takes no COMMAND" "$command" nix -- true
		misuse "$command takes no COMMAND" "$command" -- true
	done
	misuse "'--' is no argument of an option" pin -t -- nix
	# With one, the status is 125.
	for words in "--bogus" "-d" "-t 0 nix" "--reset=x nix" "" "a b c" "-d x"; do
		# shellcheck disable=SC2086
		vfio_bind handoff $words -- true -n
		[[ $status == 125 && ! $output && ${stderr_lines[0]} == "vfio-bind"*": "* ]]
	done
	vfio_bind handoff -n nix -- true
	[[ $status == 125 && $stderr == "vfio-bind: nix: no such device" ]]
	call as_user "$program" handoff nix -- true
	[[ $status == 125 && $stderr == "vfio-bind: this needs root; --dry-run and list do not" ]]

	promise "what is behind -- is COMMAND's, whatever it is"
	vfio_bind handoff -n nix -- true $'a\nb' --bogus -- -d
	[[ $status == 125 && $stderr == "vfio-bind: nix: no such device" ]]
	vfio_bind -- handoff -n nix -- true $'a\nb'
	[[ $status == 125 && $stderr == "vfio-bind: nix: no such device" ]]
	vfio_bind handoff -n $'a\nb' -- true
	[[ $status == 125 && $stderr == "vfio-bind: control character in 'a?b'" ]]
	vfio_bind handoff -n nix -- "$name/nix"
	[[ $status == 127 && $stderr == "vfio-bind: /nix: command not found: nothing was touched" ]]

	promise "missing and surplus operands"
	misuse "DEVICE is missing" pin
	misuse "DEVICE is missing" handoff
	misuse "DEVICE is missing" handoff --driver=none
	misuse "DEVICE is missing" release
	misuse "DEVICE is missing" pin --boot
	misuse "DEVICE is missing" release --boot
	misuse "option '--boot' doesn't allow an argument" pin --boot=eth0
	misuse "surplus operand: 'c'" pin -n a b c
	misuse "surplus operand: 'c'; for several devices, name the driver with --driver" \
		handoff -n a b c
	misuse "--all takes no DEVICE" release -n --all a

	promise "a time-out that is no number of seconds"
	for seconds in '' 0 -1 0.0 x 5x '5 s' nan inf -inf 1e999 1e7; do
		misuse "--timeout is a number of seconds above 0, up to 1000000, not '$seconds'" \
			pin -n --timeout="$seconds" a
	done
	for seconds in 1 0.5 1e3; do
		misuse "no such device" handoff -n --timeout="$seconds" nix
	done

	promise "a --reset that there is not"
	for when in '' alway ALWAYS 1 none; do
		misuse "--reset is auto, always or never, not '$when'" handoff -n --reset="$when" a
	done

	promise "a --mode that is none, or gives its owner less, or more"
	local mode
	for mode in '' x 0060 0400 0200 0700 0661 0777 1660 600x 0o600 -0600 +0600 ' 0600' \
		u=rw 06000000000000000000000000660; do
		misuse "--mode is octal, from 0600 to 0666 and without x, not '$mode'" \
			handoff -n --mode="$mode" a
	done
	for mode in 600 0600 00600 0620 0644 0666; do
		misuse "no such device" handoff -n --mode="$mode" nix
	done

	promise "an owner or a mode for a driver that is not VFIO's"
	local driver
	for driver in none pci-stub e1000e; do
		misuse "--owner and --mode are for VFIO's nodes: '$driver' has none" \
			handoff -n --owner=root a $driver
		misuse "--owner and --mode are for VFIO's nodes: '$driver' has none" \
			handoff -n --mode=0660 --driver=$driver a b
	done

	promise "a column or a bus that there is not"
	for columns in BOGUS DEVICE,BOGUS +BOGUS 'DEVICE,' ,DEVICE 'DEVICE DRIVER' '' + DEV; do
		misuse "unknown column: '" list --output="$columns"
	done
	misuse "no such bus: 'bogus'" list --bus=bogus
	misuse "no such bus: ''" list --bus=
	misuse "no such bus: '..'" list --bus=..
	misuse "no such bus: 'Platform'" list --bus=Platform

	# A message is one line, and no argument plays with the terminal.
	promise "an argument with a control character"
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

	promise "a name of any length"
	for length in 64 65 255 256 4096 100000; do
		name=x
		while ((${#name} < length)); do name+=$name; done
		name=${name:0:length}
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

@test "what is no device" {
	promise "a device that there is not"
	no_devices nix nix/nix platform/nix nix/ /nix /nix/nix /sys/nix 0000:ff:1f.7 ff:1f.7

	promise "what is a path, and no device"
	no_devices . .. ./. platform/. platform/.. platform/../pci /sys / /sys/devices \
		/sys/bus /sys/bus/platform /sys/bus/platform/devices /sys/kernel
	misuse "'': no such device" pin -n ''
	misuse "/dev/null: no device is behind it: it is virtual" pin -n /dev/null

	promise "all that cannot be used is said, and the rest is still done"
	vfio_bind release -n nix1 nix2
	((status == 2))
	[[ $stderr == *"nix1: no such device"*"nix2: no such device"* ]]
	vfio_bind list -o DEVICE nix
	[[ $status == 2 && ! $output ]]
}

@test "a device of this host" {
	local bus device table='' raw json path before word other shown columns=()

	vfio_bind list -nro BUS,DEVICE
	[[ $output ]] || skip "this host has no device that can be flagged"
	read -r bus device <<<"$output"

	promise "a bus that there is not, with a device"
	misuse "no such bus: 'bogus'" list --bus=bogus "$bus/$device"

	promise "of several devices one is not there: a handoff begins with none"
	misuse "nix: no such device" handoff -n --driver=none "$bus/$device" nix

	promise "a device in the place of a driver"
	misuse "no driver $device on the $bus bus" handoff -n "$bus/$device" "$device"
	[[ ${stderr_lines[1]} == "vfio-bind: hint: that is a device: "*"--driver=DRIVER" ]]

	promise "list shows the first seven columns of --help by default"
	vfio_bind list "$bus/$device"
	read -ra shown <<<"${lines[0]}"
	vfio_bind list --help
	while read -r word _; do columns+=("$word"); done <<<"${output#*$'\nColumns:\n'}"
	[[ ${shown[*]} == "${columns[*]:0:7}" ]]

	promise "list in three formats shows the same devices"
	vfio_bind list --noheadings --output=DEVICE,BUS
	for word in "${lines[@]}"; do
		read -r word other <<<"$word"
		table+="$word $other"$'\n'
	done
	vfio_bind list -nr -o device,bus
	raw=$output
	vfio_bind list -J -o DEVICE,BUS
	json=$(jq -r '.devices[] | "\(.device) \(.bus)"' <<<"$output")
	[[ $raw && ${table%$'\n'} == "$raw" && $json == "$raw" ]]
	vfio_bind list -r -o DEVICE,BUS
	[[ ${lines[0]} == "DEVICE BUS" ]]

	promise "an ordinary user's dry run says what would be written, and writes nothing"
	vfio_bind list -nro PATH "$bus/$device"
	path=$output
	vfio_bind list -r "$bus/$device"
	before=$output
	call as_user "$program" pin --dry-run "$bus/$device"
	((status == 0))
	[[ $output == "echo none > $path/driver_override" && ! $stderr ]]
	vfio_bind list -r "$bus/$device"
	[[ $output == "$before" ]]
	# -v adds nothing to it, least of all on stderr
	call as_user "$program" pin -nv "$bus/$device"
	[[ $status == 0 && $output == "echo none > $path/driver_override" && ! $stderr ]]
	call as_user "$program" pin -n "$bus/$device" no-such-driver
	[[ $status == 2 && ! $output ]]
	[[ $stderr == "vfio-bind: $device: no driver no-such-driver on the $bus bus"* ]]
}

full() { vfio-bind "$@" >/dev/full; }
no_stdin() { vfio-bind "$@" <&-; }
no_stdout() { vfio-bind "$@" >&-; }
no_stderr() { vfio-bind "$@" 2>&-; }
nothing() { vfio-bind "$@" <&- >&- 2>&-; }
no_reader() {
	vfio-bind "$@" | true
	echo "${PIPESTATUS[0]}"
}

@test "standard streams that are full or closed" {
	local arguments

	promise "a full disk behind stdout"
	for arguments in --help --version 'list --help' 'list --version' --usage \
		'list --bus=platform' 'list --bus=platform -J'; do
		# shellcheck disable=SC2086
		call full $arguments
		((status == 1))
		[[ $stderr == "vfio-bind: write error: No space left on device" ]]
	done

	promise "closed standard streams"
	call no_stdout --version
	[[ $status == 1 && $stderr == "vfio-bind: write error: "* ]]
	call no_stdout list --bus=platform
	[[ $status == 1 && $stderr == "vfio-bind: write error: "* ]]
	call no_stderr bogus
	[[ $status == 2 && ! $output ]]
	call no_stderr pin -n nix
	[[ $status == 2 && ! $output ]]
	call nothing bogus
	((status == 2))
	call no_stdin --version
	[[ $status == 0 && $output == "vfio-bind "* && ! $stderr ]]

	# A reader that has enough is none of our business, and no crash.
	promise "a closed pipe behind stdout"
	call no_reader list --help
	[[ $output == 0 || $output == 1 || $output == 141 ]]
}

@test "an ordinary user may list, and is told at once where root is needed" {
	call as_user "$program" list --bus=platform
	[[ $status == 0 && ! $stderr ]]
	for arguments in 'pin nix' 'handoff nix' 'release nix' 'release --all'; do
		# shellcheck disable=SC2086
		call as_user "$program" $arguments
		[[ $status == 2 && ! $output ]]
		[[ $stderr == "vfio-bind: this needs root; --dry-run and list do not" ]]
	done
}
