#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""HELLO with and without a session of the kernel module, over the daemon's own ledger and (VRAM_ARBITER=kmod) over
the module."""

import errno
import fcntl
import grp
import os
import socket
import struct
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import vram_daemon  # noqa: E402
import vram_wire  # noqa: E402
from vram_wire import HELLO, REPLY  # noqa: E402

SHIM, ADMIN, DEVICE = 1, 2, 4
REPLY_DEVICE = 1
STATS = 15
IOC_TABLE = 1 << 30 | 8 << 16 | 0xC7 << 8 | 1
MODULE = vram_daemon.wants_module()


def hello(client, fds=(), flags=0):
    """The reply: (error, text or a dict of what it says, descriptors)."""
    client.send(HELLO, struct.pack("=IIQ64s", 1, flags, 0, b"test"), fds)
    kind, _, error, body, got = client.receive()
    assert kind == HELLO | REPLY, kind
    if error:
        return error, vram_wire.text(body), got
    names = ("version", "kind", "features", "session", "budget", "slots", "objects", "extents", "flags")
    return 0, dict(zip(names, struct.unpack_from("=IIQQQIIII", body))), got


def device(slots=64):
    fd = os.open("/dev/vram", os.O_RDWR | os.O_CLOEXEC)
    if slots:
        fcntl.ioctl(fd, IOC_TABLE, struct.pack("=II", 0, slots))
    return fd


class Hello(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = vram_daemon.Daemon("16M").__enter__()
        cls.path = cls.daemon.socket

    @classmethod
    def tearDownClass(cls):
        cls.daemon.__exit__(None, None, None)

    def client(self):
        client = vram_wire.Client(self.path)
        self.addCleanup(client.sock.close)
        return client

    def clients(self):
        return self.daemon.ask("clients")["clients"]

    def ids(self):
        return [c["id"] for c in self.clients()]

    def eventually(self, condition):
        deadline = time.monotonic() + 20
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertTrue(condition())

    def test_administrators_are_no_clients(self):
        before = self.ids()
        error, reply, fds = hello(self.client(), flags=ADMIN)
        self.assertEqual((error, reply["session"], reply["flags"], fds), (0, 0, 0, []))
        self.assertEqual(self.ids(), before)
        # One that has not said HELLO is none either.
        self.client()
        self.assertEqual(self.daemon.ask("status")["sessions"], len(before))

    def test_status_names_the_arbiter(self):
        status = self.daemon.ask("status")
        self.assertEqual(status["arbiter"]["name"], "/dev/vram" if MODULE else "vramd")
        self.assertEqual(status["ledger"], "module" if MODULE else "daemon")
        self.assertEqual(status["arbiter"]["generation"] > 0, MODULE)


@unittest.skipIf(MODULE, "without the module")
class Local(Hello):
    def test_a_device_is_not_looked_at(self):
        for fds, flags in (([], 0), ([0], DEVICE), ([0], DEVICE | SHIM)):
            client = self.client()
            error, reply, got = hello(client, fds, flags)
            self.assertEqual((error, reply["flags"], len(got)), (0, 0, 1))
            self.assertEqual(os.fstat(got[0]).st_size, reply["slots"] * 64)
            self.assertIn(reply["session"], self.ids())
            os.close(got[0])


@unittest.skipUnless(MODULE, "with the module")
class Module(Hello):
    def opened(self, slots=64):
        fd = device(slots)
        self.addCleanup(lambda: self.closed(fd))
        return fd

    @staticmethod
    def closed(fd):
        try:
            os.close(fd)
        except OSError:
            pass

    def test_refused(self):
        client = self.client()
        null = os.open("/dev/null", os.O_RDWR)
        for fds, flags, wanted, says in (
            ([], 0, errno.EACCES, "group vram"),
            ([null], DEVICE, errno.EBADF, "none of /dev/vram"),
            ([self.opened(0)], DEVICE, errno.ENXIO, "VRAM_IOC_TABLE"),
            ([self.opened(63)], DEVICE, errno.EINVAL, "64 slots"),
        ):
            before = self.ids()
            error, text, got = hello(client, fds, flags)
            self.assertEqual((error, got), (-wanted, []))
            self.assertIn(says, text)
            self.assertEqual(self.ids(), before)
        os.close(null)
        # None of it has ended the connection.
        error, reply, got = hello(client, [self.opened()], DEVICE)
        self.assertEqual((error, reply["flags"], reply["slots"], got), (0, REPLY_DEVICE, 64, []))
        client.send(STATS)
        self.assertEqual(client.receive()[2], 0)

    def test_a_second_daemon_is_refused(self):
        for use in ("auto", "module"):
            done = subprocess.run(
                [os.path.join(self.daemon.build, "vramd"), "--socket", self.path + "2"]
                + ["--set", f"arbiter.use={use}", "--set", f"swap.path={self.daemon.dir}"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=60,
            )
            self.assertEqual(done.returncode, 1, done)
            self.assertIn(f"has an arbiter already: process {self.daemon.process.pid}", done.stderr)
        self.assertEqual(self.daemon.ask("status")["arbiter"]["name"], "/dev/vram")

    def test_offered_too_early(self):
        client, fd = self.client(), self.opened(0)
        self.assertEqual(hello(client, [fd], DEVICE)[0], -errno.ENXIO)
        fcntl.ioctl(fd, IOC_TABLE, struct.pack("=II", 0, 100))
        error, reply, _ = hello(client, [fd], DEVICE)
        self.assertEqual((error, reply["slots"]), (0, 100))

    def test_one_connection_a_session(self):
        first, second, fd = self.client(), self.client(), self.opened()
        session = hello(first, [fd], DEVICE)[1]["session"]
        error, text, _ = hello(second, [fd], DEVICE)
        self.assertEqual(error, -errno.EBUSY)
        self.assertIn("another connection", text)
        # Once that has ended, the session may come again.
        first.sock.close()
        self.eventually(lambda: session not in self.ids())
        error, reply, _ = hello(second, [fd], DEVICE)
        self.assertEqual((error, reply["session"]), (0, session))

    def test_the_device_is_let_go_of(self):
        client, fd = self.client(), self.opened()
        session = hello(client, [fd], DEVICE)[1]["session"]
        self.assertIn(session, self.ids())
        os.close(fd)
        kind, _, error, body, _ = client.receive()
        self.assertEqual((kind, error), (vram_wire.GOODBYE, -errno.ENODEV))
        self.assertIn("has ended", vram_wire.text(body))
        self.assertIsNone(client.receive())
        self.assertNotIn(session, self.ids())

    def test_who_has_opened_it_counts(self):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            # The session stays the opener's, whoever uses the descriptor.
            try:
                ours.close()
                os.setgroups([grp.getgrgid(os.stat("/dev/vram").st_gid).gr_gid])
                os.setresgid(41001, 41001, 41001)
                os.setresuid(41001, 41001, 41001)
                socket.send_fds(theirs, [b"f"], [device()])
                theirs.recv(1)
            finally:
                os._exit(0)
        theirs.close()
        self.addCleanup(os.waitpid, pid, 0)
        self.addCleanup(ours.close)
        fd = socket.recv_fds(ours, 1, 1)[1][0]
        client = self.client()
        session = hello(client, [fd], DEVICE)[1]["session"]
        os.close(fd)
        row = [c for c in self.clients() if c["id"] == session][0]
        self.assertEqual((row["uid"], row["pid"]), (41001, pid))


del Hello
if __name__ == "__main__":
    unittest.main(verbosity=2)
