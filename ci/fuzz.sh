#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# fuzz.sh [TARGET...]: runs the libFuzzer targets of userspace/tests/fuzz_*.c, one after the other, and prints a table.
#
# RUNS (10,000,000) inputs each, or until SECONDS_EACH is over (0: no bound). It begins with the heads of the kernels in build/kernels and a
# handover made by hand, and with what earlier calls found worth keeping in build/fuzz/TARGET. RESULT (build/fuzz.json) has runs,
# coverage and findings of each; an input that is a finding stays in build/fuzz/findings. The status is 0 only if all runs were done and nothing was found.
. "$(dirname "$0")/lib.sh"

runs=${RUNS:-10000000}
bound=${SECONDS_EACH:-0}
out=$build/fuzz
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cd "$top/userspace/tests" && ls fuzz_*.c | sed 's/^fuzz_//; s/\.c$//')

make -s -C "$top" bootstub >&2
make -s -C "$top/userspace" BUILD="$build" fuzz >&2
mapfile -t kernels < <(ls "$build"/kernels/*/vmlinuz 2>/dev/null)
[ ${#kernels[@]} -gt 0 ] || kernels=("$build/kernels/$("$top/ci/kernels.sh" get 6.1)/vmlinuz")
rm -rf "$out/seeds"
mkdir -p "$out/seeds" "$out/findings"
"$build/tests/tool_seeds" "$out/seeds" "${kernels[@]}"

# What libFuzzer said last of a key: "stat::NAME: N", or "KEY: N" in its lines of progress.
last() { grep -o "$2: *[0-9]*" "$1" | tail -1 | grep -o '[0-9]*$' || echo 0; }

# How much freed memory is kept from reuse. With the usual 256 MB each input gets memory that no cache and no page table has seen for long:
# a third of the time and more.
export ASAN_OPTIONS=quarantine_size_mb=8

rows=() failed=0
printf '%-10s %10s %8s %8s %8s %8s\n' target runs seconds coverage inputs findings
for t in "${targets[@]}"; do
	log=$out/$t.log
	mkdir -p "$out/$t" "$out/seeds/$t"
	rm -f "$out/findings/$t-"*
	start=$SECONDS
	"$build/tests/fuzz_$t" -runs="$runs" -max_total_time="$bound" -print_final_stats=1 -rss_limit_mb=4096 -timeout=20 \
		-artifact_prefix="$out/findings/$t-" "$out/$t" "$out/seeds/$t" 2>"$log" || failed=1
	found=$(find "$out/findings" -name "$t-*" | wc -l)
	done=$(last "$log" stat::number_of_executed_units)
	[ "$done" -ge "$runs" ] && [ "$found" = 0 ] || failed=1
	row=("$t" "$done" "$((SECONDS - start))" "$(last "$log" cov)" "$(find "$out/$t" -type f | wc -l)" "$found")
	printf '%-10s %10s %8s %8s %8s %8s\n' "${row[@]}"
	rows+=("$(printf '%s\t' "${row[@]}")")
	[ "$found" = 0 ] || grep -E 'ERROR|SUMMARY|runtime error|    #[0-9] ' "$log" | head -12 >&2
done
printf '%s\n' "${rows[@]}" | jq -R -s --argjson asked "$runs" '{asked: $asked, targets: [split("\n")[] | select(. != "") | split("\t") |
	{target: .[0], runs: .[1] | tonumber, seconds: .[2] | tonumber, coverage: .[3] | tonumber, inputs: .[4] | tonumber, findings: .[5] | tonumber}]}' \
	>"${RESULT:-$build/fuzz.json}"
exit $failed
