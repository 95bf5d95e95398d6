#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 3600
"""decode: llama.cpp on a model larger than its memory, one token a decode: with vram and with what one has without.

  decode.py [--size full|small] [--peers] [--only 60|90|pair]

The same unmodified engine (decode_engine.py) runs the same random Q8_0 model
  vram    under vramrun, the budget being 60 % or 90 % of the model, engine and vramd together in a cgroup
  mmap    as shipped, in a memory cgroup of the same size
  mlock   as shipped, in such a cgroup, beside a helper that has locked a prefix of the file into memory
  hot     with everything in the page cache
The limit is what no program could beat: the bytes that do not fit, at the rate of fio's probes right before and
after the run, but never less than the hot time. Every run must compute the same logits, bit for bit.

BENCH_SIZE=small is --size small. Needs root for the memory cgroups. README.md tells how to read the lines.
"""

import argparse
import os
import statistics
import subprocess
import sys

import benchlib
from benchlib import MB, Cgroup, Fio, emit, note
from engines import Engine, cpu_ms, io_bytes, run_engines
import ggufio
import vram_daemon

SRC = os.path.dirname(os.path.abspath(__file__))
# tokens to warm up with and to measure, by kind of run
TOKENS = {
    "full": {"hot": (2, 12), "vram": (4, 20), "mmap": (1, 4), "mlock": (2, 8)},
    "small": {"hot": (4, 40), "vram": (6, 48), "mmap": (2, 8), "mlock": (3, 16)},
}
DAEMON_ROOM = 48 * MB  # every cgroup gets this for programs beside the engine, whether it has any or not
PAIR_SHARE = 60


