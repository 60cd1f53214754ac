#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# harness.sh: prints a directory that holds kselftest_harness.h and kselftest.h of Debian's newest linux-source package,
# or of a kernel source that is unpacked under build/ anyway.
. "$(dirname "${BASH_SOURCE[0]}")/../apt.sh"

dir=tools/testing/selftests
mkdir -p "$build/sources"
unpacked=$(find "$build/sources" -maxdepth 2 -path '*/linux-source-*/.done' | sort -V | tail -1)
if [ -n "$unpacked" ]; then
	echo "${unpacked%/.done}/$dir"
	exit 0
fi

lock harness
out=$build/sources/harness
if [ ! -e "$out/.done" ]; then
	tmp=$build/sources/.harness.$$
	mkdir -p "$tmp"
	trap 'rm -rf "$tmp"' EXIT
	(
		lock apt
		apt_ready
		pkg=$(in_apt apt-cache pkgnames linux-source- | grep -E '^linux-source-[0-9.]+$' | sort -V | tail -1)
		[ -n "$pkg" ] || die "no linux-source package in $KUP_SUITES"
		say "fetching $pkg for its kselftest_harness.h"
		cd "$tmp"
		in_apt apt-get -qq download "$pkg" >&2
	)
	mkdir -p "$out"
	dpkg-deb --fsys-tarfile "$tmp"/*.deb | tar -x -O --wildcards './usr/src/*.tar.xz' |
		tar -x -J -C "$out" --strip-components=4 --wildcards "*/$dir/kselftest.h" "*/$dir/kselftest_harness.h"
	touch "$out/.done"
fi
echo "$out"
