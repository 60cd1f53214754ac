#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# headers.sh VERSION: build/kernels/VERSION/headers for a kernel whose headers the archive holds no more.
#
#   1. Debian's source package of that version; its patches too, if the mirror still has them. Of both what preparing may read: a tenth.
#      It stays in build/sources/ and serves all flavours of that version.
#   2. Configuration and exports of the kernel itself: build/kernels/VERSION/config, and tool_exports from the image.
#      The configuration is final, and the kernel's own: what Kconfig would make of it is written down, and Kconfig not asked.
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

# What is left out of the source, as patch_parts.awk wants it.
unread=('Documentation/*/*' 'LICENSES/*' 'arch/[!x]*/*.[chS]' 'arch/[!x]*/boot/*' 'arch/[!x]*/configs/*' 'block/*.[chS]' 'crypto/*.[chS]'
	'drivers/*.[chS]' 'fs/*.[chS]' 'io_uring/*.[chS]' 'ipc/*.[chS]'
	'net/*.[chS]' 'rust/*' 'samples/*.[chS]' 'sound/*.[chS]' 'tools/perf/*' 'tools/power/*' 'tools/testing/*')

# read_parts PATCH...: what they change in other files, and in those of $moved
read_parts() { awk -v unread="${unread[*]}" -v moved="${moved:-}" -v list="${list:-}" -f "$top/ci/patch_parts.awk" "$@"; }

# The source, into $tree.
get_source()
{
	local orig patches name p moved series=() new=$tmp/tree
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
		mapfile -t series < <(sed 's/[ #].*//; /^$/d' "$new/debian/patches/series")
		moved=$(cd "$new/debian/patches" && list=1 read_parts "${series[@]}")
		# shellcheck disable=SC2086
		[ -z "$moved" ] || tar -x -J -f "$orig" -C "$new" --strip-components=1 $(printf "$name/%s\n" $moved) 2>>"$tmp/log" ||
			say "$version: patches move files of their own"
		for p in "${series[@]}"; do
			read_parts "$new/debian/patches/$p" | patch -s -p1 -d "$new" >>"$tmp/log" 2>&1 ||
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
# Of another flavour all goes that was made of its configuration: programs stay.
rm -rf "$tree"/{include/config,include/generated,arch/x86/include/generated,scripts/module.lds,scripts/mod/*.o}
find "$tree"/{arch,kernel,scripts} -name '*.s' -delete
mkdir -p "$tree"/include/{config,generated}
# All of it but what Debian takes out of a package's: of that only this matters.
(grep -v '^CONFIG_BUILD_SALT=' "$dir/config"; echo "CONFIG_BUILD_SALT=\"$version\"") >"$tree/.config"
sed -n 's/^\(CONFIG_[A-Za-z0-9_]*\)="\(.*\)"$/\1=\2/p; t; /^CONFIG_/p' "$tree/.config" >"$tree/include/config/auto.conf"
touch "$tree"/include/{config/auto.conf.cmd,generated/rustc_cfg}
sed -n 's/^\(CONFIG_[A-Za-z0-9_]*\)=y$/#define \1 1/p; t
	s/^\(CONFIG_[A-Za-z0-9_]*\)=m$/#define \1_MODULE 1/p; t
	s/^\(CONFIG_[A-Za-z0-9_]*\)=\(.*\)$/#define \1 \2/p' "$tree/.config" >"$tree/include/generated/autoconf.h"
make -s -C "$top/bootstub" BUILD="$build" >&2
make -s -C "$top/userspace" BUILD="$build" "$build/tests/tool_exports" >"$tmp/log" 2>&1 || { cat "$tmp/log" >&2; exit 1; }
"$build/tests/tool_exports" "$dir/vmlinuz" "$tree/vmlinux.btf" >"$tree/Module.symvers"
# Make, and only make, does not hear of what needs programs that no module does: those for BTF take longer than all else.
unneeded=(CONFIG_{ASN1,BUILDTIME_TABLE_SORT,DEBUG_INFO_BTF,KALLSYMS,MODULE_SIG_FORMAT,RUST,SECURITY_IPE,SECURITY_SELINUX,SYSTEM_EXTRA_CERTIFICATE}=)
"$top/ci/toolroot.sh" run "$compiler" "$compiler_version" make -s -C "$tree" -j"$(nproc)" ARCH=x86_64 CC="$cc" HOSTCC="$cc" \
	"${unneeded[@]}" modules_prepare </dev/null >>"$tmp/log" 2>&1 ||
	{ tail -20 "$tmp/log" >&2; die "modules_prepare for $version failed"; }

# Of the source what a module needs.
to=$dir/root/usr/src/linux-headers-$version
rm -rf "$to"
mkdir -p "$to/arch/x86"
cp -a "$tree"/{Kbuild,Makefile,.config,Module.symvers,vmlinux.btf,include,scripts} "$to/"
cp -a "$tree"/arch/x86/{Makefile*,Kbuild,include,tools,entry} "$to/arch/x86/"
mkdir -p "$to/tools" "$to/kernel" "$to/lib"
cp -a "$tree"/tools/{objtool,include,build,scripts} "$to/tools/"
# Debian's version is given to the build from outside.
echo "$version" >"$to/include/config/kernel.release"
echo "#define UTS_RELEASE \"$version\"" >"$to/include/generated/utsrelease.h"
# As Debian's do, they name their compiler themselves.
sed -i "1i override CC := $cc\noverride HOSTCC := $cc" "$to/Makefile"
ln -s "root/usr/src/linux-headers-$version" "$dir/headers"
