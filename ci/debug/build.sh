#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# build.sh SERIES: builds the debug kernel of a series from Debian's kernel source, and prints its version.
#
# It lands in build/kernels/VERSION/ in the same form as a kernel of the archive does (see ci/kernels.sh), so that
# ci/scenario, ci/module.sh and ci/guest/ take its version like any other. Nothing is done if it is there and neither
# the options nor the source have changed.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
here=$top/ci/debug

[ $# = 1 ] || { echo "usage: build.sh SERIES (6.1, 6.12, ...)" >&2; exit 2; }
series=$1
tree=$build/debug/$series

missing=()
for tool in gcc make flex bison bc pahole cpio xz perl depmod; do
	command -v $tool >/dev/null || missing+=("$tool")
done
for header in libelf.h openssl/opensslv.h; do
	echo "#include <$header>" | gcc -E - >/dev/null 2>&1 || missing+=("$header")
done
[ ${#missing[@]} = 0 ] || die "to build a kernel, install first: ${missing[*]}"

src=$("$here/source.sh" "$series")
mkdir -p "$tree"
lock "debug-$series"

mk() { nice make -s -C "$src" O="$tree" ARCH=x86_64 KBUILD_BUILD_USER=kup KBUILD_BUILD_HOST=kup "$@"; }

stamp=$(cat "$here/options" "$src/Makefile" | sha256sum)
version=$(cat "$tree/include/config/kernel.release" 2>/dev/null || true)
if [ -n "$version" ] && [ -e "$build/kernels/$version/done" ] && [ "$stamp" = "$(cat "$tree/.kup-stamp")" ]; then
	echo "$version"
	exit 0
fi

# Every option that some Kconfig file of this series defines.
find "$src" -name 'Kconfig*' -exec sed -n 's/^[[:space:]]*\(menu\)\{0,1\}config[[:space:]]\{1,\}\([A-Za-z0-9_]*\).*/\2/p' {} + |
	sort -u >"$tree/.kup-known"

# The options as a fragment of a configuration; what the series lacks is an error unless marked with '?'.
awk -v known="$tree/.kup-known" '
	BEGIN { while ((getline name < known) > 0) has[name] = 1 }
	{ sub(/#.*/, ""); gsub(/[[:space:]]/, "") }
	/^$/ { next }
	{
		optional = sub(/^\?/, "")
		value = "y"
		if (match($0, /=/)) { value = substr($0, RSTART + 1); $0 = substr($0, 1, RSTART - 1) }
		n = split($0, alt, "|")
		for (i = 1; i <= n; i++)
			if (alt[i] in has) { print "CONFIG_" alt[i] "=" value; next }
		if (!optional) { print "ci/debug/options: this series has no " $0 > "/dev/stderr"; bad = 1 }
	}
	END { exit bad }' "$here/options" >"$tree/.kup-fragment"

KCONFIG_ALLCONFIG=$tree/.kup-fragment mk allnoconfig
lost=$(grep -vxFf "$tree/.config" "$tree/.kup-fragment" || true)
[ -z "$lost" ] || die "linux-source-$series does not keep these options; see what they depend on:"$'\n'"$lost"

say "building linux $series with KASAN and lockdep: this takes long"
mk -j"${JOBS:-$(nproc)}" bzImage modules >&2

version=$(cat "$tree/include/config/kernel.release")
dir=$build/kernels/$version
modules=root/usr/lib/modules/$version
rm -rf "$dir"
mkdir -p "$dir/$modules"
cp "$tree/arch/x86/boot/bzImage" "$dir/vmlinuz"
cp "$tree/.config" "$dir/config"
touch "$tree/modules.order"
cp "$tree"/modules.{builtin,builtin.modinfo,order} "$dir/$modules/"
ln -s usr/lib "$dir/root/lib"
depmod -b "$dir/root" "$version"
ln -s "$modules" "$dir/modules"
ln -s "../../debug/$series" "$dir/headers"
echo "$stamp" >"$tree/.kup-stamp"
touch "$dir/done"
echo "$version"
