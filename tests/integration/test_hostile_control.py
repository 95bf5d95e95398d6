#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""ADMIT, and what administrators can say, said wrong: an answer that says so, nothing happens, and nobody else notices."""

import errno
import json
import os
import shutil
import struct
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
sys.path.insert(0, HERE)
import test_hostile_messages as raw  # noqa: E402
import vram_daemon  # noqa: E402

BUDGET = 8 << 20


def test_admit(w):
    forever = 0xFFFFFFFFFFFFFFFF
    budget = BUDGET
    for what, body in (
        ("admit with unknown flags", raw.admit_body(1, flags=2)),
        ("admit with all flags", raw.admit_body(1, flags=0xFFFFFFFF)),
        ("admit with priority -21", raw.admit_body(1, priority=-21)),
        ("admit with priority 20", raw.admit_body(1, priority=20)),
        ("admit with the largest priority", raw.admit_body(1, priority=0x7FFFFFFF)),
        ("admit with the smallest priority", raw.admit_body(1, priority=-0x80000000)),
    ):
        with w.session() as s:
            w.expect(what, s.outcome(raw.ADMIT, body), "ended")
    with w.session() as s:
        for n in (budget + 1, raw.HUGE, forever):
            w.expect(f"admit {n:#x}", s.outcome(raw.ADMIT, raw.admit_body(n)), errno.ENOSPC)
            w.expect(f"admit {n:#x}, as much as can be", s.outcome(raw.ADMIT, raw.admit_body(n, 1, 0, 1)), 0)
        w.expect("as much as can be is all", struct.unpack("<QQ", s.ask(raw.ADMIT, raw.admit_body(forever, 0, 0, 1))[1])[0],
                 budget)
        with w.session() as t:
            w.expect("another one", t.outcome(raw.ADMIT, raw.admit_body(1, 1)), errno.ETIMEDOUT)
            # One that waits: everything else is answered meanwhile, a second raw.ADMIT is refused.
            t.send(raw.ADMIT, raw.admit_body(1, forever))
            w.expect("beside a waiting one", t.outcome(raw.STATS), 0)
            w.expect("a second one that waits", t.outcome(raw.ADMIT, raw.admit_body(1)), errno.EBUSY)
            w.expect("and it waits on", t.outcome(raw.STATS), 0)
        w.expect("giving it back", s.outcome(raw.ADMIT, raw.admit_body(0)), 0)
    # Hundreds ask, wait, and go without a word.
    with w.session() as s:
        w.expect("all of it", s.outcome(raw.ADMIT, raw.admit_body(budget)), 0)
        crowd = [w.session() for _ in range(100)]
        for i, t in enumerate(crowd):
            t.send(raw.ADMIT, raw.admit_body(i, forever - i, i % 20, i % 2))
        w.expect("with a crowd in the queue", s.outcome(raw.STATS), 0)
        for t in crowd[::2]:
            t.__exit__()
        w.expect("again with less", s.outcome(raw.ADMIT, raw.admit_body(1)), 0)
        for t in crowd[1::2]:
            # Nothing that they had asked for is left out: each gets its answer.
            kind, _, error, _, _ = t.receive()
            w.expect("an answer", (kind, error), (raw.ADMIT | raw.REPLY, 0))
            t.send(raw.ADMIT, raw.admit_body(0))
            t.__exit__()
    w.still_well("admit")


def test_control(w):
    """What administrators may say, said wrong: an answer that says so, and nothing happens."""
    texts = ("", "x" * 5000, "session:1x", "session:-1", "user:4294967296", "cgroup:", "cgroup:relative", "exe:relative",
             "device:", "device:99999999999999999999", "\u0000", "a\u0000b", "\udc80", "model:", "model:-1",
             "model:1e3", "{}", "user:", "group:", "default", "\u202e")
    odd = [None, True, [], {}, 1.5, -1, 0, 1 << 62, *texts]
    with w.session(hello=False) as s:
        s.ask(raw.HELLO, raw.hello_body(flags=2))

        def said(request):
            error, _, fds = s.ask(raw.ADMIN, json.dumps(request).encode("utf-8", "surrogatepass")
                                  if isinstance(request, dict) else request)
            if error or len(fds) != 1:
                return "no answer"
            with os.fdopen(fds[0], "rb") as f:
                f.seek(0)
                return json.load(f)

        for command, key in (("drain", "target"), ("resume", "target"), ("pin", "model"), ("unpin", "model"),
                             ("prefetch", "model"), ("pause", "session"), ("kill", "session"), ("job", "id"),
                             ("models", "session")):
            for value in odd:
                if command == "models" and isinstance(value, int) and value > 0:
                    continue
                got = said({"command": command, key: value})
                w.expect(f"{command} {str(value)[:20]!r}", "error" in got and "errno" in got, True)
            w.expect(f"{command} with a stranger", "errno" in said({"command": command, key: 1, "x": 1}), True)
            if command != "models":
                w.expect(f"{command} of nothing", "errno" in said({"command": command}), True)
        for more in ({"to": "moon"}, {"to": 1}, {"to": []}, {"hold": 1}, {"hold": "true"}, {"hold": None}):
            w.expect(f"drain with {more}", "errno" in said({"command": "drain", "target": "device:0", **more}), True)
        for number in (0, -1, 65, 1 << 40, "TERM", 9.0, None, []):
            got = said({"command": "kill", "session": 1, "signal": number})
            w.expect(f"kill with {number}", "errno" in got, True)
        w.expect("the same key twice", "errno" in said(b'{"command":"jobs","command":"queue"}'), True)
        w.expect("jobs", said({"command": "jobs"}), {"jobs": []})
        w.expect("queue", said({"command": "queue"}).get("queue"), [])
        w.expect("nothing is held", said({"command": "status"}).get("held"), [])
    w.still_well("control")


def main():
    if vram_daemon.missing(["vramd"]):
        print("SKIP: vramd is not built")
        return 77
    if vram_daemon.wants_module():
        print("SKIP: sessions without a descriptor of /dev/vram are for the daemon's own ledger")
        return 77
    folder = tempfile.mkdtemp(prefix="vram-hostile-", dir="/var/tmp")
    try:
        with vram_daemon.Daemon(str(BUDGET)) as daemon:
            w = raw.World(daemon, folder)
            for test in (test_admit, test_control):
                test(w)
            left = daemon.ask("clients")["clients"]
            w.expect("nobody is left", [c for c in left if c.get("name") == "hostile"], [])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{w.count} checks, {w.failures} failed")
    return 1 if w.failures else 0


if __name__ == "__main__":
    sys.exit(main())
