#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# boot.sh ROOT: boot the root that check_deb.sh has installed the packages in: under QEMU, with Debian's kernel
# 6.1 and systemd as its first process. The root is read over 9p, with a layer in memory on top. in_boot.sh does
# the rest and switches off; its lines are printed as they come.
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
src=$(cd "$here/../.." && pwd)
root=${1:?usage: boot.sh ROOT}
limit=${BOOT_TIMEOUT:-900}
kernel=$("$src/tests/vm/kernels.sh" path 6.1)
logs=${VRAM_BUILD:-$src/build}/logs

command -v qemu-system-x86_64 >/dev/null || {
	echo "SKIP  the boot: needs qemu-system-x86_64 (Debian package qemu-system-x86)"
	exit 0
}

share=$(mktemp -d "${TMPDIR:-/tmp}/vram-boot.XXXXXX") || exit
qemu=
# shellcheck disable=SC2317  # the trap calls it
cleanup()
{
	[ -z "$qemu" ] || kill "$qemu" 2>/dev/null
	rm -rf "$share"
}
trap cleanup EXIT

# The modules of the tests' own guest, with another first process.
mkdir "$share/initrd" "$share/out"
(cd "$share/initrd" && zcat "$kernel/initrd" | cpio -id --quiet) || exit
cp "$here/in_initrd.sh" "$share/initrd/init"
chmod 755 "$share/initrd/init"
(cd "$share/initrd" && find . | cpio -o -H newc --quiet -R 0:0 | gzip -1) >"$share/initrd.gz"
touch "$share/out/lines"

line="console=ttyS0 loglevel=4 rdinit=/init panic=-1 mitigations=off nokaslr tsc=reliable no_timer_check"
line+=" random.trust_cpu=on systemd.show_status=0 systemd.unified_cgroup_hierarchy=1"
qemu-system-x86_64 -accel "${VM_ACCEL:-tcg,thread=multi,tb-size=256}" -machine q35 -cpu max -smp 2 -m 1536 \
	-nodefaults -no-user-config -no-reboot -display none -monitor none \
	-kernel "$kernel/boot" -initrd "$share/initrd.gz" -append "$line" \
	-serial "file:$logs/check-deb-boot.console" -device virtio-rng-pci \
	-fsdev local,id=root,path="$root",security_model=none,readonly=on,multidevs=remap \
	-device virtio-9p-pci,fsdev=root,mount_tag=root \
	-fsdev local,id=share,path="$share/out",security_model=none \
	-device virtio-9p-pci,fsdev=share,mount_tag=share </dev/null >"$logs/check-deb-boot.qemu" 2>&1 &
qemu=$!
tail -n +1 -q -f --pid=$qemu -s 0.2 "$share/out/lines" &
for ((i = 0; i < limit * 5; i++)); do
	kill -0 $qemu 2>/dev/null || break
	sleep 0.2
done
kill -0 $qemu 2>/dev/null && echo "FAIL  the boot: no end within $limit s"
kill $qemu 2>/dev/null
wait $qemu 2>/dev/null
qemu=
wait
cp "$share"/out/*.log "$logs/" 2>/dev/null
tail -n 1 "$share/out/lines" | grep -q '^ *the end$' || {
	echo "FAIL  the boot did not come to its end"
	tail -n 15 "$logs/check-deb-boot.console" | sed 's/^/        /'
}
exit 0
