#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 300
#
# check_drm.sh [--kernel NAME]: boot a guest that has a virtio-gpu, load vgem there, two GPUs
# without hardware, and run drm_guest.py: what `vramctl devices` must say about them. On newer
# kernels than 6.1 also over drm_vram, which is built here. `make check-drm` and, in the suite
# kmod, `make check` call this, after the programs are built.
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.." || exit 2
kernel=${KERNEL:-6.1}
[ "${1:-}" = --kernel ] && kernel=$2
export VRAM_BUILD=${VRAM_BUILD:-$PWD/build} VRAM_SRC=$PWD

options=()
if [ "$kernel" != 6.1 ]; then
	module=$VRAM_BUILD/drm-$kernel log=$VRAM_BUILD/logs/drm-build-$kernel.log
	mkdir -p "$VRAM_BUILD/logs"
	W=1 "$here/kernels.sh" module "$kernel" "$here/drm" "$module" >"$log" 2>&1 || {
		status=$?
		tail -n 30 "$log"
		exit $status
	}
	options=(--module "$module/drm_vram.ko")
fi

exec "$here/run.sh" "${options[@]}" --kernel "$kernel" --name "drm-$kernel" --memory 768 --timeout "${VM_TIMEOUT:-200}" \
	--device virtio-gpu-pci -- tests/vm/drm_guest.py -v
