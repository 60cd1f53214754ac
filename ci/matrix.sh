#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# matrix.sh: switches a loaded memcached between the kernels of Debian's archive, every byte compared after each switch.
#
# A cell is one switch, from one kernel to another:
#   consecutive   each kernel package of a series and the next one
#   neighbours    the newest of each series and that of the next series
#   extremes      the oldest kernel of all and the newest
#   machines      the newest kernels of the oldest and of the newest series, on other machines: two sockets (numa), 5-level page tables
#                 (la57), 4 CPUs (cpus4), and where memory is single pages (fragmented): there the new kernel's boot is held against
#                 one where it is not
# and each of these backwards, in the same guest's life. One life goes through several consecutive ones, up and down again; where it
# ends too early, another goes on. In the environment:
#   FROM=, TO=    versions or series: only cells that start or end there. Both: that one way, whatever it is
#   SERIES=       only cells within this series
#   KIND=         only consecutive, neighbours, extremes or machines
#   ONLY=         a regular expression: as if there were only the kernels with such a version
#   FLAVOURS      of "cloud-amd64 amd64 rt-amd64"; the last is tried between neighbours only
#   SIZE          megabytes of payload (64)
#   LIFE          pairs of consecutive kernels in one life, at most (8)
#   BUILT=1       only cells between kernels that the module has been built for: while it is built for the others
#   KUP_KEEP=1    kernels that were fetched for this stay; then several runs may go on at once, each for other cells (FLAVOURS, SERIES)
#
# A kernel is gone if the archive has its image, but neither its headers nor its source any more, as turns out when they are fetched:
# nobody can build for it, so the next one of its series takes its place.
#
# Guests with one CPU count instructions (--icount), so that the times of a busy machine compare; with more, QEMU lets one that waits for
# another spin until the next timer, and they hardly boot. Prints a table and a summary of it, writes
# build/matrix.json. What came of a cell is kept in build/matrix/ and is not tried again if it was good and
# neither kernels nor sources have changed, so that an interrupted run goes on where it was. Status 0: no cell failed, and there
# were at least as many kernels as suites.
. "$(dirname "$0")/lib.sh"

FROM=${FROM:-} TO=${TO:-} SERIES=${SERIES:-} KIND=${KIND:-} ONLY=${ONLY:-} SIZE=${SIZE:-64} LIFE=${LIFE:-8} BUILT=${BUILT:-}
FLAVOURS=${FLAVOURS:-cloud-amd64 amd64 rt-amd64}
cells=$build/matrix
mkdir -p "$cells"
# One that makes room would take away what another needs.
if [ -n "${KUP_KEEP:-}" ]; then lock_shared matrix; else lock matrix; fi
work=$(mktemp -d "$cells/.work-XXXXXX")
trap 'rm -rf "$work"' EXIT

# Each flavour's kernels, oldest first: version, suites, series, flavour. Those that are gone, or turned out to be, are left out.
kernels()
{
	local f
	for f in $FLAVOURS; do
		KUP_FLAVOUR=$f "$top/ci/kernels.sh" list | awk -v f="$f" -v gone="$cells/gone" '
			$4 == "gone" { system("touch " gone "-" $1); next }
			{ print $1, $2, $3, f }'
	done | grep -vFf <(cd "$cells" && find . -name 'gone-*' -printf '%f \n' | sed 's/^gone-//')
}

# What a machine is, as arguments of ci/scenario.
declare -A machine_args=(
	[plain]="--icount --scenario memcached --size $SIZE"
	[numa]="--scenario memcached --size $SIZE --cpus 2 --nodes 2"
	[la57]="--icount --scenario memcached --size $SIZE --cpu max,erms=off,fsrm=off,cx16=off"
	[cpus4]="--scenario memcached --size $SIZE --cpus 4"
	[fragmented]="--icount --scenario fragmented --size 430 --mem 2560"
)
unfragmented="--icount --scenario memcached --size 430 --mem 2560"

# Pairs to go there and back: older, newer, kind, how many packages apart, machine. Each once.
plan()
{
	awk '
	function pair(a, b, kind, apart, machine) { if (a != b && !seen[a, b, machine]++) print a, b, kind, apart, machine ? machine : "plain" }
	function ends() {
		if (!flavour) return
		for (i = 2; i <= nr; i++) pair(last[i - 1], last[i], "neighbours", at[i] - at[i - 1])
		pair(oldest, last[nr], "extremes", n - 1)
		if (!machines++)
			for (i = split("numa la57 cpus4 fragmented", on); i; i--) pair(last[1], last[nr], "machines", n - at[1], on[i])
	}
	$4 != flavour { ends(); flavour = $4; n = nr = 0; series = ""; oldest = $1 }
	{
		n++
		if ($3 != series) { nr++; series = $3 }
		else if ($4 != "rt-amd64") pair(last[nr], $1, "consecutive", 1)
		last[nr] = $1
		at[nr] = n
	}
	END { ends() }' "$1"
}

