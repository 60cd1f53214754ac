#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The demonstration: memcached with DEMO_SIZE megabytes goes from Debian's 6.1 to its 6.12 with its memory in place.
. "$(dirname "$0")/lib.sh"

size=${DEMO_SIZE:-1024}
exec "$top/ci/scenario" --scenario memcached --from "${FROM:-6.1}" --to "${TO:-6.12}" --size "$size" \
	--mem $((size * 2 + 768)) --cpus "${CPUS:-1}" --table --json "$build/demo.json" >/dev/null
