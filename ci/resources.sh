#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# resources.sh: the resources of a process, one thing a line: through a switch from 6.1 to 6.12 and back, and what CRIU itself makes of it by dump
# and restore without a switch. A table; build/resources.json. The status is 0 only if all that is not refused came through whole.
. "$(dirname "$0")/lib.sh"
out=$build/resources
mkdir -p "$out"
failed=0
run() { "$top/ci/scenario" --scenario resources --cpus 2 --mem 1024 --limit 1800 "${@:2}" >"$out/$1.json" 2>"$out/$1.err" || { failed=1; tail -5 "$out/$1.err" >&2; }; }
run up --from 6.1 --to 6.12
run down --from 6.12 --to 6.1
run criu --from 6.1
jq -s '
	def through: . as $r | ($r.start.refused // {} | map_values("refused: " + .)) +
		($r.switches[0].arrive | if type == "object" then (.passed | map({(.): "passed"}) | add) + (.failed | map_values("FAILED: " + .)) else {} end);
	(.[0] | through) as $up | (.[1] | through) as $down | (.[2].check // {}) as $criu |
	[($up + $down + $criu | keys[]) | {name: ., "6.1 to 6.12": $up[.], "6.12 to 6.1": $down[.], "criu alone": $criu[.]}]' \
	"$out/up.json" "$out/down.json" "$out/criu.json" >"$build/resources.json"
jq -r '.[] | [.name, (.["6.1 to 6.12"] // "-")[0:70], (.["6.12 to 6.1"] // "-")[0:12], (.["criu alone"] // "-")[0:70]] | @tsv' "$build/resources.json" |
	awk -F '\t' 'BEGIN { printf "%-16s %-70s %-12s %s\n", "resource", "6.1 to 6.12", "6.12 to 6.1", "criu alone" } { printf "%-16s %-70s %-12s %s\n", $1, $2, $3, $4 }'
exit $failed
