#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# soak.sh: N switches of one memcached in one guest's life, FROM and TO in turn; writes build/soak.json, prints what is in it.
#   N=200  FROM=6.1  TO=6.12
# Status 0: at the end every byte is as it was, on the same connections; no splat; and no memory is lost. For that a line is fitted to what
# is free or memcached's (which takes a megabyte more now and then, with page tables of its own), and one to what the slab has, after each
# switch, for each of the two kernels by itself: less than BOUND kB a switch.
. "$(dirname "$0")/lib.sh"

n=${N:-200} from=${FROM:-6.1} to=${TO:-6.12} bound=${BOUND:-4}
run=$build/soak.run.json
status=0
"$top/ci/scenario" --scenario "$top/ci/tests/soak" --from "$from" --to "$to" --switches "$n" --verify-last \
	--limit $((600 + n * ${SECONDS_EACH:-120})) --json "$run" >/dev/null || status=$?
[ -s "$run" ] || die "no result"
jq --argjson bound "$bound" '
	# Least squares of [[x, y], ...]: slope, its standard error, the mean.
	def fit: length as $n | (map(.[0]) | add / $n) as $mx | (map(.[1]) | add / $n) as $my |
		(map((.[0] - $mx) * (.[0] - $mx)) | add) as $sxx | ((map((.[0] - $mx) * (.[1] - $my)) | add) / $sxx) as $b |
		(map(.[1] - $my - $b * (.[0] - $mx) | . * .) | add) as $rest |
		{kb_a_switch: $b, error: (if $n > 2 then ($rest / ($n - 2) / $sxx | sqrt) else null end), mean_kb: $my, samples: $n};
	[.switches | to_entries[] | select(.value.drained.free_kb) | .value + {nr: .key} | .drained.free_kb += .frames * 4 + .drained.page_tables_kb] as $s |
	($s | group_by(.to) | map({kernel: .[0].to,
		free: (map([.nr, .drained.free_kb]) | fit), slab: (map([.nr, .drained.slab_kb]) | fit)})) as $kernels |
	{ok: (.ok and ($kernels | length > 0 and all(.free.samples > 2 and .free.kb_a_switch > -$bound and .slab.kb_a_switch < $bound))),
	 switches: ($s | length), why, verify, console, seconds, bound_kb_a_switch: $bound, kernels: $kernels,
	 blackout_ms: ($s | map(.blackout_ms) | [min, (sort | .[length / 2 | floor]), max]), extents: ($s | map(.extents) | [min, max]),
	 samples: ($s | map({to, blackout_ms, extents, copied_pages} + .drained))}' "$run" >"$build/soak.json"
jq -r '"\(.switches) switches in \(.seconds) s; blackout \(.blackout_ms | map(tostring) | join(" / ")) ms (least, median, most); extents \(.extents | map(tostring) | join(" to "))",
	(.kernels[] | "\(.kernel): memory that is free or of memcached \(.free.kb_a_switch * 10 | round / 10) kB a switch (+- \((.free.error // 0) * 10 | round / 10)), slab \(.slab.kb_a_switch * 10 | round / 10) (+- \((.slab.error // 0) * 10 | round / 10)); bound \($b)"),
	(if .ok then "nothing lost; build/soak.json" else "FAILED: \(.why // "memory is lost"); build/soak.json" end)' --argjson b "$bound" "$build/soak.json"
[ "$status" = 0 ] && json_holds "$build/soak.json" .ok
