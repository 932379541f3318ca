# What bash offers after a Tab. The tool itself is asked for its --help; its list is made up.

bats_require_minimum_version 1.5.0
load ../shared

# The --help of all and of each command, as the program prints it.
setup_file() {
	local command
	locate_program
	for command in '' list pin handoff release; do
		"$REAL" ${command:+"$command"} --help >"$BATS_FILE_TMPDIR/help-$command"
	done
}

# vfio-bind, with a machine's devices, some of each kind, for list -nro COLUMN[,COLUMN]
# [--taken|--boot] [DEVICE].
# shellcheck disable=SC2317 # the completion calls it
vfio-bind() {
	local columns=$3 taken='' device='' word bus name driver is help
	if [[ ${*: -1} == --help ]]; then
		IFS= read -rd '' help <"$BATS_FILE_TMPDIR/help-${*:1:$#-1}"
		echo "$help"
		return
	fi
	[[ $1 == list && $2 == -nro ]] || return 2
	for word in "${@:4}"; do
		if [[ $word == --* ]]; then taken=${word#--}; else device=$word; fi
	done
	while read -r bus name driver is; do
		[[ $driver != - ]] || driver=''
		if [[ $taken && " $is " != *" $taken "* || $device && $device != "$name" ]]; then continue; fi
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
		pci 0000:01:00.0 vfio-pci taken boot
		pci 0000:01:00.1 -
		pci 0000:02:00.0 e1000e
		platform fff50000.ethernet calxedaxgmac
		platform fff51000.ethernet vfio-platform taken
		spi spi0.0 spidev boot
	END
}

setup() {
	export -f vfio-bind
	start_shell
}

# start_shell: the one that completes, as bash-completion does not expect to be run by bats;
# one for all, as to load it takes longest. For each line it reads it prints what is offered at
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
			COMP_POINT=${#COMP_LINE} COMPREPLY=()
			# Split as readline does it: "=" and ":" are words of their own.
			words=${COMP_LINE//:/ : } words=${words//=/ = }
			read -ra COMP_WORDS <<<"$words"
			if [[ $COMP_LINE == *[\ ] ]]; then COMP_WORDS+=(""); fi
			COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
			_vfio_bind vfio-bind "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}" </dev/null
			((${#COMPREPLY[@]} == 0)) || printf "%s\n" "${COMPREPLY[@]}"
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
	local line=$1 word all=y offered
	complete_line "$line"
	mapfile -t offered <<<"$output"
	[[ $output ]] || offered=()
	shift
	for word; do [[ $'\n'$output$'\n' == *$'\n'"$word"$'\n'* ]] || all=''; done
	if [[ ! $all || ${#offered[@]} != "$#" ]]; then
		printf '%s\n' "offered after '$line':" "$output" "expected:" "$@"
		return 1
	fi
}

# options_of COMMAND: sets options to those of its --help, with "=" where an argument is to
# follow.
options_of() {
	local line
	options=()
	while IFS= read -r line; do
		[[ ! $line =~ ^\ +(-.,\ )?(--[a-z-]+=?) ]] || options+=("${BASH_REMATCH[2]}")
	done <"$BATS_FILE_TMPDIR/help-$1"
}

@test "what is offered after each word" {
	local command options word value columns

	promise "the commands are offered"
	offers 'vfio-bind ' list pin handoff release
	offers 'vfio-bind r' release
	offers 'vfio-bind nix '

	promise "the options of each command are offered, and no others"
	for command in '' list pin handoff release; do
		options_of "$command"
		((${#options[@]} >= 3))
		offers "vfio-bind ${command:+$command }--" "${options[@]}"
	done
	offers 'vfio-bind pin --ti' --timeout=
	offers 'vfio-bind pin --fo' --force
	offers 'vfio-bind list --fo'
	offers 'vfio-bind --ver' --version

	promise "devices, whose names have colons"
	offers 'vfio-bind list ' fff35000.rtc 0000:01:00.0 0000:01:00.1 0000:02:00.0 \
		fff50000.ethernet fff51000.ethernet spi0.0
	# readline replaces what follows the last colon only
	offers 'vfio-bind handoff 0000:01:00.' 00.0 00.1
	offers 'vfio-bind handoff 0000' 0000:01:00.0 0000:01:00.1 0000:02:00.0
	offers 'vfio-bind pin fff5' fff50000.ethernet fff51000.ethernet

	promise "a device by its bus or its path"
	offers 'vfio-bind handoff platform/' platform/fff50000.ethernet platform/fff51000.ethernet
	offers 'vfio-bind handoff pci/0000:02' 02:00.0
	offers 'vfio-bind list /sys/devices/am' /sys/devices/amba/fff35000.rtc
	offers 'vfio-bind list /dev/nul' /dev/null

	promise "release offers what is taken"
	offers 'vfio-bind release ' 0000:01:00.0 fff51000.ethernet
	offers 'vfio-bind release spi0.0 f' fff51000.ethernet
	offers 'vfio-bind release platform/' platform/fff51000.ethernet
	offers 'vfio-bind release --all '
	offers 'vfio-bind release -va '
	offers 'vfio-bind release --boot ' 0000:01:00.0 spi0.0
	offers 'vfio-bind release --boot --all '

	promise "the second operand is a driver for the first"
	offers 'vfio-bind handoff fff35000.rtc ' vfio-amba rtc-pl031 auto none
	offers 'vfio-bind handoff 0000:01:00.0 ' vfio-pci auto none
	offers 'vfio-bind handoff 0000:02:00.0 ' vfio-pci e1000e auto none
	offers 'vfio-bind pin fff50000.ethernet ' vfio-platform calxedaxgmac auto none
	offers 'vfio-bind pin spi0.0 ' vfio-spi spidev auto none
	offers 'vfio-bind pin fff50000.ethernet vfio-platform '
	offers 'vfio-bind handoff --timeout=5 -vf --reset never fff35000.rtc v' vfio-amba
	offers 'vfio-bind handoff -vt 5 fff35000.rtc v' vfio-amba

	promise "with --driver, all operands are devices"
	for word in '--driver=none' '--driver none' '-d none' '-nd none' '-dnone'; do
		offers "vfio-bind handoff $word fff35000.rtc spi" spi0.0
		offers "vfio-bind handoff $word fff35000.rtc spi0.0 0000:02" 02:00.0
	done

	promise "the drivers of --driver are those of the buses that there are"
	local drivers=(vfio-{amba,pci,platform,spi})
	offers 'vfio-bind handoff --driver=' auto none "${drivers[@]}"
	offers 'vfio-bind handoff --driver ' auto none "${drivers[@]}"
	offers 'vfio-bind handoff -d a' auto
	offers 'vfio-bind handoff -nd a' auto

	promise "the values of other options"
	offers 'vfio-bind list --bus=' amba pci platform spi
	offers 'vfio-bind list -b p' pci platform
	offers 'vfio-bind handoff --reset=' auto always never
	offers 'vfio-bind handoff --reset a' auto always
	offers 'vfio-bind handoff --mode=' 0600 0660 0666
	offers 'vfio-bind handoff --owner=roo' root
	offers 'vfio-bind handoff --owner roo' root
	offers 'vfio-bind handoff --owner=root:roo' root
	offers 'vfio-bind handoff --owner :roo' root
	offers 'vfio-bind handoff --timeout='
	offers 'vfio-bind handoff -t '

	promise "the values of --reset are those that the program takes"
	complete_line 'vfio-bind handoff --reset='
	for value in $output; do
		run --separate-stderr "$REAL" handoff --reset="$value" --dry-run no-such-device
		# shellcheck disable=SC2154
		[[ $status == 2 && $stderr == *"no such device"* ]]
	done

	promise "so are the modes"
	complete_line 'vfio-bind handoff --mode='
	for value in $output; do
		run --separate-stderr "$REAL" handoff --mode="$value" --dry-run no-such-device
		[[ $status == 2 && $stderr == *"no such device"* ]]
	done

	promise "columns, one after the other"
	mapfile -t columns < <(awk 'found { print $1 } /^Columns:/ { found = 1 }' \
		"$BATS_FILE_TMPDIR/help-list")
	((${#columns[@]} > 7))
	offers 'vfio-bind list --output=' "${columns[@]}"
	offers 'vfio-bind list -nro ' "${columns[@]}"
	offers 'vfio-bind list -o DEVICE,DR' DEVICE,DRIVER
	offers 'vfio-bind list -o +HO' +HOST +HOLDER
	# one that is there already is not offered again
	offers 'vfio-bind list -o +HOST,HO' +HOST,HOLDER

	promise "nothing is offered, and nothing said, when the program fails"
	printf '#!/bin/sh\necho oops >&2; exit 1\n' >"$BATS_TEST_TMPDIR/vfio-bind"
	chmod +x "$BATS_TEST_TMPDIR/vfio-bind"
	PATH=$BATS_TEST_TMPDIR:$PATH
	unset -f vfio-bind
	start_shell
	offers 'vfio-bind '
	offers 'vfio-bind release '
}
