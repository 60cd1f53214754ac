#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Debian's kernels, as the archive holds them today.
#
#   kernels.sh list [SERIES]        VERSION SUITES SERIES BUILD, oldest first; SERIES is for example 6.12
#   kernels.sh get VERSION|SERIES   fetches image and headers, prints the version. A series: its newest in KUP_SUITES,
#                                   or if they have none of it, in KUP_ALL_SUITES (see apt.sh)
#
# BUILD says what a module can be built with: "headers" (packaged), "source" (only Debian's source package, see headers.sh), "gone" (not
# even that: the lists name it, but it was tried in vain since they were read).
# KUP_FLAVOUR (cloud-amd64, amd64, rt-amd64) chooses a flavour for list and for a series. build/kernels/VERSION/ then holds:
#   vmlinuz, config   the image as packaged
#   modules           -> .../lib/modules/VERSION, with modules.dep
#   headers           -> what `make -C` takes to build a module; not there if they are not packaged
#   package           source package and version, a line
. "$(dirname "$0")/apt.sh"

flavour=${KUP_FLAVOUR:-cloud-amd64}

usage() { echo "usage: kernels.sh list [SERIES] | get VERSION|SERIES" >&2; exit 2; }

# The range that the module declares: nobody asks for others.
range()
{
	sed -n 's/.*LINUX_VERSION_CODE \(<\|>=\) KERNEL_VERSION(\([0-9]*\), \([0-9]*\),.*/\2 \3/p' "$top/module/compat/compat.h" |
		head -2 | xargs
}

# All kernels of the lists: version, suites, series, build, flavour, package version, source package. Sorted by package version:
# an ABI's name does not always tell its age. An image that needs modules which the archive holds no more is none.
table()
{
	local suite file
	if [ ! -s "$apt_root/kernels" ]; then
		apt_lists Packages | while read -r suite file; do
			apt_cat "$file" | awk -v suite="$suite" '
			BEGIN { RS = ""; FS = "\n" }
			$1 ~ /^Package: linux-(image|binary|modules|base|headers|kbuild)-/ {
				split("", f)
				for (i = 1; i <= NF; i++) {
					k = $i; sub(/: .*/, "", k)
					v = $i; sub(/^[^:]*: /, "", v)
					f[k] = v
				}
				sub(/ .*/, "", f["Source"])
				gsub(/\t/, " ", f["Depends"])
				print suite "\t" f["Package"] "\t" f["Version"] "\t" f["Source"] "\t" f["Depends"]
			}'
		done >"$apt_root/kernels.raw"
		# shellcheck disable=SC2046
		set -- $(range)
		awk -F'\t' -v low="$1.$2" -v high="$3.$4" '
		function number(s, p) { split(s, p, "."); return p[1] * 1000 + p[2] }
		{ have[$2] = 1 }
		$2 !~ /^linux-(image|binary-unsigned)-[0-9].*-(cloud-|rt-)?amd64$/ { next }
		$2 ~ /^linux-image/ && $5 ~ /linux-image-[0-9]/ { next }	# a meta package
		{
			name = $2; sub(/^linux-(image|binary-unsigned)-/, "", name)
			if ($2 ~ /unsigned/ && name in depends)
				next
			if (!index(suites[name], $1))
				suites[name] = suites[name] (suites[name] == "" ? "" : ",") $1
			version[name] = $3; source[name] = $4
			depends[name] = $2 ~ /unsigned/ ? $5 ", linux-modules-" name : $5
		}
		END {
			for (name in version) {
				match(name, /^[0-9]+\.[0-9]+/)
				series = substr(name, 1, RLENGTH)
				flavour = name ~ /-cloud-amd64$/ ? "cloud-amd64" : name ~ /-rt-amd64$/ ? "rt-amd64" : "amd64"
				if (number(series) < number(low) || number(series) >= number(high))
					continue
				whole = 1
				n = split(depends[name], d, /[, ]+/)
				for (i = 1; i <= n; i++)
					if (d[i] ~ /^linux-(binary|modules)-[0-9]/ && !(d[i] in have))
						whole = 0
				build = ("linux-headers-" name) in have ? "headers" : "source"
				src = source[name]
				sub(/^linux-signed/, "linux", src); sub(/-amd64$/, "", src)
				if (whole)
					print name, suites[name], series, build, flavour, version[name], src
			}
		}' "$apt_root/kernels.raw" | sort -k6,6V -k1,1V >"$apt_root/kernels.new"
		# -updates gets a kernel now and then only.
		for suite in $KUP_SUITES; do
			[[ $suite == *-updates ]] || awk -v s="$suite" '$2 ~ "(^|,)" s "(,|$)" { found = 1 } END { exit !found }' \
				"$apt_root/kernels.new" || die "no kernel in $suite: either its lists are not whole, or kernels have new names"
		done
		mv "$apt_root/kernels.new" "$apt_root/kernels"
	fi
	awk -v gone="$apt_root/gone" '
	BEGIN { while ((getline v < gone) > 0) is_gone[v] = 1 }
	$1 in is_gone { $4 = "gone" }
	{ print }' "$apt_root/kernels"
}

