#!/usr/bin/env bats
# make install.

bats_require_minimum_version 1.5.0

setup() {
	cd "$BATS_TEST_DIRNAME/../.." || return
	binary=${VFIO_BIND:-build/vfio-bind}
	destination=$BATS_TEST_TMPDIR/destination
}

@test "make install puts three files below DESTDIR and PREFIX, and nothing else" {
	make -s -o all install BUILD="$(dirname "$binary")" DESTDIR="$destination" PREFIX=/usr
	run -0 find "$destination" -type f -printf '%m %P\n'
	[[ $(sort <<<"$output") == "644 usr/share/bash-completion/completions/vfio-bind
644 usr/share/man/man8/vfio-bind.8
755 usr/sbin/vfio-bind" ]]
	cmp "$binary" "$destination/usr/sbin/vfio-bind"
	run -0 "$destination/usr/sbin/vfio-bind" --version
}

@test "make install goes below /usr/local by default" {
	make -s -o all install BUILD="$(dirname "$binary")" DESTDIR="$destination"
	[[ -x $destination/usr/local/sbin/vfio-bind ]]
	[[ -e $destination/usr/local/share/man/man8/vfio-bind.8 ]]
}
