#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The module's trace points when they are not as usual: another layout, no tracefs, no vramd; and unloading.

In a machine of one's own only: this mounts and unmounts.
"""

import os
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import trace_world as tw  # noqa: E402

TRACEFS = "/sys/kernel/tracing"
FORMAT = f"{TRACEFS}/events/vram/vram_evict/format"


def run_command(*command):
    subprocess.run(command, check=True)


def count_by(checks, what, w, source, said):
    """Evictions are counted exactly, by the source that is to be taken."""
    w.walk()
    with tw.Trace(w.daemon, "-v", "events", "-e", "evict", source=False) as t:
        n = w.evict_all() and tw.MODEL_CHUNKS
    checks.equal(f"{what}: evictions", len(t.events("vram_evict")), n)
    checks.true(f"{what}: source", f"vramtrace: by {source}" in t.said, t.said[-400:])
    checks.true(f"{what}: why", said in t.said, t.said[-400:])


def other_layout(checks, w):
    with open(FORMAT, encoding="ascii") as f:
        text = f.read()
    for what, changed, said in [
        ("a field elsewhere", text.replace("offset:24;\tsize:8", "offset:48;\tsize:8"), "bytes has 8 bytes at 48"),
        ("a field that is not there", text.replace("u64 bytes", "u64 pages"), "it has no field bytes"),
        ("a text that is none", "\x7fELF" + text, "raw trace points"),
        ("nothing", "", "no name, ID or fields"),
    ]:
        with tempfile.NamedTemporaryFile("w", encoding="ascii") as f:
            f.write(changed)
            f.flush()
            run_command("mount", "--bind", f.name, FORMAT)
            try:
                count_by(checks, what, w, "raw trace points", said)
            finally:
                run_command("umount", FORMAT)
    count_by(checks, "as it was", w, "trace points", "")


def without_tracefs(checks, w):
    run_command("umount", "-l", TRACEFS)
    # debugfs would mount it anew.
    run_command("umount", "-l", "/sys/kernel/debug")
    try:
        count_by(checks, "without tracefs", w, "raw trace points", "tracefs is not mounted")
    finally:
        run_command("mount", "-t", "debugfs", "debugfs", "/sys/kernel/debug")
        run_command("mount", "-t", "tracefs", "tracefs", TRACEFS)
    count_by(checks, "with tracefs again", w, "trace points", "")


def unloading(checks):
    """Who traces holds the module; afterwards it can go. run.sh unloads it in the end."""
    with tw.Trace(None, "events", source=False) as t:
        done = subprocess.run(["rmmod", "vram"], capture_output=True, text=True, check=False)
        checks.true("not while it is traced", done.returncode != 0, done)
        sessions = [os.open("/dev/vram", os.O_RDWR | os.O_CLOEXEC) for _ in range(3)]
        for fd in sessions:
            os.close(fd)
        time.sleep(0.1)
    checks.equal("without a vramd: sessions", (len(t.events("vram_session_open")), len(t.events("vram_session_close"))),
                 (3, 3))
    with open("/sys/module/vram/refcnt", encoding="ascii") as f:
        checks.equal("references afterwards", f.read().strip(), "0")
    with tw.Trace(None, "io", source=False, wait=False) as t:
        checks.equal("I/O is vramd's", t.process.wait(60), 1)
    checks.true("and it is said so", "told by vramd alone" in t.said, t.said)


def run(checks):
    os.environ.pop("VRAM_SOCKET", None)
    with tw.World() as w:
        other_layout(checks, w)
        without_tracefs(checks, w)
    unloading(checks)


if not os.environ.get("VRAM_GUEST"):
    print("SKIP: mounts and unmounts: run in a virtual machine, by make check-trace")
    sys.exit(77)
tw.main(run)
