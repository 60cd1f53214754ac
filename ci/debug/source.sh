#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# source.sh SERIES: unpacks Debian's newest linux-source-SERIES under build/sources/ and prints the directory.
#
# A tree that is there already is used as it is; remove it to take a newer one.
. "$(dirname "${BASH_SOURCE[0]}")/../apt.sh"

[ $# = 1 ] || { echo "usage: source.sh SERIES (6.1, 6.12, ...)" >&2; exit 2; }
pkg=linux-source-$1
dir=$build/sources/$pkg

lock "source-$1"
if [ ! -e "$dir/.done" ]; then
	tmp=$build/sources/.$pkg.$$
	mkdir -p "$tmp/deb" "$tmp/tree"
	trap 'rm -rf "$tmp"' EXIT
	(
		lock apt
		apt_ready
		cd "$tmp/deb"
		say "fetching $pkg"
		in_apt apt-get -qq download "$pkg" >&2
	)
	say "unpacking $pkg"
	dpkg-deb --fsys-tarfile "$tmp"/deb/*.deb | tar -x -O "./usr/src/$pkg.tar.xz" |
		tar -x -J -C "$tmp/tree" --strip-components=1
	touch "$tmp/tree/.done"
	rm -rf "$dir"
	mv "$tmp/tree" "$dir"
fi
echo "$dir"
