#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# headers.sh VERSION: build/kernels/VERSION/headers for a kernel whose headers the archive holds no more.
#
#   1. Debian's source package of that version; its patches too, if the mirror still has them. Of both what preparing may read: a tenth.
#      It stays in build/sources/ and serves all flavours of that version.
#   2. Configuration and exports of the kernel itself: build/kernels/VERSION/config, and tool_exports from the image.
#   3. `make modules_prepare` with the kernel's own compiler (toolroot.sh). In a tree that was prepared for another flavour only what
#      depends on the configuration is made again; objtool, which takes longest, is not.
#
# That the result is right is not taken on trust: headers/vmlinux.btf holds the types of the kernel that runs, and module.sh
# compares with them what the module was built with (layout.sh).
. "$(dirname "$0")/apt.sh"

[ $# = 1 ] || { echo "usage: headers.sh VERSION" >&2; exit 2; }
version=$1
dir=$build/kernels/$version
lock "headers-$version"
[ ! -e "$dir/headers/Makefile" ] || exit 0
read -r package source_version <"$dir/package"
cc=$(sed -n 's/^CONFIG_CC_VERSION_TEXT="\([^ ]*\) .*/\1/p' "$dir/config")
read -r compiler compiler_version < <(sed -n \
	's/^CONFIG_CC_VERSION_TEXT="[^ ]*\(gcc-[0-9]*\) (Debian \([^)]*\)).*/\1 \2/p' "$dir/config")

tree=$build/sources/${package}_$source_version
tmp=$build/sources/.headers-$version.$$
trap 'rm -rf "$tmp"' EXIT
mkdir -p "$tmp"

# What is left out of the source: patterns of paths in it, in which * stands for any characters.
unread=('Documentation/*/*' 'LICENSES/*' 'arch/[!x]*/*.[chS]' 'arch/[!x]*/boot/*' 'arch/[!x]*/configs/*' 'block/*.[chS]' 'crypto/*.[chS]'
	'drivers/*.[chS]' 'fs/*.[chS]' 'io_uring/*.[chS]' 'ipc/*.[chS]'
	'net/*.[chS]' 'rust/*' 'samples/*.[chS]' 'sound/*.[chS]' 'tools/perf/*' 'tools/power/*' 'tools/testing/*')

# The parts of a patch on stdin that change other files than these.
read_parts()
{
	awk -v patterns="${unread[*]}" '
	function is_read(name, i) {
		for (i = 1; i <= n; i++) if (name ~ ("^" pattern[i] "$")) return 0
		return name != "" && name != "dev/null"
	}
	function strip(name) { sub(/\t.*/, "", name); sub(/^[^\/]*\//, "", name); return name }
	function flush() {
		if (is_read(from) || is_read(to)) printf "%s", head
		head = from = to = ""
	}
	BEGIN {
		n = split(patterns, pattern, " ")
		for (i = 1; i <= n; i++) { gsub(/\./, "\\.", pattern[i]); gsub(/\*/, ".*", pattern[i]); gsub(/\[!/, "[^", pattern[i]) }
	}
	old > 0 || new > 0 {				# in a hunk
		if (/^[- ]/ || /^$/) old--
		if (/^[+ ]/ || /^$/) new--
		if (good) print
		next
	}
	/^\\/ { if (good) print; next }
	/^@@ / {
		split($2, a, ","); split($3, b, ",")
		old = $2 ~ /,/ ? a[2] : 1; new = $3 ~ /,/ ? b[2] : 1
		if (good) print
		next
	}
	/^diff --git / { flush() }
	/^rename from / { from = substr($0, 13) }
	/^rename to / { to = substr($0, 11) }
	{ head = head $0 "\n" }
	/^--- / { before = strip(substr($0, 5)) }
	/^\+\+\+ / {
		after = strip(substr($0, 5))
		good = is_read(before) || is_read(after)
		if (good) printf "%s", head
		head = from = to = ""
	}
	END { flush() }'
}

# The source, into $tree.
get_source()
{
	local orig patches name p new=$tmp/tree
	apt_all
	(
		lock apt
		apt_ready
		cd "$tmp"
		say "fetching the source of $package $source_version"
		in_apt apt-get -qq --download-only source "$package=$source_version" >"$tmp/log" 2>&1 || true
	)
	orig=$(find "$tmp" -maxdepth 1 -name '*.orig.tar.xz')
	patches=$(find "$tmp" -maxdepth 1 -name '*.debian.tar.xz')
	if [ -z "$orig" ]; then
		cat "$tmp/log" >&2
		echo "$version" >>"$apt_root/gone"
		die "the archive has neither headers of $version nor its source any more"
	fi
	mkdir -p "$new"
	name=$(tar -t -J -f "$orig" 2>/dev/null | sed -n '1{s|/.*||p;q}') || true
	tar -x -J -f "$orig" -C "$new" --strip-components=1 --anchored --wildcards "${unread[@]/#/--exclude=$name/}"
	if [ -n "$patches" ]; then
		tar -x -J -f "$patches" -C "$new"
		grep -v -e '^#' -e '^$' "$new/debian/patches/series" | while read -r p _; do
			read_parts <"$new/debian/patches/$p" | patch -s -p1 -d "$new" >>"$tmp/log" 2>&1 ||
				{ tail -5 "$tmp/log" >&2; die "patch $p fails"; }
		done
		rm -rf "$new/debian"
	else
		say "$version: without Debian's patches, which the mirror has no more"
	fi
	rm -rf "$tree"
	mv "$new" "$tree"
}

# Flavours share the tree, one at a time.
lock "source-$package-$source_version"
[ -e "$tree" ] || get_source
say "making headers of $version"
cp "$dir/config" "$tree/.config"
make -s -C "$top/bootstub" BUILD="$build" >&2
make -s -C "$top/userspace" BUILD="$build" "$build/tests/tool_exports" >"$tmp/log" 2>&1 || { cat "$tmp/log" >&2; exit 1; }
"$build/tests/tool_exports" "$dir/vmlinuz" "$tree/vmlinux.btf" >"$tree/Module.symvers"
in_root() { "$top/ci/toolroot.sh" run "$compiler" "$compiler_version" "$@"; }
# To make, and to it only, there is no BTF: what makes a module's is not needed, and takes as long as all else.
mk() { in_root make -s -C "$tree" -j"$(nproc)" ARCH=x86_64 CC="$cc" HOSTCC="$cc" CONFIG_DEBUG_INFO_BTF= "$@" </dev/null >>"$tmp/log" 2>&1; }
# As a rule the configuration is that of this source, and nothing has to be asked.
mk modules_prepare || { mk olddefconfig && mk modules_prepare; } ||
	{ tail -20 "$tmp/log" >&2; die "modules_prepare for $version failed"; }
lost=$(diff <(grep '^CONFIG_' "$dir/config" | sort) <(grep '^CONFIG_' "$tree/.config" | sort) | grep '^[<>]' |
	grep -v -E 'CONFIG_(RUSTC?|CC|LD|AS|PAHOLE|GCC|G?CC_HAS|.*_VERSION|.*_KEYS?|.*_HASH_LIST)' || true)
[ -z "$lost" ] || say "$version: its configuration and this source differ: $(echo "$lost" | wc -l) options"

# Of the source what a module needs.
to=$dir/root/usr/src/linux-headers-$version
rm -rf "$to"
mkdir -p "$to/arch/x86"
cp -a "$tree"/{Kbuild,Kconfig,Makefile,.config,Module.symvers,vmlinux.btf,include,scripts} "$to/"
cp -a "$tree"/arch/x86/{Makefile*,Kbuild,Kconfig*,include,tools,entry} "$to/arch/x86/"
mkdir -p "$to/tools" "$to/kernel" "$to/lib"
cp -a "$tree"/tools/{objtool,include,build,scripts} "$to/tools/"
# Debian's version is given to the build from outside.
echo "$version" >"$to/include/config/kernel.release"
echo "#define UTS_RELEASE \"$version\"" >"$to/include/generated/utsrelease.h"
# As Debian's do, they name their compiler themselves.
sed -i "1i override CC := $cc\noverride HOSTCC := $cc" "$to/Makefile"
ln -s "root/usr/src/linux-headers-$version" "$dir/headers"
