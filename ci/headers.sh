#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# headers.sh VERSION: build/kernels/VERSION/headers for a kernel whose headers the archive holds no more.
#
#   1. Debian's source package of that version; its patches too, if the mirror still has them.
#   2. Configuration and exports of the kernel itself: build/kernels/VERSION/config, and tool_exports from the image.
#   3. `make modules_prepare` with the kernel's own compiler (toolroot.sh).
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

tmp=$build/sources/.headers-$version.$$
tree=$tmp/tree
trap 'rm -rf "$tmp"' EXIT
mkdir -p "$tree"
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
say "making headers of $version"
tar -x -J -f "$orig" -C "$tree" --strip-components=1
if [ -n "$patches" ]; then
	tar -x -J -f "$patches" -C "$tree"
	grep -v -e '^#' -e '^$' "$tree/debian/patches/series" | while read -r p _; do
		patch -s -p1 -d "$tree" <"$tree/debian/patches/$p" >>"$tmp/log" 2>&1 || { tail -5 "$tmp/log" >&2; die "patch $p fails"; }
	done
else
	say "$version: without Debian's patches, which the mirror has no more"
fi
rm -rf "$orig" "$patches" "$tree/debian"

cp "$dir/config" "$tree/.config"
make -s -C "$top/bootstub" BUILD="$build" >&2
make -s -C "$top/userspace" BUILD="$build" "$build/tests/tool_exports" >"$tmp/log" 2>&1 || { cat "$tmp/log" >&2; exit 1; }
"$build/tests/tool_exports" "$dir/vmlinuz" "$tree/vmlinux.btf" >"$tree/Module.symvers"
in_root() { "$top/ci/toolroot.sh" run "$compiler" "$compiler_version" "$@"; }
mk() { in_root make -s -C "$tree" ARCH=x86_64 CC="$cc" HOSTCC="$cc" "$@"; }
mk olddefconfig >>"$tmp/log" 2>&1 && mk -j"$(nproc)" modules_prepare >>"$tmp/log" 2>&1 ||
	{ tail -20 "$tmp/log" >&2; die "modules_prepare for $version failed"; }
# Debian's version is given to the build from outside.
echo "$version" >"$tree/include/config/kernel.release"
echo "#define UTS_RELEASE \"$version\"" >"$tree/include/generated/utsrelease.h"
lost=$(diff <(grep '^CONFIG_' "$dir/config" | sort) <(grep '^CONFIG_' "$tree/.config" | sort) | grep '^[<>]' |
	grep -v -E 'CONFIG_(RUSTC?|CC|LD|AS|PAHOLE|GCC|G?CC_HAS|.*_VERSION|.*_KEYS?|.*_HASH_LIST)' || true)
[ -z "$lost" ] || say "$version: its configuration and this source differ: $(echo "$lost" | wc -l) options"

# Of the source what a module needs.
to=$dir/root/usr/src/linux-headers-$version
rm -rf "$to"
mkdir -p "$to/arch/x86"
mv "$tree"/{Kbuild,Kconfig,Makefile,.config,Module.symvers,vmlinux.btf,include,scripts} "$to/"
mv "$tree"/arch/x86/{Makefile*,Kbuild,Kconfig*,include,tools,entry} "$to/arch/x86/"
mkdir -p "$to/tools" "$to/kernel" "$to/lib"
mv "$tree"/tools/{objtool,include,build,scripts} "$to/tools/"
# As Debian's do, they name their compiler themselves.
sed -i "1i override CC := $cc\noverride HOSTCC := $cc" "$to/Makefile"
ln -s "root/usr/src/linux-headers-$version" "$dir/headers"