class Bench:
    def __init__(self, args, folder):
        self.args = args
        self.python = benchlib.python()
        self.model = benchlib.generated(folder, args.size)
        self.size = os.path.getsize(self.model)
        self.tokens = TOKENS[args.size]
        self.fio = Fio(self.model)
        self.digests = {}
        self.anon = 0
        self.wrong = []

    def check(self, kind, result):
        """All runs of the same number of tokens must have the same logits; so must their common beginning, which
        hot runs of every length establish."""
        for n, digest in result.logits.items():
            want = self.digests.setdefault((kind, n), digest)
            if want != digest:
                self.wrong.append(f"{kind}: logits differ from the hot run")

    def cpus(self, pair):
        """Which processors every engine gets: all of the first two, or in a pair one each."""
        allowed = sorted(os.sched_getaffinity(0))[:2]
        return [[allowed[0]], [allowed[-1]]] if pair else [allowed]

    def plain(self, kind, pair, cgroup=None):
        engines = [Engine(self.python, self.model, c, self.tokens[kind], cgroup) for c in self.cpus(pair)]
        return run_engines(engines, None)

    def hot(self, pair):
        with open(self.model, "rb", buffering=0) as f:
            while f.read(16 * MB):
                pass
        # Each kind of run has its own number of tokens: the hot runs say what their logits are.
        result = self.plain("hot", pair)
        self.anon = max(self.anon, result.anon_bytes)
        self.check("hot", result)
        return result

    def references(self):
        """The logits that each kind of run must have, from hot runs."""
        for kind in ("vram", "mmap", "mlock"):
            self.check(kind, self.plain(kind, False))

    def limited(self, budget, pair):
        """The cgroup in which a run has budget bytes for weights."""
        return Cgroup("run", budget + (2 if pair else 1) * self.anon + DAEMON_ROOM)

    def mmap(self, budget, pair):
        benchlib.drop(self.model)
        with self.limited(budget, pair) as cgroup:
            result = self.plain("mmap", pair, cgroup)
            benchlib.drop(self.model)
        self.check("mmap", result)
        return result

    def mlock(self, budget, pair):
        """An expert would leave the rest of the file some room: as much as gave the best figures here."""
        room = max(48 * MB, self.size // 40)
        benchlib.drop(self.model)
        with self.limited(budget, pair) as cgroup:
            helper = subprocess.Popen(
                [sys.executable, os.path.join(SRC, "mlock_prefix.py"), self.model, str(budget - room)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=cgroup.enter)
            try:
                if helper.stdout.readline() != "locked\n":
                    raise RuntimeError("mlock_prefix.py failed")
                result = self.plain("mlock", pair, cgroup)
            finally:
                helper.stdin.close()
                helper.wait()
            benchlib.drop(self.model)
        self.check("mlock", result)
        return result

    def vram(self, budget, pair):
        benchlib.drop(self.model)
        with self.limited(budget, pair) as cgroup:
            with vram_daemon.Daemon(budget, preexec_fn=cgroup.enter) as daemon:
                pid = daemon.process.pid
                engines = [Engine(self.python, self.model, c, self.tokens["vram"], cgroup, daemon)
                           for c in self.cpus(pair)]
                usage = []

                def counter():
                    usage.append((cpu_ms(pid), daemon.ask("status")))
                    return io_bytes(pid)

                result = run_engines(engines, counter)
                status = daemon.ask("status")
                peak = status["devices"][0]["peak_bytes"]
                tokens = self.tokens["vram"][1]
                result.context = {
                    "peak_bytes": peak, "budget_bytes": budget,
                    "daemon_cpu_ms_per_token": (usage[1][0] - usage[0][0]) / tokens,
                    "faults_per_token": (usage[1][1]["faults"] - usage[0][1]["faults"]) / tokens,
                    "cgroup_peak_bytes": cgroup.peak(), "cgroup_limit_bytes": cgroup.limit,
                }
                if peak > budget:
                    self.wrong.append(f"vram: the device held {peak} bytes, more than {budget}")
            benchlib.drop(self.model)
        self.check("vram", result)
        return result

    def used_bytes(self):
        """What one token reads of the model: everything but the table of embeddings, of which it reads a row."""
        tensors = ggufio.read(self.model).tensors
        return sum(t.n_bytes for t in tensors if t.name != "token_embd.weight")

    def compare(self, figure, share, pair):
        budget = self.size * share // 100 // (2 * MB) * (2 * MB)
        hot = [self.hot(pair)]
        rates, result = [], None
        if not self.args.peers:
            rates.append(self.fio.probe())
            result = self.vram(budget, pair)
            rates.append(self.fio.probe())
        mmap = self.mmap(budget, pair)
        mlock = self.mlock(budget, pair)
        rates.append(self.fio.probe())
        hot.append(self.hot(pair))
        # The limit belongs to the run of vram: the probes around that count. The hot time is the best that was
        # seen: what disturbs a hot run makes the limit no easier to reach.
        rate = statistics.mean(rates[:2])
        hot_ms = min(r.median_ms for r in hot)
        missing = max(0, self.used_bytes() - budget)
        limit = max(hot_ms, missing / rate * 1e3)
        common = {
            "size": self.args.size, "model_bytes": self.size, "budget_share": share, "processes": 2 if pair else 1,
            "hot_ms": hot_ms, "missing_bytes_per_token": missing, "fio_GBps": rate / 1e9,
            "fio_buffers": self.fio.buffers,
        }
        for name, other in (("limit", None), ("mmap", mmap), ("mlock", mlock)):
            peer_ms = other.mean_ms if other else limit
            context = dict(common)
            if other:
                context |= {"peer_bytes_per_token": other.bytes_per_token, "peer_median_ms": other.median_ms}
            if result:
                context |= {"bytes_per_token": result.bytes_per_token, "median_ms": result.median_ms,
                            "worst_ms": result.worst_ms, "identical": not self.wrong, **result.context}
                ratio = peer_ms / result.mean_ms if other else result.mean_ms / peer_ms
                emit("decode", f"{figure}_vs_{name}", result.mean_ms, "ms/token", name, peer_ms, ratio, **context)
            else:
                emit("decode", f"{figure}_{name}", peer_ms, "ms/token", "limit", limit, peer_ms / limit, **context)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=TOKENS, default=os.environ.get("BENCH_SIZE", "full"))
    parser.add_argument("--peers", action="store_true", help="only what vram is compared with")
    parser.add_argument("--only", choices=("60", "90", "pair"), action="append")
    args = parser.parse_args()
    gone = [] if args.peers else vram_daemon.missing(["vramd", "vramrun", "vramctl"])
    if gone:
        benchlib.skip(f"decode: {', '.join(gone)} not built")
    if not Cgroup.usable():
        benchlib.skip("decode: memory cgroups need root")
    cases = [("60", "decode60", 60, False), ("90", "decode90", 90, False), ("pair", "pair60", PAIR_SHARE, True)]
    with benchlib.work_folder() as folder:
        bench = Bench(args, folder)
        bench.hot(False)
        bench.references()
        for key, figure, share, pair in cases:
            if not args.only or key in args.only:
                bench.compare(figure, share, pair)
        benchlib.drop(bench.model)
    for problem in sorted(set(bench.wrong)):
        note(f"decode: WRONG: {problem}")
    return 1 if bench.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
