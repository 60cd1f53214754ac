# SPDX-License-Identifier: GPL-2.0
# Sourced by the scripts of this scenario, in the guest.
dir=/run/resources

# launch NAME [WITHOUT] [OPTION...]: all tests but those, ready to go; $pid is the root of the tree.
launch()
{
	name=$1 without=$2
	shift; shift
	mkdir -p "$dir/$name"
	/scenario/resources --refusals >"$dir/refusals"
	# High pids, so that they are free in the next kernel, too; and others for each launch: what one leaves behind in the kernel (System V
	# semaphores) is not the next one's.
	last=$((${last:-0} + 10000))
	echo $last >/proc/sys/kernel/ns_last_pid
	setsid /scenario/dirty_launch --drained --dir="$dir/$name" ${without:+--without="$without"} "$@" /scenario/resources \
		</dev/null >"$dir/$name/log" 2>&1 &
	pid=$!
	while [ ! -e "$dir/$name/ready" ]; do
		if ! kill -0 $pid 2>/dev/null; then cat "$dir/$name/log"; return 1; fi
		sleep 0.2
	done
	[ ! -s "$dir/$name/log" ] || { cat "$dir/$name/log"; return 1; }
}

# Ends all of it: each test leads a session of its own, and some of their helpers others.
stop()
{
	kill -9 $pid 2>/dev/null
	for p in $(pidof resources); do kill -9 $p 2>/dev/null; done
	while pidof resources dirty_launch >/dev/null; do sleep 0.1; done
}

# results NAME: of a launch whose tests were let go, as JSON; what failed goes to the console. The status is that of the tests.
results()
{
	while [ ! -e "$dir/$1/done" ]; do
		if ! pidof dirty_launch >/dev/null && [ ! -e "$dir/$1/done" ]; then
			echo "the launcher is gone"
			cat "$dir/$1/result.ktap"
			return 1
		fi
		sleep 0.2
	done
	awk '/^# / { d = d substr($0, 3) "; "; next }
		/^(not )?ok/ { name = $NF
			if (name == "memory_was_unbound" || / pages$/) { d = ""; next }
			gsub(/["\\]/, "", d)
			if (/^ok/) { pass = pass ps "\"" name "\""; ps = ", "; np++ }
			else { fail = fail fs "\"" name "\": \"" d "\""; fs = ", "; nf++ }
			d = "" }
		END { printf "{\"pass\": %d, \"fail\": %d, \"passed\": [%s], \"failed\": {%s}}\n", np, nf, pass, fail }' "$dir/$1/result.ktap"
	return "$(cat "$dir/$1/done")"
}
