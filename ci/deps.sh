#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# deps.sh [debug|toolroot|zdtm]: installs what building and testing need on Debian 12 (debug: what building kernels needs as well;
# toolroot: what makes roots for compilers that Debian 12 has not; zdtm: what CRIU's tests are built with).
# Quick, and no root needed, when nothing is missing.
. "$(dirname "$0")/lib.sh"

packages="
	build-essential gcc-12 clang libclang-rt-dev llvm binutils libelf-dev libbpf-dev libjson-c-dev libzstd-dev liblz4-dev liblzma-dev
	zlib1g-dev libbz2-dev liblzo2-dev libprotobuf-c-dev protobuf-c-compiler
	kmod cpio zstd xz-utils jq pahole debian-archive-keyring
	qemu-system-x86 busybox-static iproute2 sysbench
"
[ "${1:-}" != debug ] || packages="$packages flex bison bc libssl-dev"
[ "${1:-}" != toolroot ] || packages="$packages mmdebstrap"
[ "${1:-}" != zdtm ] || packages="$packages pkgconf libaio-dev libcap-dev libnl-3-dev libnl-route-3-dev"

# shellcheck disable=SC2086
there=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' $packages 2>/dev/null | sed -n 's/ installed$//p' || true)
missing=
for p in $packages; do
	[[ $'\n'$there$'\n' == *$'\n'$p$'\n'* ]] || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
[ "$(id -u)" = 0 ] || die "as root, please: apt-get install$missing"
lock deps
say "installing$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
# shellcheck disable=SC2086
apt-get -qq -y --no-install-recommends install $missing >"$build/deps.log" 2>&1 ||
	{ tail -20 "$build/deps.log" >&2; die "apt-get failed: see $build/deps.log"; }
