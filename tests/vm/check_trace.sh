#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 1800
#
# check_trace.sh [--kernel NAME]: vramtrace over the trace points of vram.ko, in a virtual machine:
# tests/trace with each source of events. `make check-trace` calls this after the same suite on this machine.
# A part of it is in check_kmod.sh.
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.." || exit 2
build=${VRAM_BUILD:-$PWD/build}
kernel=${KERNEL:-6.1}
[ "${1:-}" = --kernel ] && kernel=$2

mkdir -p "$build/logs"
"$here/kernels.sh" fetch "$kernel" || exit
log=$build/logs/trace-build-$kernel.log
"$here/kernels.sh" build "$kernel" "$build/kmod-$kernel" >"$log" 2>&1 || {
	status=$?
	tail -n 30 "$log"
	exit $status
}
exec "$here/run.sh" --kernel "$kernel" --name "trace-$kernel" --module "$build/kmod-$kernel/vram.ko" \
	--memory 2048 --disk 1024 --timeout "${VM_TIMEOUT:-1800}" --out "$build/logs/trace-$kernel" \
	--env "VRAM_BUILD=$build" --env TRACE_ROUNDS -- tests/vm/trace_guest.sh tracepoint raw
