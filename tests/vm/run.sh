#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# run.sh [OPTION]... [--] COMMAND...: run a command of this machine under another
# kernel, in QEMU, and end as it ends. tests/vm/README.md says what the guest is.
#
#   --kernel NAME        6.1 (default), 6.12, sid or kasan (kernels.sh)
#   --name NAME          of the log build/logs/vm-NAME.dmesg (default: the kernel's)
#   --memory MB          1536
#   --cpus N             2
#   --timeout SECONDS    300, for all of it
#   --module FILE.ko     the command finds it in VRAM_KO
#   --env NAME[=VALUE]   pass this variable, too (VRAM_*, CK_*, STRESS_SECONDS,
#                        FUZZ_SECONDS and SAN always are)
#   --disk MB            an empty ext4 file system of this size at TEST_TMP; without
#                        it TEST_TMP is in memory
#   --device DEVICE      one more of QEMU's devices (may be repeated)
#   --out DIR            what the command writes to /run/vm/out is there afterwards
#   --append WORDS       more for the kernel's command line
#   --expect-splat REGEX the guest's log must contain this complaint (may be repeated);
#                        the command's status does not matter then
#
# Exit status: the command's; 99 if the guest's kernel has complained
# (complaints.awk), or has not as expected; 124 after the timeout; 125 if the guest
# died or did not start; 77 if a program is missing here (its package is named).
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
src=$(cd "$here/../.." && pwd)
kernel=6.1 name='' memory=1536 cpus=2 limit=300 module='' disk='' out='' append=''
passed=() splats=() devices=()

usage()
{
	sed -n '4,28s/^# \{0,1\}//p' "$0" >&2
	exit 2
}

while [ $# -gt 0 ]; do
	case $1 in
	--) shift && break ;;
	-*) [ $# -ge 2 ] || usage ;;
	*) break ;;
	esac
	case $1 in
	--kernel) kernel=$2 ;;
	--name) name=$2 ;;
	--memory) memory=$2 ;;
	--cpus) cpus=$2 ;;
	--timeout) limit=$2 ;;
	--module) module=$(realpath "$2") || exit 2 ;;
	--env) passed+=("$2") ;;
	--disk) disk=$2 ;;
	--device) devices+=(-device "$2") ;;
	--out) out=$2 ;;
	--append) append=$2 ;;
	--expect-splat) splats+=("$2") ;;
	*) usage ;;
	esac
	shift 2
done
[ $# -gt 0 ] || usage
name=${name:-$kernel}

command -v qemu-system-x86_64 >/dev/null || {
	echo "needs qemu-system-x86_64 (Debian package qemu-system-x86)"
	exit 77
}
# The last line says what is missing, for the test runner.
"$here/kernels.sh" fetch "$kernel" || exit
folder=$("$here/kernels.sh" path "$kernel")

logs=${VRAM_BUILD:-$src/build}/logs
mkdir -p "$logs" || exit 125
share=$(mktemp -d "${TMPDIR:-/tmp}/vram-vm.XXXXXX") || exit 125
qemu='' follow='' image=''
# shellcheck disable=SC2317  # the trap calls it
cleanup()
{
	[ -z "$qemu" ] || kill "$qemu" 2>/dev/null
	[ -z "$follow" ] || kill "$follow" 2>/dev/null
	rm -rf "$share" ${image:+"$image"}
}
trap cleanup EXIT
trap 'exit 130' INT TERM

mkdir "$share/out"
touch "$share/output" "$share/console"
{
	echo "cd $(printf %q "$PWD") || exit 125"
	echo "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	echo "export HOME=/root TERM=dumb LC_ALL=C.UTF-8 TEST_TMP=/run/scratch TMPDIR=/run/scratch"
	for variable in $(compgen -e | grep -E '^(VRAM_|CK_)|^(STRESS_SECONDS|FUZZ_SECONDS|SAN|V)$'); do
		printf 'export %s=%q\n' "$variable" "${!variable}"
	done
	for variable in "${passed[@]}"; do
		case $variable in
		*=*) printf 'export %s=%q\n' "${variable%%=*}" "${variable#*=}" ;;
		*) printf 'export %s=%q\n' "$variable" "${!variable-}" ;;
		esac
	done
	echo "export VRAM_GUEST=$kernel VRAM_KO=$(printf %q "$module") VRAM_BTF_BASE=$(printf %q "$folder/btf")"
	echo "export VRAM_GUEST_MODULES=$(printf %q "$folder/modules")"
	printf '%q ' "$@"
	echo
} >"$share/command"

