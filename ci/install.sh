#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# install.sh VERSION DESTDIR PREFIX: what `make install` does, after everything was built.
. "$(dirname "$0")/lib.sh"

version=$1 dest=$2 prefix=$3
install -D -m 644 "$build/module/$version/kup_ppp.ko" "$dest/lib/modules/$version/updates/kup_ppp.ko"
install -D -m 755 "$build/kup-ppp" "$dest$prefix/sbin/kup-ppp"
make -s -C "$top/userspace" BUILD="$build" DESTDIR="$dest" PREFIX="$prefix" install-files
make -s -C "$top/bpf" BUILD="$build" DESTDIR="$dest" PREFIX="$prefix" install-files
[ -n "$dest" ] || depmod "$version"
