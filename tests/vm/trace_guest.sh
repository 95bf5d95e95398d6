#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# trace_guest.sh SOURCE...: in a guest, tests/trace over the module: all of it for each source of events (trace
# points, or the same raw), once what happens when they are not as usual, and what tracing costs.
set -uo pipefail

cd "$(dirname "$0")/../.." || exit 2
status=0
for source; do
	echo "== by $source"
	VRAM_TRACE_SOURCE=$source tests/kmod/run.sh -s 3 tests/trace/test_{counts,filters,attach}.py || status=1
done
echo "== the rest"
tests/kmod/run.sh -s 3 tests/trace/test_{usage,fallback,bpftrace}.py || status=1
insmod "$VRAM_KO" && VRAM_ARBITER=kmod tests/bench/trace.py || status=1
exit $status
