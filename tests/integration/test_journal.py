#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What an administrator finds of refusals: in a journal (systemd's own journald, in a mount namespace of this test), and
on stderr where there is none. One test for each kind; every one names the subject, what was asked and the limit."""

import contextlib
import ctypes
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.environ["VRAM_SRC"], "tests", "support"))
import vram_wire  # noqa: E402

SRC, BUILD, TMP = os.environ["VRAM_SRC"], os.environ["VRAM_BUILD"], os.environ["TEST_TMP"]
JOURNALD = "/lib/systemd/systemd-journald"
MODEL_OPEN, EXTENTS, BUFFER_NEW, ACQUIRE = 2, 3, 4, 9
NOBODY = 65534
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 1 << 14, 1 << 18
libc = ctypes.CDLL(None, use_errno=True)


def mount(source, target, kind=None, flags=0):
    if libc.mount(source.encode(), target.encode(), kind, flags, None):
        raise OSError(ctypes.get_errno(), f"mount {target}")


def message_ids():
    with open(os.path.join(SRC, "daemon", "log.h"), encoding="utf-8") as f:
        return dict(re.findall(r'#define LOG_ID_(\w+)\s+"([0-9a-f]{32})"', f.read()))


IDS = message_ids()


def wait_for(what, seconds=60):
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            raise AssertionError("nothing comes of it")
        time.sleep(0.02)


class Journal:
    """journald as the machine has it, but for its files and sockets."""

    def __init__(self):
        mount("run", "/run", b"tmpfs")
        os.makedirs("/run/systemd/journal")
        os.makedirs("/run/log/journal")
        if os.path.isdir("/var/log/journal"):
            mount("log", "/var/log/journal", b"tmpfs")
        self.process = subprocess.Popen([JOURNALD], stderr=subprocess.DEVNULL)
        wait_for(lambda: os.path.exists("/run/systemd/journal/stdout"))

    def stream(self):
        """A stderr as systemd gives one to a service."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect("/run/systemd/journal/stdout")
        sock.sendall(b"vramd\nvramd.service\n6\n1\n0\n0\n0\n")
        return sock

    @staticmethod
    def entries(*matches):
        done = subprocess.run(
            ["journalctl", "-q", "-D", "/run/log/journal", "-o", "json", "SYSLOG_IDENTIFIER=vramd"]
            + list(matches),
            capture_output=True,
            text=True,
            check=True,
        )
        return [json.loads(line) for line in done.stdout.splitlines()]


def usable():
    """None, or why not."""
    if os.geteuid() != 0:
        return "needs root, for a mount namespace"
    if not os.access(JOURNALD, os.X_OK) or not shutil.which("journalctl"):
        return "needs systemd-journald and journalctl"
    if not os.path.isfile("/etc/machine-id") or not os.path.getsize("/etc/machine-id"):
        return "journald needs an /etc/machine-id"
    if libc.unshare(CLONE_NEWNS):
        return "mount namespaces are not permitted here"
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    return None


class Vramd:
    """The machine's daemon, at /run/vramd: over the journal, or with stderr in a file."""

    count = 0

    def __init__(self, journal=None):
        Vramd.count += 1
        self.path = f"/run/vramd{Vramd.count}.sock"
        self.log_path = os.path.join(TMP, "log")
        env = dict(os.environ)
        env.pop("JOURNAL_STREAM", None)
        self.stderr = journal.stream() if journal else open(self.log_path, "wb")
        if journal:
            stat = os.fstat(self.stderr.fileno())
            env["JOURNAL_STREAM"] = f"{stat.st_dev}:{stat.st_ino}"
        command = [os.path.join(BUILD, "vramd"), "--socket", self.path, "--budget", "64M"]
        for setting in (
            "device.kind=host",
            "arbiter.use=local",
            f"swap.path={TMP}",
            "limits.max_sessions_per_user=2",
            "limits.max_objects=2",
            "limits.max_registered=1G",
            "limits.max_slots=1024",
            "limits.max_extents=2000",
            "limits.max_requests=1",
            "limits.wait_timeout=1s",
        ):
            command += ["--set", setting]
        self.process = subprocess.Popen(command, env=env, stderr=self.stderr)
        # Accepting is a later step than binding.
        wait_for(lambda: os.path.exists(self.path))
        self.admin({"command": "version"})

    def admin(self, request):
        with vram_wire.admin_client(self.path) as client:
            return client.admin(request)

    def log(self):
        with open(self.log_path, encoding="utf-8") as f:
            return f.read()

    def stop(self):
        self.process.terminate()
        self.stderr.close()
        return self.process.wait(60)


