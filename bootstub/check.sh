#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# check.sh OBJECT SYMBOL...: is the stub what the injector can place? Entry first, params inside, no symbol left over but SYMBOLs,
# and one section with contents.
set -eu
obj=$1
shift
fail() { echo "bootstub: $*" >&2; exit 1; }

entry=$("${NM:-nm}" "$obj" | awk '$3 == "kup_stub" && $2 == "T" { print $1 }')
[ "$entry" = 0000000000000000 ] || fail "kup_stub is not at the start of the section (found: ${entry:-nothing})"

"${NM:-nm}" "$obj" | awk '$3 == "kup_params"' | grep -q . || fail "kup_params is missing"

for sym in $("${NM:-nm}" -u "$obj" | awk '{ print $NF }'); do
	case " $* " in
	*" $sym "*) ;;
	*) fail "undefined symbol $sym: the stub may use only: $*" ;;
	esac
done

sections=$("${READELF:-readelf}" -SW "$obj" | sed 's/^ *\[ *[0-9]*\] *//' | awk '$2 == "PROGBITS" && $5 !~ /^0+$/ { print $1 }')
[ "$sections" = .kup_stub ] || fail "contents outside of .kup_stub: $sections"

types=$("${READELF:-readelf}" -rW "$obj" | awk '$3 ~ /^R_X86_64_/ { print $3 }' | sort -u)
for type in $types; do
	case $type in
	R_X86_64_PC32|R_X86_64_PLT32|R_X86_64_32S|R_X86_64_64) ;;
	*) fail "relocation $type: the injector does not know it" ;;
	esac
done
