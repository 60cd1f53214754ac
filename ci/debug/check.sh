#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# check.sh SERIES...: runs the module on debug kernels (KASAN, lockdep, DEBUG_VM, PAGE_TABLE_CHECK), each switched to itself: memcached,
# shared memory, the module's own tests, ten minutes (KUP_DEBUG_IOCTL= seconds) of calls in all ways but the right one, then every
# operation of the dirty scenario. Any splat on the console fails the run. Prints KTAP; logs in build/check-debug/.
#
# The dirty scenario goes in parts, since a debug kernel takes long to dump and restore two hundred processes.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../lib.sh"
set +e

parts=${KUP_DEBUG_PARTS:-4}
work=$build/check-debug
rm -rf "$work"
mkdir -p "$work"
nr=0 failed=0

result()
{
	nr=$((nr + 1))
	[ "$1" = 0 ] && echo "ok $nr - $2" && return
	echo "not ok $nr - $2"
	failed=1
	[ ! -e "$3" ] || jq -r '"# \(.why)", (.splats[]? | "# " + .)' "$3" 2>/dev/null | head -20
}

run()
{
	local name=$1
	shift
	"$top/ci/scenario" "$@" --limit 3600 --quiet >"$work/$name.json" 2>"$work/$name.log"
	result $? "$name" "$work/$name.json"
}

[ $# -gt 0 ] || set -- 6.12 6.1
echo "KTAP version 1"
echo "1..$(($# * (7 + parts)))"
for series; do
	version=$("$here/build.sh" "$series" 2>"$work/build-$series.log")
	result $? "$series: the debug kernel is built"
	[ -n "$version" ] || { tail -5 "$work/build-$series.log" | sed 's/^/# /'; continue; }
	run "$series-memcached" --scenario memcached --from "$version" --to "$version" --size 32 --mem 1536 --cpus 2
	run "$series-shared" --scenario shared --from "$version" --to "$version" --size 32 --mem 1536 --cpus 2 --switch-args --verify
	run "$series-module" --scenario "$top/ci/tests/module" --from "$version" --mem 2048 --cpus 2
	f=$work/$series-module.json
	json_holds "$f" '.check | test("(^|\n)ok ") and (test("(^|\n)not ok ") | not)'
	result $? "$series-module: every test of the module" "$f"
	run "$series-ioctl" --scenario "$top/ci/tests/ioctl" --from "$version" --mem 2048 --cpus 2 --append "ioctl.args=${KUP_DEBUG_IOCTL:-600},1"
	f=$work/$series-ioctl.json
	json_holds "$f" '.check | test("(^|\n)ok ") and (test("(^|\n)not ok ") | not)'
	result $? "$series-ioctl: refused, or done, and nothing is lost" "$f"
	for ((p = 1; p <= parts; p++)); do
		run "$series-dirty-$p" --scenario dirty --from "$version" --to "$version" --mem 2048 --cpus 2 --hold-drain \
			--append "dirty.args=--part=$p/$parts"
	done
done
exit $failed
