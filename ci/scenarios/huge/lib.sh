# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# ask SIGNAL NAME: all of them; their answers as a list
ask()
{
	list=""
	rm -f "/run/huge/$2".*
	for pid in $(pidof huge); do
		kill "-$1" "$pid"
		for _ in $(seq 200); do
			[ ! -e "/run/huge/$2.$pid" ] || break
			sleep 0.2
		done
		list="$list${list:+, }$(cat "/run/huge/$2.$pid")"
	done
	echo "[$list]"
}
