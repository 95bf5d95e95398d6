#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 300
#
# check_drm.sh [--kernel NAME]: boot a guest that has a virtio-gpu and load vgem there, two GPUs without
# hardware, and run drm_guest.py: what `vramctl devices` must say about them. `make check-drm` and, in the suite kmod,
# `make check` call this, after the programs are built.
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.." || exit 2
kernel=${KERNEL:-6.1}
[ "${1:-}" = --kernel ] && kernel=$2
export VRAM_BUILD=${VRAM_BUILD:-$PWD/build} VRAM_SRC=$PWD

exec "$here/run.sh" --kernel "$kernel" --name "drm-$kernel" --memory 768 --timeout "${VM_TIMEOUT:-200}" \
	--device virtio-gpu-pci -- tests/vm/drm_guest.py -v
