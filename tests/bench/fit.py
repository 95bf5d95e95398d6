#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 1800
"""fit: what vram costs a program for which there is room enough.

  fit.py [--size full|small] [--blocks N]

Three engines decode the same model by turns, a block of tokens each: one under vramrun with a budget that holds the
whole model, and two without vram, the model in the page cache. So all meet the same machine, however much
it drifts. The overhead is the median, over all rounds, of a block's time with vram against the first plain engine's
in the same round; the second plain engine against the first says what this machine cannot tell apart.
BENCH_SIZE=small is --size small.
"""

import argparse
import os
import statistics
import sys
import time

import benchlib
from benchlib import MB, emit, note
from engines import Engine, Result, cpu_ms
import vram_daemon

# Tokens to warm up with and in a block; the number of blocks.
TOKENS = {"full": (4, 6, 24), "small": (8, 10, 30), "tiny": (8, 50, 40)}
PAUSE_S = 0.02  # lets the threads of the engine before go to sleep: OpenMP's spin for a while


def by_turns(engines, blocks, counter):
    """Let the engines decode their blocks in turn. Return: what they told at the end, and the counters of the daemon
    after the warm-up and at the end."""
    for e in engines:
        e.wait("warm")
    counters = [counter()]
    for block in range(blocks):
        # Who comes first changes: the caches are kind to nobody in particular.
        for i in range(len(engines)):
            e = engines[(block + i) % len(engines)]
            time.sleep(PAUSE_S)
            e.go()
            if block < blocks - 1:
                e.wait("block")
            else:
                e.told = e.wait("done")
    counters.append(counter())
    return [e.told for e in engines], counters


def block_ratios(told, base, size):
    """The time of each block of one engine over that of the other engine's block of the same round."""
    sums = [[sum(t["ns"][i:i + size]) for i in range(0, len(t["ns"]), size)] for t in (told, base)]
    return [a / b for a, b in zip(*sums)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=TOKENS, default=os.environ.get("BENCH_SIZE", "full"))
    parser.add_argument("--blocks", type=int)
    args = parser.parse_args()
    gone = vram_daemon.missing(["vramd", "vramrun", "vramctl"])
    if gone:
        benchlib.skip(f"fit: {', '.join(gone)} not built")
    python = benchlib.python()
    cpus = sorted(os.sched_getaffinity(0))[:2]
    warm, size, blocks = TOKENS[args.size]
    blocks = args.blocks or blocks
    tokens = (warm, size * blocks, size)
    with benchlib.work_folder() as folder:
        model = benchlib.generated(folder, args.size)
        n_bytes = os.path.getsize(model)
        with vram_daemon.Daemon((n_bytes // (2 * MB) + 64) * 2 * MB) as daemon:
            def counter():
                status = daemon.ask("status")
                return {"cpu": cpu_ms(daemon.process.pid), "faults": status["faults"], "bytes": status["paged_in_bytes"]}

            engines = [Engine(python, model, cpus, tokens),
                       Engine(python, model, cpus, tokens, daemon=daemon),
                       Engine(python, model, cpus, tokens)]
            try:
                (plain, vram, control), counters = by_turns(engines, blocks, counter)
                for e in engines:
                    e.go()
            finally:
                for e in engines:
                    e.end()
        benchlib.drop(model)
    same = len({t["logits"] for t in (plain, vram, control)}) == 1
    ratio = statistics.median(block_ratios(vram, plain, size))
    plain_ms = Result([plain], 0).median_ms
    spent = {k: (counters[1][k] - counters[0][k]) / tokens[1] for k in counters[0]}
    emit("fit", "fit_overhead", (ratio - 1) * 100, "%", "plain", plain_ms, ratio, size=args.size,
         vram_ms=Result([vram], 0).median_ms, plain_ms=plain_ms,
         control_percent=(statistics.median(block_ratios(control, plain, size)) - 1) * 100, blocks=blocks,
         block_tokens=size, bytes_per_token=spent["bytes"], faults_per_token=spent["faults"],
         daemon_cpu_ms_per_token=spent["cpu"], identical=same)
    if not same:
        note("fit: WRONG: the logits differ")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
