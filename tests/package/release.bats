#!/usr/bin/env bats
# What a release is: a tarball, and a package for each Debian. By tests/package/run.

load ../shared

# The tarball, and all that the chroots are to have at /mnt.
setup_file() {
	export HERE=${BATS_TEST_DIRNAME%/*/*} SHARED=$BATS_FILE_TMPDIR/shared
	make -s -C "$HERE" dist BUILD="$SHARED"
	cp "$HERE/tests/host/offer.zsh" "$BATS_TEST_DIRNAME"/{build,try} "$SHARED"
	VERSION=$(cd "$SHARED" && echo *.tar.gz)
	VERSION=${VERSION#vfio-bind-}
	export VERSION=${VERSION%.tar.gz}
}

# package RELEASE: builds it on that Debian if it has not been built, and sets deb to its name.
package() {
	deb=debian-$1.deb
	[[ ! -e $SHARED/$deb ]] || return 0
	"$HERE/tests/package/chroot" "$1" build "$SHARED" /mnt/build
	mv "$SHARED"/vfio-bind_*.deb "$SHARED/$deb"
	dpkg-deb --field "$SHARED/$deb" Depends
}

# try RELEASE: the package of deb on that Debian.
try() { "$HERE/tests/package/chroot" "$1" clean "$SHARED" /mnt/try "/mnt/$deb" "$VERSION"; }

@test "the tarball builds, and its tests pass" {
	tar -C "$BATS_TEST_TMPDIR" -xf "$SHARED/vfio-bind-$VERSION.tar.gz"
	cd "$BATS_TEST_TMPDIR/vfio-bind-$VERSION"
	make -s
	[[ $(build/vfio-bind --version) == "vfio-bind $VERSION" ]]
	# bats runs bats: that one must know nothing of this one
	env -i HOME="$HOME" PATH="${PATH#*/bats-core:}" TERM=dumb make -s check-fast
}

@test "Debian 12: a package without complaints, which comes, works and goes without a trace" {
	package 12
	try 12
}

@test "Debian 13: a package without complaints, which comes, works and goes without a trace" {
	package 13
	try 13
}

@test "the package of Debian 12 serves Debian 13" {
	package 12
	try 13
}
