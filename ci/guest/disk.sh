#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# disk.sh SCENARIO OUT VERSION...: OUT/disk.img, a root file system with Debian's systemd and the scenario's packages, and for each kernel
# OUT/VERSION/{vmlinuz,initrd}, of which the latter is what initramfs-tools make there. kup-ppp is in it by `make install`.
#
# The disk is read-only, /var and /tmp are in memory: files are the same in each kernel, CRIU insists on it.
. "$(dirname "$0")/../apt.sh"

[ $# -ge 3 ] || { echo "usage: disk.sh SCENARIO OUT VERSION..." >&2; exit 2; }
scenario=$(cd "$1" && pwd)
mkdir -p "$2"
out=$(cd "$2" && pwd)
shift 2
packages="systemd-sysv udev kmod iproute2 procps initramfs-tools busybox zstd criu kexec-tools
	libelf1 libbpf1 libjson-c5 libzstd1 liblz4-1 liblzma5 zlib1g libbz2-1.0 liblzo2-2 libprotobuf-c1
	$(sed 's/#.*//' "$scenario/packages" 2>/dev/null || true)"
packages=$(printf '%s\n' $packages | sort -u | xargs)

base=$build/guest/disk-$(echo "$KUP_SUITES $packages" | sha256sum | cut -c1-16)
lock disk
if [ ! -e "$base" ]; then
	"$top/ci/deps.sh" toolroot
	(lock apt; apt_ready)
	say "making a root file system with $packages"
	rm -rf "$base.new"
	mkdir -p "$build/guest"
	debian_root "$base.new" "${KUP_SUITES%% *}" "$(apt_sources)" "$packages"
	rm -rf "$base.new"/var/{cache,lib/apt,log}/*
	mv "$base.new" "$base"
fi

root=$out/root
address=$(sed -n 's/#define GUEST_IP\t*"\(.*\)"/\1/p' "$top/ci/guest/guest.h")
rm -rf "$root"
cp -a "$base" "$root"
exec {lock_fd}>&-
cp -aL "$scenario/." "$root/scenario/"
install -D "$build/ci/init" "$root/usr/lib/kup-bed/agent"
cat >"$root/etc/systemd/system/kup-bed-agent.service" <<END
[Unit]
Description=The test bed's hand in this guest
Wants=network-online.target
[Service]
ExecStart=/usr/lib/kup-bed/agent
WorkingDirectory=/root
Environment=HOME=/root
KillMode=process
[Install]
WantedBy=multi-user.target
END
# The card is there since the initramfs, its address comes late, as from elsewhere: who needs it has to wait for network-online.target.
cat >"$root/etc/systemd/system/kup-bed-network.service" <<END
[Unit]
Description=The test bed's network
DefaultDependencies=no
Before=network-online.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sleep 3
ExecStart=/bin/sh -c 'cd /sys/class/net; for d in e*; do ip addr add $address/24 dev \$\$d; ip link set \$\$d up; done'
[Install]
WantedBy=network-online.target
END
printf '%s\n' "/dev/vda / ext4 ro 0 0" "tmpfs /var tmpfs mode=755 0 0" "tmpfs /tmp tmpfs mode=1777 0 0" >"$root/etc/fstab"
printf '%032d\n' 1 >"$root/etc/machine-id"
printf '%s\n' MODULES=list COMPRESS=zstd COMPRESSLEVEL=1 >"$root/etc/initramfs-tools/conf.d/bed"
printf '%s\n' virtio_pci virtio_blk virtio_net ext4 >>"$root/etc/initramfs-tools/modules"
mkdir -p "$root/usr/lib/modules"
for version; do
	kernel=$build/kernels/$version
	cp -a "$(realpath "$kernel/modules")" "$root/usr/lib/modules/$version"
	# What udev finds devices for here, and nobody uses.
	rm -rf "$root/usr/lib/modules/$version"/kernel/{arch,sound,drivers/{ata,gpu,hid,infiniband,input,scsi}}
	cp "$(realpath "$kernel/vmlinuz")" "$root/boot/vmlinuz-$version"
	cp "$(realpath "$kernel/config")" "$root/boot/config-$version"
	"$top/ci/install.sh" "$version" "$root" /usr
	depmod -b "$root" "$version"
done

# shellcheck disable=SC2016
unshare --mount --pid --fork --propagation private /bin/sh -euc '
	root=$1
	shift
	mount -t proc proc "$root/proc"
	exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C HOME=/root /bin/sh -euc "
		systemctl set-default multi-user.target
		systemctl mask getty.target
		systemctl enable kup-bed-network kup-bed-agent kup-ppp-restore kup-ppp-fallback
		/scenario/disk
		for version; do update-initramfs -c -k \$version; done" sh "$@"
' sh "$root" "$@" >"$out/disk.log" 2>&1 || { tail -20 "$out/disk.log" >&2; die "the disk is not whole: see above"; }
for version; do
	mkdir -p "$out/$version"
	cp "$root/boot/vmlinuz-$version" "$out/$version/vmlinuz"
	cp "$root/boot/initrd.img-$version" "$out/$version/initrd"
done
# 256 MB of room cost nothing in a sparse file.
mke2fs -q -t ext4 -O ^has_journal -d "$root" "$out/disk.img" $(($(du -sm "$root" | cut -f1) + 256))M >&2
rm -rf "$root"
