#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# tests.sh SUITE EXPECTED: CRIU's ZDTM tests, built from the source package of the CRIU that SUITE of Debian has. Prints the folder:
# static/ and transition/ with programs, table (see table.awk), version.
#
# A mirror may lack the source of an older version. Then it is the next later one whose source is there: its tests are the same and some more.
. "$(dirname "$0")/../apt.sh"
here=$(cd "$(dirname "$0")" && pwd)

[ $# = 2 ] || { echo "usage: tests.sh SUITE EXPECTED" >&2; exit 2; }
suite=$1 expected=$2
tmp=$build/sources/.zdtm.$$
trap 'rm -rf "$tmp"' EXIT

# All versions of the source package from the suite's on, oldest first.
versions()
{
	local all own
	all=$(in_apt apt-cache madison criu | awk -F ' *[|] *' '/ Sources$/ { print $2, $3 }')
	own=$(awk -v suite="$suite" 'index($0, " " suite "/") { print $1 }' <<<"$all" | sort -V | tail -1)
	[ -n "$own" ] || die "no source of criu in $suite"
	cut -d " " -f 1 <<<"$all" | sort -uV | sed -n "/^$own\$/,\$p"
}

get_source()
{
	local v orig
	versions >"$tmp/versions"
	while read -r v; do
		tree=$build/sources/zdtm_$v
		[ ! -e "$tree/.source" ] || return 0
		say "fetching the source of criu $v"
		rm -rf "$tmp/get"
		mkdir -p "$tmp/get"
		(cd "$tmp/get" && in_apt apt-get -qq --download-only source "criu=$v") >"$tmp/log" 2>&1 || true
		orig=$(find "$tmp/get" -maxdepth 1 -name 'criu_*.orig.tar.*')
		if [ -n "$orig" ]; then
			rm -rf "$tree"
			mkdir -p "$tree"
			# The tests, and the headers of CRIU's that they read.
			tar -x -f "$orig" -C "$tree" --strip-components=1 --anchored --wildcards '*/test/zdtm' '*/include/*'
			echo "$v" >"$tree/version"
			touch "$tree/.source"
			return 0
		fi
		say "$(grep -m 1 '^E:' "$tmp/log" || echo "no source of criu $v")"
	done <"$tmp/versions"
	die "no source of criu, neither of $suite's nor of a later one"
}

mkdir -p "$tmp"
lock zdtm
apt_all
(lock apt; apt_ready)
get_source
zdtm=$tree/test/zdtm
log=$tree/build.log
make -C "$zdtm/lib" -j2 >"$log" 2>&1 || { tail -5 "$log" >&2; die "ZDTM's library does not build: see $log"; }
for part in static transition; do
	# Not `all`: that has a plugin, too. What does not build is in the table.
	tests=$(printf 'include Makefile\nkup-list:\n\t@echo $(TST)\n' | make -s -C "$zdtm/$part" -f - kup-list)
	# shellcheck disable=SC2086
	make -k -C "$zdtm/$part" -j2 $tests >>"$log" 2>&1 || say "not all of $part builds: see $log"
	# shellcheck disable=SC2086
	make -k -n -C "$zdtm/$part" $(printf '%s.pid ' $tests) 2>/dev/null | sed -n "s|^\./[^ ]* --pidfile=|$part &|p" || true
done >"$tree/starts"
awk -v dir="$zdtm" -v expected="$expected" -f "$here/table.awk" "$tree/starts" >"$tree/table.new"
mv "$tree/table.new" "$tree/table"
echo "$tree"
