# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Sourced by the shell glue of ci/: paths, messages, locks.
set -euo pipefail
umask 022
export LC_ALL=C

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${KUP_BUILD:-$top/build}
mkdir -p "$build"

say() { echo "${0##*/}: $*" >&2; }
die() { say "$*"; exit 1; }

# lock NAME: held until this process ends. Everything under build/ that two runs may make at once is made under one.
lock()
{
	mkdir -p "$build/locks"
	exec {lock_fd}>"$build/locks/$1"
	flock ${2:+"$2"} "$lock_fd"
}

# lock_shared NAME: beside others who share it
lock_shared() { lock "$1" --shared; }

# json_holds FILE FILTER: a jq filter is true of the one JSON value in a file. jq -e alone is content with an empty file.
json_holds() { jq -es "length == 1 and (.[0] | $2)" "$1" >/dev/null 2>&1; }

# unpack ROOT DEB...: into a tree with merged /usr.
unpack()
{
	local root=$1 d f
	shift
	mkdir -p "$root"/usr/{bin,lib,lib64,sbin}
	for d in bin lib lib64 sbin; do [ -e "$root/$d" ] || ln -s "usr/$d" "$root/$d"; done
	for f; do dpkg-deb --fsys-tarfile "$f" | tar -x --keep-directory-symlink -C "$root"; done
}
