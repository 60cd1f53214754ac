#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# initramfs.sh [--criu SUITE] SCENARIO OUT VERSION...: for each kernel OUT/VERSION/{vmlinuz,initrd}, a whole diskless system
# that can run the scenario and be switched to. All of one OUT have the very same programs: CRIU insists on it.
#
# CRIU is the one of the guest's own release, or of SUITE with all its libraries beside it, where they serve it alone.
#
# Uncompressed on purpose: unpacking costs more than reading. The archives of programs and of one kernel's modules are
# simply concatenated.
. "$(dirname "$0")/../lib.sh"
here=$(cd "$(dirname "$0")" && pwd)

criu_suite=
[ "${1:-}" != --criu ] || { criu_suite=$2; shift 2; }
[ $# -ge 3 ] || { echo "usage: initramfs.sh [--criu SUITE] SCENARIO OUT VERSION..." >&2; exit 2; }
scenario=$(cd "$1" && pwd)
mkdir -p "$2"
out=$(cd "$2" && pwd)
shift 2

base_packages="busybox-static kexec-tools criu
	libelf1 libbpf1 libjson-c5 libzstd1 liblz4-1 liblzma5 zlib1g libbz2-1.0 liblzo2-2 libprotobuf-c1"
# Of each kernel: the network card, and what CRIU closes the network with; before a restore.
modules="virtio_pci virtio_net nf_tables nfnetlink"
# What CRIU asks sockets with: for a dump, so they are loaded when the restored applications run. A newer CRIU asks all of it of any
# kernel before it starts.
late="inet_diag tcp_diag udp_diag unix_diag packet_diag netlink_diag raw_diag af_packet_diag veth tun"
[ -z "$criu_suite" ] || modules="$modules $late" late=

# Lines of a file of the scenario, without comments.
entries() { [ ! -e "$scenario/$1" ] || sed 's/#.*//' "$scenario/$1" | xargs -rn1; }

archive() { (cd "$1" && find . -print0 | sort -z | cpio --quiet -0 -o -H newc -R 0:0); }

# cached NAME COMMAND WHAT...: prints a folder under build/guest that COMMAND FOLDER made once of WHAT, which are words: another WHAT, or
# another program here, is another folder.
cached()
{
	local name=$1 make=$2 key dir
	shift 2
	key=$(cat "$here/initramfs.sh" "$here/take.sh" <(echo "$*") | sha256sum | cut -c1-16)
	dir=$build/guest/$name-$key
	if [ ! -e "$dir" ]; then
		rm -rf "$dir.new"
		mkdir -p "$dir.new"
		"$make" "$dir.new" >&2
		mv "$dir.new" "$dir"
	fi
	echo "$dir"
}

# What all guests have, of the packages in $quarry and maybe $criu.
make_base()
{
	local tree=$1 a
	mkdir -p "$tree"/{dev,proc,sys,run,tmp,root,etc/kup-bed,scenario,boot,usr/{bin,sbin,lib,lib64}}
	ln -s usr/bin usr/sbin usr/lib usr/lib64 "$tree"
	printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n' >"$tree/etc/passwd"
	printf 'root:x:0:\nnogroup:x:65534:\n' >"$tree/etc/group"
	mknod -m 600 "$tree/dev/console" c 5 1
	if [ -n "$criu" ]; then
		"$here/take.sh" "$tree/opt/criu" "$criu" /usr/sbin/criu
		# Not by LD_LIBRARY_PATH: what CRIU starts, kup-ppp for one, has the guest's own libraries.
		cat >"$tree/usr/sbin/criu" <<-'END'
			#!/bin/sh
			exec /opt/criu/lib64/ld-linux-x86-64.so.2 --library-path /opt/criu/usr/lib/x86_64-linux-gnu \
				--argv0 criu /opt/criu/usr/sbin/criu "$@"
		END
		chmod 755 "$tree/usr/sbin/criu"
	fi
	"$here/take.sh" "$tree" "$quarry" /usr/bin/busybox /usr/sbin/kexec $([ -n "$criu" ] || echo /usr/sbin/criu)
	for a in $("$quarry/usr/bin/busybox" --list); do
		[ -e "$tree/usr/bin/$a" ] || [ -e "$tree/usr/sbin/$a" ] || ln -s busybox "$tree/usr/bin/$a"
	done
}

# unsign FILE: takes a module's signature off. To verify it is nine tenths of the time that loading takes, 27 ms here and more with the size, and what it
# is good for is gone with kup_ppp.ko, which has none.
unsign()
{
	local size
	[ "$(tail -c 28 "$1" | head -c 27)" = "~Module signature appended~" ] || return 0
	size=$(tail -c 32 "$1" | head -c 4 | od -An -tx1 | tr -d ' ')
	truncate -s -$((16#$size + 12 + 28)) "$1"
}

# put_modules NAME...: with all that they need, from $kernel into $part; prints where they are, in the order of loading.
put_modules()
{
	for m; do
		# "builtin NAME" and unknown names (built in, or of another series) give no line.
		modprobe -d "$kernel/root" -S "$version" --show-depends "$m" 2>/dev/null | sed -n 's/^insmod \([^ ]*\).*/\1/p' || true
	done | awk '!seen[$0]++' | while IFS= read -r file; do
		rel=${file#"$kernel/root"}
		rel=/usr/lib/modules/${rel#*/modules/}
		case $rel in
		*.xz) rel=${rel%.xz}; mkdir -p "$part${rel%/*}"; xz -dc "$file" >"$part$rel" ;;
		*.zst) rel=${rel%.zst}; mkdir -p "$part${rel%/*}"; zstd -qdc "$file" >"$part$rel" ;;
		*) mkdir -p "$part${rel%/*}"; cp "$file" "$part$rel" ;;
		esac
		unsign "$part$rel"
		echo "$rel"
	done
}

# What the guests of one kernel have besides.
make_modules()
{
	local part=$1
	mkdir -p "$part"/{root,etc/kup-bed} "$part/usr/lib/modules/$version/extra"
	# shellcheck disable=SC2046
	put_modules $modules $(entries modules) >"$part/etc/kup-bed/modules"
	# shellcheck disable=SC2086
	put_modules $late >"$part/etc/kup-bed/modules-late"
	cp "$kernel"/modules/modules.{builtin,builtin.modinfo,order} "$part/usr/lib/modules/$version/"
}

criu= tree=$out/tree
[ -z "$criu_suite" ] || criu=$("$here/root.sh" --suite "$criu_suite" criu)
# shellcheck disable=SC2086
quarry=$("$here/root.sh" $base_packages)
rm -rf "$tree"
cp -a "$(cached base make_base "$quarry" "$criu")" "$tree"
# shellcheck disable=SC2046
[ -z "$(entries packages)" ] || quarry=$("$here/root.sh" $base_packages $(entries packages))
cp -aL "$scenario/." "$tree/scenario/"
take=()
if [ -x "$scenario/build" ]; then
	mkdir -p "$out/built"
	(cd "$scenario" && OUT="$out/built" CC="${CC:-gcc}" ./build) || die "$scenario/build failed"
	while IFS= read -r f; do take+=("$out/built/$f=/scenario/$f"); done < <(cd "$out/built" && find . -type f -printf '%P\n')
fi
for f in $(entries files); do take+=("$f"); done
[ ! -e "$build/kup-ppp" ] || take+=("$build/kup-ppp=/usr/sbin/kup-ppp")
[ ! -e "$build/bootstub.o" ] || install -D -m 644 "$build/bootstub.o" "$tree/usr/lib/kup-ppp/bootstub.o"
for f in "$build"/bpf/*.bpf.o; do [ ! -e "$f" ] || install -D -m 644 "$f" "$tree/usr/lib/kup-ppp/policies/${f##*/}"; done
"$here/take.sh" "$tree" "$quarry" "${take[@]}"
install -m 755 "$build/ci/init" "$tree/init"
archive "$tree" >"$out/base.cpio"

for version; do
	kernel=$build/kernels/$version
	dir=$out/$version
	part=$dir/part
	rm -rf "$part"
	mkdir -p "$dir"
	# shellcheck disable=SC2046
	cp -a "$(cached modules make_modules "$version $(stat -c %Y "$kernel/done") $modules $late" $(entries modules))" "$part"
	for ko in kup_ppp kup_fake kup_damage kup_fault; do
		[ -e "$build/module/$version/$ko.ko" ] || continue
		strip --strip-debug -o "$part/usr/lib/modules/$version/extra/$ko.ko" "$build/module/$version/$ko.ko"
		ln -s "/usr/lib/modules/$version/extra/$ko.ko" "$part/root/$ko.ko"
	done
	ln -s usr/lib "$part/lib"
	depmod -b "$part" "$version"
	rm "$part/lib"
	(cat "$out/base.cpio"; archive "$part") >"$dir/initrd"
	cp "$(realpath "$kernel/vmlinuz")" "$dir/vmlinuz"
	rm -rf "$part"
done
rm -rf "$tree" "$out/base.cpio" "$out/built"
