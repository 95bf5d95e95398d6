#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A client makes the file of its own buffer shorter and longer, under a vramd that writes it to swap and reads it back.

It loses its bytes. vramd lives, the memory comes back, and another client notices nothing.
"""

import mmap
import os
import struct
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.environ["VRAM_SRC"], "tests", "support"))
import vram_daemon  # noqa: E402
import vram_wire  # noqa: E402

BUFFER_NEW, ACQUIRE = 4, 9
LAYER = 2 << 20
N = 8


class Buffer:
    """A session with one buffer of N layers, all of them resident."""

    def __init__(self, path):
        self.client = vram_wire.Client(path)
        assert self.client.hello()[2] == 0
        self.client.send(BUFFER_NEW, struct.pack("=QQII128s", N * LAYER, LAYER, 0, 0, b"b"))
        _, _, error, body, fds = self.client.receive()
        assert error == 0, vram_wire.text(body)
        self.base = struct.unpack_from("=II", body)[1]
        self.fd = fds[0]
        self.load()

    def load(self):
        for i in range(N):
            self.client.send(ACQUIRE, struct.pack("=II", self.base + i, 0), seq=0)

    def close(self):
        os.close(self.fd)
        self.client.sock.close()


class Shrunk(unittest.TestCase):
    def evict(self, daemon):
        with vram_wire.admin_client(daemon.socket) as client:
            return client.admin({"command": "evict", "all": True})["evicted_bytes"]

    def resident(self, daemon):
        """Bytes that are there; None while any move."""
        device = daemon.ask("devices")["devices"][0]
        return None if device["inflight_bytes"] else device["resident_bytes"]

    def wait(self, daemon, wanted):
        deadline = time.monotonic() + 20
        while (got := self.resident(daemon)) != wanted and time.monotonic() < deadline:
            if wanted == 0:
                self.evict(daemon)
            time.sleep(0.02)
        # Not asked again: what is in the host tier may be on its way to swap by now.
        self.assertEqual(got, wanted)

    def check(self, device):
        settings = {"device": device, "swap": {"size": "64M"}}
        with vram_daemon.Daemon("32M", settings) as daemon:
            liar, good = Buffer(daemon.socket), Buffer(daemon.socket)
            self.wait(daemon, 2 * N * LAYER)
            with mmap.mmap(good.fd, N * LAYER) as memory:
                memory[:] = b"good" * (N * LAYER // 4)
            os.ftruncate(liar.fd, 0)
            self.wait(daemon, 0)
            self.assertEqual(os.fstat(liar.fd).st_size, N * LAYER)
            # In the middle of a chunk, and while it moves both ways.
            done = threading.Event()

            def play():
                size = 0
                while not done.is_set():
                    os.ftruncate(liar.fd, size)
                    size = (size + LAYER // 2) % (2 * N * LAYER)

            player = threading.Thread(target=play)
            player.start()
            for _ in range(20):
                liar.load()
                self.evict(daemon)
                time.sleep(0.02)
            done.set()
            player.join()
            # What was cut between its checksum and its write cannot come back; it is the liar's.
            liar.close()
            good.load()
            self.wait(daemon, N * LAYER)
            with mmap.mmap(good.fd, N * LAYER) as memory:
                self.assertEqual(memory[:], b"good" * (N * LAYER // 4))
            good.close()
            self.wait(daemon, 0)
            self.assertTrue(daemon.alive())
            self.assertEqual(daemon.stop(), 0, daemon.log())

    def test_direct(self):
        self.check({})

    def test_over_a_link(self):
        self.check({"link": "4G/s", "host_budget": "16M"})


if __name__ == "__main__":
    unittest.main(verbosity=2)
