# The man page, README, --help and the sources tell the same.

setup_file() {
	HERE=$(realpath "$BATS_TEST_DIRNAME/../..")
	REAL=$(cd "$HERE" && realpath -e "${VFIO_BIND:-build/vfio-bind}")
	export HERE REAL
	unset ARGP_HELP_FMT
	# As it is read, without overstrikes; wide, so that no line is broken.
	mandoc -T ascii -O width=500 "$HERE/man/vfio-bind.8" | sed 's/.\x08//g' \
		>"$BATS_FILE_TMPDIR/man"
	# Of all and of each command: its --help, and from it the options, one a line, as
	# "-t, --timeout=SECONDS", sorted.
	local command
	for command in '' list pin handoff release; do
		"$REAL" ${command:+"$command"} --help >"$BATS_FILE_TMPDIR/help-$command"
		sed -nE 's/^ +((-., )?--[a-z-]+(=[A-Z]+)?).*/\1/p' "$BATS_FILE_TMPDIR/help-$command" |
			sort >"$BATS_FILE_TMPDIR/options-$command"
	done
}

setup() {
	bats_require_minimum_version 1.5.0
	PATH=${REAL%/*}:$PATH
	commands=(list pin handoff release)
}

# section NAME: its lines in the man page.
section() {
	sed -n "/^$1\$/,/^[A-Z]/{//!p}" "$BATS_FILE_TMPDIR/man"
}

# same WHAT ONE OTHER: two texts, and neither is empty.
same() {
	if [[ ! $2 || $2 != "$3" ]]; then
		echo "$1:" && diff <(echo "$2") <(echo "$3")
		return 1
	fi
}

# man_options COMMAND: those that the man page says it has. A heading tells whose options
# follow; "(handoff, release)" before the text of one tells that it is theirs alone.
man_options() {
	section OPTIONS | awk -v command="$1" '
		function owned() {
			return (" " owners " ") ~ (" (" command "|all) ")
		}
		function flush() {
			if (option && owned())
				print option
			option = ""
		}
		/^   Options of / {
			flush()
			sub(/^   Options of /, "")
			gsub(/,| and /, " ")
			heading = $0
			next
		}
		/^     -/ {
			flush()
			option = substr($0, 6)
			sub(/-h, /, "", option)
			owners = heading
			first = 1
			next
		}
		first && match($0, /^ +\([a-z, ]*\)/) {
			owners = substr($0, RSTART, RLENGTH)
			gsub(/[(),]/, " ", owners)
		}
		{ first = 0 }
		END { flush() }' | sort
}

@test "the man page is clean" {
	run mandoc -T lint -W warning "$HERE/man/vfio-bind.8"
	[[ $status == 0 && ! $output ]]
}

@test "the man page has what one looks for" {
	local name
	for name in NAME SYNOPSIS DESCRIPTION COMMANDS OPTIONS COLUMNS FILES 'EXIT STATUS' \
		EXAMPLES 'SEE ALSO'; do
		[[ $(section "$name") ]] || { echo "no $name" && return 1; }
	done
}

@test "its commands are those of --help" {
	same commands \
		"$(vfio-bind --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p' | sort)" \
		"$(section COMMANDS | sed -n 's/^     \([a-z][a-z]*\) .*/\1/p' | sort)"
	same synopsis "$(printf '%s\n' "${commands[@]}" | sort)" \
		"$(section SYNOPSIS | awk 'NF { print $2 }' | sort -u)"
}

@test "its options are those of each command's --help" {
	local command
	for command in "${commands[@]}"; do
		same "$command" "$(<"$BATS_FILE_TMPDIR/options-$command")" "$(man_options "$command")"
	done
	# and those before the command are of all commands
	same vfio-bind "$(<"$BATS_FILE_TMPDIR/options-")" "$(man_options 'no command')"
}

# The short one of each option that has one, else the long one.
@test "its synopsis has each command's options" {
	local command
	for command in "${commands[@]}"; do
		same "$command" \
			"$(comm -23 "$BATS_FILE_TMPDIR/"{"options-$command",options-} |
				sed -E 's/^-(.), .*/-\1/; s/=.*//' | sort)" \
			"$(section SYNOPSIS | grep "^ *vfio-bind $command " |
				grep -Eo -- '(^|[ [])--?[A-Za-z-]+' | tr -d ' [' |
				awk '/^--/ { print; next }
					{ for (i = 2; i <= length; i++) print "-" substr($0, i, 1) }' |
				sort -u)"
	done
}