if [ -n "$disk" ]; then
	PATH=$PATH:/usr/sbin:/sbin
	command -v mkfs.ext4 >/dev/null || {
		echo "needs mkfs.ext4 (Debian package e2fsprogs)"
		exit 77
	}
	image=${VRAM_BUILD:-$src/build}/vm-$name-$$.disk
	truncate -s "${disk}M" "$image" && mkfs.ext4 -q -F -E root_owner=0:0 "$image" || exit 125
	# shellcheck disable=SC2054  # QEMU's commas
	devices+=(-drive "file=$image,if=none,id=disk,format=raw,cache=unsafe"
		-device virtio-blk-pci,drive=disk)
fi

# Complaints come at levels 0 to 4; the whole log is fetched at the end.
line="console=ttyS0 loglevel=5 rdinit=/init panic=-1 oops=panic mitigations=off nokaslr"
line+=" tsc=reliable no_timer_check random.trust_cpu=on cgroup_no_v1=all $append"
qemu-system-x86_64 -accel "${VM_ACCEL:-tcg,thread=multi,tb-size=256}" -machine q35 -cpu max \
	-smp "$cpus" -m "$memory" -nodefaults -no-user-config -no-reboot -display none -monitor none \
	-kernel "$folder/boot" -initrd "$folder/initrd" -append "$line" \
	-serial "file:$share/console" -device virtio-rng-pci \
	-fsdev local,id=host,path=/,security_model=none,readonly=on,multidevs=remap \
	-device virtio-9p-pci,fsdev=host,mount_tag=host \
	-fsdev local,id=share,path="$share",security_model=none \
	-device virtio-9p-pci,fsdev=share,mount_tag=share "${devices[@]}" \
	</dev/null >"$share/qemu" 2>&1 &
qemu=$!
tail -n +1 -q -f --pid=$qemu -s 0.2 "$share/output" &
follow=$!

status=125 timed_out=
deadline=$((SECONDS + limit))
while kill -0 $qemu 2>/dev/null; do
	if [ $SECONDS -ge $deadline ]; then
		timed_out=1
		kill $qemu
		break
	fi
	sleep 0.1
done
wait $qemu 2>/dev/null
qemu=
wait $follow 2>/dev/null
follow=
[ -s "$share/status" ] && status=$(cat "$share/status")

dmesg=$logs/vm-$name.dmesg
{
	cat "$share/dmesg" 2>/dev/null
	# Of a guest that died only the console tells the end; both hold the same otherwise.
	[ -s "$share/status" ] || tr -d '\r' <"$share/console"
} >"$dmesg"
if [ -n "$out" ]; then
	mkdir -p "$out" && cp -rT "$share/out" "$out"
fi

if [ -n "$timed_out" ]; then
	echo "vm: no end within $limit s; the guest's log is $dmesg"
	tail -n 20 "$dmesg"
	exit 124
fi
if [ ! -s "$share/up" ]; then
	echo "vm: the guest did not start:"
	cat "$share/qemu" "$dmesg" | tail -n 30
	exit 125
fi

complaints=$(awk -f "$here/complaints.awk" "$dmesg")
if [ ${#splats[@]} -gt 0 ]; then
	missed=0
	for splat in "${splats[@]}"; do
		if first=$(grep -m 1 -E -- "$splat" <<<"$complaints"); then
			echo "vm: the expected complaint came: $first"
		else
			echo "vm: no complaint like '$splat' in $dmesg"
			missed=1
		fi
	done
	[ $missed = 0 ] || exit 99
	exit 0
fi
if [ -n "$complaints" ]; then
	echo "vm: the guest's kernel complains (all of it: $dmesg):"
	head -n 100 <<<"$complaints"
	exit 99
fi
if [ "$status" = 125 ] && [ ! -s "$share/status" ]; then
	echo "vm: the guest died; the end of $dmesg:"
	tail -n 30 "$dmesg"
fi
exit "$status"
