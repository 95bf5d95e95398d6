#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""TRIGGER by hand: what libvram would not send, and what it would not do with the answer."""

import errno
import os
import socket
import struct
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.environ["VRAM_SRC"], "tests", "support"))
import vram_daemon  # noqa: E402
import vram_wire  # noqa: E402

TRIGGER = 21
SESSION, USER, DEVICE = 1, 2, 3


def fds_of(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


class Hostile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = vram_daemon.Daemon("32M")
        cls.daemon.__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.daemon.check()
        cls.daemon.__exit__(None, None, None)

    def client(self):
        client = vram_wire.Client(self.daemon.socket)
        self.addCleanup(client.sock.close)
        self.assertEqual(client.hello()[2], 0)
        return client

    def ask(self, client, kind=SESSION, flags=0, threshold=1000, window=500000):
        client.send(TRIGGER, struct.pack("=IIQQ", kind, flags, threshold, window))
        return client.receive()

    def test_times(self):
        client = self.client()
        for threshold, window in (
            (0, 500000), (500001, 500000), (1, 499999), (1, 10000001), (1, 0), (1, 2**64 - 1),
            (2**64 - 1, 2**64 - 1), (2**63, 500000),
        ):
            _, _, error, body, fds = self.ask(client, threshold=threshold, window=window)
            self.assertEqual((error, fds), (-errno.EINVAL, []), (threshold, window))
            self.assertIn("500 ms to 10 s", vram_wire.text(body))
        _, _, error, _, fds = self.ask(client)
        self.assertEqual((error, len(fds)), (0, 1))
        os.close(fds[0])

    def test_nonsense_ends_the_session(self):
        for kind, flags in ((0, 0), (4, 0), (2**32 - 1, 0), (SESSION, 2), (DEVICE, 2**32 - 1)):
            client = self.client()
            reply = self.ask(client, kind=kind, flags=flags)
            self.assertEqual((reply[0], reply[2]), (vram_wire.GOODBYE, -errno.EPROTO), (kind, flags))
        client = self.client()
        client.send(TRIGGER, struct.pack("=IIQ", SESSION, 0, 1))
        self.assertEqual(client.receive()[0], vram_wire.GOODBYE)

    def test_administrators_have_none(self):
        with vram_wire.Client(self.daemon.socket) as client:
            client.hello(flags=vram_wire.HELLO_ADMIN)
            self.assertEqual(self.ask(client)[0], vram_wire.GOODBYE)

    def test_sixteen(self):
        before = fds_of(self.daemon.process.pid)
        client = self.client()
        kept = [self.ask(client, kind=1 + i % 3)[4][0] for i in range(16)]
        _, _, error, body, fds = self.ask(client)
        self.assertEqual((error, fds), (-errno.E2BIG, []))
        self.assertIn("16", vram_wire.text(body))
        # Closing one takes it back.
        os.close(kept.pop())
        self.eventually(lambda: self.ask(client)[2] == 0)
        # A session that ends takes its own with it, whoever has a copy of the descriptors.
        client.sock.close()
        self.eventually(lambda: fds_of(self.daemon.process.pid) <= before)
        for fd in kept:
            os.close(fd)

    def eventually(self, condition):
        for _ in range(500):
            if condition():
                return
            time.sleep(0.01)
        self.fail("never")

    def test_what_is_written_back(self):
        """The daemon reads nothing: a client can fill its own end, and no more."""
        client = self.client()
        end = socket.socket(fileno=self.ask(client, kind=DEVICE)[4][0])
        end.setblocking(False)
        sent = 0
        try:
            while sent < 64 << 20:
                sent += end.send(bytes(65536))
        except BlockingIOError:
            pass
        self.assertLess(sent, 64 << 20)
        end.shutdown(socket.SHUT_WR)
        self.assertEqual(self.ask(client)[2], 0)
        end.close()

    def test_come_and_go(self):
        client = self.client()
        before = fds_of(self.daemon.process.pid)
        for _ in range(300):
            for fd in self.ask(client)[4]:
                os.close(fd)
        self.eventually(lambda: fds_of(self.daemon.process.pid) <= before)


if __name__ == "__main__":
    if vram_daemon.missing(["vramd", "vramctl"]):
        print("no vramd is built")
        sys.exit(77)
    if vram_daemon.wants_module():
        print("with the module only libvram can hand a session over: test_triggers is for that")
        sys.exit(77)
    unittest.main(verbosity=2)