# one VERSION|SERIES: a version of the list; a series is its newest
one() { awk -v n="$1" '$1 == n || ($3 == n && $4 == f) { v = $1 } END { print v }' f="${FLAVOURS%% *}" "$list"; }

is() { [ -z "$2" ] || [ "$1" = "$2" ] || [ "$(awk -v v="$1" '$1 == v { print $3 }' "$list")" = "$2" ]; }

# Only what is asked for, a line a pair: older, newer, kind, apart, machine, "both", "up" or "down".
wanted()
{
	local a b kind apart machine up down
	if [ -n "$FROM" ] && [ -n "$TO" ]; then
		a=$(one "$FROM") b=$(one "$TO")
		[ -n "$a" ] && [ -n "$b" ] || die "no kernel '$FROM' or no kernel '$TO' in the archive: ci/kernels.sh list"
		echo "$a $b asked $(awk -v a="$a" -v b="$b" '$1 == a { x = NR } $1 == b { y = NR } END { print x < y ? y - x : x - y }' "$list") plain up"
		return
	fi
	plan "$list" | while read -r a b kind apart machine; do
		[ -z "$KIND" ] || [ "$kind" = "$KIND" ] || continue
		[ -z "$BUILT" ] || { [ -e "$build/module/$a/built" ] && [ -e "$build/module/$b/built" ]; } || continue
		if [ -n "$SERIES" ]; then is "$a" "$SERIES" && is "$b" "$SERIES" || continue; fi
		up= down=
		if is "$a" "$FROM" && is "$b" "$TO"; then up=1; fi
		if is "$b" "$FROM" && is "$a" "$TO"; then down=1; fi
		case $up$down in
		11) echo "$a $b $kind $apart $machine both" ;;
		1) echo "$a $b $kind $apart $machine ${up:+up}${down:+down}" ;;
		esac
	done
}

# Of a cell, three words: from, to, machine.
cell() { echo "$cells/$1--$2${3/#/--}.json" | sed 's/--plain\././'; }
good() { json_holds "$(cell "$@")" ".result == \"ok\" and .inputs == \"$inputs ${machine_args[$3]}\""; }

