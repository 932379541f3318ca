# What bash offers after a Tab. The tool itself is asked for its --help; its list is made up.

setup_file() {
	HERE=$(realpath "$BATS_TEST_DIRNAME/../..")
	REAL=$(cd "$HERE" && realpath -e "${VFIO_BIND:-build/vfio-bind}")
	export HERE REAL
	unset ARGP_HELP_FMT
}

# vfio-bind, with a machine's devices, some of each kind, for list -nro COLUMN[,COLUMN]
# [--taken] [DEVICE].
# shellcheck disable=SC2317 # the completion calls it
vfio-bind() {
	local columns=$3 taken='' device='' word bus name driver is_taken
	if [[ $1 != list || $* == *--help* ]]; then
		"$REAL" "$@"
		return
	fi
	[[ $2 == -nro ]] || return 2
	for word in "${@:4}"; do
		if [[ $word == --taken ]]; then taken=y; else device=$word; fi
	done
	while read -r bus name driver is_taken; do
		[[ $driver != - ]] || driver=''
		if [[ $taken && ! $is_taken || $device && $device != "$name" ]]; then continue; fi
		case $columns in
		DEVICE) echo "$name" ;;
		BUS) echo "$bus" ;;
		BUS,DEVICE) echo "$bus $name" ;;
		BUS,DRIVER) echo "$bus $driver" ;;
		PATH) echo "/sys/devices/$bus/$name" ;;
		*) return 2 ;;
		esac
	done <<-END
		amba fff35000.rtc rtc-pl031
		pci 0000:01:00.0 vfio-pci taken
		pci 0000:01:00.1 -
		pci 0000:02:00.0 e1000e
		platform fff50000.ethernet calxedaxgmac
		platform fff51000.ethernet vfio-platform taken
		spi spi0.0 spidev
	END
}

setup() {
	bats_require_minimum_version 1.5.0
	export -f vfio-bind
	start_shell
}