# list SERIES FLAVOUR
list() { table | awk -v s="$1" -v f="$2" '(s == "" || $3 == s) && $5 == f'; }

# A line of the table, from the everyday suites if they have it.
find_kernel()
{
	local line
	apt_ready
	line=$(table | awk -v n="$1" -v f="$flavour" '$1 == n || ($3 == n && $5 == f)' | tail -1)
	if [ -z "$line" ]; then
		apt_all
		apt_ready
		line=$(table | awk -v n="$1" -v f="$flavour" '$1 == n || ($3 == n && $5 == f)' | tail -1)
	fi
	[ -n "$line" ] || die "no kernel '$1' of flavour $flavour in $KUP_SUITES: ci/kernels.sh list"
	echo "$line"
}

# Packages of one kernel: image and headers and what they need of the same version.
packages()
{
	local names="linux-image-$1" all
	all=$(in_apt apt-cache pkgnames linux-)
	grep -qx "$names" <<<"$all" || names="linux-binary-unsigned-$1 linux-modules-$1"
	[ "$2" != headers ] || names="$names linux-headers-$1"
	# shellcheck disable=SC2086
	in_apt apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
		--no-enhances --no-pre-depends $names |
		grep -oE '^linux-(image|modules|binary|binary-unsigned|base|headers|kbuild)-[0-9][^ ]*' |
		grep -v -e '^linux-image-.*-unsigned$' -e '^linux-binary-unsigned'
	[[ $names != *unsigned* ]] || echo "linux-binary-unsigned-$1"
}

get()
{
	local version=$1 dir=$build/kernels/$1 tmp=$build/kernels/.$1.$$ root names m h f line have
	if [ ! -e "$dir/done" ]; then
		line=$2
		read -r _ _ _ have _ <<<"$line"
		# What the archive holds no more (linux-base of an old one) is not needed for what we do.
		names=$(comm -12 <(packages "$version" "$have" | sort -u) <(cut -f 2 "$apt_root/kernels.raw" | sort -u))
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
		[ ! -e "$m/vmlinuz.unsigned" ] || mv "$m/vmlinuz.unsigned" "$m/vmlinuz"
		for f in vmlinuz config; do
			if [ -e "$root/boot/$f-$version" ]; then
				ln -s "root/boot/$f-$version" "$dir/$f"
			elif [ -e "$m/$f" ]; then
				ln -s "root/usr/lib/modules/$version/$f" "$dir/$f"
			else
				die "linux-image-$version has no $f where it is known to be"
			fi
		done
		rm -f "$m/build" "$m/source"
		depmod -b "$root" "$version"
		ln -s "root/usr/lib/modules/$version" "$dir/modules"
		if [ "$have" = headers ]; then
			# Headers name themselves and their common part by absolute places.
			sed -i "s|/usr/src/|$root/usr/src/|" "$h/Makefile"
			ln -s "root/usr/src/linux-headers-$version" "$dir/headers"
		fi
		echo "$line" | awk '{ print $7, $6 }' >"$dir/package"
		touch "$dir/done"
	fi
	echo "$version"
}

case ${1:-} in
list)
	lock apt
	apt_all
	apt_ready
	list "${2:-}" "$flavour" | awk '{ printf "%-36s %-28s %-6s %s\n", $1, $2, $3, $4 }'
	;;
get)
	[ $# = 2 ] || usage
	# What is there has not to wait for what others fetch.
	if [ -e "$build/kernels/$2/done" ]; then
		echo "$2"
		exit
	fi
	lock apt
	# Not in a subshell: it chooses the apt root.
	find_kernel "$2" >"$build/kernels.$$"
	line=$(cat "$build/kernels.$$")
	rm -f "$build/kernels.$$"
	get "${line%% *}" "$line"
	;;
*) usage ;;
esac
