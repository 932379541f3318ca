# The man page, README, --help and the sources tell the same.

# Each fact is a line, and those that two sources tell are compared.
# shellcheck disable=SC2154 # serve() sets status

load ../shared

setup_file() {
	local command
	locate_program
	start_server "$BATS_FILE_TMPDIR/out"
	# As it is read, without overstrikes; wide, so that no line is broken.
	mandoc -T ascii -O width=500 "$HERE/man/vfio-bind.8" | sed 's/.\x08//g' \
		>"$BATS_FILE_TMPDIR/man"
	awk -v folder="$BATS_FILE_TMPDIR" '
		/^[A-Z]/ { file = folder "/section " $0 }
		/^ / { print >file }' "$BATS_FILE_TMPDIR/man"
	# What each command's --help says; with no command in help-none.
	for command in none list pin handoff release; do
		vfio_bind ${command/none/} --help
		((status == 0))
		echo "$output" >"$BATS_FILE_TMPDIR/help-$command"
	done
}

# vfio_bind ARGUMENT...: runs it, and sets status and output.
vfio_bind() {
	serve "$@"
	IFS= read -rd '' output <"$BATS_FILE_TMPDIR/out" || output=${output%$'\n'}
}

# facts_of_help: prints what the --help texts tell, sorted. The options of a synopsis are those
# that not all commands have: the short one if there is one, else the long one.
facts_of_help() {
	awk '
		FNR == 1 {
			command = FILENAME
			sub(/.*help-/, "", command)
			part = ""
			if (command != "none")
				print "synopsis of " command
		}
		/^[A-Z][a-z]*:$/ { part = $1 }
		part == "Commands:" && /^  [a-z]/ { print "command " $1 }
		part == "Columns:" && /^  / { print "column " ++columns " " $1 }
		match($0, /^ +(-., )?--[a-z-]+(=[A-Z:\[\]]+)?/) {
			option = substr($0, 1, RLENGTH)
			sub(/^ +/, "", option)
			print "option of " command ": " option
			if (command == "none") {
				common[option] = 1
			} else if (!(option in common)) {
				sub(/, .*|=.*/, "", option)
				print "synopsis of " command ": " option
			}
		}
		match($0, /\(default [0-9]+\)/) {
			print "time-out of " command " " substr($0, RSTART + 9, RLENGTH - 10)
		}' "$BATS_FILE_TMPDIR"/help-{none,list,pin,handoff,release} | sort
}

