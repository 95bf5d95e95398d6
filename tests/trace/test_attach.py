#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Coming and going: attach and detach under load, losses that are told, a daemon that is started anew, readers that go.

TRACE_ROUNDS is how often to attach and detach; `make check-trace` says 100.
"""

import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import trace_world as tw  # noqa: E402

ROUNDS = int(os.environ.get("TRACE_ROUNDS") or 5)


def again_and_again(checks):
    """While a model is walked that does not fit. What is compared there is right, and whoever looks all the time sees all."""
    with tw.World(budget=8 << 20) as w:
        with tw.Trace(w.daemon, "events", "-e", "charge,uncharge") as steady:
            walk = w.walk_start(100000)
            n = seen = 0
            before = w.daemon.ask("status")["paged_in_bytes"]
            for i in range(ROUNDS):
                with tw.Trace(w.daemon, *(("events", "-e", "evict") if i % 2 else ("io",))) as t:
                    time.sleep(0.01)
                n += t.process.returncode == 0
                seen += bool(t.objects)
                if walk.poll() is not None:
                    break
            checks.equal("attached and detached", n, ROUNDS)
            checks.true("and something was seen", seen > 0)
            checks.true("the load goes on", walk.poll() is None)
            checks.true("and loads", w.daemon.ask("status")["paged_in_bytes"] > before)
            walk.kill()
            walk.communicate()
            # Now the same to its end: every byte is compared.
            checks.true("bytes are right", w.walk(2) > 0)
            status = w.settle()
        charged = sum(e["bytes"] for e in steady.events("vram_charge"))
        checks.equal("nothing was lost", steady.lost(), 0)
        checks.true("charges that failed apart, what was charged was paged in",
                    0 <= charged - status["paged_in_bytes"] <= 64 * tw.CHUNK, (charged, status["paged_in_bytes"]))


def losses(checks):
    """A reader that is stopped loses what does not fit its buffer, no more, and says how much."""
    with tw.World() as w:
        with tw.Trace(w.daemon, "events", "-e", "charge", "--buffer", "4K") as t:
            t.process.send_signal(signal.SIGSTOP)
            w.walk()
            t.process.send_signal(signal.SIGCONT)
        checks.equal("seen and lost", len(t.events("vram_charge")) + t.lost(), tw.MODEL_CHUNKS)
        checks.true("some of each", 0 < t.lost() < tw.MODEL_CHUNKS, t.lost())
        checks.true("it is said", f"{t.lost()} events lost" in t.said, t.said)
        w.evict_all()
        with tw.Trace(w.daemon, "events", "-e", "charge", "--buffer", "64K") as t:
            t.process.send_signal(signal.SIGSTOP)
            w.walk()
            t.process.send_signal(signal.SIGCONT)
        checks.equal("with more room none", (len(t.events("vram_charge")), t.lost()), (tw.MODEL_CHUNKS, 0))


def next_daemon(checks):
    """vramd ends and is started again: tracing goes on with the next one."""
    with tw.World() as w:
        with tw.Trace(w.daemon, "stalls", "--by", "model") as stalls, \
                tw.Trace(w.daemon, "events", "-e", "session_open,io_end,share_new") as t:
            w.walk()
            checks.equal("it stops", w.daemon.stop(), 0)
            w.daemon.__enter__()
            deadline = time.monotonic() + 60
            while f"tracing vramd {w.daemon.process.pid}\n" not in t.read(t.errors) and time.monotonic() < deadline:
                time.sleep(0.02)
            w.walk()
        # With the module vramd itself has a session, too.
        opened = [e for e in t.events("vram_session_open") if e["comm"] == "walk"]
        checks.equal("sessions of both", len(opened), 2)
        checks.equal("transfers of both", len(t.events("vram_io_end")), 2 * tw.MODEL_CHUNKS)
        checks.true("it is said", "has ended; waiting for the next one" in t.said and "tracing vramd" in t.said, t.said)
        checks.true("the names are known", all(r["name"] == "random weights" for r in stalls.objects[-1]["rows"]),
                    stalls.objects)
        if tw.with_module():
            return
        # One that was named is not replaced.
        with tw.Trace(w.daemon, "--vramd", str(w.daemon.process.pid), "io") as t:
            w.daemon.stop()
            checks.equal("the end of the one that was named", t.process.wait(60), 0)
        checks.true("it is said", "has ended" in t.said and "waiting" not in t.said, t.said)


def signals_and_pipes(checks):
    with tw.World() as w:
        with tw.Trace(w.daemon, "io") as t:
            checks.equal("SIGTERM", t.stop(signal.SIGTERM), 0)
        checks.equal("a table at the end", [o["view"] for o in t.objects], ["io"])
        with tw.Trace(w.daemon, "pressure", "0.05", "3") as t:
            checks.equal("it ends by itself", t.process.wait(60), 0)
        checks.equal("so many tables", len(t.objects), 3)
        with tw.Trace(w.daemon, "-T", "pressure", "0.05", "2", text=True) as t:
            t.process.wait(60)
        checks.equal("two tables as text", t.out.count("STALL%"), 2)
        # Whoever reads has gone: the tracer ends as others do, without a word.
        reader = subprocess.Popen(
            ["sh", "-c", '"$@" 2>"$ERRORS" | { read line; echo "$line"; }', "sh", tw.binary("vramtrace"), "--socket",
             w.daemon.socket] + tw.source_arguments() + ["events", "-e", "charge"],
            env=dict(os.environ, ERRORS=os.path.join(w.folder, "errors")), stdout=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 60
        while reader.poll() is None and time.monotonic() < deadline:
            w.walk()
            w.evict_all()
        checks.equal("the reader's end is the tracer's", reader.wait(1), 0)
        checks.true("it had read", "Tracing" in reader.communicate()[0])
        with open(os.path.join(w.folder, "errors"), encoding="utf-8") as f:
            said = [line for line in f if "tracing vramd" not in line]
        checks.equal("without a word", said, [])


def run(checks):
    tw.run_parts(checks, [again_and_again, losses, signals_and_pipes], [next_daemon])


tw.main(run)
