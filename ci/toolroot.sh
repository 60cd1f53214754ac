#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A small Debian of its own with a compiler that this machine has not, for kernels that were built with it.
#
#   toolroot.sh run COMPILER VERSION COMMAND...     for example gcc-16 16.2.0-4: the Debian version
#
# The repository and build/ are in it at the very same places, /proc is mounted (objtool wants it), and nothing else of this
# machine. It is made when it is first needed, of the suite that has this very compiler (so all other tools are of an age with the
# kernel, too), else of the newest suite that has another version of it; one root a suite. Needs root.
. "$(dirname "$0")/apt.sh"

base="make bc bison flex kmod pahole patch xz-utils python3-minimal libelf-dev libssl-dev zlib1g-dev libc6-dev"

[ "${1:-}" = run ] && [ $# -ge 4 ] || { echo "usage: toolroot.sh run COMPILER VERSION COMMAND..." >&2; exit 2; }
compiler=$2 version=$3
shift 3
[ "$(id -u)" = 0 ] || die "as root, please: this machine has no $compiler, so a root with it is mounted"

find_suite()
{
	in_apt apt-cache madison "$compiler" | awk -v all="$KUP_ALL_SUITES" -v want="$version" '
	{
		split($0, f, / *[|] */)
		split(f[3], w, " ")
		sub(/\/.*/, "", w[2])
		has[w[2]] = 1
		if (f[2] == want)
			exact[w[2]] = 1
	}
	END {
		n = split(all, s, " ")
		for (i = 1; i <= n; i++)
			if (s[i] in exact) { print s[i]; exit }
		for (i = n; i; i--)
			if (s[i] in has) { print s[i]; exit }
	}'
}

make_root()
{
	local suite=$1 tmp=$root.$$ packages
	"$top/ci/deps.sh" toolroot
	packages=$(printf '%s\n' $base "$compiler" $(cat "$root/.packages" 2>/dev/null) | sort -u)
	say "making a root of $suite with $(echo $packages)"
	debian_root "$tmp" "$suite" "$(apt_types=deb apt_sources "$suite")" "$packages"
	echo "$packages" >"$tmp/.packages"
	(
		lock "toolroot-$suite"
		rm -rf "$root"
		mv "$tmp" "$root"
	)
}

# Who makes a root holds one lock, who is in one has a share of that root's: only a root that lacks a compiler has to wait.
mkdir -p "$build/toolroots" "$build/locks"
known=$build/toolroots/$compiler-$version	# names the suite
is_there() { [ -e "$known" ] && [ -x "$build/toolroots/$(cat "$known")/usr/bin/$compiler" ]; }
is_there || lock toolroot
if ! is_there; then
	apt_all
	suite=$(lock apt; apt_ready; find_suite)
	[ -n "$suite" ] || die "no suite has $compiler"
	root=$build/toolroots/$suite
	[ -x "$root/usr/bin/$compiler" ] || make_root "$suite"
	echo "$suite" >"$known"
fi
suite=$(cat "$known")
root=$build/toolroots/$suite
[ -z "${lock_fd:-}" ] || exec {lock_fd}>&-
exec {share}>"$build/locks/toolroot-$suite"
flock -s "$share"

# shellcheck disable=SC2016
exec unshare --mount --propagation private /bin/sh -euc '
	root=$1 here=$2
	shift 2
	for d in $here; do
		mkdir -p "$root$d"
		mount --rbind "$d" "$root$d"
	done
	mount -t proc proc "$root/proc"
	exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C HOME=/root "$@"
' sh "$root" "$top $build" "$@"
