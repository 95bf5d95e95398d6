#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# demo_kmod.sh [OPTION OF demo.py]...: the demonstration in a guest, with the module as the arbiter.
# Every instruction of three language models is emulated there, so the answers are
# short: what it shows is that the programs, the daemon and the module work together.
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.." || exit 2
src=$PWD
build=${VRAM_BUILD:-$src/build}
kernel=${KERNEL:-6.1}

# In the guest: load the module, put the models on a disk, run the demo as the machine's root.
if [ -n "${VRAM_GUEST:-}" ]; then
	insmod "$VRAM_KO" || exit 1
	mkdir "$TEST_TMP/models" && cp "$build"/models/* "$TEST_TMP/models" || exit 1
	mount --bind "$TEST_TMP/models" "$build/models" || exit 1
	export VRAM_ARBITER=kmod PYTHONUNBUFFERED=1
	tests/demo/run.sh "$@"
	status=$?
	rmmod vram || status=1
	exit $status
fi

mkdir -p "$build/logs"
log=$build/logs/demo-kmod.log
"$here/kernels.sh" fetch "$kernel" || exit
"$here/kernels.sh" build "$kernel" "$build/kmod-$kernel" >"$build/logs/kmod-build-$kernel.log" 2>&1 || {
	tail -n 30 "$build/logs/kmod-build-$kernel.log"
	exit 1
}
[ $# -gt 0 ] || set -- --rounds 1 --searches 1 --tokens 4 --patience 1500
echo "the guest's processor is emulated: this takes a while"
"$here/run.sh" --kernel "$kernel" --name demo --module "$build/kmod-$kernel/vram.ko" --memory 2048 \
	--disk 2048 --timeout "${VM_TIMEOUT:-3000}" --env "VRAM_BUILD=$build" \
	-- tests/vm/demo_kmod.sh "$@" | tee "$log"
status=${PIPESTATUS[0]}
[ "$status" = 0 ] || exit "$status"
grep -q '^ *arbiter: /dev/vram$' "$log" || {
	echo "demo-kmod: the arbiter was not /dev/vram"
	exit 1
}
