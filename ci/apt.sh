# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Sourced: an apt root of our own under build/, so that nothing is installed on this machine and every suite can be had.
# Mirrors, proxies and other ways of access come from the machine's own apt; packages are verified with Debian's keyring.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

KUP_SUITES=${KUP_SUITES:-bookworm bookworm-updates bookworm-security}
# Whatever may have a kernel. Reading all of these lists takes long, so they have an apt root of their own: apt_all.
KUP_ALL_SUITES=${KUP_ALL_SUITES:-bookworm bookworm-updates bookworm-security bookworm-backports
	trixie trixie-updates trixie-security trixie-backports forky sid experimental}
apt_root=$build/apt
apt_types=deb
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# apt_all: from here on all suites, and source packages.
apt_all()
{
	KUP_SUITES=$(echo $KUP_ALL_SUITES)
	apt_root=$build/apt-all
	apt_types="deb deb-src"
}

# Images of containers tell apt to keep no caches; without them each command reads all lists anew, which takes seconds.
apt_caches=(-o Dir::Cache::pkgcache=pkgcache.bin -o Dir::Cache::srcpkgcache=srcpkgcache.bin)

# mirror LABEL: where the machine takes Debian, or Debian-Security, from.
mirror()
{
	mkdir -p "$build/apt-host"
	apt-get -o Dir::Cache="$build/apt-host" "${apt_caches[@]}" indextargets --format '$(LABEL) $(SITE)' | awk -v l="$1" '$1 == l { print $2; exit }'
}

# apt_sources [SUITE...]: lines for a sources.list.
apt_sources()
{
	local suite main security type
	main=$(mirror Debian)
	security=$(mirror Debian-Security)
	[ -n "$main" ] || die "apt knows no Debian mirror: run 'apt-get update', then see 'apt-get indextargets'"
	for suite in ${*:-$KUP_SUITES}; do
		for type in $apt_types; do
			case $suite in
			*-security) echo "$type [signed-by=$keyring] ${security:-$main} $suite main" ;;
			*) echo "$type [signed-by=$keyring] $main $suite main" ;;
			esac
		done
	done
}

# debian_root DIR SUITE SOURCES PACKAGES: a small installed Debian, without documentation; needs root, and mmdebstrap.
debian_root()
{
	local dir=$1 suite=$2 sources=$3 packages=$4 log=$build/${1##*/}.log opts=()
	mapfile -t opts < <(apt-config dump --format='--aptopt=%f "%v"%n' Acquire::http Acquire::https | grep -v ' ""$')
	# Of this machine's programs only Debian's own: each package goes through a filter in Python.
	PATH=/usr/sbin:/usr/bin:/sbin:/bin mmdebstrap --quiet --mode=root --variant=essential --include="$(echo $packages | tr ' ' ,)" "${opts[@]}" \
		--aptopt='Acquire::Check-Valid-Until "false"' --aptopt='APT::Install-Recommends "false"' \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt='path-exclude=/usr/share/man/*' "$suite" "$dir" "$sources" >"$log" 2>&1 ||
		{ tail -20 "$log" >&2; rm -rf "$dir"; die "mmdebstrap failed: see $log"; }
	rm -f "$log"
}

# in_apt COMMAND ARGS: an apt command in the private root. No package counts as installed there.
in_apt()
{
	local cmd=$1
	shift
	"$cmd" -o Dir::State="$apt_root/state" -o Dir::State::status="$apt_root/status" \
		-o Dir::Cache="$apt_root/cache" "${apt_caches[@]}" -o Dir::Etc::sourcelist="$apt_root/sources.list" \
		-o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
		-o Dir::Etc::preferences=/dev/null -o APT::Architecture=amd64 -o APT::Install-Recommends=false \
		-o Acquire::Check-Valid-Until=false -o Debug::NoLocking=1 -o APT::Sandbox::User=root \
		-o Acquire::Retries=3 -o Acquire::Languages=none "$@"
}

# Fresh lists, at most a day old; again when the suites change.
apt_ready()
{
	local fresh asked="$apt_types $KUP_SUITES"
	fresh=$(find "$apt_root/updated" -mtime -1 2>/dev/null || true)
	# To ask apt where its mirrors are takes longer than all else: only if they may be others than last time.
	if [ -n "$fresh" ] && [ "$(cat "$apt_root/asked" 2>/dev/null)" = "$asked" ] &&
	   [ -z "$(find /etc/apt -newer "$apt_root/asked" -print -quit)" ]; then
		return
	fi
	mkdir -p "$apt_root/state/lists/partial" "$apt_root/cache/archives/partial"
	: >>"$apt_root/status"
	apt_sources >"$apt_root/sources.new"
	if [ -z "$fresh" ] || ! cmp -s "$apt_root/sources.new" "$apt_root/sources.list"; then
		mv "$apt_root/sources.new" "$apt_root/sources.list"
		say "reading package lists ($KUP_SUITES)"
		in_apt apt-get -qq --error-on=any update >&2
		rm -f "$apt_root/kernels" "$apt_root/gone"
		touch "$apt_root/updated"
	fi
	echo "$asked" >"$apt_root/asked"
}

# apt_lists TYPE: "SUITE FILE" for each list that is there; TYPE is Packages or Sources. Read a file with apt_cat.
apt_lists() { in_apt apt-get indextargets --format '$(RELEASE) $(FILENAME)' "Created-By: $1"; }
apt_cat() { /usr/lib/apt/apt-helper cat-file "$1"; }
