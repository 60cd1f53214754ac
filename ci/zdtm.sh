#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# zdtm.sh [TEST...]: CRIU's ZDTM suite through a switch. Each static and transition test that CRIU itself passes by dump and restore has to
# pass through a switch of kernels, or stands in ci/scenarios/zdtm/expected with the reason. A table; build/zdtm.json. Takes long.
#
#   FROM, TO   kernels (6.1, 6.12)
#   BATCH      how many tests there are in one guest and one switch (60)
#   CRIU       suite of Debian whose CRIU it is (as ci/scenario chooses)
#   TEST       only these: static/pipe00 'transition/*'
#
#   1. CRIU alone, on FROM: dump and restore in one kernel.
#   2. What passed goes through a switch, a batch at a time, several tests in a process tree. Where the dump or restore of a tree fails, the others go
#      again without it, and its tests later, each a tree of its own. If no tree is named the batch is halved.
#   3. What has failed there and is named as "late" in expected goes once more, each test a tree of its own: "passed later" in the table, with
#      how it failed. Any other that fails once has failed.
#   4. CRIU alone, on TO: what did not come through.
. "$(dirname "$0")/lib.sh"
from=${FROM:-6.1} to=${TO:-6.12} size=${BATCH:-60}
expected=$top/ci/scenarios/zdtm/expected
"$top/ci/deps.sh" zdtm
# The same choice as in ci/scenario.
suite=${CRIU:-bookworm}
[ -n "${CRIU:-}" ] || [ "$(printf '%s\n' 6.13 "$from" "$to" | sort -V | tail -1)" = 6.13 ] || suite=sid
zdtm=$("$top/ci/zdtm/tests.sh" "$suite" "$expected")
out=$build/zdtm
rm -rf "$out"
mkdir -p "$out"
runs=0
group=8	# tests in a process tree: each tree has a CRIU of its own

# guest ARG...: one run with the tests in $list; its result is $result
guest()
{
	runs=$((runs + 1))
	result=$out/run-$runs.json
	KUP_ZDTM=$zdtm KUP_ZDTM_LIST=$list "$top/ci/scenario" --scenario zdtm --criu "$suite" --cpus 2 --mem 2048 --limit 2400 --quiet "$@" \
		>"$result" 2>"$out/run-$runs.err" || true
	[ -s "$result" ] || echo '{"why": "the bed ended without a result"}' >"$result"
}

# of_names LIST: its lines of the tests that stdin names
of_names() { sed "s/\$/\t/" | grep -F -f - "$1" || true; }

count() { wc -l <"$1"; }

# halve FUNCTION: it is called with each half of $list
halve()
{
	local half=$list
	split -n r/2 -d -a 1 "$half" "$half-"
	"$1" "$half-0"
	"$1" "$half-1"
}

# kept: the file with what CRIU itself makes of each test on $kernel. No kup-ppp is in it but what its check said then, so it is there for the next time.
kept()
{
	local of
	of=$(cat "$zdtm/version" "$top"/ci/scenarios/zdtm/{build,check,lib.sh} | sha256sum | cut -c 1-12)
	mkdir -p "$build/zdtm-alone"
	echo "$build/zdtm-alone/$("$top/ci/kernels.sh" get "$kernel")-$suite-$of"
}

# unknown LIST: its tests of which the file $known says nothing
unknown() { grep -v -F -f <(jq -r '.name + "\t"' "$known"; echo '	none') "$1" || true; }

# alone LIST: CRIU by itself, on $kernel; what it makes of the tests goes to the file $known
alone()
{
	local list=$1
	unknown "$list" >"$list.new"
	list=$list.new
	[ -s "$list" ] || return 0
	say "CRIU alone on $kernel: $(count "$list") tests"
	guest --from "$kernel" --append zdtm.alone
	# What the console shows there is not kup-ppp's.
	if json_holds "$result" "(.check.criu? | length) == $(count "$list")"; then
		jq -c '.check | .refused as $r | .criu | to_entries[] | {name: .key, criu: .value, check: $r[.key]}' "$result" >>"$known"
	elif [ "$(count "$list")" = 1 ]; then
		jq -c --arg name "$(cut -f 1 "$list")" '{name: $name, criu: "guest: \(.why // "?")"}' "$result" >>"$known"
	else
		halve alone
	fi
}

