#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# root.sh [--suite SUITE] PACKAGE...: unpacks these Debian packages and all they depend on, prints the directory. Nothing is
# configured or installed: it is a quarry from which initramfs.sh takes programs and libraries. Without --suite they are of the
# guest's own release.
suite=
[ "${1:-}" != --suite ] || { suite=$2; shift 2; }
. "$(dirname "$0")/../apt.sh"

[ $# -gt 0 ] || { echo "usage: root.sh [--suite SUITE] PACKAGE..." >&2; exit 2; }
if [ -n "$suite" ]; then	# lists of its own: apt takes the newest of all that it knows
	KUP_SUITES=$suite
	apt_root=$build/apt-$suite
fi
names=$(printf '%s\n' "$@" | sort -u | tr '\n' ' ')
key=$(echo "$KUP_SUITES $names" | sha256sum | cut -c1-16)
root=$build/guest/root-$key

lock apt
if [ ! -e "$root/done" ]; then
	apt_ready
	tmp=$root.$$
	mkdir -p "$tmp/cache/archives/partial"
	say "fetching guest packages: $names"
	# shellcheck disable=SC2086
	in_apt apt-get -qq -y --download-only -o Dir::Cache::archives="$tmp/cache/archives" install $names >&2
	unpack "$tmp/root" "$tmp"/cache/archives/*.deb
	rm -rf "$root"
	mv "$tmp/root" "$root"
	rm -rf "$tmp"
	touch "$root/done"
fi
echo "$root"
