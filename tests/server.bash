# shellcheck shell=bash
# How tests run vfio-bind without a process of the shell and an exec for each command: see
# tests/server.c. Sourced, not run.

# start_server OUT [ERR]: the server of $REAL, for this process and all that it starts. They
# have it at 7 and 8: bash uses what is above 9 itself, and bats 3 and 4. Opened anew, as an
# exec closes what coproc has made.
start_server() {
	[[ -x $REAL-server ]] || { echo "there is no $REAL-server: make unit" >&2 && return 1; }
	coproc server { exec "$REAL-server" "$@" 3>&- 4>&-; }
	exec 7>"/dev/fd/${server[1]}" 8<"/dev/fd/${server[0]}"
}

# serve ARGUMENT...: runs vfio-bind, and sets status.
serve() {
	printf '%s\0' "$#" "$@" >&7
	read -r status <&8
}
