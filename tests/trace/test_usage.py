#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""vramtrace's command line: what is refused and how, help, completion, and errors that say what to do."""

import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import trace_world as tw  # noqa: E402

VIEWS = ["events", "stalls", "evictions", "io", "pressure"]


def vramtrace(*arguments, **how):
    return subprocess.run([tw.binary("vramtrace")] + list(arguments), stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=60, **how)


def refused(checks):
    """Each is a mistake of the one who typed: exit 2, one sentence, and where help is."""
    for arguments, sentence in [
        ([], "a view is needed"),
        (["walk"], "there is no view 'walk'"),
        (["--walk"], "there is no option --walk"),
        (["events", "1"], "events: unexpected argument '1'"),
        (["stalls", "x"], "interval 'x'"),
        (["stalls", "-1"], "there is no option -1"),
        (["stalls", "0"], "interval '0'"),
        (["stalls", "nan"], "interval 'nan'"),
        (["stalls", "1e99"], "interval '1e99'"),
        (["stalls", "1", "0"], "count '0'"),
        (["stalls", "1", "1.5"], "count '1.5'"),
        (["stalls", "1", "1", "1"], "stalls: unexpected argument '1'"),
        (["io", "--by", "model"], "io has no option --by"),
        (["stalls", "--by", "moon"], "--by moon: tenant, user, model or layer"),
        (["stalls", "--top", "0"], "--top 0"),
        (["stalls", "-e", "charge"], "stalls has no option --event"),
        (["events", "-e", "moon"], "there is no event 'moon'"),
        (["events", "-e", "charge,"], "there is no event ''"),
        (["events", "-p", "x"], "'x' is not the number of a process"),
        (["events", "-p", "0"], "'0' is not the number of a process"),
        (["events", "-p", "99999999999999999999"], "is not the number of a process"),
        (["events", "-u", "no such user"], "there is no user 'no such user'"),
        (["events", "-u", "-1"], "there is no user '-1'"),
        (["events", "-c", "/no/such/group"], "control group /no/such/group"),
        (["events", "-c", "/"], "control group /"),
        (["events", "-c", "/../etc"], "control group /../etc"),
        (["events", "-c", "x" * 300], "File name too long"),
        (["events", "-d", "16"], "'16' is not the number of a device"),
        (["events", "--source", "moon"], "--source moon: auto, tracepoint, raw or usdt"),
        (["events", "--buffer", "1"], "--buffer 1: a size from 4K to 1G"),
        (["events", "--buffer", "2G"], "--buffer 2G: a size from 4K to 1G"),
        (["events", "--vramd", "-1"], "'-1' is not the number of a process"),
    ]:
        done = vramtrace(*arguments)
        good = done.returncode == 2 and sentence in done.stderr and "Try 'vramtrace --help'." in done.stderr
        # Without that hierarchy no control group is known at all.
        good = good or (done.returncode == 2 and "control group" in done.stderr and "-c" in arguments)
        checks.true(f"refused: {' '.join(arguments)[:40]}", good and not done.stdout, (done.returncode, done.stderr))


def help_and_completion(checks):
    done = vramtrace("--help")
    checks.true("--help", done.returncode == 0 and all(f"  {v}" in done.stdout for v in VIEWS), done.stdout)
    for view in VIEWS:
        done = vramtrace(view, "--help")
        checks.true(f"{view} --help", done.returncode == 0 and f"Usage: vramtrace {view}" in done.stdout)
        checks.equal(f"{view}: --by is for stalls", "--by" in done.stdout, view == "stalls")
    done = vramtrace("--version")
    checks.true("--version", done.returncode == 0 and done.stdout.startswith("vramtrace "))
    words = vramtrace("--complete").stdout.split()
    checks.true("completion: views and options", set(VIEWS) <= set(words) and "--json" in words, words)
    words = vramtrace("--complete", "stalls").stdout.split()
    checks.true("completion behind a view", "--by" in words and "events" not in words, words)


def nothing_there(checks):
    """Errors of the world: exit 1, and what to do."""
    with tempfile.TemporaryDirectory() as folder:
        socket = os.path.join(folder, "none.sock")
        done = vramtrace("--socket", socket, "io")
        checks.true("no daemon", done.returncode == 1 and "vramd" in done.stderr and
                    ("vramd --user" in done.stderr or "--vramd PID" in done.stderr), done.stderr)
        done = vramtrace("--socket", socket, "--source", "usdt", "events")
        checks.true("no daemon for its probes", done.returncode == 1 and socket in done.stderr, done.stderr)
    done = vramtrace("--vramd", "4194304", "io")
    checks.true("no such process", done.returncode == 1 and "there is none" in done.stderr, done.stderr)
    done = vramtrace("--vramd", str(os.getpid()), "--source", "usdt", "events")
    checks.true("not a vramd", done.returncode == 1 and "has no probe vram:" in done.stderr, done.stderr)
    if os.geteuid() != 0:
        return
    with tw.World() as w:
        os.chmod(w.daemon.dir, 0o755)
        os.chmod(os.path.dirname(w.daemon.socket), 0o755)

        def nobody():
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        done = vramtrace("--vramd", str(w.daemon.process.pid), "events", preexec_fn=nobody, cwd="/")
        checks.true("not root", done.returncode == 1 and "root" in done.stderr and "sudo" in done.stderr, done.stderr)
        if not tw.with_module() and not os.path.exists("/sys/module/vram"):
            done = vramtrace("--socket", w.daemon.socket, "--source", "tracepoint", "events")
            checks.true("no module", done.returncode == 1 and "is it loaded" in done.stderr, done.stderr)


def run(checks):
    refused(checks)
    help_and_completion(checks)
    nothing_there(checks)


tw.main(run)
