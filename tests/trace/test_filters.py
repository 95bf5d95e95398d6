#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Filters in the kernel: what they let through, and what they keep out, is what an unfiltered trace says it should be."""

import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import trace_world as tw  # noqa: E402

NOBODY = 65534
# One event of each sort: to let go of a probe takes newer kernels 90 ms.
EVENTS = ("events", "-e", "session*,charge,evict,limit_hit,stall_end,io_end")


def about(event, sessions):
    """Does the event tell of one of these sessions?"""
    return event.get("session") in sessions or event.get("needed_session") in sessions


def same(checks, what, all_events, filtered, keep):
    """filtered has what of all_events is kept, no more and no less."""
    names = {e["event"] for e in all_events.events()} - {"vram_share_new", "vram_share_free"}
    for name in sorted(names):
        should = [e for e in all_events.events(name) if keep(e)]
        is_ = filtered.events(name)
        checks.equal(f"{what}: {name}", len(is_), len(should))
        strip = [{k: v for k, v in e.items() if k != "time_ns"} for e in should]
        checks.true(f"{what}: {name}, the same ones",
                    [{k: v for k, v in e.items() if k != "time_ns"} for e in is_] == strip)
    checks.equal(f"{what}: lost", filtered.lost(), 0)


def cgroup_root():
    with open("/proc/self/mountinfo", encoding="utf-8") as f:
        for line in f:
            left, right = line.split(" - ")
            if right.split()[0] == "cgroup2":
                return left.split()[4]
    return None


def own_cgroup():
    """A control group of the test's own and its path, or None where none may be made."""
    root = cgroup_root()
    try:
        path = tempfile.mkdtemp(prefix="vram-trace-", dir=root) if root else None
    except OSError:
        return None, None
    return path, path and path[len(root):]


def processes(checks):
    """Two programs at the same time: -p takes one of them, with what it takes from the other."""
    with tw.World(budget=12 << 20) as w:
        # Its process has to be known before it begins: a shell that becomes the program.
        held = subprocess.Popen(["sh", "-c", 'read line; exec "$@"', "sh"] + w.walk_command(2), stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        other = os.path.join(w.folder, "other.gguf")
        with open(w.model, "rb") as f, open(other, "wb") as g:
            g.write(f.read())
        with tw.Trace(w.daemon, *EVENTS) as everything, tw.Trace(w.daemon, "-p", str(held.pid), *EVENTS) as one, \
                tw.Trace(w.daemon, "-p", "1", *EVENTS) as none:
            w.model = other
            second = w.walk_start(2)
            out, _ = held.communicate("go\n", timeout=240)
            checks.true("it went on", held.returncode == 0 and "wrong=0" in out, out)
            w.walk_end(second)
            w.settle()
        same(checks, "-p", everything, one,
             lambda e: held.pid in (e.get("pid"), e.get("needed_pid")))
        checks.true("-p: it had something", len(one.events("vram_charge")) >= tw.MODEL_CHUNKS)
        checks.equal("-p of another", [e["event"] for e in none.events() if not e["event"].startswith("vram_share")], [])


def users_and_groups(checks):
    """Of three programs one is another user's, one is in a control group; one was there before."""
    cgroup, path = own_cgroup()
    w = tw.World()
    # The machine's kind of daemon: others may come. The folders above have to let them through.
    w.daemon.mode = lambda: (["--socket", w.daemon.socket, "--set", f"swap.path={w.daemon.dir}"] +
                             ([] if tw.with_module() else ["--set", "arbiter.use=local"]))
    os.makedirs(os.path.dirname(w.daemon.socket), exist_ok=True)
    for folder in (w.daemon.dir, os.path.dirname(w.daemon.socket), w.folder):
        os.chmod(folder, 0o755)
    try:
        with w:
            users(checks, w)
            if cgroup:
                groups(checks, w, cgroup, path)
            else:
                print("no control group can be made here: -c is not tried")
    finally:
        if cgroup:
            os.rmdir(cgroup)


def users(checks, w):
    def other_user():
        if tw.with_module():
            os.setgroups([990])
        else:
            os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)

    os.chmod(w.model, 0o644)
    with tw.Trace(w.daemon, *EVENTS) as everything, tw.Trace(w.daemon, "-u", str(NOBODY), *EVENTS) as one, \
            tw.Trace(w.daemon, "-u", "daemon", *EVENTS) as none:
        w.walk()
        w.walk_end(w.walk_start(preexec_fn=other_user, cwd="/"))
        w.settle()
        w.evict_all()
    mine = {e["session"] for e in everything.events("vram_session_open") if e["uid"] == NOBODY}
    checks.equal("-u: sessions of the other user", len(mine), 1)
    same(checks, "-u", everything, one, lambda e: about(e, mine))
    checks.equal("-u of another", [e["event"] for e in none.events() if not e["event"].startswith("vram_share")], [])


def groups(checks, w, cgroup, path):
    def enter():
        with open(os.path.join(cgroup, "cgroup.procs"), "w", encoding="ascii") as f:
            f.write("0")

    # This one is there before the tracer is.
    early = subprocess.Popen(["sh", "-c", 'echo $$; read line; exec "$@"', "sh"] + w.walk_command(3),
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             preexec_fn=enter)
    early.stdout.readline()
    with tw.Trace(w.daemon, *EVENTS) as everything, tw.Trace(w.daemon, "-c", path, *EVENTS) as one, \
            tw.Trace(w.daemon, "-c", cgroup, "-p", "1", *EVENTS) as none:
        w.walk()
        w.walk(preexec_fn=enter)
        out, _ = early.communicate("go\n", timeout=240)
        checks.true("it went on", early.returncode == 0 and "wrong=0" in out, out)
        w.settle()
        w.evict_all()
        w.walk(preexec_fn=enter)
    mine = [e["session"] for e in everything.events("vram_session_open")]
    checks.equal("-c: sessions", len(mine), 4)
    mine = set(mine[1:])
    same(checks, "-c", everything, one, lambda e: about(e, mine))
    checks.true("-c: it had something", len(one.events("vram_charge")) > 0)
    checks.equal("-c and -p", [e["event"] for e in none.events() if not e["event"].startswith("vram_share")], [])


def devices(checks):
    """There is one device; the numbers of others keep everything out that names a device."""
    with tw.World() as w:
        # Other devices may be in the module from before.
        with tw.Trace(w.daemon, *EVENTS) as everything:
            w.walk()
        number = everything.events("vram_charge")[0]["dev"]
        w.evict_all()
        with tw.Trace(w.daemon, *EVENTS) as everything, tw.Trace(w.daemon, "-d", str(number), *EVENTS) as one, \
                tw.Trace(w.daemon, "-d", str(number + 1), *EVENTS) as none:
            w.walk()
        same(checks, "-d", everything, one, lambda e: True)
        checks.equal("-d of another", sorted(e["event"] for e in none.events()),
                     ["vram_session_close", "vram_session_open"])


def run(checks):
    tw.run_parts(checks, [processes, users_and_groups], [devices])


tw.main(run)
