#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Limits as an administrator has them: rules in limits.d and at run time, for users, groups, cgroups and programs. What
they do is measured in bytes resident, as the kernel counts the daemon's memory files."""

import grp
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.environ["VRAM_SRC"], "tests", "support"))
import gen_gguf  # noqa: E402
import vram_daemon  # noqa: E402
import vram_wire  # noqa: E402

M = 1 << 20
BUDGET = 24 * M
UID = os.getuid()
CGROUPS = next((path for path in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")
                if os.path.exists(os.path.join(path, "cgroup.procs"))), None)


def my_group():
    """A group of the caller's that has a name."""
    for gid in [pwd.getpwuid(UID).pw_gid, *sorted(os.getgroups())]:
        try:
            return grp.getgrgid(gid)
        except KeyError:
            pass
    return None


class World(unittest.TestCase):
    """A folder with a model, a program that walks it, rules, and daemons that read them."""

    @classmethod
    def setUpClass(cls):
        cls.top = tempfile.mkdtemp(prefix="vram-rules-")
        os.chmod(cls.top, 0o755)
        cls.model = os.path.join(cls.top, "model.gguf")
        # About 15 MB in 12 layers and the embeddings.
        gen_gguf.generate(cls.model, (12, 256, 1024, 8, 8, 4096))
        cls.size = os.stat(cls.model).st_size
        cls.engine = os.path.join(cls.top, "engine")
        shutil.copy(os.path.join(vram_daemon.build_dir(), "examples", "walk"), cls.engine)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.top)

    def setUp(self):
        self.dir = os.path.join(self.top, "limits.d")
        shutil.rmtree(self.dir, ignore_errors=True)
        os.mkdir(self.dir, 0o755)

    def rules(self, name, text):
        with open(os.path.join(self.dir, name), "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(f.name, 0o644)

    def daemon(self):
        daemon = vram_daemon.Daemon(str(BUDGET), {
            "device": {"chunk": "256K", "huge": "never"}, "limits": {"dir": self.dir}, "policy": {"keep": "0"}})
        daemon.__enter__()
        self.addCleanup(daemon.__exit__, None, None, None)
        return daemon

    def vramctl(self, daemon, *args, timeout=60):
        return subprocess.run(
            [os.path.join(daemon.build, "vramctl"), "--socket", daemon.socket, *args], env=daemon.env,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False)

    def ok(self, daemon, *args):
        done = self.vramctl(daemon, *args)
        self.assertEqual((done.returncode, done.stderr), (0, ""), args)
        return done.stdout

    def row(self, daemon, subject):
        return json.loads(self.ok(daemon, "-j", "limit", "show", subject))["limits"][0]

    def walk(self, daemon, program=None, preexec_fn=None):
        process = subprocess.Popen(
            [program or self.engine, "-s", daemon.socket, "-p", "1000000", self.model],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, preexec_fn=preexec_fn)
        self.addCleanup(self.end, process)
        return process

    def end(self, process):
        process.kill()
        process.wait()

    def until(self, what, *args):
        deadline = time.monotonic() + 60
        while not what(*args):
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.02)

    def status(self, daemon):
        """Over one connection: a program for each look would see less."""
        if getattr(self, "asked", None) is not daemon:
            self.asked, self.wire = daemon, vram_wire.Client(daemon.socket)
            self.addCleanup(self.wire.sock.close)
            self.assertEqual(self.wire.hello(flags=vram_wire.HELLO_ADMIN)[2], 0)
        return self.wire.admin({"command": "status"})

    def resident(self, daemon):
        return self.status(daemon)["devices"][0]["memory_bytes"]

    def know_groups(self, daemon, uid):
        """On a machine that is busy the answer may come after the session has begun."""
        self.until(lambda: self.row(daemon, f"user:{uid}")["rules"]["max"].startswith("group:"))

    def measure(self, daemon):
        """The most that is resident while twice the model is loaded, or while all of it stays."""
        most, steady, looks = 0, 0, 0
        begin = loaded = self.status(daemon)["paged_in_bytes"]
        deadline = time.monotonic() + 60
        while (loaded - begin < 2 * self.size or looks < 20) and steady < 20:
            looks += 1
            status = self.status(daemon)
            now, loaded = status["devices"][0]["memory_bytes"], status["paged_in_bytes"]
            steady = steady + 1 if now == most and now >= self.size * 0.95 else 0
            most = max(most, now)
            self.assertLess(time.monotonic(), deadline, (most, loaded - begin))
            time.sleep(0.02)
        return most


