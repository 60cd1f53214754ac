#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# modules.sh [--newest] [SERIES...]: builds the module for every kernel of the archive, and looks up in each kernel's own symbol table
# all functions that the module will want there. Prints a table and writes build/modules.json; status 0 only if no kernel failed.
#
# All cloud kernels, and of each series the newest generic and rt one. --newest: of each series the newest cloud kernel that has
# packaged headers, or the newest at all. A kernel that was not there before is removed again after its turn; KUP_KEEP=1 keeps it.
#
# Results: ok; warning (built, with warnings); failed; and gone: the archive has its image, but neither its headers nor its source
# any more, so nobody can build for it.
. "$(dirname "$0")/lib.sh"

newest=
[ "${1:-}" != --newest ] || { newest=1; shift; }
series=("$@")

pick()
{
	local flavour
	if [ -n "$newest" ]; then
		"$top/ci/kernels.sh" list | awk '{ if (!($3 in n) || $4 == "headers" || h[$3] != "headers") { n[$3] = $0; h[$3] = $4 } }
			END { for (s in n) print n[s] }' | sort -b -k3,3V
		return
	fi
	"$top/ci/kernels.sh" list
	for flavour in amd64 rt-amd64; do
		KUP_FLAVOUR=$flavour "$top/ci/kernels.sh" list | awk '
			{ if (!($3 in n) || $4 == "headers" || h[$3] != "headers") { n[$3] = $0; h[$3] = $4 } }
			END { for (s in n) print n[s] }' | sort -b -k3,3V
	done
}

# Functions that the module resolves when it is loaded, and one of each hook's names.
missing_symbols()
{
	local version=$1 names=$2
	nm "$build/module/$version/kup_ppp.ko" | sed -n 's/.* __SCK__kup_sym_//p' | sort -u >"$names.wanted"
	comm -23 "$names.wanted" "$names"
	sed -n 's/.*\.symbol = { \(.*\) }, \.needed = true.*/\1/p' "$top/module/hook.c" | tr -d '",' | while read -r alternatives; do
		printf '%s\n' $alternatives | sort | comm -12 - "$names" | grep -q . || echo "$alternatives"
	done
}

make -s -C "$top/bootstub" BUILD="$build" >&2
make -s -C "$top/userspace" BUILD="$build" "$build/tests/tool_symbols" >&2
tmp=$(mktemp -d "$build/modules.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
pick >"$tmp/kernels"
[ -s "$tmp/kernels" ] || die "no kernel"
printf '%-36s %-8s %-8s %-9s %5s %8s\n' kernel headers compiler result s symbols
while read -r version suites s have; do
	[ ${#series[@]} = 0 ] || [[ " ${series[*]} " == *" $s "* ]] || continue
	there=; [ ! -e "$build/kernels/$version/done" ] || there=1
	start=$SECONDS result=ok why= nr=0 compiler=
	if ! why=$("$top/ci/kernels.sh" get "$version" 2>&1 >/dev/null); then
		result=failed
	elif rm -rf "${build:?}/module/$version" && ! why=$("$top/ci/module.sh" "$version" 2>&1 >/dev/null); then
		result=failed
		[[ $why != *"neither headers"* ]] || result=gone
	elif grep -qi warning "$build/module/$version/log"; then
		result=warning
	fi
	if [ -e "$build/kernels/$version/config" ]; then
		compiler=$(sed -n 's/^CONFIG_CC_VERSION_TEXT="[^ ]*\(gcc-[0-9]*\) .*/\1/p' "$build/kernels/$version/config")
	fi
	if [ $result = ok ]; then
		why=
		"$build/tests/tool_symbols" "$build/kernels/$version/vmlinuz" | cut -d ' ' -f 2 | sort -u >"$tmp/names"
		lacks=$(missing_symbols "$version" "$tmp/names")
		nr=$(wc -l <"$tmp/names.wanted")
		[ -z "$lacks" ] || { result=failed; why="the kernel lacks $(echo $lacks)"; }
	fi
	printf '%-36s %-8s %-8s %-9s %5d %8d\n' "$version" "$have" "$compiler" "$result" $((SECONDS - start)) "$nr"
	[ $result = ok ] || printf '%s\n' "$why" | tail -5 | sed 's/^/    /'
	jq -n --arg kernel "$version" --arg suites "$suites" --arg series "$s" --arg headers "$have" --arg compiler "$compiler" \
		--arg result "$result" --arg why "$why" --argjson symbols "$nr" --argjson seconds $((SECONDS - start)) '$ARGS.named' >>"$tmp/json"
	[ -n "$there" ] || [ -n "${KUP_KEEP:-}" ] || rm -rf "${build:?}/kernels/$version" "${build:?}/module/$version"
done <"$tmp/kernels"
jq -s '{kernels: length, ok: map(select(.result == "ok")) | length, gone: map(select(.result == "gone")) | length, results: .}' \
	"$tmp/json" >"$build/modules.json"
jq -r '"\(.ok) of \(.kernels) ok, \(.gone) gone"' "$build/modules.json"
json_holds "$build/modules.json" '.kernels > 0 and .ok + .gone == .kernels'
