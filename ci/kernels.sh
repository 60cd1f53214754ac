#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Debian's kernels, as the archive holds them today.
#
#   kernels.sh list [SERIES]        versions, oldest first; SERIES is for example 6.12
#   kernels.sh get VERSION|SERIES   fetches image and headers (a series: its newest), prints the version
#
# KUP_FLAVOUR (cloud-amd64) and KUP_SUITES choose among what is there. build/kernels/VERSION/ then holds:
#   vmlinuz, config   the image as packaged
#   modules           -> .../lib/modules/VERSION, with modules.dep
#   headers           -> what `make -C` takes to build a module
. "$(dirname "$0")/apt.sh"

flavour=${KUP_FLAVOUR:-cloud-amd64}

usage() { echo "usage: kernels.sh list [SERIES] | get VERSION|SERIES" >&2; exit 2; }

list()
{
	in_apt apt-cache pkgnames "linux-image-" | sed -n "s/^linux-image-\([0-9].*-$flavour\)$/\1/p" |
		awk -v s="${1:-}" -F- -v fl="$flavour" '
			# Meta packages are named by a bare series: linux-image-6.12-cloud-amd64.
			{ v = substr($0, 1, length($0) - length(fl) - 1) }
			v ~ /^[0-9]+\.[0-9]+$/ { next }
			s == "" || index(v, s ".") == 1 || v == s || index(v, s "+") == 1 || index(v, s "-") == 1' | sort -V
}

# Packages of one kernel: image and headers and what they need of the same version.
packages()
{
	in_apt apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
		--no-enhances --no-pre-depends "linux-image-$1" "linux-headers-$1" |
		grep -oE '^linux-(image|modules|binary|base|headers|kbuild)-[0-9][^ ]*' | grep -v -e '-unsigned$' | sort -u
}

get()
{
	local version=$1 dir=$build/kernels/$1 tmp=$build/kernels/.$1.$$ root names m h f
	if [ ! -e "$dir/done" ]; then
		names=$(packages "$version")
		[[ $names == *linux-image-* && $names == *linux-headers-* ]] ||
			die "no linux-image-$version with headers in $KUP_SUITES"
		say "fetching $(echo $names)"
		rm -rf "$dir" "$tmp"
		root=$dir/root
		mkdir -p "$tmp"
		# shellcheck disable=SC2086
		(cd "$tmp" && in_apt apt-get -qq download $names) >&2
		unpack "$root" "$tmp"/*.deb
		rm -rf "$tmp"
		m=$root/usr/lib/modules/$version
		h=$root/usr/src/linux-headers-$version
		# Older kernels have image and configuration in /boot, later ones beside the modules.
		for f in vmlinuz config; do
			if [ -e "$root/boot/$f-$version" ]; then
				ln -s "root/boot/$f-$version" "$dir/$f"
			elif [ -e "$m/$f" ]; then
				ln -s "root/usr/lib/modules/$version/$f" "$dir/$f"
			else
				die "linux-image-$version has no $f where it is known to be"
			fi
		done
		# Headers name their common part by its absolute place.
		sed -i "s|^include /usr/src/|include $root/usr/src/|" "$h/Makefile"
		rm -f "$m/build" "$m/source"
		depmod -b "$root" "$version"
		ln -s "root/usr/lib/modules/$version" "$dir/modules"
		ln -s "root/usr/src/linux-headers-$version" "$dir/headers"
		touch "$dir/done"
	fi
	echo "$version"
}

case ${1:-} in
list)
	lock apt
	apt_ready
	list "${2:-}"
	;;
get)
	[ $# = 2 ] || usage
	lock apt
	if [ ! -e "$build/kernels/$2/done" ]; then
		apt_ready
		version=$(list "$2" | tail -1)
		[ -n "$version" ] || version=$2
	else
		version=$2
	fi
	get "$version"
	;;
*) usage ;;
esac
