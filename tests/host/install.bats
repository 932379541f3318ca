#!/usr/bin/env bats
# make install.

load ../shared

setup_file() { locate_program; }

# install_below FOLDER [VARIABLE...]: without -o all it would be built again, with other flags
# for example.
install_below() {
	make -s -C "$HERE" -o all install BUILD="${REAL%/*}" DESTDIR="$1" "${@:2}"
}

# bats test_tags=slow
@test "make install" {
	local folder=$BATS_TEST_TMPDIR/usr usr_local=$BATS_TEST_TMPDIR/local/usr/local

	promise "it puts five files below DESTDIR and PREFIX, and nothing else"
	install_below "$BATS_TEST_TMPDIR" PREFIX=/usr
	run find "$folder" -type f -printf '%m %P\n'
	[[ $status == 0 && $(sort <<<"$output") == "644 share/bash-completion/completions/vfio-bind
644 share/fish/vendor_completions.d/vfio-bind.fish
644 share/man/man8/vfio-bind.8
644 share/zsh/site-functions/_vfio-bind
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

	promise "zsh and fish find it there"
	run zsh -fc 'fpath=($1/share/zsh/site-functions $fpath)
		autoload -Uz compinit && compinit -D
		print $_comps[vfio-bind]' zsh "$folder"
	[[ $status == 0 && $output == _vfio-bind ]]
	run env HOME="$BATS_TEST_TMPDIR" XDG_DATA_DIRS="$folder/share" fish -c 'complete -C "vfio-bind rel"'
	[[ $status == 0 && $output == "release"* ]]

	promise "it goes below /usr/local by default, where zsh looks, too"
	install_below "$BATS_TEST_TMPDIR/local"
	[[ -x $usr_local/sbin/vfio-bind && -e $usr_local/share/man/man8/vfio-bind.8 ]]
	run zsh -fc 'print -l $fpath'
	[[ $'\n'$output$'\n' == *$'\n'/usr/local/share/zsh/site-functions$'\n'* ]]

	promise "make uninstall removes all of it"
	make -s -C "$HERE" uninstall DESTDIR="$BATS_TEST_TMPDIR/local"
	run find "$usr_local" -type f
	[[ $status == 0 && ! $output ]]
}
