# SPDX-License-Identifier: GPL-2.0
# Sourced by the scripts of this scenario, in the guest.
dir=/run/zdtm
# Tests that die of SIGSEGV are meant to.
echo 0 >/proc/sys/debug/exception-trace
tests=$(cut -f 1 /scenario/tests)

text() { tr -d '"\\' | tr '\n\t' '  ' | cut -c 1-200; }

# look TEST: its line of the table
look()
{
	IFS='	' read -r test _ flags feature dump restore args <<-END
		$(grep "^$1	" /scenario/tests)
	END
	base=${test##*/}
	[ "$dump" != - ] || dump=
	[ "$restore" != - ] || restore=
}

# start_test: the one that look() has found. Returns 137 if it took too long and did not even end when it was asked to.
start_test()
{
	mkdir -p "$dir/$test"
	chmod 777 "$dir/$test"
	cd "$dir/$test" || return 1
	(
		export TMPDIR=/tmp
		case " $flags " in
		*" suid "*) ;;
		*) export ZDTM_UID=18943 ZDTM_GID=58467 ZDTM_GROUPS="27495 48244" ;;
		esac
		# shellcheck disable=SC2086
		exec timeout -k 5 30 /scenario/$test $args
	) </dev/null >"$dir/said" 2>&1
}

# launch TEST: in a directory of its own, as the user that CRIU's runs give it. $pid is the root of its tree. Else prints why not.
launch()
{
	look "$1"
	tries=1
	until start_test; do
		# Those of TCP take connections for the one or the other as they come, which need not be as they were begun, and wait for ever then.
		case $?.$tries in 137.[123]) ;;
		*) echo "does not start: $(cat "$dir/said" "$base".out* 2>/dev/null | text)"; cd /; return 1 ;;
		esac
		remove "$test"
		tries=$((tries + 1))
	done
	cd /
	pid=$(cat "$dir/$test/$base.pid")
	kill -0 "$pid" 2>/dev/null || { echo "ends at once: $(cat "$dir/$test/$base".out* 2>/dev/null | text)"; return 1; }
}

# of_test TEST: its processes, whosever children they are
of_test()
{
	for p in /proc/[0-9]*; do
		[ "$(readlink "$p/exe" 2>/dev/null)" != "/scenario/$1" ] || echo "${p#/proc/}"
	done
}

# remove TEST: with all that it has in memory, and what it has mounted there
remove()
{
	n=0
	while p=$(of_test "$1"); [ -n "$p" ] && [ $n -lt 50 ]; do
		# shellcheck disable=SC2086
		kill -9 $p 2>/dev/null
		sleep 0.1
		n=$((n + 1))
	done
	awk -v below="$dir/$1/" 'index($2, below) == 1 { print $2 }' /proc/mounts | sort -r | while read -r m; do umount -l "$m"; done
	rm -rf "${dir:?}/$1"
}

# refused PID...: lines TEST, tab, what `kup-ppp check` has against it, of the tests below these processes. Not what is wrong with the
# machine: no new kernel is there yet.
refused()
{
	kup-ppp check --keep "$dir" "$@" >/tmp/zdtm.check 2>&1 && return
	awk -v dir="$dir/" '
		/^machine/ { test = "" }
		/^pid / {
			exe = ""
			command = "readlink /proc/" $2 "/exe"
			command | getline exe
			close(command)
			# one that has become another program is of the one before
			if (sub(/^\/scenario\//, "", exe))
				test = exe
		}
		/^keep / { test = ""; kept = 1 }
		/^  refused / {
			why = substr($0, 12)
			at = index(why, dir)
			if (kept && at) { split(substr(why, at + length(dir)), w, "/"); sub(/[: ].*/, "", w[2]); test = w[1] "/" w[2] }
			gsub(/["\\\t]/, "", why)
			if (test && !(test in seen)) print test "\t" substr(why, 1, 200)
			seen[test]
		}' /tmp/zdtm.check
}

# verdict TEST PID: "passed", or what is wrong, of a test that has had its SIGTERM. CRIU's runs look for the same word.
verdict()
{
	out=$dir/$1/${1##*/}.out
	n=0
	while kill -0 "$2" 2>/dev/null && [ $n -lt 300 ]; do sleep 0.1; n=$((n + 1)); done
	if kill -0 "$2" 2>/dev/null; then
		echo "does not end"
	elif tail -n 1 "$out" 2>/dev/null | grep -qw PASS; then
		echo passed
	else
		cat "$out" "$out.inprogress" 2>/dev/null | tail -n 2 | sed 's/^[0-9:.]*: *[0-9]*: //' | text | grep . || echo "ends and says nothing"
	fi
}

# json: of lines TEST, tab, TEXT
json() { awk -F '\t' 'BEGIN { printf "{" } { printf "%s\"%s\": \"%s\"", s, $1, $2; s = ", " } END { print "}" }' "$@"; }
