#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# programs.sh [SCENARIO...]: real programs through a switch, 6.1 to 6.12 and back in one life, with a client outside that proves their state.
# A table on stdout, build/programs.json; the status is 0 only if all passed. Takes long.
#
# What was copied are the pages in CRIU's images, of whatever kind; what was kept are frames. The share is of both together.
. "$(dirname "$0")/lib.sh"

# scenario: options
declare -A options=(
	[memcached]="--size 256 --mem 1024"
	[eight]="--size 256 --mem 2048"
	[redis]="--size 128 --mem 1280"
	[postgres]="--size 1024 --mem 3072"
	[mariadb]="--size 128 --mem 1536"
	[webstack]="--size 128 --mem 1536 --cpus 1"
	[compile]="--size 1 --mem 1024"
	[memtester]="--size 64 --mem 768"
)
order="memcached eight redis postgres mariadb webstack compile memtester"
out=$build/programs
mkdir -p "$out"
failed=0
printf '%-12s %-7s %10s %10s %9s %12s\n' scenario result 'kept MB' 'copied MB' 'copied %' 'blackout ms'
for s in ${*:-$order}; do
	[ -n "${options[$s]:-}" ] || die "no program '$s'; there are: $order"
	# shellcheck disable=SC2086
	if ! "$top/ci/scenario" --scenario "$s" --from 6.1 --to 6.12,6.1 --cpus 2 ${options[$s]} --limit 1800 --quiet >"$out/$s.json" 2>"$out/$s.err"; then
		failed=1
		tail -5 "$out/$s.err" >&2
	fi
	jq -r --arg s "$s" '
		def mb: . * 4096 / 1000000 * 10 | round / 10;
		([.switches[]? | .frames // 0] | max // 0) as $kept | ([.switches[]? | .image_pages // 0] | max // 0) as $copied |
		[$s, if .ok then "passed" else "FAILED" end, ($kept | mb), ($copied | mb),
		 (if $kept + $copied > 0 then $copied * 10000 / ($kept + $copied) | round / 100 else 0 end), .blackout_ms // "-"] | @tsv' \
		"$out/$s.json" | awk -F '\t' '{ printf "%-12s %-7s %10s %10s %9s %12s\n", $1, $2, $3, $4, $5, $6 }'
done
jq -s 'map({scenario, ok, why, from, to, blackout_ms, gap_ms, verify, check,
	switches: [.switches[]? | {from, to, blackout_ms, frames, huge, left_pages, image_pages, criu_bytes, gap_ms}]})' \
	$(for s in ${*:-$order}; do echo "$out/$s.json"; done) >"$build/programs.json"
exit $failed
