#!/usr/bin/env bats
# lib/KERNEL.md names tests and functions: they are there.

# Each test is a subshell; and a backtick of the page is no command.
# shellcheck disable=SC2016,SC2030,SC2031

setup() {
	cd "$BATS_TEST_DIRNAME/../.." || return
	text=$(tr -s '\n ' ' ' <lib/KERNEL.md)
	missing=''
}

# named PATTERN...: what of the page matches one of them, in its order.
named() {
	grep -oE "$(IFS='|' && echo "$*")" <<<"$text"
}

@test "each test that KERNEL.md names is in each file that it is said to be in" {
	local token file files=() ended=1 n=0
	while IFS= read -r token; do
		if [[ $token == \`* ]]; then
			((!ended)) || files=()
			ended=0
			files+=("tests/${token//\`/}")
			continue
		fi
		ended=1
		for file in "${files[@]}"; do
			n=$((n + 1))
			grep -qxF "@test $token {" "$file" || missing+="$file: $token"$'\n'
		done
	done < <(named '`[a-z]+/[a-z]+\.bats`' '"[^"]+"')
	echo "$missing"
	[[ ! $missing ]]
	((n > 40))
}

@test "each function that KERNEL.md names is in the file that it is said to be in" {
	local token file='' n=0
	while IFS= read -r token; do
		if [[ $token == *.c ]]; then
			file=lib/$token
			continue
		fi
		n=$((n + 1))
		token=${token//[\`()]/}
		grep -qE "^[a-z].*\b$token\(" "$file" || missing+="$file: $token()"$'\n'
	done < <(named '[a-z]+\.c' '`[a-z_]+\(\)`')
	echo "$missing"
	[[ ! $missing ]]
	((n > 30))
}
