# What bash, zsh and fish offer after a Tab. The tool itself is asked for its --help; its list is
# made up.

bats_require_minimum_version 1.5.0
load ../shared

# The --help of all and of each command, as the program prints it.
setup_file() {
	local command
	locate_program
	export MADE=$BATS_FILE_TMPDIR
	for command in '' list pin handoff release; do
		"$REAL" ${command:+"$command"} --help >"$MADE/help-$command"
	done
	mkdir "$MADE/bin" "$MADE/home"
	made_up >"$MADE/bin/vfio-bind"
	chmod +x "$MADE/bin/vfio-bind"
}

# made_up: prints a vfio-bind with a machine's devices, some of each kind, for
# list -nro COLUMN[,COLUMN] [--taken|--boot] [DEVICE].
made_up() {
	cat <<-'END'
		#!/bin/bash
		if [[ ${*: -1} == --help ]]; then
			[[ -e $MADE/help-${*:1:$#-1} ]] || exit 2
			IFS= read -rd '' help <"$MADE/help-${*:1:$#-1}"
			echo "$help"
			exit
		fi
		[[ $1 == list && $2 == -nro ]] || exit 2
		columns=$3 taken='' device=''
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
			*) exit 2 ;;
			esac
		done <<-DEVICES
			amba fff35000.rtc rtc-pl031
			pci 0000:01:00.0 vfio-pci taken boot
			pci 0000:01:00.1 -
			pci 0000:02:00.0 e1000e
			platform fff50000.ethernet calxedaxgmac
			platform fff51000.ethernet vfio-platform taken
			spi spi0.0 spidev boot
		DEVICES
	END
}

setup() { PATH=$MADE/bin:$PATH; }

# start_shell COMMAND...: the one that completes; one for all, as to load it takes longest. For
# each line it reads it prints what is offered at the end of it, and then an "end". Its folder
# is empty, and so is its home.
start_shell() {
	if [[ ${shell_PID-} ]]; then
		kill "$shell_PID"
		wait "$shell_PID" || :
	fi
	coproc shell { cd "$MADE/home" && HOME=$PWD exec "$@" 2>"$BATS_TEST_TMPDIR/stderr" 3>&-; }
}

# bash-completion does not expect to be run by bats.
start_bash() {
	# shellcheck disable=SC2016
	start_shell bash --norc -c '
		. /usr/share/bash-completion/bash_completion
		. "$HERE/completion/vfio-bind"
		vfio-bind() (. vfio-bind "$@") # no process is started for it
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
		done'
}

start_zsh() { start_shell zsh -f "$HERE/tests/host/offer.zsh" "$BATS_TEST_TMPDIR/offered"; }

# It shows what a word means behind a tabulator.
start_fish() {
	# shellcheck disable=SC2016
	start_shell fish -N -c '
		set -p fish_complete_path $HERE/completion
		while read -l line
			complete -C $line | string replace -r "\t.*" ""
			echo end
		end'
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
	done <"$MADE/help-$1"
}

# columns_of_list: sets columns to those of its --help.
columns_of_list() {
	mapfile -t columns < <(awk 'found { print $1 } /^Columns:/ { found = 1 }' "$MADE/help-list")
	((${#columns[@]} > 7))
}

# A program that fails: nothing is offered, and nothing said.
use_failing_program() {
	printf '#!/bin/sh\necho oops >&2; exit 1\n' >"$BATS_TEST_TMPDIR/vfio-bind"
	chmod +x "$BATS_TEST_TMPDIR/vfio-bind"
	PATH=$BATS_TEST_TMPDIR:$PATH
}

# offered_by_each: what does not depend on how a shell takes words apart.
offered_by_each() {
	promise "the commands are offered"
	offers 'vfio-bind ' list pin handoff release
	offers 'vfio-bind r' release
	offers 'vfio-bind nix '

	promise "release offers what is taken"
	offers 'vfio-bind release ' 0000:01:00.0 fff51000.ethernet
	offers 'vfio-bind release --force ' 0000:01:00.0 fff51000.ethernet
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
	offers 'vfio-bind pin 0000:01:00.1 ' vfio-pci auto none
	offers 'vfio-bind pin spi0.0 ' vfio-spi spidev auto none
	offers 'vfio-bind pin fff50000.ethernet vfio-platform '
	offers 'vfio-bind handoff --timeout=5 -vf --reset never fff35000.rtc v' vfio-amba
	offers 'vfio-bind handoff -vt 5 fff35000.rtc v' vfio-amba

	promise "columns, one after the other"
	local columns
	columns_of_list
	offers 'vfio-bind list -nro ' "${columns[@]}"
	offers 'vfio-bind list -o DEVICE,DR' DEVICE,DRIVER
	offers 'vfio-bind list -o +HO' +HOST +HOLDER
	# one that is there already is not offered again
	offers 'vfio-bind list -o +HOST,HO' +HOST,HOLDER
}

# silent_without_program SHELL: nothing is offered, and nothing said, when the program fails.
silent_without_program() {
	promise "nothing is offered, and nothing said, when the program fails"
	use_failing_program
	"start_$1"
	offers 'vfio-bind '
	offers 'vfio-bind release '
}

@test "what bash offers after each word" {
	local command options word value columns
	start_bash
	offered_by_each

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

	promise "with --driver, all operands are devices"
	for word in '--driver=none' '--driver none' '-d none' '-nd none' '-dnone'; do
		offers "vfio-bind handoff $word fff35000.rtc spi" spi0.0
		offers "vfio-bind handoff $word fff35000.rtc spi0.0 0000:02" 02:00.0
	done

	promise "behind -- it is COMMAND, completed as such"
	offers 'vfio-bind handoff 0000:01:00.0 -- vfio-bind rel' release
	offers 'vfio-bind handoff --driver=none -v 0000:01:00.0 spi0.0 -- vfio-bind list --ta' --taken

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
	columns_of_list
	offers 'vfio-bind list --output=' "${columns[@]}"

	silent_without_program bash
}

# Neither takes a word apart at a colon, nor do they put a "=" behind an option.
also_offered() {
	local shell_name=$1 command options word columns
	"start_$shell_name"
	offered_by_each

	promise "the options of each command are offered, and no others"
	for command in '' list pin handoff release; do
		options_of "$command"
		((${#options[@]} >= 3))
		offers "vfio-bind ${command:+$command }--" "${options[@]%=}"
	done
	offers 'vfio-bind pin --ti' --timeout
	offers 'vfio-bind pin --fo' --force
	offers 'vfio-bind list --fo'

	promise "devices, by name, bus or path"
	offers 'vfio-bind list ' fff35000.rtc 0000:01:00.0 0000:01:00.1 0000:02:00.0 \
		fff50000.ethernet fff51000.ethernet spi0.0
	offers 'vfio-bind handoff 0000:01:00.' 0000:01:00.0 0000:01:00.1
	offers 'vfio-bind handoff platform/' platform/fff50000.ethernet platform/fff51000.ethernet
	offers 'vfio-bind list /sys/devices/am' /sys/devices/amba/fff35000.rtc
	offers 'vfio-bind list spi0.0 fff3' fff35000.rtc
	offers 'vfio-bind list -g spi' spi0.0

	promise "with --driver, all operands are devices"
	for word in '--driver=none' '--driver none' '-d none' '-nd none' '-dnone'; do
		offers "vfio-bind handoff $word fff35000.rtc spi" spi0.0
		offers "vfio-bind handoff $word fff35000.rtc spi0.0 0000:02" 0000:02:00.0
	done

	promise "the drivers of --driver are those of the buses that there are"
	offers 'vfio-bind handoff --driver ' auto none vfio-{amba,pci,platform,spi}
	offers 'vfio-bind handoff -nd a' auto

	promise "the values of other options"
	offers 'vfio-bind list --bus ' amba pci platform spi
	offers 'vfio-bind list -b p' pci platform
	offers 'vfio-bind handoff --reset ' auto always never
	offers 'vfio-bind handoff --reset=a' --reset=auto --reset=always
	offers 'vfio-bind handoff --mode ' 0600 0660 0666
	offers 'vfio-bind handoff --owner roo' root
	offers 'vfio-bind handoff --owner=root:roo' --owner=root:root
	offers 'vfio-bind handoff --owner :roo' :root
	offers 'vfio-bind handoff -t '

	promise "columns, one after the other"
	columns_of_list
	offers 'vfio-bind list --output ' "${columns[@]}"
	offers 'vfio-bind list --output=DEVICE,DR' --output=DEVICE,DRIVER

	promise "what a handoff runs is completed as if it stood alone"
	: >"$MADE/home/some-file"
	offers 'vfio-bind handoff spi0.0 -- cat so' some-file
	offers 'vfio-bind handoff -d none spi0.0 -- vfio-bind r' release
	offers 'vfio-bind handoff spi0.0 -- vfio-bind pin fff35000.rtc v' vfio-amba

	silent_without_program "$shell_name"
}

@test "zsh and fish tell of an option all that --help does" {
	local text="do not ask whether it is in use by the host, nor whether DRIVER is for it"
	# shellcheck disable=SC2016
	run zsh -fc 'source <(sed "\$d" "$HERE/completion/_vfio-bind") # but the call
		tell() {
			local help=$(vfio-bind handoff --help) options match mbegin mend
			_vfio_bind_options
			print -rl -- $options
		}
		tell'
	[[ $output == *"--force[$text]"* ]]
	# shellcheck disable=SC2016
	run fish -Nc 'source $HERE/completion/vfio-bind.fish; complete -C "vfio-bind handoff --fo"'
	[[ $output == --force$'\t'"$text" ]]
}

# bats test_tags=slow
@test "what zsh offers after each word" { also_offered zsh; }

# bats test_tags=slow
@test "what fish offers after each word" { also_offered fish; }