class Subjects(World):
    """One kind after the other: what its rule leaves is what is resident, and no less than half of it is used."""

    def check(self, daemon, most):
        got = self.measure(daemon)
        self.assertLessEqual(got, most)
        self.assertGreater(got, most / 2)

    def test_none(self):
        daemon = self.daemon()
        self.walk(daemon)
        self.assertGreaterEqual(self.measure(daemon), self.size * 0.95)

    def test_user(self):
        self.rules("50.conf", f"[user:{pwd.getpwuid(UID).pw_name}]\nvram.max = 25%\n")
        daemon = self.daemon()
        self.walk(daemon)
        self.check(daemon, BUDGET // 4)
        row = self.row(daemon, f"user:{UID}")
        self.assertEqual((row["max"], row["rules"]["max"]), (BUDGET // 4, "limits.d/50.conf:2"))
        self.assertEqual(row["rules"]["min"], "built in")

    @unittest.skipUnless(my_group(), "no group of this user has a name")
    def test_group_by_name_and_number(self):
        group = my_group()
        self.rules("50.conf", f"[default]\nvram.max = 1M\n[group:{group.gr_name}]\nvram.max = 6M\n")
        daemon = self.daemon()
        self.know_groups(daemon, UID)
        self.walk(daemon)
        self.check(daemon, 6 * M)
        why = self.row(daemon, f"user:{UID}")["rules"]["max"]
        self.assertEqual(why, f"group:{group.gr_name} in limits.d/50.conf:4")
        self.ok(daemon, "limit", "set", f"group:{group.gr_gid}", "vram.max=8M")
        self.check(daemon, 8 * M)
        why = self.row(daemon, f"user:{UID}")["rules"]["max"]
        self.assertEqual(why, f"group:{group.gr_gid}, set at run time by user {UID}")

    def test_default(self):
        self.rules("50.conf", "[default]\nvram.max = 6M\n")
        daemon = self.daemon()
        self.walk(daemon)
        self.check(daemon, 6 * M)
        self.assertEqual(self.row(daemon, f"user:{UID}")["rules"]["max"], "default in limits.d/50.conf:2")

    def test_exe(self):
        other = os.path.join(self.top, "other engine]")
        shutil.copy(self.engine, other)
        self.rules("50.conf", f"[exe:{other}]\nvram.max = 6M\n")
        daemon = self.daemon()
        process = self.walk(daemon, other)
        self.check(daemon, 6 * M)
        self.assertEqual(self.row(daemon, f"exe:{other}")["rules"]["max"], "limits.d/50.conf:2")
        self.end(process)
        # The same program under another name is another one.
        self.walk(daemon)
        self.assertGreaterEqual(self.measure(daemon), self.size * 0.95)

    @unittest.skipUnless(CGROUPS and os.access(CGROUPS, os.W_OK), "no cgroups (version 2) can be made here")
    def test_cgroup_and_below(self):
        name = f"vram-rules-{os.getpid()}"
        outer = os.path.join(CGROUPS, name)
        inner = os.path.join(outer, "a b")
        os.makedirs(inner)
        self.addCleanup(os.rmdir, outer)
        self.addCleanup(os.rmdir, inner)
        self.rules("50.conf", f"[cgroup:/{name}]\nvram.max = 6M\n[cgroup:/{name}/a b]\nvram.weight = 300\n")
        daemon = self.daemon()

        def enter():
            with open(os.path.join(inner, "cgroup.procs"), "w", encoding="ascii") as f:
                f.write("0")

        process = self.walk(daemon, preexec_fn=enter)
        self.check(daemon, 6 * M)
        row = self.row(daemon, f"cgroup:/{name}")
        self.assertEqual((row["max"], row["rules"]["max"]), (6 * M, "limits.d/50.conf:2"))
        self.assertEqual(self.row(daemon, f"cgroup:/{name}/a b")["weight"], 300)
        self.assertGreater(row["usage_bytes"], 3 * M)
        self.end(process)

    def test_session(self):
        daemon = self.daemon()
        process = self.walk(daemon)
        self.until(lambda: daemon.ask("clients")["clients"])
        session = next(c["id"] for c in daemon.ask("clients")["clients"] if c["pid"] == process.pid)
        self.ok(daemon, "limit", "set", f"session:{session}", "vram.max=6M", "--wait")
        self.check(daemon, 6 * M)
        done = self.vramctl(daemon, "limit", "set", f"session:{session}", "vram.max=6M", "--save")
        self.assertEqual(done.returncode, 1)
        self.assertIn("a session ends", done.stderr)
        self.end(process)
        self.until(lambda: not daemon.ask("clients")["clients"])
        self.assertEqual(json.loads(self.ok(daemon, "-j", "limit", "list"))["rules"], [])


class Changing(World):
    def test_lowering_takes_and_tells(self):
        daemon = self.daemon()
        self.walk(daemon)
        self.until(lambda: self.resident(daemon) >= self.size * 0.9)
        done = self.vramctl(daemon, "-j", "limit", "set", f"user:{UID}", "vram.max=6M")
        answer = json.loads(done.stdout)
        self.assertEqual(answer["settings"], 1)
        # What could go at once has gone; of the rest it says how much that is.
        for over in answer["over"]:
            self.assertEqual((over["subject"], over["tier"], over["key"], over["limit_bytes"]),
                             (f"user:{UID}", "vram", "max", 6 * M))
            self.assertEqual(over["over_bytes"], over["usage_bytes"] - 6 * M)
        if not answer["over"]:
            self.assertLessEqual(self.row(daemon, f"user:{UID}")["usage_bytes"], 6 * M)
        # It is taken without anybody asking again; --wait ends when it is.
        answer = json.loads(self.ok(daemon, "-j", "limit", "set", f"user:{UID}", "vram.max=6M", "--wait"))
        self.assertEqual(answer["over"], [])
        self.assertLessEqual(self.row(daemon, f"user:{UID}")["usage_bytes"], 6 * M)
        self.assertLessEqual(self.measure(daemon), 6 * M)
        self.ok(daemon, "limit", "reset", f"user:{UID}")
        self.until(lambda: self.resident(daemon) >= self.size * 0.95)

    def test_reload(self):
        self.rules("50.conf", "[default]\nvram.max = 12M\n")
        daemon = self.daemon()
        self.walk(daemon)
        self.assertLessEqual(self.measure(daemon), 12 * M)
        self.rules("50.conf", "[default]\nvram.max = 6M\n")
        self.assertEqual(self.ok(daemon, "reload"), "1 rules in 1 files\n")
        self.until(lambda: self.resident(daemon) <= 6 * M)
        self.rules("60.conf", f"[user:{UID}]\nvram.max = 8M\n")
        daemon.process.send_signal(signal.SIGHUP)
        self.until(lambda: self.row(daemon, f"user:{UID}")["max"] == 8 * M)
        # Taken out of the files it is gone.
        os.unlink(os.path.join(self.dir, "60.conf"))
        self.ok(daemon, "reload")
        self.assertEqual(self.row(daemon, f"user:{UID}")["max"], 6 * M)

    def test_mistake_is_refused_whole(self):
        self.rules("50.conf", "[default]\nvram.max = 6M\n")
        daemon = self.daemon()
        before = self.ok(daemon, "-j", "limit", "list")
        self.rules("10.conf", "[default]\nvram.low = 1M\n")
        self.rules("60.conf", "[default]\nvram.max = 12M\nvram.high = lots\n")
        done = self.vramctl(daemon, "reload")
        place = os.path.join(self.dir, "60.conf") + ":3: vram.high: 'lots' is no size"
        self.assertEqual(done.returncode, 1)
        self.assertTrue(done.stderr.startswith(f"vramctl: {place}"), done.stderr)
        self.assertEqual(self.ok(daemon, "-j", "limit", "list"), before)
        self.assertIn(f"configuration not taken, everything stays as it is: {place}", daemon.log())
        daemon.process.send_signal(signal.SIGHUP)
        self.until(lambda: daemon.log().count("configuration not taken") == 2)
        self.assertEqual(self.ok(daemon, "-j", "limit", "list"), before)
        # Nor does a daemon start with it, or a check pass.
        daemon.stop()
        with self.assertRaisesRegex(vram_daemon.DaemonError, "60.conf:3: vram.high"):
            self.daemon()
        done = subprocess.run(
            [os.path.join(daemon.build, "vramd"), "--check-config", "--set", f"limits.dir={self.dir}"],
            capture_output=True, text=True, timeout=60, check=False, env=daemon.env)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertTrue(done.stderr.startswith(f"vramd: {place}"), done.stderr)
        os.unlink(os.path.join(self.dir, "60.conf"))
        done = subprocess.run(
            [os.path.join(daemon.build, "vramd"), "--check-config", "--set", f"limits.dir={self.dir}"],
            capture_output=True, text=True, timeout=60, check=True, env=daemon.env)
        self.assertIn(f"# 2 rules in 2 files of {self.dir}", done.stdout)

    def test_saved_outlives_the_daemon(self):
        saved = os.path.join(self.dir, "90-vramctl.conf")
        daemon = self.daemon()
        name = pwd.getpwuid(UID).pw_name
        self.assertIn(f"saved in {saved}",
                      self.ok(daemon, "limit", "set", f"user:{name}", "vram.max=25%", "vram.weight=300", "--save"))
        self.ok(daemon, "limit", "set", "exe:/opt/x", "vram.max=1G")
        self.ok(daemon, "limit", "set", f"user:{UID}", "vram.low=1M")
        self.assertEqual(os.stat(saved).st_mode & 0o777, 0o644)
        with open(saved, encoding="utf-8") as f:
            self.assertTrue(f.read().endswith(f"\n[user:{name}]\nvram.max = 25%\nvram.weight = 300\n"))
        daemon.stop()
        daemon = self.daemon()
        row = self.row(daemon, f"user:{UID}")
        self.assertEqual((row["max"], row["weight"], row["low"]), (BUDGET // 4, 300, 0))
        self.assertTrue(row["rules"]["max"].startswith("limits.d/90-vramctl.conf:"), row)
        # What was set at run time has gone with its daemon, with the module too.
        rules = json.loads(self.ok(daemon, "-j", "limit", "list"))["rules"]
        self.assertEqual({(r["subject"], r["key"]) for r in rules}, {(f"user:{name}", "max"), (f"user:{name}", "weight")})
        self.assertEqual(self.row(daemon, "exe:/opt/x")["max"], "max")
        # By its number it is the same user.
        self.ok(daemon, "limit", "reset", f"user:{UID}", "vram.max", "--save")
        self.assertEqual(self.row(daemon, f"user:{UID}")["max"], "max")
        with open(saved, encoding="utf-8") as f:
            self.assertTrue(f.read().endswith(f"\n[user:{name}]\nvram.weight = 300\n"))

    @unittest.skipIf(vram_daemon.wants_module(), "the machine's daemon has /etc/vramd")
    def test_saved_where_no_folder_is(self):
        """A user who has no ~/.config/vramd yet, nor ~/.config."""
        daemon = vram_daemon.Daemon(str(BUDGET))
        home = os.path.join(daemon.dir, "home")
        os.mkdir(home, 0o700)
        daemon.env["HOME"] = home
        daemon.env.pop("XDG_CONFIG_HOME", None)
        daemon.__enter__()
        self.addCleanup(daemon.__exit__, None, None, None)
        saved = os.path.join(home, ".config/vramd/limits.d/90-vramctl.conf")
        self.assertIn(f"saved in {saved}", self.ok(daemon, "limit", "set", "default", "vram.max=50%", "--save"))
        self.assertEqual(os.stat(os.path.join(home, ".config")).st_mode & 0o777, 0o700)
        self.assertTrue(os.path.isfile(saved))

    def test_file_that_shadows_is_told(self):
        self.rules("99.conf", f"[user:{UID}]\nvram.max = 4M\n")
        daemon = self.daemon()
        done = self.vramctl(daemon, "limit", "set", f"user:{UID}", "vram.max=8M", "--save")
        self.assertEqual(done.returncode, 0)
        self.assertIn("limits.d/99.conf:2 sets the same and is read later", done.stderr)
        self.assertEqual(self.row(daemon, f"user:{UID}")["max"], 8 * M)

    def test_run_time_goes_before_files_and_back(self):
        self.rules("50.conf", f"[user:{UID}]\nvram.max = 4M\nvram.low = 1M\n")
        daemon = self.daemon()
        self.ok(daemon, "limit", "set", f"user:{UID}", "vram.max=8M")
        row = self.row(daemon, f"user:{UID}")
        self.assertEqual((row["max"], row["rules"]["max"]), (8 * M, f"set at run time by user {UID}"))
        rules = json.loads(self.ok(daemon, "-j", "limit", "list"))["rules"]
        self.assertEqual([(r["source"], r["key"], r["in_force"]) for r in rules], [
            ("limits.d/50.conf:2", "max", False), ("limits.d/50.conf:3", "low", True),
            (f"set at run time by user {UID}", "max", True)])
        self.ok(daemon, "reload")
        self.assertEqual(self.row(daemon, f"user:{UID}")["max"], 8 * M)
        self.ok(daemon, "limit", "reset", f"user:{UID}", "vram.max")
        self.assertEqual(self.row(daemon, f"user:{UID}")["max"], 4 * M)
        self.assertIn("Nothing had been set at run time", self.ok(daemon, "limit", "reset", f"user:{UID}"))

    def test_names_that_nobody_has(self):
        self.rules("50.conf", "[user:no-such-user]\nvram.max = 4M\n[group:no-such-group]\nvram.max = 4M\n")
        daemon = self.daemon()
        rules = json.loads(self.ok(daemon, "-j", "limit", "list"))["rules"]
        self.assertEqual([(r["known"], r["in_force"]) for r in rules], [(False, False)] * 2)
        self.assertIn("limits.d/50.conf:2: there is no user 'no-such-user'", daemon.log())
        self.assertIn("limits.d/50.conf:4: there is no group 'no-such-group'", daemon.log())
        for subject in ("user:no-such-user", "group:no-such-group"):
            done = self.vramctl(daemon, "limit", "set", subject, "vram.max=4M")
            self.assertEqual(done.returncode, 1)
            self.assertIn("there is no ", done.stderr)


if __name__ == "__main__":
    for missing in vram_daemon.missing(["vramd", "vramctl", "examples/walk"]):
        print(f"{missing} is not built")
        sys.exit(77)
    unittest.main(verbosity=2)
