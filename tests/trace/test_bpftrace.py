#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Every one-liner of docs/tracing.md for bpftrace, as it stands there, beside known work.

Those with probes of vramd run where vramd keeps the ledger, those with trace points in a guest with the module.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import trace_world as tw  # noqa: E402

SRC = os.environ.get("VRAM_SRC") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
BUDGET = 8 << 20


def documented(kind):
    """The one-liners: (options, program)."""
    with open(os.path.join(SRC, "docs", "tracing.md"), encoding="utf-8") as f:
        found = re.findall(r"^    # bpftrace (.*?)-e '(.*)'$", f.read(), re.M)
    return [program for _, program in found if kind in program]


class Running:
    def __init__(self, daemon, program, environment):
        path = os.path.join(daemon.build, "vramd")
        self.program = program.replace("/usr/sbin/vramd", path)
        self.out = tempfile.TemporaryFile("w+", encoding="utf-8")
        command = ["bpftrace", "-p", str(daemon.process.pid)] if "usdt:" in program else ["bpftrace"]
        self.process = subprocess.Popen(command + ["-e", self.program], stdin=subprocess.DEVNULL, stdout=self.out,
                                        stderr=subprocess.STDOUT, env=environment)

    def text(self):
        return os.pread(self.out.fileno(), 1 << 20, 0).decode("utf-8", "replace")

    def wait_for_begin(self):
        deadline = time.monotonic() + 120
        while "Attaching" not in self.text() and self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)

    def end(self):
        # Version 0.17 does not notice a signal that comes while it is not in epoll_wait().
        for _ in range(120):
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(1)
                break
            except subprocess.TimeoutExpired:
                continue
        else:
            self.process.kill()
        text = self.text()
        self.out.close()
        return text


def sums(text, pattern):
    return sum(int(n) for n in re.findall(pattern, text, re.M))


def check_usdt(checks, program, text, status, refused):
    """The figures of one program are those of the daemon."""
    if "vram_stall_end" in program:
        n = sums(text, r"^\[.*\)?\s+(\d+) \|")
        checks.equal("stalls", n, status["faults"])
        checks.true("whose", re.search(r"@ms\[\d+, walk\]", text), text)
    elif "vram_evict" in program:
        checks.equal("bytes evicted", sums(text, r"^@bytes\[\d+, \d+\]: (\d+)$"), status["evicted_bytes"])
    elif "hist(arg2" in program:
        checks.true("from the file", "@us[4]" in text, text)
        checks.true("transfers", sums(text, r"^\[.*\)?\s+(\d+) \|") >= tw.MODEL_CHUNKS, text)
    elif "interval" in program:
        checks.equal("bytes paged in", sums(text, r"^@bytes\[4, 0\]: (\d+)$"), status["paged_in_bytes"])
    elif "(int32)arg5" in program:
        checks.true("nothing failed", "error" not in text.split("\n", 1)[-1].lower().replace("error: failed", ""), text)
    elif "vram_limit_hit" in program:
        checks.equal("refusals", sums(text, rf"^@\[1, {os.getuid()}\]: (\d+)$"), refused)
    elif "vram_share_new" in program:
        checks.true("its name", "random weights, " in text, text)
    elif "vram_chunk_evict" in program:
        # What was evicted, but for the last chunk, is whole ones.
        n = sums(text, r"^@\[\d+, \d+\]: (\d+)$")
        checks.equal("chunks", n, -(-status["evicted_bytes"] // tw.CHUNK))
    else:
        checks.true(f"a one-liner that this test does not know: {program}", False)


def check_tracepoint(checks, program, text, status, _refused):
    if "vram_stall_end" in program:
        checks.true("whose", re.search(r"@ms\[\d+, walk\]", text), text)
    else:
        checks.true("attached", "Attaching 1 probe" in text, text)


def all_of(checks, kind, check):
    programs = documented(kind)
    checks.true(f"there are one-liners with {kind}", len(programs) >= 2)
    # Its own limits on memory that cannot be swapped are of old kernels.
    environment = dict(os.environ, BPFTRACE_STRLEN="64")
    with tw.World(budget=BUDGET) as w:
        running = [Running(w.daemon, program, environment) for program in programs]
        for one in running:
            one.wait_for_begin()
        # It says that it attaches before it has.
        time.sleep(2)
        w.walk(2)
        w.vramctl("limit", "set", f"user:{os.getuid()}", "vram.max=4M")
        w.walk()
        rows = w.vramctl("limit", "show", f"user:{os.getuid()}")["limits"]
        refused = [r["refused"] for r in rows if r["tier"] == "vram"][0]
        # The module would keep it for the next test.
        w.vramctl("limit", "set", f"user:{os.getuid()}", "vram.max=max")
        status = w.settle()
        time.sleep(1.1)
        for one in running:
            text = one.end()
            print(f"-- {one.program}")
            check(checks, one.program, text, status, refused)


def run(checks):
    if tw.with_module():
        all_of(checks, "tracepoint:", check_tracepoint)
    else:
        all_of(checks, "usdt:", check_usdt)


if not shutil.which("bpftrace"):
    print("SKIP: needs bpftrace (Debian package bpftrace)")
    sys.exit(77)
tw.main(run)
