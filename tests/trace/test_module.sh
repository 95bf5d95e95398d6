#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# A part of the suite over the module, by each of the ways to its trace points: what `make check` has time for in a
# guest. `make check-trace` runs all of it there.
set -u

cd "$(dirname "$0")" || exit 2
if [ -z "${VRAM_GUEST:-}" ]; then
	echo "SKIP: needs the kernel module: run in a virtual machine, by make check-kmod"
	exit 77
fi
VRAM_TRACE_SOURCE=tracepoint ./test_counts.py limit_refusals && VRAM_TRACE_SOURCE=raw ./test_counts.py limit_refusals
