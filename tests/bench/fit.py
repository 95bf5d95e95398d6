#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 1800
"""fit: what vram costs a program for which there is room enough.

  fit.py [--size full|small] [--rounds N]

The decode loop runs by turns without vram, its model in the page cache, and under vramrun with a budget that
holds all of it. The overhead is that of the median time of a token, over all rounds; the spread of the plain runs
says how far it can be trusted. BENCH_SIZE=small is --size small.
"""

import argparse
import os
import statistics
import sys

import benchlib
from benchlib import MB, emit, note
from engines import Engine, cpu_ms, run_engines
import vram_daemon

TOKENS = {"full": (4, 24), "small": (8, 120), "tiny": (8, 120)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=TOKENS, default=os.environ.get("BENCH_SIZE", "full"))
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    gone = vram_daemon.missing(["vramd", "vramrun", "vramctl"])
    if gone:
        benchlib.skip(f"fit: {', '.join(gone)} not built")
    python = benchlib.python()
    cpus = sorted(os.sched_getaffinity(0))[:2]
    tokens = TOKENS[args.size]
    with benchlib.work_folder() as folder:
        model = benchlib.generated(folder, args.size)
        size = os.path.getsize(model)
        budget = (size // (2 * MB) + 64) * 2 * MB
        plain, vram, faults, cpu = [], [], [], []
        with vram_daemon.Daemon(budget) as daemon:
            def counter():
                cpu.append(cpu_ms(daemon.process.pid))
                faults.append(daemon.ask("status")["faults"])
                return daemon.ask("status")["paged_in_bytes"]

            for number in range(args.rounds):
                # By turns, and each first as often as the other: what drifts hits both alike.
                for kind in ("plain", "vram") if number % 2 else ("vram", "plain"):
                    if kind == "plain":
                        plain.append(run_engines([Engine(python, model, cpus, tokens)], None))
                    else:
                        vram.append(run_engines(
                            [Engine(python, model, cpus, tokens, wrap=daemon.vramrun, env=daemon.env)], counter))
        benchlib.drop(model)
    same = len({d for r in plain + vram for d in r.logits.values()}) == 1
    ours, theirs = (statistics.median(r.median_ms for r in runs) for runs in (vram, plain))
    spread = (max(r.median_ms for r in plain) - min(r.median_ms for r in plain)) / theirs
    emit("fit", "fit_overhead", (ours / theirs - 1) * 100, "%", "plain", theirs, ours / theirs, size=args.size,
         vram_ms=ours, plain_ms=theirs, plain_spread_percent=spread * 100, rounds=args.rounds,
         bytes_per_token=statistics.median(r.bytes_per_token for r in vram),
         faults_per_token=statistics.median((b - a) / tokens[1] for a, b in zip(faults[0::2], faults[1::2])),
         daemon_cpu_ms_per_token=statistics.median((b - a) / tokens[1] for a, b in zip(cpu[0::2], cpu[1::2])),
         identical=same)
    if not same:
        note("fit: WRONG: the logits differ")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