@test "its columns are those of list --help, in that order" {
	local help page
	help=$(vfio-bind list --help | sed '1,/^Columns:/d' | awk '{ print $1 }')
	page=$(section COLUMNS | sed -nE 's/^     ([A-Z]+)( .*)?$/\1/p')
	same columns "$help" "$page"
	section COLUMNS | grep -q 'The first seven are the default'
	run vfio-bind list --bus=platform
	[[ ${#lines[@]} -gt 0 ]] || skip "this host has no platform device"
	# shellcheck disable=SC2086
	same default "$(head -n 7 <<<"$page")" "$(printf '%s\n' ${lines[0]})"
}

@test "its exit statuses are those of the source, and of the README" {
	local source
	source=$(sed -n '/^enum status {/,/^}/s/.*= \([0-9]*\),.*/\1/p' "$HERE/lib/error.h")
	same "man page" "$source" "$(section 'EXIT STATUS' | sed -nE 's/^     ([0-9])( .*)?$/\1/p')"
	[[ -e $HERE/README.md ]] || skip "no README"
	same README "$source" "$(sed -n 's/^| \([0-9]\) |.*/\1/p' "$HERE/README.md")"
}

@test "its default time-out is that of --help" {
	same default "$(vfio-bind handoff --help | sed -n 's/.*(default \([0-9]*\)).*/\1/p')" \
		"$(section OPTIONS | sed -n 's/.*The default is \([0-9]*\)\..*/\1/p')"
}

@test "its files are those that the program knows" {
	local file files
	files=$(section FILES | sed -n 's:^     \(/run/.*/\)BUS\:NAME$:\1:p')
	(($(wc -l <<<"$files") == 2))
	for file in $files; do
		run grep -axF "${file%/}" <(tr '\0' '\n' <"$REAL")
		((status == 0)) || { echo "$file" && return 1; }
	done
}

# With --help at the end the options before it are parsed, and nothing is done.
@test "its examples, and those of the README, are understood" {
	local example examples words
	examples=$(section EXAMPLES | sed -nE 's/^ +[#$] vfio-bind //p')
	(($(wc -l <<<"$examples") >= 5))
	if [[ -e $HERE/README.md ]]; then
		examples+=$'\n'$(sed -nE 's/^ +[#$] vfio-bind //p' "$HERE/README.md")
	fi
	while read -r example; do
		read -ra words <<<"$example"
		status=0
		vfio-bind "${words[@]}" --help >/dev/null 2>"$BATS_TEST_TMPDIR/stderr" || status=$?
		if [[ $status != 0 || -s $BATS_TEST_TMPDIR/stderr ]]; then
			echo "vfio-bind $example: status $status: $(<"$BATS_TEST_TMPDIR/stderr")"
			return 1
		fi
	done <<<"$examples"
}

@test "the README's commands are those of --help" {
	[[ -e $HERE/README.md ]] || skip "no README"
	local command operands summary
	for command in "${commands[@]}"; do
		operands=$(sed -n "1s/^Usage: vfio-bind $command \[OPTION...\] //p" \
			"$BATS_FILE_TMPDIR/help-$command")
		summary=$(sed -n "s/^  $command  *//p" "$BATS_FILE_TMPDIR/help-")
		[[ $operands && $summary ]]
		grep -Eq "^ +vfio-bind $command +" "$HERE/README.md"
		run grep -E "^ +vfio-bind $command +" "$HERE/README.md"
		[[ $output == *" $operands "* ]] || { echo "$command $operands" && return 1; }
	done
}

@test "the README's options are those of --help" {
	[[ -e $HERE/README.md ]] || skip "no README"
	local known options
	known=$(grep -Eho -- '--[a-z-]+' "$BATS_FILE_TMPDIR"/options-?* | sort -u)
	# those in backquotes, and those of a call of the program
	options=$({
		grep -Eo '`--[a-z-]+' "$HERE/README.md"
		grep -E 'vfio-bind (list|pin|handoff|release) ' "$HERE/README.md" | grep -Eo ' --[a-z-]+'
	} | tr -d '` ' | sort -u)
	[[ $options ]]
	run comm -13 <(echo "$known") <(echo "$options")
	[[ ! $output ]]
}

@test "the licence is there, and each source names it" {
	grep -q 'GNU LESSER GENERAL PUBLIC LICENSE' "$HERE/LICENSE"
	grep -q 'Version 2.1, February 1999' "$HERE/LICENSE"
	run grep -L 'SPDX-License-Identifier: LGPL-2.1-or-later' "$HERE"/*.c "$HERE"/lib/*.[ch] \
		"$HERE/man/vfio-bind.8" "$HERE/completion/vfio-bind" "$HERE/Makefile"
	[[ ! $output ]]
}
