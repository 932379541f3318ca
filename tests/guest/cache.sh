# shellcheck shell=bash
# Things that are built once and then kept in the user's cache folder: kernels,
# roots, modules. Sourced, not run.

# A build that fails in $(keep ...) is not to go on.
shopt -s inherit_errexit

# Where Debian keeps depmod, which is not in the PATH of an ordinary user.
PATH=$PATH:/usr/sbin

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

die() {
	say "$*"
	exit 1
}

# kept NAME INPUT...: the folder for NAME as built from these INPUTs (files, or
# any other text that tells one build from another).
kept() {
	local name=$1 input
	shift
	local cache=${XDG_CACHE_HOME:-$HOME/.cache}/vfio-bind
	mkdir -p "$cache"
	printf '%s/%s-%s\n' "$cache" "$name" "$(
		for input; do
			if [[ -f $input ]]; then cat "$input"; else printf '%s\n' "$input"; fi
		done | sha256sum | cut -c 1-12
	)"
}

# keep FOLDER BUILD: calls BUILD with a temporary folder to fill, which becomes
# FOLDER only when BUILD is through: an interrupted build never looks complete.
# A second caller waits for the first one instead of building the same again.
# FOLDER is then printed.
keep() {
	local folder=$1 build=$2
	if [[ ! -d $folder ]]; then
		exec 8>"$folder.lock"
		flock -n 8 || {
			say "waiting for another run that is building ${folder##*/}"
			flock 8
		}
	fi
	if [[ ! -d $folder ]]; then
		unfinished=$folder.unfinished
		trap 'rm -rf "$unfinished"' EXIT
		rm -rf "$unfinished"
		mkdir "$unfinished"
		"$build" "$unfinished"
		mv "$unfinished" "$folder"
	fi
	printf '%s\n' "$folder"
}

# progress TOTAL: counts the lines of standard input, about TOTAL of them.
progress() {
	local total=$1 count=0 percent shown=0
	while read -r; do
		((++count))
		percent=$((count * 100 / total))
		((percent < 100)) || percent=99
		if [[ -t 2 ]]; then
			((count % 10)) || printf '\r%s: %d files, %d%% ' "${0##*/}" "$count" "$percent" >&2
		elif ((percent >= shown + 10)); then
			shown=$percent
			say "$count files, $percent%"
		fi
	done
	if [[ -t 2 ]]; then printf '\r%s: %d files, 100%%\n' "${0##*/}" "$count" >&2; fi
}
