#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# take.sh TREE QUARRY FILE[=AS]...: copies files into TREE, and with each ELF program the libraries that it names. A folder is taken whole.
# A file is looked for in QUARRY (see root.sh), then on this machine; with =AS it is taken as it is and placed at AS.
. "$(dirname "$0")/../lib.sh"

tree=$1 quarry=$2
shift 2
libdirs="usr/lib/x86_64-linux-gnu usr/lib usr/lib64 usr/local/lib"

needed() { readelf -d "$1" 2>/dev/null | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'; }
interpreter() { readelf -l "$1" 2>/dev/null | sed -n 's/.*program interpreter: \(.*\)\]/\1/p' || true; }	# a text has none

find_library()
{
	local base d
	for base in "$quarry" ""; do
		for d in $libdirs; do
			[ -e "$base/$d/$1" ] && { echo "$base/$d/$1"; return; }
		done
	done
	die "$1, which $2 needs, is neither among the guest's packages nor on this machine"
}

libraries()
{
	local lib from
	for lib in $(needed "$1"); do
		[ -e "$tree/usr/lib/x86_64-linux-gnu/$lib" ] && continue
		from=$(find_library "$lib" "$1")
		install -D -m 755 "$from" "$tree/usr/lib/x86_64-linux-gnu/$lib"
		libraries "$from"
	done
}

for arg; do
	from=${arg%%=*}
	as=${arg#*=}
	if [ "$from" = "$as" ]; then
		[ -e "$quarry$from" ] && from=$quarry$from
	fi
	[ -e "$from" ] || die "$from: no such file, neither among the guest's packages nor on this machine"
	if [ -d "$from" ]; then
		mkdir -p "$tree$as"
		cp -a "$from/." "$tree$as/"
		while IFS= read -r f; do libraries "$f"; done < <(find "$from" -name '*.so*' -type f)
		continue
	fi
	[ "$(realpath "$from")" = "$(realpath -m "$tree$as")" ] || install -D -m 755 "$from" "$tree$as"
	libraries "$from"
	ld=$(interpreter "$from")
	if [ -n "$ld" ] && [ ! -e "$tree$ld" ]; then
		if [ -e "$quarry$ld" ]; then install -D -m 755 "$quarry$ld" "$tree$ld"; else install -D -m 755 "$ld" "$tree$ld"; fi
	fi
done
