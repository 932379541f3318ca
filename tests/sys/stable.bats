#!/usr/bin/env bats
# What a script may rely on changes only with a line in NEWS.md.

# shellcheck disable=SC2154 # vfio_bind() sets output
load sys

HERE=$BATS_TEST_DIRNAME/../..

# What there was in the last release: a release writes it anew (HACKING.md).
last_release=0.1
last_facts() {
	cat <<-'END'
		status 0 DONE
		status 1 FAILED
		status 2 USAGE
		status 3 REFUSED
		status 4 BROKEN
		command list
		command pin
		command handoff
		command release
		column DEVICE
		column BUS
		column DRIVER
		column OVERRIDE
		column GROUP
		column NODE
		column MODEL
		column HOST
		column USE
		column HOLDER
		column ID
		column CLASS
		column PF
		column VFS
		column RESET
		column MODALIAS
		column PATH
		key devices
		key children
		option list -b --bus=BUS
		option list -g --group
		option list -J --json
		option list -n --noheadings
		option list -o --output=COLS
		option list -r --raw
		option list --taken
		option pin -n --dry-run
		option pin -t --timeout=SECONDS
		option pin -v --verbose
		option handoff -d --driver=DRIVER
		option handoff -f --force
		option handoff -g --group
		option handoff -n --dry-run
		option handoff --reset=WHEN
		option handoff -t --timeout=SECONDS
		option handoff -v --verbose
		option release -a --all
		option release -f --force
		option release -g --group
		option release -n --dry-run
		option release -t --timeout=SECONDS
		option release -v --verbose
	END
}

# facts: the same of what there is now.
facts() {
	local command
	sed -n '/^enum status {/,/^}/s/.*STATUS_\([A-Z]*\) = \([0-9]*\),.*/status \2 \1/p' "$HERE/lib/error.h"
	vfio_bind --help
	awk '/^Commands:/ { found = 1; next } found && !NF { exit } found { print "command " $1 }' <<<"$output"
	vfio_bind list --help
	awk 'found { print "column " $1 } /^Columns:/ { found = 1 }' <<<"$output"
	vfio_bind list -Jg -o DEVICE 00:1f.2
	jq -r '[paths | .[-1] | strings] | unique - ["device"] | .[] | "key " + .' <<<"$output"
	for command in list pin handoff release; do
		vfio_bind "$command" --help
		sed -En "/--(help|usage|version) /d
			s/^ +(-., )?(--[^ ]+) .*/option $command \1\2/; T; s/,//; p" <<<"$output"
	done
}

# news: prints what is new since the last release, an item a line.
news() {
	awk -v last="## $last_release" '
		$0 == last { exit }
		/^- |^#/ { printf "\n" }
		{ printf "%s ", $0 }
		END { print "" }' "$HERE/NEWS.md"
}


# told FACT [TEXT]: what it names, is that in an item of the news that has TEXT?
told() {
	local name=${1##* }
	[[ $1 != "status "* ]] || read -r _ name _ <<<"$1"
	news | grep -F -e "${2-}" | grep -qE -e "(^|[^A-Za-z0-9-])${name%%=*}([^A-Za-z0-9-]|\$)"
}

@test "statuses, commands, options, columns and keys change only with a line in NEWS.md" {
	local facts fact kind columns

	promise "the list above is that of the last release"
	[[ $(grep -m 1 -x '## [0-9.]*' "$HERE/NEWS.md") == "## $last_release" ]]

	promise "what there was is there, or an item says **Changed**; what is new has an item"
	facts=$(facts)
	for kind in status 'command' column key option; do [[ $'\n'$facts == *$'\n'"$kind "* ]]; done
	while IFS= read -r fact; do
		told "$fact" '**Changed**' || { echo "no line says **Changed** of: $fact" && return 1; }
	done < <(comm -23 <(last_facts | sort) <(sort <<<"$facts"))
	while IFS= read -r fact; do
		told "$fact" || { echo "no line tells of: $fact" && return 1; }
	done < <(comm -13 <(last_facts | sort) <(sort <<<"$facts"))

	promise "the keys of a device are the columns in lower case, in their order"
	columns=$(sed -n 's/^column //p' <<<"$facts" | paste -sd ,)
	vfio_bind list -J -o "$columns"
	[[ $(jq -r '.devices[] | keys_unsorted | join(",")' <<<"$output" | sort -u) == "${columns,,}" ]]
}
