# shellcheck shell=bash
# What the tests of tests/sys and tests/host share. Sourced, not run.

# shellcheck source=tests/trace.bash
. "${BASH_SOURCE%/*}/trace.bash"

# locate_program: sets HERE, the top of the repository, and REAL, the program, and has it in
# PATH, for all tests of a file.
locate_program() {
	export HERE=${BATS_TEST_DIRNAME%/*/*} REAL=${VFIO_BIND:-build/vfio-bind}
	[[ $REAL == /* ]] || REAL=$HERE/$REAL
	[[ -x $REAL ]] || { echo "there is no $REAL" >&2 && return 1; }
	PATH=${REAL%/*}:$PATH
}

# start_server OUT [ERR]: what runs vfio-bind for serve() (tests/server.c), for this process
# and all that it starts. They have it at 7 and 8: bash uses what is above 9 itself, and bats
# 3 and 4. It looks up all symbols, or else each of its children would.
start_server() {
	[[ -x $REAL-server ]] || { echo "there is no $REAL-server: make unit" >&2 && return 1; }
	mkfifo "$1.status"
	# shellcheck disable=SC2094 # a FIFO
	exec 7> >(LD_BIND_NOW=1 exec "$REAL-server" "$@" >"$1.status" 3>&- 4>&-) 8<"$1.status"
}

# serve ARGUMENT...: runs vfio-bind, and sets status.
serve() {
	printf '%s\0' "$#" "$@" >&7
	# shellcheck disable=SC2034 # for the caller
	read -r status <&8
}

# promise TEXT: what follows shows it. There are several in a @test, as bats takes ten times
# as long for one as most of them do. Of a @test that fails bats shows these texts, and the
# last one is not kept.
promise() { echo "- $1"; }