# through LIST: a switch with these tests, $group of them in a process tree
through()
{
	local list=$1 culprits=$1.culprits rest=$1.rest why
	say "through a switch: $(count "$list") tests"
	guest --from "$from" --to "$to" --append "zdtm.group=$group"
	why=$(jq -r '.why // "?" | (capture("(?<said>criu (dump|restore) of pid [^\\n]*)") | .said) // (gsub("[\\n\\t]+"; " ") | .[0:300])' "$result")
	if json_holds "$result" '.start | type == "object"'; then
		jq -c '.start | (.refused | to_entries[] | {name: .key, switch: "refused: \(.value)"}),
			(.unprepared | to_entries[] | {name: .key, switch: "FAILED: \(.value)"})' "$result" >>"$out/lines"
		jq -r '.start.pids | keys[]' "$result" | of_names "$list" >"$rest"
		[ -s "$rest" ] || return 0
	else
		cp "$list" "$rest"
	fi
	if json_holds "$result" '.ok'; then
		jq -c '.switches[0].arrive | to_entries[] | {name: .key, switch: (if .value == "passed" then "passed" else "FAILED: \(.value)" end)}' "$result" >>"$out/lines"
		return
	fi
	[[ $why != *"instead of switching" ]] || why=$(sed -n 's/^ *[0-9.]* > kup-ppp: //p' "$(jq -r .run "$result")/console.log" | tail -1)
	say "$why"
	# The root of a tree, or a process: "criu dump of pid N (NAME)", "freeze: NAME (N) ...".
	jq -r --arg why "$why" '.start | (.pids, .roots) | to_entries? | map(select(.value as $p | $why | test("\\b" + $p + "\\b")))[] | .key' "$result" 2>/dev/null |
		of_names "$rest" >"$culprits"
	[ "$(count "$rest")" -gt 1 ] || cp "$rest" "$culprits"
	case $(count "$culprits") in
	0)
		list=$rest
		halve through
		;;
	1)
		jq -n -c --arg name "$(cut -f 1 "$culprits")" --arg why "$why" '{name: $name, switch: "FAILED: \($why)"}' >>"$out/lines"
		;;
	*)
		cat "$culprits" >>"$out/singly"
		;;
	esac
	[ -s "$culprits" ] || return 0
	grep -v -F -f "$culprits" "$rest" >"$rest.less" || return 0
	through "$rest.less"
}

# tests_where FILTER: lines of the table of which the filter is true, all that is known of each being one object
tests_where() { jq -s -r "group_by(.name)[] | add | select($1) | .name" "$out/lines" | of_names "$zdtm/table"; }

for t in "${@:-*}"; do
	cut -f 1 "$zdtm/table" | while read -r name; do
		# shellcheck disable=SC2053
		[[ $name != $t ]] || echo "$name"
	done >"$out/names"
	[ -s "$out/names" ] || die "no test '$t': $zdtm/table has them all"
	of_names "$zdtm/table" <"$out/names"
done | sort -u >"$out/table"
# Those that disturb others come last, and so among themselves.
awk -F '\t' '$2 == "run" { print ($3 ~ /excl/) "\t" $0 }' "$out/table" | sort -s -k 1,1 | cut -f 2- >"$out/alone"
: >"$out/lines"
kernel=$from
known=$(kept)
touch "$known"
[ ! -s "$out/alone" ] || split -l "$size" -d -a 3 "$out/alone" "$out/batch."
for b in "$out"/batch.[0-9][0-9][0-9]; do
	[ -e "$b" ] || continue
	alone "$b"
	jq -r 'select(.criu == "passed") | .name' "$known" | of_names "$b" >"$b.passed"
	# Those that are known to be lost shall not take others with them.
	awk -F '\t' '$2 == "lost" { print $1 }' "$expected" >"$out/lost"
	of_names "$b.passed" <"$out/lost" >>"$out/singly"
	sed "s/\$/\t/" "$out/lost" | grep -v -F -f - "$b.passed" >"$b.switch" || true
	[ ! -s "$b.switch" ] || through "$b.switch"