# facts_of_man: the same of the man page. Of the options, a heading tells whose options follow;
# "(handoff, release)" before the text of one tells that it is theirs alone.
facts_of_man() {
	awk '
		function end_option(   i, n, names) {
			n = option ? split(owners ~ /all/ ? all : owners, names, " ") : 0
			for (i = 1; i <= n; i++)
				print "option of " names[i] ": " option
			option = ""
		}
		function synopsis(   i, word) {
			print "synopsis of " $2
			while (match($0, /[ \[]--?[A-Za-z][A-Za-z-]*/)) {
				word = substr($0, RSTART + 1, RLENGTH - 1)
				$0 = substr($0, RSTART + RLENGTH)
				if (word ~ /^--/)
					print "synopsis of " command ": " word
				else for (i = 2; i <= length(word); i++)
					print "synopsis of " command ": -" substr(word, i, 1)
			}
		}
		BEGIN { all = "none list pin handoff release" }
		/^[A-Z]/ {
			end_option()
			section = $0
		}
		section == "SYNOPSIS" && /^ / {
			command = $2
			synopsis()
		}
		section == "COMMANDS" && /^     [a-z]+ / { print "command " $1 }
		section == "COLUMNS" && /^     [A-Z]+( |$)/ { print "column " ++columns " " $1 }
		section != "OPTIONS" { next }
		/^   Options of / {
			end_option()
			sub(/^   Options of /, "")
			gsub(/,| and /, " ")
			heading = $0
			next
		}
		/^     -/ {
			end_option()
			option = substr($0, 6)
			sub(/-h, /, "", option)
			owners = heading
			first = 1
			if (!match(option, /  +/))
				next
			# A short one has its text beside it.
			$0 = " " substr(option, RSTART + RLENGTH)
			option = substr(option, 1, RSTART - 1)
		}
		first && match($0, /^ +\([a-z, ]*\)/) {
			owners = substr($0, RSTART, RLENGTH)
			gsub(/[(),]/, " ", owners)
		}
		{ first = 0 }
		match($0, /The default is [0-9]+\./) {
			n = split(owners, names, " ")
			for (i = 1; i <= n; i++)
				print "time-out of " names[i] " " substr($0, RSTART + 15, RLENGTH - 16)
		}' "$BATS_FILE_TMPDIR/man" | sort -u
}

# section NAME: sets text to its lines in the man page.
section() {
	text=''
	IFS= read -rd '' text <"$BATS_FILE_TMPDIR/section $1" || [[ $text ]]
}

# matches REGEX TEXT: sets found to the first group of each line that matches.
matches() {
	local line
	found=()
	while IFS= read -r line; do
		[[ ! $line =~ $1 ]] || found+=("${BASH_REMATCH[1]}")
	done <<<"$2"
}

@test "the man page is clean, and tells what --help does" {
	local kind help page

	promise "the man page is clean"
	run mandoc -T lint -W warning "$HERE/man/vfio-bind.8"
	[[ $status == 0 && ! $output ]]

	promise "it has the commands, options, columns and the default time-out of --help"
	help=$(facts_of_help)
	page=$(facts_of_man)
	for kind in 'command' 'option of none:' 'synopsis of '{list,pin,handoff,release}: \
		'column 7' 'time-out of handoff'; do
		[[ $'\n'$help == *$'\n'"$kind "* ]] || { echo "--help: no $kind" && return 1; }
	done
	diff -U 0 --label='--help' --label='the man page' <(echo "$help") <(echo "$page")
}

@test "the man page, the README and the sources tell the same" {
	local text readme source command operands option options known=' ' file found

	IFS= read -rd '' readme <"$HERE/README.md" || :

	promise "the man page has what one looks for"
	for text in NAME SYNOPSIS DESCRIPTION COMMANDS OPTIONS COLUMNS FILES 'EXIT STATUS' \
		EXAMPLES 'SEE ALSO'; do
		section "$text"
	done
	section COLUMNS
	[[ $text == *'The first seven are the default'* ]] # tests/host/usage.bats shows that

	promise "its exit statuses are those of the source, and of the README"
	source=$(sed -n '/^enum status {/,/^}/s/.*= \([0-9]*\),.*/\1/p' "$HERE/lib/error.h")
	[[ $source ]]
	section 'EXIT STATUS'
	matches '^     ([0-9])( |$)' "$text"
	diff -U 0 --label=error.h --label='the man page' <(echo "$source") \
		<(printf '%s\n' "${found[@]}")
	diff -U 0 --label=error.h --label=README <(echo "$source") \
		<(sed -n 's/^| \([0-9]\) |.*/\1/p' "$HERE/README.md")

	promise "its files are those that the program knows"
	section FILES
	matches '^     (/run/.*)/BUS:NAME$' "$text"
	((${#found[@]} == 2))
	for file in "${found[@]}"; do
		grep -qazxF "$file" "$REAL" || { echo "$file" && return 1; }
	done

	# With --help at the end the options before it are parsed, and nothing is done.
	promise "its examples, and those of the README, are understood"
	section EXAMPLES
	matches '^ +[#$] vfio-bind (.*)' "$text"
	((${#found[@]} >= 5))
	matches '^ +[#$] vfio-bind (.*)' "$text"$'\n'"$readme"
	for command in "${found[@]}"; do
		# shellcheck disable=SC2086
		vfio_bind ${command%% -- *} --help
		if [[ $status != 0 || $output != "Usage: "* ]]; then
			echo "vfio-bind $command: status $status: $output"
			return 1
		fi
	done

	promise "the README's commands are those of --help, with their operands"
	for command in list pin handoff release; do
		read -r text <"$BATS_FILE_TMPDIR/help-$command"
		operands=${text#"Usage: vfio-bind $command [OPTION...] "}
		[[ $operands != "$text" ]]
		if [[ ! $readme =~ $'\n'\ +"vfio-bind $command "\ *"$operands " ]]; then
			echo "not in the README: $command $operands"
			return 1
		fi
	done

	promise "the README's options are those of --help"
	known=$(cat "$BATS_FILE_TMPDIR"/help-*)
	# those in backquotes, and those of a call of the program
	options=$(awk '
		/vfio-bind (list|pin|handoff|release) / { sub(/ -- .*/, ""); gsub(/ --/, "`--") }
		{
			while (match($0, /`--[a-z-]+/)) {
				print substr($0, RSTART + 1, RLENGTH - 1)
				$0 = substr($0, RSTART + RLENGTH)
			}
		}' "$HERE/README.md")
	[[ $options ]]
	for option in $options; do
		[[ $known =~ \ "$option"[\ =$'\n'] ]] || { echo "$option" && return 1; }
	done

	promise "the unit of systemd is one that systemd takes"
	# Of programs that are there.
	sed -n '/As a unit of systemd:/,/TimeoutStopSec=/{/As a unit/d; s/^ *//; p}' "$BATS_FILE_TMPDIR/man" |
		sed 's,/usr/[a-z]*/[a-z0-9_-]*,/bin/true,' >"$BATS_TEST_TMPDIR/guest.service"
	grep -q '^ExecStart=/bin/true handoff .* -- ' "$BATS_TEST_TMPDIR/guest.service"
	run systemd-analyze verify --man=no "$BATS_TEST_TMPDIR/guest.service"
	[[ $status == 0 && ! $output ]] || { echo "$output" && return 1; }

	promise "the licence is there, and each source names it"
	grep -q 'GNU LESSER GENERAL PUBLIC LICENSE' "$HERE/LICENSE"
	grep -q 'Version 2.1, February 1999' "$HERE/LICENSE"
	run grep -L 'SPDX-License-Identifier: LGPL-2.1-or-later' "$HERE"/*.c "$HERE"/lib/*.[ch] \
		"$HERE/man/vfio-bind.8" "$HERE"/completion/* "$HERE/Makefile" \
		"$HERE/debian/rules"
	[[ ! $output ]]
}
