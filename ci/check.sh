#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# check.sh [TEST...]: runs ci/tests/*, each of which prints KTAP, and sums up. Results: build/check.json, logs in
# build/check/. The last line is "N passed, N failed, N skipped"; the status is 0 only if nothing failed.
#
# A test that ends with a status other than 0 without a "not ok", or without as many results as it planned, is a failure of its own.
. "$(dirname "$0")/lib.sh"

tests=("$@")
[ ${#tests[@]} -gt 0 ] || mapfile -t tests < <(cd "$top/ci/tests" && find . -maxdepth 1 -type f -perm -u+x -printf '%P\n' | sort)
mkdir -p "$build/check"
results=$(mktemp "$build/check/results.XXXXXX")
trap 'rm -f "$results" "$results.one"' EXIT
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

for name in "${tests[@]}"; do
	file=$(cd "$top/ci/tests" && ls -d "$name" "$name".sh ??-"$name" 2>/dev/null | head -1) || true
	[ -n "$file" ] || die "no test '$name' in ci/tests"
	log=$build/check/$file.log
	echo "# $file"
	start=$SECONDS
	status=0
	"$top/ci/tests/$file" 2>"$build/check/$file.err" | tee "$log" | grep -E '^(not )?ok |^#' || true
	status=${PIPESTATUS[0]}
	count "$file" <"$log" >"$results.one"
	if [ "$status" != 0 ] && ! grep -q '^fail' "$results.one"; then
		printf 'fail\t%s\tended with status %s\n' "$file" "$status" >>"$results.one"
	fi
	if grep -q '^fail' "$results.one"; then
		sed -n 's/^fail\t[^\t]*\t/# FAILED: /p' "$results.one"
		tail -15 "$build/check/$file.err" | sed 's/^/#   /'
	fi
	cat "$results.one" >>"$results"
	echo "# $file: $((SECONDS - start)) s"
done

of() { grep -c "^$1" "$results" || true; }
passed=$(of pass) failed=$(of fail) skipped=$(of skip)
jq -R -s --argjson s $((SECONDS - begin)) '
	[split("\n")[] | select(. != "") | split("\t") | {test: .[1], result: .[0], description: .[2]}] |
	{passed: map(select(.result == "pass")) | length, failed: map(select(.result == "fail")) | length,
	 skipped: map(select(.result == "skip")) | length, seconds: $s, results: .}' "$results" >"$build/check.json"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
