#!/usr/bin/env bats
# make install.

load ../shared

setup_file() { locate_program; }

# install_below FOLDER [VARIABLE...]: without -o all it would be built again, with other flags
# for example.
install_below() {
	make -s -C "$HERE" -o all install BUILD="${REAL%/*}" DESTDIR="$1" "${@:2}"
}

@test "make install" {
	local folder=$BATS_TEST_TMPDIR/usr usr_local=$BATS_TEST_TMPDIR/local/usr/local

	promise "it puts three files below DESTDIR and PREFIX, and nothing else"
	install_below "$BATS_TEST_TMPDIR" PREFIX=/usr
	run find "$folder" -type f -printf '%m %P\n'
	[[ $status == 0 && $(sort <<<"$output") == "644 share/bash-completion/completions/vfio-bind
644 share/man/man8/vfio-bind.8
755 sbin/vfio-bind" ]]
	cmp "$REAL" "$folder/sbin/vfio-bind"
	"$folder/sbin/vfio-bind" --version

	promise "bash-completion finds it there"
	run bash --norc -c '
		. /usr/share/bash-completion/bash_completion
		XDG_DATA_HOME=$1/share
		__load_completion vfio-bind
		complete -p vfio-bind' bash "$folder"
	[[ $status == 0 && $output == *"-F _vfio_bind vfio-bind" ]]

	promise "it goes below /usr/local by default"
	install_below "$BATS_TEST_TMPDIR/local"
	[[ -x $usr_local/sbin/vfio-bind && -e $usr_local/share/man/man8/vfio-bind.8 ]]
}
