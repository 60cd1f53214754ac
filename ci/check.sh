#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# check.sh [TEST...]: runs ci/tests/*, each of which prints KTAP, and sums up. Results: build/check.json, logs in
# build/check/. The last line is "N passed, N failed, N skipped"; the status is 0 only if nothing failed.
#
# As many at a time as there are processors (JOBS=), but those first and alone that say "# alone" in a line of their own; each tells its
# results when it is over.
#
# A test that ends with a status other than 0 without a "not ok", or without as many results as it planned, is a failure of its own.
. "$(dirname "$0")/lib.sh"

jobs=${JOBS:-$(nproc)}
tests=("$@")
[ ${#tests[@]} -gt 0 ] || mapfile -t tests < <(cd "$top/ci/tests" && find . -maxdepth 1 -type f -perm -u+x -printf '%P\n' | sort)
mkdir -p "$build/check"
results=$(mktemp -d "$build/check/results.XXXXXX")
trap 'rm -rf "$results"' EXIT
begin=$SECONDS

# KTAP on stdin to lines "pass|fail|skip<TAB>test<TAB>description". Results of subtests are indented and not counted.
count()
{
	awk -v test="$1" '
	/^1\.\.[0-9]+/ { planned += substr($1, 4); next }
	/^(not )?ok / {
		seen++
		skip = match($0, /# SKIP/)
		state = skip ? "skip" : /^not/ ? "fail" : "pass"
		sub(/^(not )?ok +[0-9]* *-? */, "")
		print state "\t" test "\t" $0
	}
	END { if (seen != planned || !seen) print "fail\t" test "\t" "planned " planned + 0 " results and gave " seen + 0 }'
}

# one FILE: its results into $results/FILE, and all that is to be said of it to stdout at once
one()
{
	local file=$1 log=$build/check/$1.log start=$SECONDS status=0
	"$top/ci/tests/$file" >"$log" 2>"$build/check/$file.err" </dev/null || status=$?
	count "$file" <"$log" >"$results/$file"
	if [ "$status" != 0 ] && ! grep -q '^fail' "$results/$file"; then
		printf 'fail\t%s\tended with status %s\n' "$file" "$status" >>"$results/$file"
	fi
	{
		echo "# $file"
		grep -E '^(not )?ok |^#' "$log" || true
		if grep -q '^fail' "$results/$file"; then
			sed -n 's/^fail\t[^\t]*\t/# FAILED: /p' "$results/$file"
			# Why a scenario failed is said before the last lines of its console.
			sed -n '/^FAILED: /,/^  the console/p' "$build/check/$file.err" | head -40 | sed 's/^/#   /'
			tail -15 "$build/check/$file.err" | sed 's/^/#   /'
		fi
		echo "# $file: $((SECONDS - start)) s"
	} >"$results/.said-$file"
	exec {lock_fd}>"$results/.saying"
	flock "$lock_fd"
	cat "$results/.said-$file"
}

files=() alone=()
for name in "${tests[@]}"; do
	file=$(cd "$top/ci/tests" && ls -d "$name" "$name".sh ??-"$name" 2>/dev/null | head -1) || true
	[ -n "$file" ] || die "no test '$name' in ci/tests"
	if grep -q '^# alone' "$top/ci/tests/$file"; then alone+=("$file"); else files+=("$file"); fi
done
for file in "${alone[@]}"; do (one "$file"); done
for file in "${files[@]}"; do
	while [ "$(jobs -pr | wc -l)" -ge "$jobs" ]; do wait -n || true; done
	one "$file" &
done
wait
for file in "${alone[@]}" "${files[@]}"; do
	if [ -s "$results/$file" ]; then cat "$results/$file"; else printf 'fail\t%s\tno result\n' "$file"; fi
done >"$results/.all"

of() { grep -c "^$1" "$results/.all" || true; }
passed=$(of pass) failed=$(of fail) skipped=$(of skip)
jq -R -s --argjson s $((SECONDS - begin)) '
	[split("\n")[] | select(. != "") | split("\t") | {test: .[1], result: .[0], description: .[2]}] |
	{passed: map(select(.result == "pass")) | length, failed: map(select(.result == "fail")) | length,
	 skipped: map(select(.result == "skip")) | length, seconds: $s, results: .}' "$results/.all" >"$build/check.json"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
