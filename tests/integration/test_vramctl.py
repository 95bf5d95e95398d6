#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""vramctl: every command against a daemon with a client, without a daemon, and against what is
none."""

import itertools
import json
import mmap
import os
import pwd
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.environ["VRAM_SRC"], "tests", "support"))
import vram_daemon  # noqa: E402
import vram_wire  # noqa: E402

BUILD, TMP = os.environ["VRAM_BUILD"], os.environ["TEST_TMP"]
VRAMCTL = os.path.join(BUILD, "vramctl")
NOBODY = 65534
LAYER, LAYERS = 2 << 20, 4
MODEL_OPEN, EXTENTS, ACQUIRE = 2, 3, 9
RESIDENT = 2


def vramctl(*args, path=None, wrapper=(), env=None, stdout=subprocess.PIPE):
    done = subprocess.run(
        [*wrapper, VRAMCTL, *(("--socket", path) if path else ()), *args],
        env={**os.environ, "XDG_RUNTIME_DIR": TMP, **(env or {})},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return done


class Model:
    """A client with one model of four layers, all of them resident."""

    def __init__(self, path, name, program=b"engine"):
        self.client = vram_wire.Client(path)
        self.file = os.path.join(TMP, "model")
        with open(self.file, "wb") as f:
            f.write(os.urandom(LAYER * LAYERS))
        self.client.send(vram_wire.HELLO, struct.pack("=IIQ64s", 1, 0, 0, program))
        _, _, error, body, fds = self.client.receive()
        assert error == 0
        self.session, n_slots = struct.unpack_from("=16xQ8xI", body)
        self.table = mmap.mmap(fds[0], n_slots * 64)
        os.close(fds[0])
        with open(self.file, "rb") as f:
            self.client.send(
                MODEL_OPEN,
                struct.pack("=QIIII128s", LAYER * LAYERS, LAYERS, LAYERS, 1, 0, name),
                [f.fileno()],
            )
        extents = b"".join(struct.pack("=QQII", i * LAYER, LAYER, i, 0) for i in range(LAYERS))
        self.client.send(EXTENTS, struct.pack("=II", LAYERS, 0) + extents, seq=self.client.seq)
        _, _, error, body, fds = self.client.receive()
        assert error == 0, vram_wire.text(body)
        os.close(fds[0])
        self.base = struct.unpack_from("=II", body)[1]

    def state(self, layer):
        return struct.unpack_from("=I", self.table, (self.base + layer) * 64)[0] & 7

    def load(self):
        deadline = time.monotonic() + 30
        for layer in range(LAYERS):
            while self.state(layer) != RESIDENT:
                self.client.send(ACQUIRE, struct.pack("=II", self.base + layer, 0), seq=0)
                assert time.monotonic() < deadline, self.state(layer)
                time.sleep(0.01)

    def close(self):
        self.table.close()
        self.client.sock.close()


class WithDaemon(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = vram_daemon.Daemon("64M").__enter__()
        cls.path = cls.daemon.socket
        # A client in another process: whoever asks is not shown.
        ready = os.pipe()
        cls.child = os.fork()
        if cls.child == 0:
            # The parent says "again" after evicting.
            model = Model(cls.path, b"model \x1b[31m.gguf")
            signal.signal(signal.SIGUSR1, lambda *_: None)
            while True:
                model.load()
                os.write(ready[1], struct.pack("=Q", model.session))
                signal.pause()
        cls.ready = ready[0]
        cls.session = struct.unpack("=Q", os.read(cls.ready, 8))[0]

    @classmethod
    def tearDownClass(cls):
        os.kill(cls.child, signal.SIGKILL)
        os.waitpid(cls.child, 0)
        os.close(cls.ready)
        code, log = cls.daemon.stop(), cls.daemon.log()
        cls.daemon.__exit__(None, None, None)
        assert code == 0, log

    def ok(self, *args):
        done = vramctl(*args, path=self.path)
        self.assertEqual((done.returncode, done.stderr), (0, ""), args)
        return done.stdout

    def rows(self, *args):
        """A table as a list of dicts; every row is as long as its titles."""
        lines = self.ok(*args).splitlines()
        first = next(i for i, line in enumerate(lines) if re.match(r"[A-Z0-9 ]+$", line))
        starts = [(m.group(0), m.start(), m.end()) for m in re.finditer(r"\S+", lines[first])]
        return [
            dict(zip((title for title, _, _ in starts), re.split(r"\s{2,}", line.strip())))
            # The first table of it.
            for line in itertools.takewhile(bool, lines[first + 1 :])
        ]

    def refused(self, *args, code=1, says=""):
        done = vramctl(*args, path=self.path)
        self.assertEqual((done.returncode, done.stdout), (code, ""), (args, done))
        self.assertTrue(done.stderr.startswith("vramctl: "), done.stderr)
        self.assertIn(says, done.stderr)

    def test_status(self):
        text = self.ok("status")
        self.assertRegex(text, r"^vramd \d\S*, pid \d+, private; ledger: daemon; sessions: \d+\n")
        self.assertIn("\narbiter: vramd\n", text)
        row = self.rows("status")[0]
        self.assertEqual((row["SIZE"], row["BACKEND"], row["TIER"]), ("64M", "host", "vram"))
        answer = json.loads(self.ok("-j", "status"))
        for key in (
            "version",
            "ledger",
            "arbiter",
            "devices",
            "paged_in_bytes",
            "paged_out_bytes",
            "evicted_bytes",
            "faults",
            "stall_ns",
        ):
            self.assertIn(key, answer)
        self.assertEqual(answer["arbiter"], {"name": "vramd", "generation": 0})
        for key in ("name", "backend", "budget_bytes", "resident_bytes", "peak_bytes"):
            self.assertIn(key, answer["devices"][0])
        self.assertEqual(answer["devices"][0]["budget_bytes"], 64 << 20)
        self.assertGreaterEqual(answer["paged_in_bytes"], LAYER * LAYERS)

    def test_devices(self):
        row = self.rows("devices")[0]
        self.assertEqual((row["TIER"], row["SIZE"]), ("vram", "64M"))
        answer = json.loads(self.ok("devices", "--json"))
        self.assertEqual(len(answer["devices"]), 1)
        # The host device is on no bus; what GPUs this machine has is another matter.
        self.assertEqual(answer["devices"][0]["pci"], "")
        self.assertIsInstance(answer["gpus"], list)
        self.assertEqual([gpu for gpu in answer["gpus"] if gpu["device"]], [])

    def test_clients(self):
        row = [r for r in self.rows("clients") if r["PID"] == str(self.child)][0]
        self.assertEqual(
            (row["ID"], row["NAME"], row["TOTAL"]), (str(self.session), "engine", "8M")
        )
        self.assertEqual(row["USER"], pwd.getpwuid(os.getuid()).pw_name)
        client = [
            c for c in json.loads(self.ok("-j", "clients"))["clients"] if c["pid"] == self.child
        ][0]
        for key in (
            "id",
            "pid",
            "user",
            "exe",
            "resident_bytes",
            "charged_bytes",
            "total_bytes",
            "loaded_bytes",
            "evicted_bytes",
            "faults",
            "stall_ns",
        ):
            self.assertIn(key, client)
        self.assertEqual(client["total_bytes"], LAYER * LAYERS)

    def test_models(self):
        row = self.rows("models")[0]
        self.assertEqual(
            (row["NAME"], row["KIND"], row["SIZE"], row["CLIENTS"]),
            ("model ?[31m.gguf", "model", "8M", "1"),
        )
        model = json.loads(self.ok("-j", "models"))["models"][0]
        for key in (
            "name",
            "size_bytes",
            "resident_bytes",
            "clients",
            "loaded_bytes",
            "evicted_bytes",
        ):
            self.assertIn(key, model)

    def test_evict_and_back(self):
        name = json.loads(self.ok("-j", "models"))["models"][0]["name"]
        for args in (("evict", name), ("evict", "--all")):
            self.assertEqual(self.rows("models")[0]["RESIDENT"], "8M")
            self.assertEqual(self.ok(*args), "8M evicted\n")
            # The daemon may load ahead for a client that was at work a moment ago.
            self.assertLess(
                json.loads(self.ok("-j", "models"))["models"][0]["resident_bytes"], LAYER * LAYERS
            )
            self.assertEqual(list(json.loads(self.ok("-j", *args))), ["evicted_bytes"])
            os.kill(self.child, signal.SIGUSR1)
            os.read(self.ready, 8)
        self.refused("evict", "no such", says="there is no model 'no such'")
        self.refused("evict", code=2, says="evict: either")
        self.refused("evict", "--all", name, code=2)

    def test_limits(self):
        me = pwd.getpwuid(os.getuid()).pw_name
        for subject, shown in (
            (f"user:{me}", f"user:{me}"),
            (f"user:{os.getuid()}", f"user:{me}"),
            (f"session:{self.session}", f"session:{self.session}"),
            ("default", "default"),
        ):
            self.assertEqual(
                self.ok("limit", "set", subject, "vram.max=1.5G", "vram.weight=300"), ""
            )
            row = self.rows("limit", "show", subject)[0]
            self.assertEqual(
                (row["SUBJECT"], row["MAX"], row["WEIGHT"], row["HIGH"]),
                (shown, "1.5G", "300", "max"),
            )
            self.ok("limit", "set", subject, "vram.max=default", "vram.weight=default")
            row = self.rows("limit", "show", subject)[0]
            self.assertEqual((row["MAX"], row["WEIGHT"]), ("max", "100"))
        every = [row["SUBJECT"] for row in self.rows("limit", "show")]
        for wanted in ("root", f"user:{me}", f"session:{self.session}", "default"):
            self.assertIn(wanted, every)
        limits = json.loads(self.ok("-j", "limit", "show", f"user:{me}"))["limits"]
        self.assertEqual((limits[0]["subject"], limits[0]["user"]), (f"user:{os.getuid()}", me))

    def test_limits_refused(self):
        me = f"user:{os.getuid()}"
        before = self.ok("limit", "show", me)
        self.refused("limit", code=2, says="'limit show' or 'limit set'")
        self.refused("limit", "set", me, code=2, says="limit set needs SUBJECT")
        self.refused("limit", "show", me, me, code=2, says="unexpected argument")
        self.refused(
            "limit",
            "set",
            "user:no-such-user",
            "vram.max=1G",
            says="there is no user 'no-such-user'",
        )
        self.refused(
            "limit", "set", "session:999999", "vram.max=1G", says="there is no session:999999"
        )
        self.refused("limit", "set", "exe:bin/sh", "vram.max=1G", says="a path is absolute")
        self.refused("limit", "set", "cgroup:/", "vram.max=1G", says="device.budget")
        self.refused("limit", "set", f"session:{self.session}", "vram.max=1G", "--save", says="ends")
        self.refused("limit", "reset", me, "vram.max=1G", says="has no value")
        for setting in (
            "vram.max",
            "vram.max=",
            "vram.max=x",
            "nope.max=1G",
            "vram.nope=1G",
            "vram.weight=10001",
            "=",
            "vram.max=99999999999T",
        ):
            self.refused("limit", "set", me, setting)
        # One that is wrong keeps all from being set.
        self.refused("limit", "set", me, "vram.max=2G", "vram.low=nonsense")
        self.assertEqual(self.ok("limit", "show", me), before)

    def test_pressure(self):
        rows = self.rows("pressure")
        self.assertEqual({row["KIND"] for row in rows}, {"some", "full"})
        self.assertIn(f"session:{self.session}", [row["SUBJECT"] for row in rows])
        answer = json.loads(self.ok("-j", "pressure"))
        self.assertEqual(
            set(answer["devices"][0]["some"]), {"avg10", "avg60", "avg300", "total_us"}
        )

    def test_pressure_of_one(self):
        user = pwd.getpwuid(os.getuid()).pw_name
        psi = "".join(
            rf"{kind} avg10=\d+\.\d\d avg60=\d+\.\d\d avg300=\d+\.\d\d total=\d+\n"
            for kind in ("some", "full")
        )
        for subject in ("device", "device:0", "device:host", f"user:{user}", f"user:{os.getuid()}",
                        f"session:{self.session}"):
            self.assertRegex(self.ok("pressure", subject), f"^{psi}$")
        answer = json.loads(self.ok("-j", "pressure", f"session:{self.session}"))
        self.assertEqual((len(answer["devices"]), len(answer["groups"])), (0, 1))
        self.refused("pressure", "session:999999", says="has no sessions")
        self.refused("pressure", "nonsense", says="device, user:UID")

    def test_pressure_watched(self):
        for args in (("--interval", "1"), ("--watch", "--interval", "1ms"), ("--watch", "--interval", "x"),
                     ("--watch", "--interval", "2h")):
            self.refused("pressure", *args, code=2, says="--interval")
        with subprocess.Popen(
            [VRAMCTL, "--socket", self.path, "-j", "pressure", "--watch", "--interval", "100ms"],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        ) as watch:
            seen = [json.loads(watch.stdout.readline()) for _ in range(3)]
            watch.terminate()
        self.assertEqual(len({answer["time_ns"] for answer in seen}), 3)
        with subprocess.Popen(
            [VRAMCTL, "--socket", self.path, "pressure", "device", "--watch", "--interval", "100ms"],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        ) as watch:
            self.assertRegex(watch.stdout.readline(), r"^SUBJECT +KIND +NOW +AVG10 +AVG60 +AVG300 +TOTAL$")
            watch.terminate()

    def test_version(self):
        self.assertRegex(self.ok("version"), r"^vramctl \S+\nvramd \S+, protocol 1\n$")
        answer = json.loads(self.ok("-j", "version"))
        self.assertEqual(answer["vramctl"], answer["vramd"]["version"])

    def test_usage(self):
        self.refused(code=2, says="a command is needed")
        self.refused("nope", code=2, says="no command 'nope'")
        self.refused("status", "more", code=2, says="unexpected argument 'more'")
        self.refused("status", "--nope", code=2, says="no option --nope")
        self.refused("status", "--all", code=2, says="status has no option --all")
        self.refused("status", "--socket", code=2, says="needs an argument")

    def test_socket_from_the_environment(self):
        done = vramctl("version", env={"VRAM_SOCKET": self.path})
        self.assertIn("protocol 1", done.stdout)
        # The option counts more.
        done = vramctl(
            "version", path=os.path.join(TMP, "none.sock"), env={"VRAM_SOCKET": self.path}
        )
        self.assertIn("not running", done.stdout)

    def test_output_that_cannot_be_written(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            for args in (
                ("status",),
                ("-j", "status"),
                ("--help",),
                ("status", "--help"),
                ("--version",),
            ):
                done = vramctl(*args, path=self.path, stdout=full)
                self.assertEqual(done.returncode, 1, args)
                self.assertIn("No space left", done.stderr)

    def test_completion_knows_what_there_is(self):
        words = self.ok("--complete", "limit", "set").split()
        self.assertIn(f"session:{self.session}", words)
        self.assertIn(f"user:{os.getuid()}", words)
        self.assertIn("default", words)
        words = self.ok("--complete", "pressure").split()
        for word in ("device", f"session:{self.session}", f"user:{pwd.getpwuid(os.getuid()).pw_name}"):
            self.assertIn(word, words)
            self.ok("pressure", word)
        # Of these nothing waits, and pressure refuses them.
        self.assertFalse([w for w in words if w == "default" or w.startswith("group:")])


class WithoutDaemon(unittest.TestCase):
    def test_says_what_to_start(self):
        for command in (
            ("status",),
            ("-j", "clients"),
            ("limit", "set", "user:0", "vram.max=1G"),
            ("evict", "--all"),
        ):
            done = vramctl(*command, path=os.path.join(TMP, "none.sock"))
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn("no vramd listens on", done.stderr)
            self.assertIn("vramd --user", done.stderr)

    def test_version(self):
        done = vramctl("version", path=os.path.join(TMP, "none.sock"))
        self.assertEqual(done.returncode, 0)
        self.assertIn("vramd is not running", done.stdout)
        done = vramctl("-j", "version", path=os.path.join(TMP, "none.sock"))
        self.assertEqual(list(json.loads(done.stdout)), ["vramctl"])

    def test_devices(self):
        """They are looked for without a daemon, unless it is a certain daemon that is asked."""
        done = vramctl("devices", env={"VRAM_SOCKET": os.path.join(TMP, "none.sock")})
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertTrue(done.stdout.startswith("vramd is not running\n"))
        text = done.stdout
        done = vramctl("-j", "devices", env={"VRAM_SOCKET": os.path.join(TMP, "none.sock")})
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        answer = json.loads(done.stdout)
        self.assertEqual(answer["devices"], [])
        self.assertEqual("no GPU found" in text, not answer["gpus"])
        self.assertEqual(set(answer), {"devices", "gpus", "hidden_processes", "nvml"})
        done = vramctl("devices", path=os.path.join(TMP, "none.sock"))
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("no vramd listens on", done.stderr)

    def test_completion_is_silent(self):
        done = vramctl("--complete", "evict", path=os.path.join(TMP, "none.sock"))
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_path_that_is_too_long(self):
        done = vramctl("status", path="/" + "x" * 200)
        self.assertEqual(done.returncode, 1)
        self.assertIn("too long", done.stderr)


class WithSomethingElse(unittest.TestCase):
    """A server at the path that is no vramd: an error, at once, and no crash."""

    def serve(self, *packets):
        path = os.path.join(TMP, "else.sock")
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listening.bind(path)
        listening.listen()

        def answer():
            client, _ = listening.accept()
            for packet in packets:
                client.recv(65536)
                client.send(packet)
            client.close()

        thread = threading.Thread(target=answer)
        thread.start()
        done = vramctl("status", path=path)
        thread.join()
        listening.close()
        os.unlink(path)
        self.assertEqual((done.returncode, done.stdout), (1, ""), packets)
        self.assertTrue(done.stderr.startswith("vramctl: "), done.stderr)
        return done.stderr

    def test_answers(self):
        hello = struct.pack("=IIIi", vram_wire.HELLO | vram_wire.REPLY, 16, 1, 0)
        error = b"too busy".ljust(240, b"\0")
        unterminated = b"x" * 240
        self.assertIn("has closed the connection", self.serve())
        self.assertIn("not the answer", self.serve(b"x"))
        self.assertIn("not the answer", self.serve(b"x" * 16))
        self.assertIn("not the answer", self.serve(struct.pack("=IIIi", 1, 16, 7, 0)))
        self.assertIn(
            "too busy", self.serve(struct.pack("=IIIi", vram_wire.GOODBYE, 256, 0, -28) + error)
        )
        self.assertIn(
            "xxx", self.serve(struct.pack("=IIIi", vram_wire.GOODBYE, 256, 0, -28) + unterminated)
        )
        self.assertIn(
            "not the answer", self.serve(struct.pack("=IIIi", vram_wire.GOODBYE, 16, 0, -28))
        )
        self.assertIn(
            "too busy", self.serve(struct.pack("=IIIi", vram_wire.REPLY | 1, 256, 1, -93) + error)
        )
        # A reply to ADMIN without a descriptor.
        self.assertIn(
            "not the answer",
            self.serve(hello, struct.pack("=IIIi", vram_wire.ADMIN | vram_wire.REPLY, 16, 2, 0)),
        )

    def test_another_type_of_socket(self):
        path = os.path.join(TMP, "stream.sock")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
            listening.bind(path)
            listening.listen()
            done = vramctl("status", path=path)
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot connect", done.stderr)


@unittest.skipUnless(os.geteuid() == 0 and shutil.which("setpriv"), "needs root and setpriv")
class OfOtherUsers(unittest.TestCase):
    """The system's daemon, asked by an ordinary user."""

    def setUp(self):
        # Other users reach it; TEST_TMP is below a folder that they do not.
        folder = tempfile.mkdtemp(prefix="vram-public-")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        os.chmod(folder, 0o755)
        self.path = os.path.join(folder, "system", "vramd.sock")
        self.process = subprocess.Popen(
            [os.path.join(BUILD, "vramd"), "--socket", self.path, "--budget", "64M"],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 30
        while not os.path.exists(self.path):
            self.assertIsNone(self.process.poll())
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        self.model = Model(self.path, b"secret.gguf")
        self.model.load()
        self.nobody = ("setpriv", f"--reuid={NOBODY}", "--clear-groups")
        if vramctl("--version", wrapper=self.nobody).returncode:
            self.model.close()
            self.process.kill()
            self.process.wait()
            self.skipTest("the build folder cannot be read by other users")

    def tearDown(self):
        self.model.close()
        self.process.terminate()
        self.assertEqual(self.process.wait(30), 0)

    def test_sees_sums_and_changes_nothing(self):
        answer = json.loads(vramctl("-j", "clients", path=self.path, wrapper=self.nobody).stdout)
        self.assertEqual(answer["clients"], [])
        self.assertEqual(answer["others"]["clients"], 1)
        self.assertEqual(answer["others"]["resident_bytes"], LAYER * LAYERS)
        for command in ("models", "clients", "status", "devices", "pressure", "limit show", "metrics"):
            done = vramctl(*command.split(), path=self.path, wrapper=self.nobody)
            self.assertEqual(done.returncode, 0, command)
            self.assertNotIn("secret", done.stdout)
            self.assertNotIn(f"session:{self.model.session} ", done.stdout)
        # A snapshot, as vramtop asks for it.
        top = subprocess.run(
            [*self.nobody, os.path.join(BUILD, "vramtop"), "--socket", self.path, "-b", "-j", "-n", "1", "-d", "0.1"],
            capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=True,
        ).stdout
        self.assertNotIn("secret", top)
        answer = json.loads(top)
        self.assertEqual((answer["sessions"], answer["models"], answer["tenants"]), ([], [], []))
        others = answer["others"]
        self.assertEqual((others["sessions"], others["models"]), (1, 1))
        self.assertEqual(others["tiers"]["vram"]["resident_bytes"], LAYER * LAYERS)
        self.assertEqual(others["tiers"]["vram"]["charged_bytes"], LAYER * LAYERS)
        self.assertIn(
            "and 1 model of other users, 8M resident",
            vramctl("models", path=self.path, wrapper=self.nobody).stdout,
        )
        for command in (
            "evict --all",
            "evict secret.gguf",
            f"limit set session:{self.model.session} vram.max=1M",
            f"limit set user:{NOBODY} vram.weight=9000",
        ):
            done = vramctl(*command.split(), path=self.path, wrapper=self.nobody)
            self.assertEqual((done.returncode, done.stdout), (1, ""), command)
            self.assertIn("for root", done.stderr)
        models = json.loads(vramctl("-j", "models", path=self.path).stdout)["models"]
        self.assertEqual(
            [(m["name"], m["resident_bytes"]) for m in models], [("secret.gguf", LAYER * LAYERS)]
        )


if __name__ == "__main__":
    unittest.main(verbosity=2)