# start_shell: the one that completes, as bash-completion does not expect to be run by bats;
# one a test, as to load it takes longest. For each line it reads it prints what is offered at
# the end of it, and then an "end".
start_shell() {
	if [[ ${shell_PID-} ]]; then
		kill "$shell_PID"
		wait "$shell_PID" || :
	fi
	# shellcheck disable=SC2016
	coproc shell { exec bash --norc -c '
		. /usr/share/bash-completion/bash_completion
		. "$HERE/completion/vfio-bind"
		while IFS= read -r COMP_LINE; do
			(
				COMP_POINT=${#COMP_LINE}
				# Split as readline does it: "=" and ":" are words of their own.
				split=${COMP_LINE//:/ : } split=${split//=/ = }
				read -ra COMP_WORDS <<<"$split"
				if [[ $COMP_LINE == *[\ ] ]]; then COMP_WORDS+=(""); fi
				COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
				_vfio_bind vfio-bind "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
				((${#COMPREPLY[@]} == 0)) || printf "%s\n" "${COMPREPLY[@]}"
			) </dev/null
			echo end
		done' 2>"$BATS_TEST_TMPDIR/stderr" 3>&-; }
}

# complete_line LINE: what is offered at the end of it, in $output, one a line.
complete_line() {
	local line
	output=''
	# shellcheck disable=SC2154 # coproc sets it
	printf '%s\n' "$1" >&"${shell[1]}"
	while IFS= read -r line <&"${shell[0]}" && [[ $line != end ]]; do
		output+=${output:+$'\n'}$line
	done
	[[ $line == end && ! -s $BATS_TEST_TMPDIR/stderr ]] ||
		{ echo "stderr: $(<"$BATS_TEST_TMPDIR/stderr")" && return 1; }
}

# offers LINE WORD...: these words and no others. Without a process, as there are many.
offers() {
	local word all=y offered
	complete_line "$1"
	mapfile -t offered <<<"$output"
	[[ $output ]] || offered=()
	shift
	for word; do [[ $'\n'$output$'\n' == *$'\n'"$word"$'\n'* ]] || all=''; done
	if [[ ! $all || ${#offered[@]} != "$#" ]]; then
		printf '%s\n' "offered:" "$output" "expected:" "$@"
		return 1
	fi
}

# options_of COMMAND: those of its --help, with "=" where an argument is to follow.
options_of() {
	"$REAL" ${1:+"$1"} --help | grep -Eo '^ +(-., )?--[a-z-]+=?' | grep -Eo -- '--.*'
}

@test "the commands are offered" {
	offers 'vfio-bind ' list pin handoff release
	offers 'vfio-bind r' release
	offers 'vfio-bind nix '
}

@test "the options of each command are offered, and no others" {
	local command options
	for command in '' list pin handoff release; do
		mapfile -t options < <(options_of "$command")
		((${#options[@]} >= 3))
		offers "vfio-bind ${command:+$command }--" "${options[@]}"
	done
	offers 'vfio-bind pin --ti' --timeout=
	offers 'vfio-bind pin --fo'
	offers 'vfio-bind --ver' --version
}

@test "devices, whose names have colons" {
	offers 'vfio-bind list ' fff35000.rtc 0000:01:00.0 0000:01:00.1 0000:02:00.0 \
		fff50000.ethernet fff51000.ethernet spi0.0
	# readline replaces what follows the last colon only
	offers 'vfio-bind handoff 0000:01:00.' 00.0 00.1
	offers 'vfio-bind handoff 0000' 0000:01:00.0 0000:01:00.1 0000:02:00.0
	offers 'vfio-bind pin fff5' fff50000.ethernet fff51000.ethernet
}

@test "a device by its bus or its path" {
	offers 'vfio-bind handoff platform/' platform/fff50000.ethernet platform/fff51000.ethernet
	offers 'vfio-bind handoff pci/0000:02' 02:00.0
	offers 'vfio-bind list /sys/devices/am' /sys/devices/amba/fff35000.rtc
	offers 'vfio-bind list /dev/nul' /dev/null
}

@test "release offers what is taken" {
	offers 'vfio-bind release ' 0000:01:00.0 fff51000.ethernet
	offers 'vfio-bind release spi0.0 f' fff51000.ethernet
	offers 'vfio-bind release platform/' platform/fff51000.ethernet
	offers 'vfio-bind release --all '
	offers 'vfio-bind release -va '
}

@test "the second operand is a driver for the first" {
	offers 'vfio-bind handoff fff35000.rtc ' vfio-amba rtc-pl031 auto none
	offers 'vfio-bind handoff 0000:01:00.0 ' vfio-pci auto none
	offers 'vfio-bind handoff 0000:02:00.0 ' vfio-pci e1000e auto none
	offers 'vfio-bind pin fff50000.ethernet ' vfio-platform calxedaxgmac auto none
	offers 'vfio-bind pin spi0.0 ' vfio-spi spidev auto none
	offers 'vfio-bind pin fff50000.ethernet vfio-platform '
	offers 'vfio-bind handoff --timeout=5 -vf --reset never fff35000.rtc v' vfio-amba
	offers 'vfio-bind handoff -vt 5 fff35000.rtc v' vfio-amba
}

@test "with --driver, all operands are devices" {
	local word
	for word in '--driver=none' '--driver none' '-d none' '-nd none' '-dnone'; do
		offers "vfio-bind handoff $word fff35000.rtc spi" spi0.0
		offers "vfio-bind handoff $word fff35000.rtc spi0.0 0000:02" 02:00.0
	done
}

@test "the drivers of --driver are those of the buses that there are" {
	local drivers=(vfio-{amba,pci,platform,spi})
	offers 'vfio-bind handoff --driver=' auto none "${drivers[@]}"
	offers 'vfio-bind handoff --driver ' auto none "${drivers[@]}"
	offers 'vfio-bind handoff -d a' auto
	offers 'vfio-bind handoff -nd a' auto
}

@test "the values of other options" {
	offers 'vfio-bind list --bus=' amba pci platform spi
	offers 'vfio-bind list -b p' pci platform
	offers 'vfio-bind handoff --reset=' auto always never
	offers 'vfio-bind handoff --reset a' auto always
	offers 'vfio-bind handoff --timeout='
	offers 'vfio-bind handoff -t '
}

@test "the values of --reset are those that the program takes" {
	local value
	complete_line 'vfio-bind handoff --reset='
	for value in $output; do
		run --separate-stderr "$REAL" handoff --reset="$value" --dry-run no-such-device
		# shellcheck disable=SC2154
		[[ $status == 2 && $stderr == *"no such device"* ]]
	done
}

@test "columns, one after the other" {
	local columns
	mapfile -t columns < <("$REAL" list --help | sed '1,/^Columns:/d' | awk '{ print $1 }')
	((${#columns[@]} > 7))
	offers 'vfio-bind list --output=' "${columns[@]}"
	offers 'vfio-bind list -nro ' "${columns[@]}"
	offers 'vfio-bind list -o DEVICE,DR' DEVICE,DRIVER
	offers 'vfio-bind list -o +HO' +HOST +HOLDER
	# one that is there already is not offered again
	offers 'vfio-bind list -o +HOST,HO' +HOST,HOLDER
}

@test "nothing is offered, and nothing said, when the program fails" {
	printf '#!/bin/sh\necho oops >&2; exit 1\n' >"$BATS_TEST_TMPDIR/vfio-bind"
	chmod +x "$BATS_TEST_TMPDIR/vfio-bind"
	PATH=$BATS_TEST_TMPDIR:$PATH
	unset -f vfio-bind
	start_shell
	offers 'vfio-bind '
	offers 'vfio-bind release '
}

@test "bash-completion finds it where it is installed" {
	# -o all: what is tested is not built again, by other flags for example
	make -s -C "$HERE" -o all install BUILD="${REAL%/*}" DESTDIR="$BATS_TEST_TMPDIR" PREFIX=/usr
	run bash --norc -c '
		. /usr/share/bash-completion/bash_completion
		XDG_DATA_HOME=$1/usr/share
		__load_completion vfio-bind
		complete -p vfio-bind' bash "$BATS_TEST_TMPDIR"
	[[ $status == 0 && $output == *"-F _vfio_bind vfio-bind" ]]
}
