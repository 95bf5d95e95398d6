#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# check_dkms.sh: put the module's source where `make install-dkms` does, and let Debian's dkms
# build, install and remove it for the newest installed headers. All of dkms' folders
# are private ones, so the machine stays as it is.
set -uo pipefail

cd "$(dirname "$0")/../.." || exit 2
build=${VRAM_BUILD:-$PWD/build}
work=$build/dkms
log=$build/logs/dkms.log

die()
{
	echo "FAIL  $*"
	tail -n 30 "$log"
	exit 1
}

command -v dkms >/dev/null || {
	echo "needs dkms (Debian package dkms)"
	exit 77
}
[ "$(id -u)" = 0 ] || {
	echo "dkms works for root only"
	exit 77
}
kernel=$(for folder in /lib/modules/*/build; do
	[ -e "$folder/Makefile" ] && basename "$(dirname "$folder")"
done | sort -V | tail -n 1)
[ -n "$kernel" ] || {
	echo "needs kernel headers (Debian package linux-headers-amd64)"
	exit 77
}

rm -rf "$work"
mkdir -p "$work/tree" "$work/modules/$kernel" "$build/logs"
: >"$log"
make -s install-dkms DESTDIR="$work/dest" >>"$log" 2>&1 || die "make install-dkms"
source=$(echo "$work"/dest/usr/src/vram-*)
version=${source##*-}
# It makes itself a key to sign with where it has none.
had_key=$(ls /var/lib/dkms/mok.key 2>/dev/null)
forget_key()
{
	[ -n "$had_key" ] || rm -f /var/lib/dkms/mok.key /var/lib/dkms/mok.pub
}
trap forget_key EXIT

run()
{
	dkms "$1" vram/"$version" -k "$kernel" --dkmstree "$work/tree" --sourcetree "$work/dest/usr/src" \
		--installtree "$work/modules" --no-depmod --kernelsourcedir "/lib/modules/$kernel/build" \
		>>"$log" 2>&1 || die "dkms $1"
	echo "PASS  dkms $1"
}

run add
run build
run install
module=$(find "$work/modules" -name 'vram.ko*')
[ -n "$module" ] || die "dkms install has put no module anywhere"
vermagic=$(modinfo -F vermagic "$module")
[ "${vermagic%% *}" = "$kernel" ] || die "the module is for '$vermagic', not for $kernel"
[ "$(modinfo -F version "$module")" = "$version" ] || die "the module's version is not $version"
echo "PASS  ${module#"$work"/}: $vermagic, version $version"
dkms status --dkmstree "$work/tree" --sourcetree "$work/dest/usr/src" --installtree "$work/modules" \
	vram/"$version" >>"$log" 2>&1
dkms remove vram/"$version" --all --dkmstree "$work/tree" --sourcetree "$work/dest/usr/src" \
	--installtree "$work/modules" --no-depmod >>"$log" 2>&1 || die "dkms remove"
[ -z "$(find "$work/modules" -name 'vram.ko*')" ] || die "dkms remove leaves the module"
echo "PASS  dkms remove"
rm -rf "$work"