# keep FROM TO MACHINE KIND APART NR: what the run's result, in $run, says of its switch NR, or $log if there is none. It is good if it was
# verified and drained, whatever came after, and the console of the whole life is clean. In fragmented memory there must have been
# 100,000 pages without a neighbour, and the new kernel's boot be at most 1.05 times that of the life in $whole.
keep()
{
	local file
	file=$(cell "$1" "$2" "$3")
	jq -n --arg from "$1" --arg to "$2" --arg machine "$3" --arg kind "$4" --argjson apart "$5" --argjson nr "$6" --arg inputs "$inputs ${machine_args[$3]}" \
		--arg log "$(grep -v '^make' "$log" | tail -1)" --slurpfile run "$run" --slurpfile whole "$whole" '
		def boot: (.switches // [])[$nr].report.steps? // [] | map(select(.step == "boot").ms) | .[0];
		($run[0] // {}) as $r | ($r.switches // [])[$nr] as $s | ($r | boot) as $boot | ($whole[0] // {} | boot) as $unfragmented |
		(if $machine != "fragmented" then null
		 elif ($s.depart.singles? // 0) < 100000 then "\($s.depart.singles? // "no") single pages, 100000 were to be had"
		 elif ($boot and $unfragmented | not) then "the time of a boot is missing"
		 elif $boot > 1.05 * $unfragmented then "boot \($boot) ms, \($unfragmented) in whole memory" else null end) as $slow |
		(if ($r.ok or ($s.status.state? == "idle" and ($r.console // 0) == 0)) and $s and ($slow | not) then "ok" else "failed" end) as $result |
		{$from, $to, $machine, $kind, $apart, $result, blackout_ms: $s.blackout_ms, gap_ms: $s.gap_ms, frames: $s.frames,
		 extents: $s.extents, singles: $s.depart.singles?, boot_ms: $boot, unfragmented_boot_ms: $unfragmented,
		 criu: $s.report.criu, criu_bytes: $s.criu_bytes, bytes: $r.verify.bytes,
		 why: (if $result == "ok" then null else $slow // $r.why // $log end), run: $r.run, $inputs}' \
		>"$file.new" && mv "$file.new" "$file"
}

show()
{
	jq -r '[.from, .to, .apart, .machine, .result, .blackout_ms // "-", .extents // "-",
		.why // if .singles then "\(.singles) single pages; boot \(.boot_ms / .unfragmented_boot_ms * 1000 | round / 1000)" else "" end] | @tsv' "$1" |
		awk -F'\t' '{ printf "%-32s %-32s %5s %-10s  %-6s %11s %8s  %.90s\n", $1, $2, $3, $4, $5, $6, $7, $8 }'
}

# What a result depends on, besides the kernels.
inputs=$(cd "$top" && find module bootstub userspace Kbuild ci/bed ci/guest ci/client ci/scenarios/{memcached,fragmented} ci/scenario \
	-type f ! -path '*/tests/*' -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16)
list=$work/kernels
run=$work/run.json whole=$work/whole.json
find "$cells" -name 'gone-*' -mtime +0 -delete
declare -A shown=()
declare -A state=()	# of a cell, as three words: good, red (it failed in this run) or open

# A kernel that was fetched for this only makes room again when no pair needs it any more, its source (headers.sh) when no flavour does.
make_room()
{
	local k all
	[ -z "${KUP_KEEP:-}" ] || return 0
	for k in "$@"; do
		[ -e "$cells/fetched-$k" ] || continue
		! printf '%s\n' "${pairs[@]:i+1}" | grep -qF -- "$k " || continue
		all=${k%-amd64} all=${all%-cloud} all=${all%-rt}
		if [ -e "$build/kernels/$k/package" ] && ! printf '%s\n' "${pairs[@]:i+1}" | grep -qF -- "$all-"; then
			rm -rf "$build/sources/$(tr ' ' _ <"$build/kernels/$k/package")"
		fi
		rm -f "$build/kernels/$k/done"	# it is none any more, should this be interrupted
		rm -rf "${build:?}/kernels/$k" "$build/module/$k" "$cells/fetched-$k"
	done
}

# live RESULT KERNEL... -- ARGS...: one life
live()
{
	local result=$1 path=()
	shift
	while [ "$1" != -- ]; do path+=("$1"); shift; done
	shift
	"$top/ci/scenario" "$@" --from "${path[0]}" --to "$(IFS=,; echo "${path[*]:1}")" --quiet --limit $((300 + 300 * ${#path[@]})) \
		--json "$result" >/dev/null 2>"$log" || true
	[ -e "$result" ] || : >"$result"
}

# parse I: that pair, as $a, $b and so on, and its cells, $up and $down, which is empty if only one way is wanted
parse()
{
	read -r a b kind apart machine ways <<<"${pairs[$1]}"
	[ "$ways" != down ] || read -r a b <<<"$b $a"
	up="$a $b $machine" down=
	[ "$ways" != both ] || down="$b $a $machine"
	for k in "$up" ${down:+"$down"}; do
		# shellcheck disable=SC2086
		[ -n "${state[$k]:-}" ] || { state[$k]=open; ! good $k || state[$k]=good; }
	done
}

# try I: a life for what is open of that pair, and of those after it which go on where it ends. What came of it is in $state. 1 if a kernel
# turned out to be gone, so that the plan has to be made anew.
try()
{
	local path life=() aparts=() j nr total lost k
	parse "$1"
	if [ -n "$down" ] && [ "${state[$up]}" = red ]; then
		path=("$b" "$a") life=("$down") aparts=("$apart")
	else
		path=("$a" "$b") life=("$up") aparts=("$apart")
		if [ "$kind" = consecutive ] && [ "${state[$up]}-${down:+${state[$down]}}" = open-open ]; then
			for ((j = $1 + 1; j < ${#pairs[@]} && ${#life[@]} < LIFE; j++)); do
				parse "$j"
				[ "$kind $a ${state[$up]}-${down:+${state[$down]}}" = "consecutive ${path[-1]} open-open" ] || break
				# One that no module can be built for must not be held against the pairs before it.
				"$top/ci/module.sh" "$b" >/dev/null 2>&1 || break
				path+=("$b") life+=("$up") aparts+=("$apart")
			done
			parse "$1"
		fi
		if [ "${down:+${state[$down]}}" = open ]; then
			for ((j = ${#life[@]} - 1; j >= 0; j--)); do
				path+=("${path[j]}") life+=("${path[j + 1]} ${path[j]} $machine") aparts+=("${aparts[j]}")
			done
		fi
	fi
	for k in "${path[@]}"; do [ -e "$build/kernels/$k/done" ] || touch "$cells/fetched-$k"; done
	rm -f "$run" "$whole"
	# shellcheck disable=SC2086
	log=$(cell ${life[0]})
	log=${log%.json}.log
	# shellcheck disable=SC2086
	[ "$machine" != fragmented ] && : >"$whole" || live "$whole" "${path[@]}" -- $unfragmented
	# shellcheck disable=SC2086
	live "$run" "${path[@]}" -- ${machine_args[$machine]}
	lost=$(sed -n 's/.*neither headers of \([^ ]*\) nor its source.*/\1/p' "$log")
	if [ -n "$lost" ]; then
		touch "$cells/gone-$lost"
		rm -rf "${build:?}/kernels/$lost" "$cells/fetched-$lost"
		return 1
	fi
	# Up to the switch where it ended; a console that is not clean speaks against all of them.
	total=${#life[@]}
	nr=$(jq -n --slurpfile run "$run" '($run[0] // {}) | .console as $n | [(.switches // [])[] | select($n > 0 or .status.state? == "idle")] | length')
	[ "$nr" = "$total" ] || nr=$((nr + 1))
	for ((j = 0; j < nr; j++)); do
		# shellcheck disable=SC2086
		keep ${life[j]} "$kind" "${aparts[j]}" "$j"
		# shellcheck disable=SC2086
		if good ${life[j]}; then state[${life[j]}]=good; else state[${life[j]}]=red; fi
	done
}

kernels >"$list"
nr=$(wc -l <"$list")
asked=$(. "$top/ci/apt.sh"; echo ${KUP_ALL_SUITES:-$KUP_SUITES} | wc -w)
say "$nr kernels in $(awk '{ n = split($2, s, ","); for (i = 1; i <= n; i++) print s[i] }' "$list" | sort -u | wc -l) of $asked suites"
printf '%-32s %-32s %5s %-10s  %-6s %11s %8s\n' from to apart machine result blackout/ms extents

again=1
while [ -n "$again" ]; do
	again=
	kernels | grep -E -- "$ONLY" >"$list" || die "no kernel for ONLY='$ONLY'"
	wanted >"$work/wanted"
	[ -s "$work/wanted" ] || die "nothing to do for FROM='$FROM' TO='$TO' SERIES='$SERIES' KIND='$KIND'"
	mapfile -t pairs <"$work/wanted"
	files=()
	for ((i = 0; i < ${#pairs[@]}; i++)); do
		parse "$i"
		while [[ "${state[$up]}${down:+ ${state[$down]}}" == *open* ]]; do
			try "$i" || { again=1; break 2; }
		done
		for k in "$up" ${down:+"$down"}; do
			# shellcheck disable=SC2086
			files+=("$(cell $k)")
			# shellcheck disable=SC2086
			[ -n "${shown[$k]:-}" ] || show "$(cell $k)"
			shown[$k]=1
		done
		make_room "$a" "$b"
	done
done

# Of cells of one flavour and kind, and of one series or machine: how many, from what to what.
summary()
{
	jq -r '
	def flavour: capture("(?<f>(cloud-|rt-)?amd64)$").f;
	def series: capture("^(?<s>[0-9]+.[0-9]+)").s;
	def key: [(.from | flavour), .kind, if .kind == "consecutive" then (.from | series) elif .kind == "machines" then .machine else "-" end];
	def range(f): map(select(f) | f | round) | if . == [] then "-" else "\(min)..\(max)" end;
	reduce .cells[] as $c ([]; (map(.key) | index([$c | key])) as $i |
		if $i then .[$i].cells += [$c] else . + [{key: ($c | key), cells: [$c]}] end) |
	.[] | .key + (.cells | [length, map(select(.result != "ok")) | length]) + (.cells | [range(.blackout_ms), range(.extents)]) | @tsv' \
		"$build/matrix.json" | awk -F'\t' '
		BEGIN { printf "%-12s %-12s %-10s %5s %6s %12s %12s\n", "flavour", "kind", "", "cells", "failed", "blackout/ms", "extents" }
		{ printf "%-12s %-12s %-10s %5s %6s %12s %12s\n", $1, $2, $3, $4, $5, $6, $7 }'
}

gone=$(cd "$cells" && find . -name 'gone-*' -printf '%f\n' | sed 's/^gone-//' | sort -V)
jq -s --argjson kernels "$nr" --arg gone "$gone" '{$kernels, gone: ($gone | split("\n")), cells: .}' "${files[@]}" >"$build/matrix.json"
echo
summary
failed=$(jq '[.cells[] | select(.result != "ok")] | length' "$build/matrix.json")
[ -z "$gone" ] || echo "neither headers nor source in the archive any more:" $gone
echo "${#files[@]} cells, $failed failed; $nr kernels; build/matrix.json"
[ "$nr" -ge "$asked" ] || die "$nr kernels in $asked suites: the archive was not read whole"
[ "$failed" = 0 ]
