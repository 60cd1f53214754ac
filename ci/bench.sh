#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# bench.sh: how fast it is, held against goals, each with what it is compared with measured in the same run. In the environment:
#   ROWS      of "jump flat eight seal boot touch foreign gap watch load criu"; all of them. What each measures: ci/bench/rows/
#   KERNELS   series or versions, for the rows where kernels matter (6.12)
#   MEM       megabytes, for the rows of seal, boot, touch (4096); FLAT, of the large one in flat (8192)
#   SECONDS_LOAD  of load before and after the switch (300)
#
# Results: build/bench.json, build/bench.svg, and a table. Status 0 if every row asked for was measured, whether its goal was
# reached or not; a row that could not be measured is a failure and is shown as one.
. "$(dirname "$0")/lib.sh"

all="jump gap eight foreign seal touch boot watch criu flat load"
ROWS=${ROWS:-$all}
KERNELS=${KERNELS:-6.12}
MEM=${MEM:-4096} FLAT=${FLAT:-8192} SECONDS_LOAD=${SECONDS_LOAD:-300}
work=$build/bench
for r in $ROWS; do [ -e "$top/ci/bench/rows/$r" ] || die "no row '$r'; there are: $all"; done
mkdir -p "$work"
lock bench
rm -f "$work"/*.rows "$build/bench.json" "$build/bench.svg"
begin=$(date +%s)

# run NAME ARGUMENTS: a scenario, its result in $work/NAME.json
run()
{
	local name=$1
	shift
	say "$name: ci/scenario $*"
	"$top/ci/scenario" --quiet --limit 3600 "$@" >"$work/$name.json" 2>"$work/$name.err" ||
		{ tail -5 "$work/$name.err" >&2; return 1; }
}

# figures NAME FILTER: the numbers in a result, as an array
figures() { jq -ce "[$2] | if length > 0 and all(type == \"number\") then . else error(\"no figures\") end" "$work/$1.json"; }

# row WHAT AGAINST UNIT SIGN GOAL METHOD FIGURES [FIGURES]: one row. The ratio is that of the medians of the figures; without
# the second it is the value itself that is held against the goal. The spread: the ratio with the least and the largest figure of each.
row()
{
	jq -cn --arg row "$now" --arg what "$1" --arg against "$2" --arg unit "$3" --arg sign "$4" --argjson goal "$5" --arg method "$6" \
		--argjson v "$7" --argjson a "${8:-null}" '
		def median: sort | if length % 2 == 1 then .[length / 2 | floor] else (.[length / 2 - 1] + .[length / 2]) / 2 end;
		($v | median) as $value | (if $a then $a | median else null end) as $base |
		{$row, $what, $against, $unit, value: $value, base: $base, ratio: ($value / ($base // 1)),
		 least: (($v | min) / (if $a then $a | max else 1 end)), most: (($v | max) / (if $a then $a | min else 1 end)),
		 $sign, $goal, $method, repetitions: ($v | length), values: $v, bases: $a} |
		.met = (if $sign == "<=" then .ratio <= $goal else .ratio >= $goal end)' >>"$work/$now.rows"
}

failed=()
for now in $ROWS; do
	# Not as a condition: in one, set -e means nothing.
	set +e
	(set -e; . "$top/ci/bench/rows/$now")
	status=$?
	set -e
	[ $status = 0 ] || { failed+=("$now"); say "$now: FAILED"; }
done

rows=()
for now in $ROWS; do [ ! -e "$work/$now.rows" ] || rows+=("$work/$now.rows"); done
cat /dev/null "${rows[@]}" | jq -s --arg failed "${failed[*]-}" --arg kernels "$KERNELS" --argjson seconds $(($(date +%s) - begin)) \
	--arg commit "$(git -C "$top" rev-parse --short HEAD 2>/dev/null || true)" --arg date "$(date -u +%F)" '
	{$date, $commit, kernels: ($kernels | split(" ")), $seconds, rows: ., failed: ($failed | split(" ") | map(select(. != "")))}' >"$build/bench.json"
make -s -C "$top" "$build/ci/bench_table" >&2
"$build/ci/bench_table" "$build/bench.json" "$build/bench.svg"
echo "build/bench.json, build/bench.svg"
[ ${#failed[@]} = 0 ]
