#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Known work, in prime numbers: vramtrace counts exactly that, in each view, and as the daemon does."""

import collections
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import trace_world as tw  # noqa: E402

WALKS = 7
LIMITS = 5
LAYERS = 13
MODULE = tw.with_module()


def slot(value):
    return value.bit_length() - 1 if value > 1 else 0


def histogram_of(values):
    counts = collections.Counter(slot(v) for v in values)
    return [{"low": 1 << k if k else 0, "high": (2 << k) - 1, "count": n} for k, n in sorted(counts.items())]


def count(checks, trace, **expected):
    counts = collections.Counter(o["event"] for o in trace.events())
    for name, n in expected.items():
        checks.equal(f"events: {name}", counts[f"vram_{name}"], n)
    checks.equal("events: lost", trace.lost(), 0)


def model_that_fits(checks):
    """Each chunk is loaded once, evicted once on a word, and comes back once."""
    with tw.World() as w:
        daemon = w.daemon
        with tw.Trace(daemon, "events") as events, tw.Trace(daemon, "evictions") as evictions, \
                tw.Trace(daemon, "io") as io, tw.Trace(daemon, "stalls") as stalls, \
                tw.Trace(daemon, "stalls", "--by", "layer") as layers, \
                tw.Trace(daemon, "pressure", "0.25") as pressure:
            for _ in range(WALKS - 1):
                w.walk()
            before = w.evict_all()
            w.walk()
            for i in range(LIMITS):
                w.vramctl("limit", "set", "user:4711", f"vram.max={i + 1}G")
            status = daemon.ask("status")
            model = daemon.ask("models")["models"][0]
        n = tw.MODEL_CHUNKS
        count(checks, events, session_open=WALKS, session_close=WALKS, share_new=1, share_free=0, charge=2 * n,
              uncharge=n, evict=n, restore=n, io_begin=2 * n, io_end=2 * n, limit_change=LIMITS)
        checks.equal("bytes charged", sum(e["bytes"] for e in events.events("vram_charge")), status["paged_in_bytes"])
        checks.equal("bytes evicted", sum(e["bytes"] for e in events.events("vram_evict")), status["evicted_bytes"])
        checks.equal("evicted on a word", before, status["evicted_bytes"])
        checks.equal("limits", [e["value"] for e in events.events("vram_limit_change")],
                     [(i + 1) << 30 for i in range(LIMITS)])
        checks.equal("names", {(e["name"], e["kind"], e["bytes"]) for e in events.events("vram_share_new")},
                     {(model["name"], "model", model["size_bytes"])})

        # Evictions: all for nobody; each chunk comes back, having gone as far as those behind it.
        (row,) = evictions.objects
        checks.equal("evictions", (row["evictions"], row["bytes"]), (n, status["evicted_bytes"]))
        checks.equal("evictions: rows", [(r["for"], r["evictions"]) for r in row["rows"]], [(None, n)])
        gone = [e["bytes"] for e in events.events("vram_evict")]
        distances = [sum(gone[i:]) for i in range(n)]
        checks.equal("refaults", row["refaults"], n)
        checks.equal("refault distance", sum(r["refault_distance_bytes"] for r in row["rows"]), sum(distances))
        checks.equal("histogram of distances", row["histogram_refault_kib"], histogram_of(d >> 10 for d in distances))

        (row,) = io.objects
        ends = events.events("vram_io_end")
        checks.equal("ways", [(x["direction"], x["from"], x["to"]) for x in row["ways"]],
                     [("page-in", "file", "vram")])
        way = row["ways"][0]
        checks.equal("transfers", (way["transfers"], way["bytes"], way["errors"]), (2 * n, status["paged_in_bytes"], 0))
        checks.equal("histogram of latency", way["histogram_us"], histogram_of(e["ns"] // 1000 for e in ends))
        checks.equal("histogram of sizes", way["histogram_kib"], histogram_of(e["bytes"] >> 10 for e in ends))

        stall_views(checks, events, stalls, layers, pressure, status)


def stall_views(checks, events, stalls, layers, pressure, status):
    begins, ends = events.events("vram_stall_begin"), events.events("vram_stall_end")
    total = sum(e["stall_ns"] for e in ends)
    checks.equal("as many ends as begins", len(ends), len(begins))
    checks.true("there were stalls", len(ends) > 0)
    if not MODULE:
        # The module counts the waits of threads, which libvram slices; the daemon what it was asked.
        checks.equal("stalls as the daemon counts", len(ends), status["faults"])
        checks.equal("stall time as the daemon counts", total, status["stall_ns"])
    (row,) = stalls.objects
    checks.equal("stalls", (row["stalls"], row["by"]), (len(ends), "tenant"))
    checks.equal("histogram of stalls", row["histogram_us"], histogram_of(e["stall_ns"] // 1000 for e in ends))
    sums = collections.Counter()
    for e in ends:
        sums[e["session"]] += e["stall_ns"]
    checks.equal("stalls by tenant", {r["tenant"]["session"]: r["stall_ns"] for r in row["rows"]}, dict(sums))
    times = [r["stall_ns"] for r in row["rows"]]
    checks.equal("the greatest first", times, sorted(times, reverse=True))
    # Nobody took anything: the first load, or on the administrator's word.
    causes = {c["by"] for r in row["rows"] for c in r["taken_by"]}
    checks.true("taken by nobody", causes <= {"first load", "limits"}, causes)
    (row,) = layers.objects
    checks.equal("stalls by layer: their sum", sum(r["stall_ns"] for r in row["rows"]), total)
    checks.true("each has a layer", all(r.get("layer", 99) < 8 for r in row["rows"]), row["rows"])
    checks.equal("pressure: stalls", sum(o["all"]["stalls"] for o in pressure.objects), len(ends))
    checks.equal("pressure: evictions", sum(o["all"]["own_bytes"] for o in pressure.objects), status["evicted_bytes"])
    checks.equal("pressure: restored", sum(o["all"]["restored_bytes"] for o in pressure.objects),
                 status["evicted_bytes"])
    # One thread waits at a time: the meter, which goes by when events are written, has the sum of the waits but for
    # what lies between the clocks of both. A wait that the meter lost or counted twice would show.
    measured = sum(o["all"]["stall_ns"] for o in pressure.objects)
    longest = max((e["stall_ns"] for e in ends), default=0)
    checks.true("pressure: time", abs(measured - total) < total // 4 + longest, (measured, total))


def quiet(daemon):
    while daemon.ask("status")["devices"][0]["inflight_bytes"]:
        time.sleep(0.01)


def buffers(checks):
    """A buffer is made, written out to swap, and read back."""
    if os.environ.get("SAN"):
        return
    with tw.World() as w:
        with tw.Trace(w.daemon, "io") as io, tw.Trace(w.daemon, "events", "-e", "io_*,share*,chunk*") as events:
            b = tw.Buffer(w.daemon, LAYERS)
            b.visit(fill=3)
            w.evict_all()
            quiet(w.daemon)
            checks.equal("what comes back", b.visit(), [3 + i for i in range(LAYERS)])
            b.close()
            status = w.settle()
        (row,) = io.objects
        ways = {(x["direction"], x["from"], x["to"]): (x["transfers"], x["bytes"]) for x in row["ways"]}
        checks.equal("ways of a buffer", ways, {
            ("page-in", "none", "vram"): (LAYERS, LAYERS * tw.CHUNK),
            ("page-out", "vram", "disk"): (LAYERS, LAYERS * tw.CHUNK),
            ("page-in", "disk", "vram"): (LAYERS, LAYERS * tw.CHUNK),
        })
        checks.equal("paged out", status["paged_out_bytes"], LAYERS * tw.CHUNK)
        count(checks, events, io_begin=3 * LAYERS, io_end=3 * LAYERS, share_new=1, share_free=1, chunk_evict=LAYERS,
              chunk_fault=0)
        checks.equal("its name", [(e["name"], e["kind"]) for e in events.events("vram_share_new")],
                     [("numbers", "buffer")])


def taken_by_another(checks):
    """Two programs in a budget for one: who took what from whom adds up, and is told of both."""
    with tw.World(budget=12 << 20) as w:
        other = os.path.join(w.folder, "other.gguf")
        with open(w.model, "rb") as f, open(other, "wb") as g:
            g.write(f.read())
        with tw.Trace(w.daemon, "events") as events, tw.Trace(w.daemon, "evictions", "--top", "99") as evictions, \
                tw.Trace(w.daemon, "stalls", "--by", "model", "--top", "99") as stalls, \
                tw.Trace(w.daemon, "pressure", "0.25") as pressure:
            first, model = w.walk_start(2), w.model
            w.model = other
            second = w.walk_start(2)
            w.walk_end(first)
            w.walk_end(second)
            w.model = model
            status = w.settle()
        checks.equal("lost", events.lost() + evictions.lost() + stalls.lost() + pressure.lost(), 0)
        sums = collections.Counter()
        for e in events.events("vram_evict"):
            sums[e["session"], e["needed_session"]] += e["bytes"]
        (row,) = evictions.objects
        checks.equal("who from whom", {((r["from"] or {}).get("session", 0), (r["for"] or {}).get("session", 0)):
                                       r["bytes"] for r in row["rows"]}, dict(sums))
        checks.equal("all of it", row["bytes"], status["evicted_bytes"])
        checks.equal("what was restored is what came back", row["refaults"], len(events.events("vram_restore")))
        across = sum(n for (a, b), n in sums.items() if b and a != b)
        checks.equal("pressure: lost to others", sum(o["all"]["lost_bytes"] for o in pressure.objects), across)
        for key in ("lost_bytes", "taken_bytes", "own_bytes", "stalls"):
            whole = sum(o["all"][key] for o in pressure.objects)
            parts = sum(t[key] for o in pressure.objects for t in o["tenants"])
            checks.true(f"pressure: {key} of all and of each", parts <= whole and (key != "stalls" or parts == whole),
                        (parts, whole))
        (row,) = stalls.objects
        checks.equal("stalls of both models", sum(r["stalls"] for r in row["rows"]),
                     len(events.events("vram_stall_end")))
        checks.true("somebody is named", any("session" in c for r in row["rows"] for c in r["taken_by"]) or
                    not across, row["rows"])


def limit_refusals(checks):
    """Refusals by a limit: as many as the ledger counted for the group."""
    with tw.World() as w:
        w.vramctl("limit", "set", f"user:{os.getuid()}", "vram.max=8M")
        with tw.Trace(w.daemon, "events", "-e", "limit_hit") as events, tw.Trace(w.daemon, "pressure", "60") as pressure:
            w.walk()
            rows = w.vramctl("limit", "show", f"user:{os.getuid()}")["limits"]
        # The module would keep it for the next test.
        w.vramctl("limit", "set", f"user:{os.getuid()}", "vram.max=max")
        refused = [r["refused"] for r in rows if r["tier"] == "vram"][0]
        hits = [e for e in events.events("vram_limit_hit") if e["limit_kind"] == "user"]
        checks.true("there were refusals", refused > 0)
        checks.equal("refusals", len(hits), refused)
        checks.equal("by whom", {e["limit_key"] for e in hits}, {os.getuid()})
        (row,) = pressure.objects
        checks.equal("pressure: refused", row["all"]["refused"], refused)


def run(checks):
    tw.run_parts(checks, [model_that_fits, buffers, limit_refusals], [taken_by_another])


tw.main(run)