done
# Those, and trees of which one has failed.
if [ -s "$out/singly" ]; then
	group=1
	split -l 10 -d -a 3 "$out/singly" "$out/singly."
	for b in "$out"/singly.[0-9][0-9][0-9]; do through "$b"; done
fi
# Where all go on at once these take what is late for lost: once more, without the crowd.
awk -F '\t' '$2 == "late" { print $1 "\t" }' "$expected" >"$out/late"
tests_where '(.switch // "") | startswith("FAILED")' | grep -F -f "$out/late" >"$out/second" || true
if [ -s "$out/second" ]; then
	jq -c 'select((.switch // "") | startswith("FAILED")) | {name, first: .switch}' "$out/lines" >"$out/first"
	cat "$out/first" >>"$out/lines"
	group=1
	through "$out/second"
fi
mine=$(jq -R 'split("\t")[0]' "$out/alone" | jq -s -c 'map({(.): 1}) | add // {}')
jq -c --argjson mine "$mine" 'select($mine[.name])' "$known" >>"$out/lines"
tests_where '.criu == "passed" and .switch != "passed"' >"$out/again"
kernel=$to
known=$(kept)
touch "$known"
alone "$out/again"
jq -c --argjson mine "$mine" 'select($mine[.name]) | {name, criu_to: .criu}' "$known" >>"$out/lines"

# All that is known of each test; "state" is the one word that counts.
jq -R -c 'split("\t") | {name: .[0]} + if .[1] == "run" then {} else {not_run: .[1]} end' "$out/table" >>"$out/lines"
{ grep -v '^#' "$expected" || true; } | jq -R -c 'select(length > 0) | split("\t") | select(.[1] == "lost") | {name: .[0], expected: .[2]}' >"$out/expected"
jq -s --slurpfile expected "$out/expected" --arg from "$from" --arg to "$to" --arg tests "$(cat "$zdtm/version")" --arg suite "$suite" '
	(map({(.name): 1}) | add) as $here |
	{from: $from, to: $to, criu: $suite, tests_of: $tests,
	 tests: (. + ($expected | map(select($here[.name]))) | group_by(.name) | map(add | with_entries(select(.value != null)) | . + {state:
		(if .not_run then "not run" elif ((.criu // "") | test("^(does not start|ends at once)")) then "not prepared" elif .criu != "passed" then "not by CRIU" elif .switch == "passed" then (if .first then "passed later" else "passed" end)
		 elif (.criu_to // "passed") != "passed" then "not by CRIU" elif .expected then "expected" else "FAILED" end)}))} |
	.sums = (.tests | group_by(.state) | map({(.[0].state): length}) | add)' "$out/lines" >"$build/zdtm.json"

jq -r '.tests[] | [.name, .state, (.not_run // (if .state == "passed later" then .first else null end) // .switch // "-"), (.criu // "-") + (if .criu_to then " / " + .criu_to else "" end), .expected // ""] | @tsv' "$build/zdtm.json" |
	awk -F '\t' 'BEGIN { printf "%-40s %-12s %-76s %s\n", "test", "", "switch", "criu alone" }
		{ printf "%-40s %-12s %-76s %s\n", $1, $2, substr($3, 1, 76), substr($4, 1, 60); if ($5 != "") printf "%-40s   because %s\n", "", $5 }'
jq -r '"\n\(.from) to \(.to), tests of criu \(.tests_of): " + ([.sums | to_entries[] | "\(.value) \(.key)"] | join(", "))' "$build/zdtm.json"
json_holds "$build/zdtm.json" '.sums | .FAILED == null and .["not prepared"] == null'
