#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 600
"""trace: what tracing costs those who are traced.

A client does nothing but acquire layers of a model that does not fit, 64 KiB each out of the page cache: more
events a second than any real program makes. Rounds with a view of vramtrace attached take turns with rounds
without. Compared is the processor time of those who are traced, vramd and the client, as the kernel counts it, which others on the
machine change less than they change the time that passes: the ratio is the median of those of neighbouring rounds. What vramtrace itself takes is not in it.
"""

import os
import statistics
import subprocess
import sys

import benchlib
import trace_world as tw
import vram_daemon

ROUNDS = 15
VIEWS = [("pressure", ["pressure"]), ("stalls", ["stalls"]), ("evictions", ["evictions"]), ("io", ["io"]),
         ("events_all", ["events", "-e", "*"])]


class Load:
    def __init__(self, daemon, rounds):
        self.daemon = daemon
        self.process = subprocess.Popen([os.path.join(daemon.build, "tests", "bench", "trace-load"), daemon.socket,
                                         str(rounds)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def cpu_ns(self):
        """Of all threads of vramd and of the client."""
        total = 0
        for pid in (self.daemon.process.pid, self.process.pid):
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as f:
                    total += int(f.read().split()[0])
        return total

    def round(self):
        """Processor time of a round, and the time that passes, in nanoseconds."""
        before = self.cpu_ns()
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit("trace: the load has ended")
        return self.cpu_ns() - before, int(line)


def count(daemon, load):
    """Events of a round, of all kinds."""
    with tw.Trace(daemon, "events", "-e", "*", "--buffer", "64M") as t:
        load.round()
    if t.lost():
        sys.exit("trace: events were lost")
    return len(t.events())


def main():
    missing = vram_daemon.missing(["vramd", "vramtrace", "tests/bench/trace-load"])
    if missing:
        benchlib.skip(f"{missing[0]} is not built")
    rounds = int(os.environ.get("TRACE_BENCH_ROUNDS") or ROUNDS)
    settings = {"device": {"huge": "never", "chunk": "64K"}, "policy": {"prefetch": "64K"}}
    with vram_daemon.Daemon(str(8 << 20), settings) as daemon:
        reason = tw.reason_not_to(daemon)
        if reason:
            benchlib.skip(reason)
        load = Load(daemon, 1000000)
        for _ in range(3):
            load.round()
        n_events = count(daemon, load)
        for name, view in VIEWS:
            off, on = [], []
            for _ in range(rounds):
                off.append(load.round())
                with tw.Trace(daemon, *view, "--buffer", "64M"):
                    on.append(load.round())
            base, with_view = (statistics.median(cpu for cpu, _ in some) for some in (off, on))
            passed = statistics.median(ns for _, ns in off)
            benchlib.emit("trace", f"overhead_{name}", with_view / 1e6, "ms of processor time a round", "not traced",
                          base / 1e6, statistics.median(b[0] / a[0] for a, b in zip(off, on)),
                          time_ratio=statistics.median(b[1] / a[1] for a, b in zip(off, on)),
                          events_per_round=n_events, events_per_s=n_events / (passed / 1e9),
                          ledger="module" if tw.with_module() else "vramd")
        load.process.kill()
        load.process.wait()


if __name__ == "__main__":
    main()
