#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# install.sh VERSION DESTDIR PREFIX: what `make install` does, after everything was built.
. "$(dirname "$0")/lib.sh"

version=$1 dest=$2 prefix=$3
# What is for debuggers makes 7 MB of it, which an initrd would carry and a kernel read in the blackout.
mkdir -p "$dest/lib/modules/$version/updates"
strip --strip-debug -o "$dest/lib/modules/$version/updates/kup_ppp.ko" "$build/module/$version/kup_ppp.ko"
chmod 644 "$dest/lib/modules/$version/updates/kup_ppp.ko"
install -D -m 755 "$build/kup-ppp" "$dest$prefix/sbin/kup-ppp"
make -s -C "$top/userspace" BUILD="$build" DESTDIR="$dest" PREFIX="$prefix" install-files
make -s -C "$top/bpf" BUILD="$build" DESTDIR="$dest" PREFIX="$prefix" install-files
[ -n "$dest" ] || depmod "$version"
