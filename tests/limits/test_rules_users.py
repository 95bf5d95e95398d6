#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Rules for users who are not the daemon's: their groups, their programs, and what they may change themselves."""

import grp
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.environ["VRAM_SRC"], "tests", "support"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_rules  # noqa: E402
import vram_daemon  # noqa: E402
import vram_wire  # noqa: E402

M = test_rules.M
NOBODY = 65534


def groups():
    """Of who may reach the socket and the module's device, where that is not everybody."""
    try:
        return [grp.getgrnam("vram").gr_gid]
    except KeyError:
        return []


def become_nobody():
    os.setgroups(groups())
    os.setgid(NOBODY)
    os.setuid(NOBODY)


class System(vram_daemon.Daemon):
    """The system's daemon, which other users reach."""

    def mode(self):
        os.chmod(self.dir, 0o755)
        if vram_daemon.wants_module():
            return super().mode()
        os.makedirs(os.path.dirname(self.socket), exist_ok=True)
        return ["--socket", self.socket, "--set", "arbiter.use=local", "--set", f"swap.path={self.dir}"]


class Users(test_rules.World):
    def daemon(self):
        daemon = System(str(test_rules.BUDGET), {
            "device": {"chunk": "256K", "huge": "never"}, "limits": {"dir": self.dir}, "policy": {"keep": "0"}})
        daemon.__enter__()
        self.addCleanup(daemon.__exit__, None, None, None)
        return daemon

    def setUp(self):
        super().setUp()
        # The build folder may be one that others do not reach.
        self.vramctl_copy = os.path.join(self.top, "vramctl")
        with open(os.path.join(vram_daemon.build_dir(), "vramctl"), "rb") as f, open(self.vramctl_copy, "wb") as to:
            to.write(f.read())
        os.chmod(self.vramctl_copy, 0o755)

    def as_nobody(self, daemon, *args):
        return subprocess.run([self.vramctl_copy, "--socket", daemon.socket, *args], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=60, check=False, preexec_fn=become_nobody)

    def session(self, daemon, process):
        self.until(lambda: any(c["pid"] == process.pid for c in daemon.ask("clients")["clients"]))
        return next(c["id"] for c in daemon.ask("clients")["clients"] if c["pid"] == process.pid)

    def test_program_of_another_user(self):
        self.rules("50.conf", f"[exe:{self.engine}]\nvram.max = 6M\n")
        daemon = self.daemon()
        self.walk(daemon, preexec_fn=become_nobody)
        most = self.measure(daemon)
        self.assertLessEqual(most, 6 * M)
        self.assertGreater(most, 3 * M)
        self.assertGreater(self.row(daemon, f"exe:{self.engine}")["usage_bytes"], 0)

    def test_group_of_another_user(self):
        self.rules("50.conf", f"[group:{NOBODY}]\nvram.max = 6M\n[user:0]\nvram.max = 1M\n")
        daemon = self.daemon()
        self.know_groups(daemon, NOBODY)
        self.walk(daemon, preexec_fn=become_nobody)
        self.assertLessEqual(self.measure(daemon), 6 * M)
        row = self.row(daemon, f"user:{NOBODY}")
        self.assertEqual((row["max"], row["rules"]["max"]), (6 * M, f"group:{NOBODY} in limits.d/50.conf:2"))
        # It sees its own alone, and what is for everybody.
        rules = json.loads(self.as_nobody(daemon, "-j", "limit", "list").stdout)["rules"]
        self.assertEqual([r["subject"] for r in rules], [f"group:{NOBODY}"])
        done = self.as_nobody(daemon, "limit", "show", "user:0")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("there is no 'user:0' of yours", done.stderr)

    def test_lowering_own_sessions(self):
        daemon = self.daemon()
        mine = self.session(daemon, self.walk(daemon, preexec_fn=become_nobody))
        self.ok(daemon, "limit", "set", f"session:{mine}", "vram.max=12M")
        done = self.as_nobody(daemon, "limit", "set", f"session:{mine}", "vram.max=6M", "vram.weight=50", "--wait")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(done.stdout, ("", "nobody is above what was set\n"))
        self.assertLessEqual(self.row(daemon, f"session:{mine}")["usage_bytes"], 6 * M)
        self.assertEqual(self.row(daemon, f"session:{mine}")["rules"]["max"], f"set at run time by user {NOBODY}")
        for args, says in (
            (("set", f"session:{mine}", "vram.max=7M"), "you can lower limits"),
            (("set", f"session:{mine}", "vram.max=12M"), "you can lower limits"),
            (("set", f"session:{mine}", "vram.max=default"), "you can lower limits"),
            (("set", f"session:{mine}", "vram.max=5M", "vram.weight=51"), "you can lower limits"),
            (("set", f"session:{mine}", "vram.min=1M"), "you can lower limits"),
            (("set", f"session:{mine}", "vram.low=1%"), "you can lower limits"),
            (("reset", f"session:{mine}"), "is for root"),
            (("set", f"user:{NOBODY}", "vram.max=1M"), "are for root"),
            (("set", "default", "vram.max=1M"), "are for root"),
            (("set", f"group:{NOBODY}", "vram.max=1M", "--save"), "are for root"),
            (("set", f"exe:{self.engine}", "vram.max=1M"), "are for root"),
        ):
            done = self.as_nobody(daemon, "limit", *args)
            self.assertEqual((done.returncode, done.stdout), (1, ""), args)
            self.assertIn(says, done.stderr)
        self.assertEqual(self.row(daemon, f"session:{mine}")["max"], 6 * M)
        self.assertEqual(os.listdir(self.dir), [])
        done = self.as_nobody(daemon, "reload")
        self.assertIn("reload is for root", done.stderr)

    def test_lower_stays_lower_when_the_budget_changes(self):
        daemon = self.daemon()
        mine = self.session(daemon, self.walk(daemon, preexec_fn=become_nobody))

        def values():
            with vram_wire.admin_client(daemon.socket) as client:
                rules = client.admin({"command": "limit_list"})["rules"]
            return {r["key"]: r["value"] for r in rules if r["subject"] == f"session:{mine}"}

        self.ok(daemon, "limit", "set", f"session:{mine}", "vram.max=12M", "vram.high=50%")
        # A percentage of a device that grows would be more than the administrator's bytes.
        self.assertEqual(self.as_nobody(daemon, "limit", "set", f"session:{mine}", "vram.max=25%").returncode, 0)
        self.assertEqual(values(), {"max": "6M", "high": "50%"})
        # And of one that shrinks, less than bytes of one's own.
        for value in ("1M", "51%"):
            done = self.as_nobody(daemon, "limit", "set", f"session:{mine}", f"vram.high={value}")
            self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("you can lower", done.stderr)
        self.assertEqual(self.as_nobody(daemon, "limit", "set", f"session:{mine}", "vram.high=25%").returncode, 0)
        self.assertEqual(values(), {"max": "6M", "high": "25%"})

    def test_what_users_do_does_not_fill_the_log(self):
        daemon = self.daemon()
        mine = self.session(daemon, self.walk(daemon, preexec_fn=become_nobody))
        pid = os.fork()
        if pid == 0:
            try:
                become_nobody()
                with vram_wire.admin_client(daemon.socket) as client:
                    for _ in range(100):
                        client.admin({"command": "pause", "session": mine})
                        client.admin({"command": "resume", "target": f"session:{mine}"})
                        client.admin({"command": "limit_set", "subject": f"session:{mine}",
                                      "settings": ["vram.weight=50"]})
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        self.assertEqual(self.row(daemon, f"session:{mine}")["weight"], 50)
        lines = [line for line in daemon.log().splitlines() if f"by user {NOBODY}" in line]
        self.assertTrue(1 <= len(lines) < 150, len(lines))
        # What an administrator does is there to the last of it.
        for i in range(20):
            self.ok(daemon, "limit", "set", f"session:{mine}", f"vram.weight={20 + i}")
        self.assertEqual(sum("vram.weight=" in line and "by user 0" in line
                             for line in daemon.log().splitlines()), 20)

    @unittest.skipIf(os.environ.get("SAN") or not shutil.which("cc"), "puts a library before the daemon's")
    def test_names_of_others_do_not_hold_up_the_daemon(self):
        slow = os.path.join(self.top, "slow.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-o", slow, "-"], text=True, check=True, input="""
            #include <errno.h>
            #include <pwd.h>
            #include <unistd.h>
            struct passwd *getpwnam(const char *name)
            {
                usleep(name[0] == 'x' ? 100000 : 0);
                errno = 0;
                return 0;
            }""")
        os.environ["LD_PRELOAD"] = slow
        try:
            daemon = self.daemon()
        finally:
            del os.environ["LD_PRELOAD"]
        asked = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                become_nobody()
                with vram_wire.admin_client(daemon.socket) as client:
                    got = [client.admin({"command": "limit_show", "subject": f"user:x{i}"})["errno"] for i in range(4)]
                os.write(asked[1], " ".join(got).encode())
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        self.assertEqual(os.read(asked[0], 100).decode(), "ENOENT EAGAIN EAGAIN EAGAIN")
        # An administrator's are waited for.
        with vram_wire.admin_client(daemon.socket) as client:
            got = [client.admin({"command": "limit_show", "subject": f"user:x{i}"})["errno"] for i in range(4)]
        self.assertEqual(got, ["ENOENT"] * 4)
        os.close(asked[0])
        os.close(asked[1])

    @unittest.skipIf(vram_daemon.wants_module(), "opens sessions by hand")
    def test_one_user_cannot_fill_the_table(self):
        daemon = self.daemon()
        ready, done = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            become_nobody()
            clients = [vram_wire.Client(daemon.socket) for _ in range(20)]
            bodies = [client.hello()[3] for client in clients]
            os.write(ready[1], b"".join(body[16:24] for body in bodies))
            os.close(done[1])
            os.read(done[0], 1)
            os._exit(0)
        os.close(done[0])
        self.addCleanup(os.waitpid, child, 0)
        self.addCleanup(os.close, done[1])
        sessions = struct.unpack("=20Q", os.read(ready[0], 160))
        keys = [f"{tier}.{key}={value}" for tier in ("vram", "host", "disk")
                for key, value in (("min", 0), ("low", 0), ("high", "9M"), ("max", "9M"), ("weight", 9))]
        refused = [self.as_nobody(daemon, "limit", "set", f"session:{n}", *keys) for n in sessions]
        self.assertEqual([d.returncode for d in refused], [0] * 17 + [1] * 3)
        self.assertIn("too many limits are set by users", refused[-1].stderr)
        self.ok(daemon, "limit", "set", f"session:{sessions[-1]}", *keys)

    def test_sessions_of_others(self):
        daemon = self.daemon()
        theirs = self.session(daemon, self.walk(daemon))
        for args in (("set", f"session:{theirs}", "vram.max=1M"), ("set", "session:99999", "vram.max=1M")):
            done = self.as_nobody(daemon, "limit", *args)
            self.assertEqual(done.returncode, 1)
            # Whether there is one is not said.
            self.assertIn("of yours; limits of others' are for root", done.stderr)
        self.assertEqual(self.row(daemon, f"session:{theirs}")["max"], "max")

    def test_helper_ends_with_the_daemon(self):
        daemon = self.daemon()
        children = subprocess.run(["ps", "-o", "pid=,comm=", "--ppid", str(daemon.process.pid)], capture_output=True,
                                  text=True, check=False).stdout.split()
        self.assertEqual(children[1:], ["vramd-names"])
        with open(f"/proc/{children[0]}/status", encoding="ascii") as f:
            status = dict(line.split(":\t", 1) for line in f if ":\t" in line)
        self.assertIn(int(status["CapPrm"], 16), (1 << 19, 0))  # CAP_SYS_PTRACE
        self.assertEqual(status["NoNewPrivs"].strip(), "1")
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait()
        self.until(lambda: not os.path.exists(f"/proc/{children[0]}"))


def load_tests(loader, _tests, _pattern):
    return loader.loadTestsFromTestCase(Users)


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("needs root, to be another user")
        sys.exit(77)
    for missing in vram_daemon.missing(["vramd", "vramctl", "examples/walk"]):
        print(f"{missing} is not built")
        sys.exit(77)
    unittest.main(verbosity=2)
