#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# module.sh VERSION: build/module/VERSION/kup_ppp.ko, against the headers installed with that kernel, or else those of
# Debian's archive.
. "$(dirname "$0")/lib.sh"

version=$1
lock "module-$version"
headers=/lib/modules/$version/build
if [ ! -e "$headers/Makefile" ]; then
	headers=$build/kernels/$version/headers
	[ -e "$headers/Makefile" ] || "$top/ci/kernels.sh" get "$version" >/dev/null
fi

farm=$build/module/$version
mkdir -p "$farm"
cp -asfT "$top/module" "$farm/module"
cp -asf "$top/Kbuild" "$farm/Kbuild"
find "$farm" -xtype l -delete
make -s -C "$headers" M="$farm" modules >"$farm/log" 2>&1 || { cat "$farm/log" >&2; die "kup_ppp.ko for $version: see $farm/log"; }
grep -E 'warning:|WARNING:' "$farm/log" >&2 || true
