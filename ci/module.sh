#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# module.sh VERSION|SERIES: build/module/VERSION/kup_ppp.ko, against the headers installed with that kernel, or else those of
# Debian's archive.
#
# With the compiler that the kernel was built with: this machine's if it has it and can run the headers' own tools, else one
# in a root of its own (toolroot.sh).
. "$(dirname "$0")/lib.sh"

version=$1
# A series as "6.12" is the newest of it.
[[ $version != +([0-9]).+([0-9]) ]] || version=$("$top/ci/kernels.sh" get "$version")
lock "module-$version"
headers=/lib/modules/$version/build
if [ ! -e "$headers/Makefile" ]; then
	headers=$build/kernels/$version/headers
	[ -e "$headers/Makefile" ] || "$top/ci/kernels.sh" get "$version" >/dev/null
	[ -e "$headers/Makefile" ] || "$top/ci/headers.sh" "$version"
fi

farm=$build/module/$version
# Kbuild takes seconds to find nothing to do.
if [ -e "$farm/built" ] && [ -z "$(find "$top/module" "$top/ci/modules" "$top/Kbuild" "$0" "$headers/.config" -newer "$farm/built" -print -quit)" ]; then
	exit
fi
mkdir -p "$farm/ci"
touch "$farm/begun"
cp -asfT "$top/module" "$farm/module"
cp -asfT "$top/ci/modules" "$farm/ci/modules"
cp -asf "$top/Kbuild" "$farm/Kbuild"
find "$farm" -xtype l -delete

# Debian's kernels name it as in "x86_64-linux-gnu-gcc-14 (Debian 14.2.0-19) 14.2.0". Any other is taken to be of this machine.
read -r compiler compiler_version < <(sed -n \
	's/^CONFIG_CC_VERSION_TEXT="[^ ]*\(gcc-[0-9]*\) (Debian \([^)]*\)).*/\1 \2/p' "$headers/.config") || true
in_root=()
if [ -n "$compiler" ] && { ! command -v "$compiler" >/dev/null || ldd "$headers/scripts/basic/fixdep" 2>&1 | grep -q 'not found'; }; then
	in_root=("$top/ci/toolroot.sh" run "$compiler" "$compiler_version")
fi
"${in_root[@]}" make -s -C "$headers" M="$farm" modules >"$farm/log" 2>&1 || { cat "$farm/log" >&2; die "kup_ppp.ko for $version: see $farm/log"; }
# Headers that were made from source prove themselves here.
if [ -e "$headers/vmlinux.btf" ]; then
	make -s -C "$top/userspace" BUILD="$build" "$build/tests/tool_layout" >&2
	for ko in "$farm"/*.ko; do
		"$top/ci/toolroot.sh" run "$compiler" "$compiler_version" \
			pahole -J --btf_encode_detached="${ko%.ko}.btf" "$ko" >>"$farm/log" 2>&1
		"$build/tests/tool_layout" "${ko%.ko}.btf" "$headers/vmlinux.btf" >>"$farm/log" ||
			die "$ko has not the types of that kernel: the source that its headers are made of is another"
	done
fi
grep -i 'warning' "$farm/log" >&2 || true
mv "$farm/begun" "$farm/built"
