#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# faults.sh [PATTERN...]: each fault that `kup-ppp faults` lists (or that matches a PATTERN of the shell) strikes a switch of memcached,
# one after the other in the same guests' lives. Prints a table, writes build/faults.json; status 0: after each of them memcached
# served on the same connections with every byte as it was, or, if the machine lost its power, the next boot was clean.
#
#   in the switch     the old kernel goes on, and nobody helps; in `keep`, with --fallback
#   in the restore    the new kernel goes on, with `kup-ppp restore` called again
#   from `attach` to `resume`, when a tree that fails is lost: with --fallback, the old kernel goes on, and nobody helps
#   in `health`       the same, in a scenario that has a health command
#   module:old        the old kernel refuses to load the module: it goes on
#   module:new        the new one does: the module is loaded later, then `kup-ppp restore`
#   module:fallback   the same with --fallback: the old kernel goes on, and nobody helps
#   power             the first kernel boots again, finds nothing of the last life, and switches: in these lives each other switch has no fault
. "$(dirname "$0")/lib.sh"

patterns=("$@")
[ ${#patterns[@]} -gt 0 ] || patterns=('*')
make -s -C "$top" command >&2
tmp=$(mktemp -d "$build/faults.XXXXXX")
trap 'rm -rf "$tmp"' EXIT

# faults VERB: those of a verb; or of none, but of the bed
faults()
{
	{
		"$build/kup-ppp" --json faults | jq -r --arg verb "$1" '.[] | select(.verb == $verb).fault'
		[ "$1" != module ] || printf '%s\n' module:old module:new module:fallback
	} | while read -r f; do
		for p in "${patterns[@]}"; do
			# shellcheck disable=SC2053
			[[ $f != $p ]] || { echo "$f"; break; }
		done
	done
}
is_lost() { [[ $1 == after:attach:* || $1 == before:resume:* ]]; }

# live NAME SCENARIO FROM TO FAULT...: one life
live()
{
	local name=$1 scenario=$2 from=$3 to=$4 tos='' args=() f
	shift 4
	for f in "$@"; do
		args+=(--fault "$f")
		tos+=,$to
		case $scenario:$f in
		*:power)
			args+=(--fault '' --fall '')
			tos+=,$to ;;
		*/early:*) args+=(--fall "=nobody has adopted the handover in time") ;;
		*/fallback:*:kill|*/health:*:kill) args+=(--fall "fault=no progress") ;;
		*/fallback:*|*/health:*) args+=(--fall "fault=restore: ") ;;
		esac
	done
	[[ $scenario != */tests/* && $name != keep-* ]] || args+=(--fallback)
	[[ $name != new-* ]] || args+=(--switch-args --verify)
	"$top/ci/scenario" --scenario "$scenario" --from "$from" --to "${tos#,}" --size 16 --limit 3600 --quiet --json "$tmp/$name.json" "${args[@]}" >/dev/null 2>"$tmp/$name.log" || { sed 's/^/# /' "$tmp/$name.log" >&2; touch "$tmp/failed"; }
}

# lives NAME SCENARIO FROM TO FAULT...: so many as are needed, those with power failures apart
lives()
{
	local name=$1 where=("${@:2:3}") off=() rest=() f i
	shift 4
	for f in "$@"; do if [[ $f == *:power ]]; then off+=("$f"); else rest+=("$f"); fi; done
	for ((i = 0; i < ${#rest[@]}; i += 40)); do live "$name-$i" "${where[@]}" "${rest[@]:i:40}"; done
	for ((i = 0; i < ${#off[@]}; i += 20)); do live "$name-power-$i" "${where[@]}" "${off[@]:i:20}"; done
}

mapfile -t module < <(faults module)
old=() keep=() new=() lost=() health=()
for f in $(faults switch); do if [[ $f == *:keep:* ]]; then keep+=("$f"); else old+=("$f"); fi; done
for f in $(faults restore); do
	if [[ $f == *:health:* ]]; then health+=("$f"); elif is_lost "$f"; then lost+=("$f"); else new+=("$f"); fi
done
[ $((${#old[@]} + ${#keep[@]} + ${#new[@]} + ${#lost[@]} + ${#health[@]} + ${#module[@]})) -gt 0 ] || die "no fault fits ${patterns[*]}: kup-ppp faults"
lives old memcached 6.1 6.12 "${old[@]}"
lives keep memcached 6.1 6.12 "${keep[@]}"
lives new memcached 6.12 6.12 "${new[@]}"
lives lost "$top/ci/tests/fallback" 6.12 6.1 "${lost[@]}"
lives health "$top/ci/tests/health" 6.12 6.1 "${health[@]}"
for f in "${module[@]}"; do
	case $f in
	*:fallback) lives "$f" "$top/ci/tests/early" 6.12 6.1 "$f" ;;
	*) lives "$f" memcached 6.1 6.12 "$f" ;;
	esac
done

cat "$tmp"/*.json | jq -s '
	[.[] | . as $life | .switches // [] | to_entries[] | .value + {last: (.key == ($life.switches | length - 1)), life: $life.ok}] as $switches |
	[$ARGS.positional[] | . as $fault | ([$switches[] | select(.fault == $fault)] | .[0]) as $s |
	 {fault: $fault,
	  result: (if ($s and ($s.life or ($s.last | not)) | not) then "failed" elif $s.boot? then "clean boot" elif $s.gap_ms? then "ok" else "failed" end),
	  kernel: ($s.kernel? // if $s.blackout_ms? and ($s.report.fallback? | not) then $s.to else $s.from? end), exit: $s.exit?, gap_ms: $s.gap_ms?,
	  said: ([($s.boot? // $s.said? // "" | split("\n")[] | select($s.boot? or test("kup-ppp: "))), ($s.report.fallback.why? | strings)] | .[0])}] |
	{faults: length, ok: map(select(.result != "failed")) | length, cells: .}' --args "${old[@]}" "${keep[@]}" "${new[@]}" "${lost[@]}" "${health[@]}" "${module[@]}" >"$build/faults.json"
jq -r '.cells[] | [.fault, .result, .kernel // "-", .exit // "-", .gap_ms // "-", .said // ""] | @tsv' "$build/faults.json" |
	awk -F'\t' '{ printf "%-26s %-10s %-30s %4s %9s  %.100s\n", $1, $2, $3, $4, $5, $6 }'
jq -r '"\(.ok) of \(.faults) faults: the application served on, every byte as it was, or the next boot was clean; build/faults.json"' "$build/faults.json"
json_holds "$build/faults.json" '.faults > 0 and .ok == .faults' && [ ! -e "$tmp/failed" ]
