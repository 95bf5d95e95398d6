#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A daemon dies with two clients, of which one is stopped and cannot come back to the next daemon. With the kernel module
(VRAM_ARBITER=kmod) what the stopped one holds counts for arbiter.grace and no longer: others get all of the device then.
Once it goes on it is served again. Without the module nothing is inherited, and nobody has to wait."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SUPPORT = os.path.join(HERE, "..", "support")
sys.path.insert(0, SUPPORT)
import vram_daemon  # noqa: E402

BUDGET = 8 << 20
GRACE = 4
MODULE = vram_daemon.wants_module()


def start(daemon, model, passes):
    walk = os.path.join(daemon.build, "examples", "walk")
    return subprocess.Popen(
        [walk, "-s", daemon.socket, "-p", passes, model],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def succeeded(process, passes):
    out, _ = process.communicate(timeout=200)
    print(out.strip(), process.returncode)
    return process.returncode == 0 and re.search(rf"^walk: passes={passes} .* wrong=0 ", out, re.M)


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def resident(daemon):
    return daemon.ask("status")["devices"][0]["resident_bytes"]


def check(what, good, failed):
    print("ok    " if good else "FAILED", what, flush=True)
    if not good:
        failed.append(what)


def scenario(daemon, models, failed):
    stopped = start(daemon, models[0], "400")
    check("a client fills the device", until(lambda: resident(daemon) > BUDGET * 3 // 4), failed)
    stopped.send_signal(signal.SIGSTOP)
    generation = daemon.ask("status")["arbiter"]["generation"]
    daemon.process.kill()
    daemon.process.wait()
    os.unlink(daemon.socket)
    daemon.__enter__()
    began = time.monotonic()
    if MODULE:
        check("the next arbiter", daemon.ask("status")["arbiter"]["generation"] == generation + 1, failed)
        check("what is left counts", resident(daemon) > BUDGET * 3 // 4, failed)
        check("the log says what was found", "found 1 sessions" in daemon.log(), failed)
    else:
        check("nothing is left", resident(daemon) == 0, failed)
    other = start(daemon, models[1], "2")
    check("another client is served", succeeded(other, 2), failed)
    if MODULE:
        check("it had to wait", time.monotonic() - began >= GRACE, failed)
        check("the log warns", "1 clients of an earlier vramd have not come back" in daemon.log(), failed)
    check("the budget held", resident(daemon) <= BUDGET, failed)
    # The one that was stopped goes on where it was.
    before = daemon.ask("status")["paged_in_bytes"]
    stopped.send_signal(signal.SIGCONT)
    check("the first one is back", until(lambda: daemon.ask("status")["paged_in_bytes"] > before + BUDGET), failed)
    stopped.kill()
    stopped.communicate()
    check("all clients are gone", until(lambda: not daemon.ask("clients")["clients"]), failed)


def main():
    for name in vram_daemon.missing(["vramd", "vramctl", "examples/walk"]):
        print(f"SKIP: {name} is not built")
        return 77
    folder = tempfile.mkdtemp(prefix="vram-takeover-", dir=os.environ.get("TEST_TMP", "/var/tmp"))
    failed = []
    try:
        models = [os.path.join(folder, f"model{i}.gguf") for i in range(2)]
        for model in models:
            subprocess.run(
                [sys.executable, os.path.join(SUPPORT, "gen_gguf.py"), model]
                + ["6", "512", "1536", "8", "4", "512"],
                check=True,
                stdout=subprocess.DEVNULL,
            )
        settings = {"device": {"huge": "never", "chunk": "256K"}, "arbiter": {"grace": f"{GRACE}s"}}
        with vram_daemon.Daemon(str(BUDGET), settings) as daemon:
            scenario(daemon, models, failed)
            print(daemon.log())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