def buffer_new(size, layer=4096, name=b"b"):
    return struct.pack("=QQII128s", size, layer, 0, 0, name)


def as_nobody(path, what):
    """Runs what(path) as another user; what it raises fails the test."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            what(path)
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0


class Refusals(unittest.TestCase):
    journal = vramd = plain = None

    @classmethod
    def setUpClass(cls):
        cls.journal = Journal()
        cls.vramd = Vramd(cls.journal)
        cls.plain = Vramd()

    @classmethod
    def tearDownClass(cls):
        for vramd in (cls.vramd, cls.plain):
            assert vramd.stop() == 0
        cls.journal.process.terminate()
        cls.journal.process.wait(60)

    def both(self, provoke, event, sentence, subject="user", **fields):
        """provoke(path) makes both daemons refuse; the entry must have the fields, both the sentence."""
        n = len(self.journal.entries(f"MESSAGE_ID={IDS[event]}"))
        before = len(self.plain.log())
        provoke(self.vramd.path)
        provoke(self.plain.path)
        wait_for(lambda: len(self.journal.entries(f"MESSAGE_ID={IDS[event]}")) > n)
        wait_for(lambda: re.search(sentence, self.plain.log()[before:]))
        found = self.journal.entries(f"MESSAGE_ID={IDS[event]}")[n:]
        if subject:
            self.assertEqual(len(found), 1, found)
        entry = found[0]
        self.assertRegex(entry["MESSAGE"], sentence)
        for name, value in fields.items():
            self.assertEqual(entry.get(name), str(value), (name, entry))
        if subject:
            self.assertEqual(entry["VRAM_SUBJECT"], f"user:{entry['VRAM_UID']}")
        self.assertEqual(entry["_TRANSPORT"], "journal")
        self.assertNotIn("VRAM_LOST", entry)
        return entry

    def client(self, path, name=b"test"):
        client = vram_wire.Client(path)
        self.assertEqual(client.hello(name=name)[2], 0)
        return client

    def refused(self, client, kind, body, fds=()):
        client.send(kind, body, fds)
        reply = client.receive()
        self.assertLess(reply[2], 0)
        return vram_wire.text(reply[3])

    def test_connection(self):
        def three(path):
            clients = [vram_wire.Client(path) for _ in range(3)]
            said = vram_wire.text(clients[2].receive()[3])
            assert said.endswith("asked for 3, the limit is 2"), said
            for client in clients:
                client.sock.close()

        self.both(
            lambda path: as_nobody(path, three),
            "CLIENT_REFUSED",
            r"client of user 65534, pid \d+, refused: this user has 2 sessions already "
            r"\(limits.max_sessions_per_user\): asked for 3, the limit is 2$",
            PRIORITY=4,
            VRAM_UID=NOBODY,
            VRAM_KEY="limits.max_sessions_per_user",
            VRAM_ASKED=3,
            VRAM_LIMIT=2,
        )

    def test_version(self):
        def old(path):
            with vram_wire.Client(path) as client:
                client.hello(version=77)

        self.both(
            old,
            "SESSION_ENDED",
            "protocol version 77; this vramd speaks 1",
            VRAM_ERRNO="EPROTONOSUPPORT",
        )

    def test_objects(self):
        def many(path):
            with self.client(path) as client:
                for _ in range(2):
                    client.send(BUFFER_NEW, buffer_new(4096))
                    self.assertEqual(client.receive()[2], 0)
                said = self.refused(client, BUFFER_NEW, buffer_new(4096))
                self.assertIn("asked for 3, the limit is 2", said)

        self.both(
            many,
            "REQUEST_REFUSED",
            r"session \d+ \(test, pid \d+, user 0\): refused: more objects than limits.max_objects "
            r"allows a session: asked for 3, the limit is 2 \(E2BIG\)$",
            PRIORITY=6,
            VRAM_NAME="test",
            VRAM_KEY="limits.max_objects",
            VRAM_ASKED=3,
            VRAM_LIMIT=2,
            VRAM_ERRNO="E2BIG",
            VRAM_PID=os.getpid(),
        )

    def test_bytes(self):
        def large(path):
            with self.client(path) as client:
                self.refused(client, BUFFER_NEW, buffer_new(5 << 30, layer=1 << 30))

        self.both(
            large,
            "REQUEST_REFUSED",
            "limits.max_registered allows a session: asked for 5G, the limit is 1G",
            VRAM_KEY="limits.max_registered",
            VRAM_ASKED=5 << 30,
            VRAM_LIMIT=1 << 30,
        )

    def test_layers(self):
        def many(path):
            with self.client(path) as client:
                self.refused(client, BUFFER_NEW, buffer_new(4096 * 1025))

        self.both(
            many,
            "REQUEST_REFUSED",
            "limits.max_slots allows a session: asked for 1025, the limit is 1024",
            VRAM_KEY="limits.max_slots",
        )

    def test_slots(self):
        def many(path):
            with self.client(path) as client:
                client.send(BUFFER_NEW, buffer_new(4096 * 1000))
                self.assertEqual(client.receive()[2], 0)
                self.refused(client, BUFFER_NEW, buffer_new(4096 * 100))

        self.both(
            many,
            "REQUEST_REFUSED",
            r"no gap for so many layers \(limits.max_slots\): asked for 100, the limit is 1024",
            VRAM_KEY="limits.max_slots",
            VRAM_ERRNO="ENOSPC",
        )

    def test_extents(self):
        def many(path):
            with self.client(path) as client, open(__file__, "rb") as f:
                size = os.fstat(f.fileno()).st_size
                body = struct.pack("=QIIII128s", size, 10, 2001, 1, 0, b"m")
                self.refused(client, MODEL_OPEN, body, [f.fileno()])

        self.both(
            many,
            "REQUEST_REFUSED",
            "limits.max_extents allows an object: asked for 2001, the limit is 2000",
            VRAM_KEY="limits.max_extents",
        )

    def limit(self, path, vram_max):
        answer = {"command": "limit_set", "subject": "user:0", "settings": [f"vram.max={vram_max}"]}
        with vram_wire.admin_client(path) as admin:
            self.assertNotIn("error", admin.admin(answer))

    def test_requests(self):
        model, n = os.path.join(TMP, "model"), 16
        with open(model, "wb") as f:
            f.write(bytes(n << 21))

        def many(path):
            with self.client(path) as client, open(model, "rb") as f:
                body = struct.pack("=QIIII128s", n << 21, n, n, 1, 0, b"m")
                client.send(MODEL_OPEN, body, [f.fileno()])
                body = struct.pack("=II", n, 0)
                for i in range(n):
                    body += struct.pack("=QQII", i << 21, 1 << 21, i, 0)
                client.send(EXTENTS, body, seq=client.seq)
                reply = client.receive()
                self.assertEqual(reply[2], 0, vram_wire.text(reply[3]))
                slot = struct.unpack_from("=II", reply[3])[1]
                # Until it has had enough. What it has not read by then may cost us its GOODBYE.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    for i in range(n):
                        client.send(ACQUIRE, struct.pack("=II", slot + i, 0), seq=0)
                    while client.receive():
                        pass

        self.both(
            many,
            "SESSION_ENDED",
            "limits.max_requests allows a session: asked for 2, the limit is 1",
            VRAM_KEY="limits.max_requests",
            VRAM_ERRNO="E2BIG",
            PRIORITY=4,
        )

    def test_larger_than_the_device(self):
        def acquire(path):
            with self.client(path) as client:
                client.send(BUFFER_NEW, buffer_new(128 << 20, layer=128 << 20))
                slot = struct.unpack_from("=II", client.receive()[3])[1]
                client.send(ACQUIRE, struct.pack("=II", slot, 0), seq=0)
                client.send(15)  # STATS: by its answer the request before it was looked at
                client.receive()

        self.both(
            acquire,
            "REQUEST_REFUSED",
            r"a layer of b is larger than the device: asked for 128M, the limit is 64M \(ENOMEM\)",
            VRAM_KEY="device.budget",
            VRAM_ASKED=128 << 20,
            VRAM_LIMIT=64 << 20,
        )

    def test_quota(self):
        def acquire(path):
            self.limit(path, "4M")
            with self.client(path) as client:
                client.send(BUFFER_NEW, buffer_new(16 << 20, layer=16 << 20))
                slot = struct.unpack_from("=II", client.receive()[3])[1]
                client.send(ACQUIRE, struct.pack("=II", slot, 0), seq=0)
                client.send(15)
                client.receive()
                time.sleep(2)
            self.limit(path, "max")

        # At once, or after limits.wait_timeout: what it asks for can never be had.
        entry = self.both(acquire, "REQUEST_REFUSED", "a layer of b", VRAM_NAME="test")
        self.assertIn(entry["VRAM_KEY"], ("vram.max", "limits.wait_timeout"))

    def test_broken_rules(self):
        def broken(path):
            with self.client(path) as client:
                client.send(99)
                client.receive()

        self.both(
            broken,
            "SESSION_ENDED",
            r"session \d+ \(test, pid \d+, user 0\): ended: a message of an unknown type \(EPROTO\)",
            VRAM_ERRNO="EPROTO",
        )

    def test_not_for_users(self):
        request = {"command": "evict", "all": True}

        def evict(path):
            with vram_wire.admin_client(path) as client:
                assert client.admin(request)["errno"] == "EPERM"

        entry = self.both(
            lambda path: as_nobody(path, evict),
            "ADMIN_REFUSED",
            r"client of user 65534, pid \d+, refused: evict is for root: asked for "
            r'\{"command":"evict","all":true\} \(EPERM\)',
            PRIORITY=4,
            VRAM_UID=NOBODY,
            VRAM_ERRNO="EPERM",
        )
        self.assertEqual(json.loads(entry["VRAM_ASKED"]), request)

    def test_no_such_thing(self):
        def evict(path):
            with vram_wire.admin_client(path) as client:
                client.admin({"command": "evict", "model": "nowhere"})

        self.both(evict, "ADMIN_REFUSED", "there is no model 'nowhere'", VRAM_ERRNO="ENOENT")

    def test_told_what_to_do(self):
        def pause(path):
            with self.client(path) as client:
                with vram_wire.admin_client(path) as admin:
                    sessions = admin.admin({"command": "clients"})["clients"]
                    number = max(session["id"] for session in sessions)
                    done = admin.admin({"command": "pause", "session": number})
                    self.assertNotIn("error", done)
                del client

        entry = self.both(
            pause,
            "CONTROL",
            r"session \d+ \(pid \d+, user 0\) is paused by user 0",
            subject=None,
            VRAM_UID=0,
            VRAM_ASKED="pause",
        )
        self.assertRegex(entry["VRAM_SUBJECT"], r"^session:\d+$")

    def test_limits_that_change(self):
        entry = self.both(
            lambda path: self.limit(path, "32M"),
            "LIMIT_CHANGED",
            "limit of user:0 set by user 0: vram.max=32M",
            VRAM_KEY="vram.max=32M",
        )
        self.assertEqual(entry["VRAM_SUBJECT"], "user:0")
        self.limit(self.vramd.path, "max")
        self.limit(self.plain.path, "max")

    def test_files_that_do_not_read(self):
        path = os.path.join(TMP, "bad")
        with open(path, "wb") as f:
            f.write(bytes(4 << 20))

        def cut_short(sock):
            with open(path, "wb") as f:
                f.write(bytes(4 << 20))
            with self.client(sock) as client, open(path, "rb") as f:
                body = struct.pack("=QIIII128s", 4 << 20, 1, 1, 1, 0, b"bad")
                client.send(MODEL_OPEN, body, [f.fileno()])
                client.send(EXTENTS, struct.pack("=IIQQII", 1, 0, 0, 4 << 20, 0, 0), seq=client.seq)
                reply = client.receive()
                self.assertEqual(reply[2], 0, vram_wire.text(reply[3]))
                os.truncate(path, 1 << 20)
                slot = struct.unpack_from("=II", reply[3])[1]
                client.send(ACQUIRE, struct.pack("=II", slot, 0), seq=0)
                time.sleep(1)

        self.both(
            cut_short,
            "LOAD_FAILED",
            r"bad: cannot load bytes \d+\.\.\d+: ESTALE",
            subject=None,
            VRAM_MODEL="bad",
            VRAM_ERRNO="ESTALE",
            PRIORITY=4,
        )

    def test_names_stay_names(self):
        name = b"x\nMESSAGE=y\nVRAM_UID=7\n\xff\xc2\x9b\x1b[2J"

        def broken(path):
            with self.client(path, name) as client:
                client.send(99)
                client.receive()

        entry = self.both(broken, "SESSION_ENDED", "a message of an unknown type", VRAM_UID=0)
        self.assertEqual(entry["VRAM_NAME"], "x?MESSAGE=y?VRAM_UID=7?????[2J")
        self.assertEqual(self.plain.log().count("x?MESSAGE=y?VRAM_UID=7?????[2J"), 1)
        self.assertNotIn("\nMESSAGE", self.plain.log())

    def test_life(self):
        vramd = Vramd(self.journal)
        pid = vramd.process.pid
        self.assertEqual(vramd.stop(), 0)
        wait_for(lambda: len(self.journal.entries(f"_PID={pid}")) >= 3)
        found = {e.get("MESSAGE_ID"): e for e in self.journal.entries(f"_PID={pid}")}
        self.assertEqual(found[IDS["STARTED"]]["VRAM_LIMIT"], str(64 << 20))
        self.assertEqual(found[IDS["STOPPING"]]["MESSAGE"], "stopping: Terminated")


if __name__ == "__main__":
    why = usable()
    if why:
        print(why)
        sys.exit(77)
    unittest.main(verbosity=2)
