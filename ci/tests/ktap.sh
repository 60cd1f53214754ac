# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Sourced by tests: KTAP on stdout. Everything else they say goes to stderr.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
set +e

ktap_nr=0
ktap_failed=0
work=$build/check/${0##*/}.d
rm -rf "$work"
mkdir -p "$work"

plan() { echo "KTAP version 1"; echo "1..$1"; }

# result STATUS DESCRIPTION
result()
{
	ktap_nr=$((ktap_nr + 1))
	if [ "$1" = 0 ]; then
		echo "ok $ktap_nr - $2"
	else
		echo "not ok $ktap_nr - $2"
		ktap_failed=1
	fi
}

# holds FILE FILTER DESCRIPTION: a jq filter is true of the JSON in a file, which has one value
holds()
{
	json_holds "$1" "$2"
	result $? "$3"
}

# run NAME ARGS: a scenario; its JSON in $work/NAME.json
run()
{
	local name=$1
	shift
	"$top/ci/scenario" "$@" >"$work/$name.json"
	result $? "$name: $*"
}

finish() { exit "$ktap_failed"; }
