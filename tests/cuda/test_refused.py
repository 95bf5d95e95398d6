#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Cards that cannot be used: one line says why. device.kind=cuda then refuses to start, auto goes on with host memory; a card
that falls off while vramd runs costs its sessions and not the daemon."""

import os
import struct
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.environ["VRAM_SRC"], "tests", "support"))
import standin  # noqa: E402
import vram_daemon  # noqa: E402
import vram_wire  # noqa: E402

MIB = 1 << 20
BUFFER_NEW, ACQUIRE, STATS, DEVICE, ATTACH, CHUNKS, RECLAIMED = 4, 9, 15, 17, 18, 19, 20
NO_DEVICE, NOT_PERMITTED, ILLEGAL_ADDRESS = 100, 800, 700
COMPUTE_MODE, HANDLE_FD, VMM = 20, 103, 102
EINVAL, ENOENT, EEXIST, EXDEV = 22, 2, 17, 18


class Refused(unittest.TestCase):
    def setUp(self):
        self.card = standin.Card(64 * MIB)
        self.addCleanup(self.card.close)
        for name, value in self.card.environ().items():
            old = os.environ.get(name)
            os.environ[name] = value
            self.addCleanup(os.environ.__setitem__ if old else os.environ.pop, name, *([old] if old else []))

    def daemon(self, kind, **more):
        return vram_daemon.Daemon("16M", {"device": {"kind": kind, "reserve": "8M", **more}})

    def refused(self, says, auto=True, level="warning: the card cannot be used", **more):
        """What cuda says, and auto."""
        with self.assertRaises(vram_daemon.DaemonError) as raised:
            self.daemon("cuda", **more).__enter__()
        lines = str(raised.exception).splitlines()[1:]
        told = [line for line in lines if "device.kind = cuda: " in line]
        self.assertEqual(len(told), 1, lines)
        self.assertRegex(told[0], says)
        self.assertLess(len(told[0]), 400)
        if not auto:
            return
        with self.daemon("auto", **more) as daemon:
            self.assertEqual(daemon.ask("devices")["devices"][0]["backend"], "host")
            told = [line for line in daemon.log().splitlines() if "so the device is the host's memory" in line]
            self.assertEqual(len(told), 1, daemon.log())
            self.assertIn(level, told[0])
            self.assertRegex(told[0], says)
        self.assertEqual(self.card.used_bytes(), 0)

    def test_it_works_otherwise(self):
        for kind in ("cuda", "auto"):
            with self.daemon(kind) as daemon:
                self.assertEqual(daemon.ask("devices")["devices"][0]["backend"], "cuda")
                self.assertEqual(daemon.stop(), 0, daemon.log())
            self.assertEqual(self.card.used_bytes(), 0)

    def test_no_driver(self):
        empty = os.path.join(os.environ["TEST_TMP"], "empty")
        os.makedirs(empty, exist_ok=True)
        os.environ["LD_LIBRARY_PATH"] = empty
        if any(os.path.exists(os.path.join(folder, "libcuda.so.1"))
               for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib", "/lib64", "/usr/lib64")):
            self.skipTest("there is a real driver")
        self.refused("libcuda.so.1", level="no card")

    def test_driver_too_old(self):
        self.card.driver_version = 12030
        self.refused(r"12\.3.*12\.4")

    def test_no_card(self):
        self.card.init_error = NO_DEVICE
        self.refused("no .*device|no card", level="no card")

    def test_no_permission(self):
        self.card.init_error = NOT_PERMITTED
        self.refused("refuses this process")

    def test_mig(self):
        self.card.name = b"NVIDIA A100-SXM4-40GB MIG 1g.5gb"
        self.refused("MIG")

    def test_exclusive(self):
        self.card.set_override(COMPUTE_MODE, 3)
        self.refused("EXCLUSIVE_PROCESS.*DEFAULT")

    def test_cannot_share(self):
        self.card.set_override(HANDLE_FD, 0)
        self.refused("file descriptor")
        self.card.set_override(HANDLE_FD, 1)
        self.card.set_override(VMM, 0)
        self.refused("virtual memory management")

    def test_missing_function(self):
        self.card.hide("cuMemCreate")
        self.refused("cuMemCreate")

    def test_another_card_is_named(self):
        for name in ("7", "0000:01:00.0", "GPU-00000000-0000-0000-0000-000000000000"):
            self.refused("device.card = " + name, card=name, level="")
        self.refused("device.card", auto=False, card="rubbish")
        self.refused("MIG", auto=False, card="MIG-1")
        with self.daemon("cuda", card="0000:65:00.0") as daemon:
            self.assertEqual(daemon.ask("devices")["devices"][0]["backend"], "cuda")

    # ---- messages about the card ----

    def attached(self, daemon, uuid=None):
        client = vram_wire.Client(daemon.socket)
        self.assertEqual(client.hello()[2], 0)
        if uuid is not None:
            client.send(ATTACH, struct.pack("=16sII", uuid, 0, 0))
            self.assertEqual(client.receive()[2], 0)
        return client

    def uuid(self, client):
        client.send(DEVICE)
        _, _, error, body, _ = client.receive()
        self.assertEqual(error, 0)
        uuid, granularity, kind, _, pci = struct.unpack("=16sQII16s", body)
        self.assertEqual((granularity, kind, pci.rstrip(b"\0")), (2 * MIB, 2, b"0000:65:00.0"))
        return uuid

    def answer(self, client, kind, body):
        client.send(kind, body)
        return -client.receive()[2]

    def ended(self, client):
        while (reply := client.receive()) is not None:
            if reply[0] == vram_wire.GOODBYE:
                return vram_wire.text(reply[3])
        return ""

    def test_messages(self):
        with self.daemon("cuda") as daemon:
            client = self.attached(daemon)
            uuid = self.uuid(client)
            one = struct.pack("=IIQ", 1, 0, 1)
            self.assertEqual(self.answer(client, CHUNKS, one), EINVAL)
            wrong = bytes([uuid[0] ^ 1]) + uuid[1:]
            self.assertEqual(self.answer(client, ATTACH, struct.pack("=16sII", wrong, 0, 0)), EXDEV)
            self.assertEqual(self.answer(client, ATTACH, struct.pack("=16sII", uuid, 0, 0)), 0)
            self.assertEqual(self.answer(client, ATTACH, struct.pack("=16sII", uuid, 0, 0)), EEXIST)
            for chunk in (0, 1, 2, 1 << 40, (1 << 64) - 1):
                self.assertEqual(self.answer(client, CHUNKS, struct.pack("=IIQ", 1, 0, chunk)), ENOENT)
            for body in (struct.pack("=IIQ", 0, 0, 1), struct.pack("=IIQ", 2, 0, 1), struct.pack("=IIQ", 1, 1, 1),
                         struct.pack("=II17Q", 17, 0, *range(17))):
                for kind in (CHUNKS, RECLAIMED):
                    bad = self.attached(daemon, uuid)
                    bad.send(kind, body, seq=0 if kind == RECLAIMED else None)
                    self.assertTrue(self.ended(bad))
            for body in (struct.pack("=16sII", uuid, 1, 0), struct.pack("=16sII", uuid, 0, 1)):
                bad = self.attached(daemon)
                bad.send(ATTACH, body)
                self.assertTrue(self.ended(bad))
            # An id that nobody ever had, and one without having attached.
            bad = self.attached(daemon, uuid)
            bad.send(RECLAIMED, one, seq=0)
            self.assertIn("never given", self.ended(bad))
            bad = self.attached(daemon)
            bad.send(RECLAIMED, one, seq=0)
            self.assertIn("ATTACH", self.ended(bad))
            self.assertEqual(self.answer(client, STATS, b""), 0)
            client.sock.close()
            self.assertEqual(daemon.stop(), 0, daemon.log())

    # ---- a card that is lost ----

    def buffer(self, client):
        client.send(BUFFER_NEW, struct.pack("=QQII128s", 8 * MIB, 2 * MIB, 0, 0, b"b"))
        _, _, error, body, fds = client.receive()
        for fd in fds:
            os.close(fd)
        if error == 0:
            base = struct.unpack_from("=II", body)[1]
            for slot in range(4):
                client.send(ACQUIRE, struct.pack("=II", base + slot, 0), seq=0)
        return -error

    def resident(self, daemon):
        return daemon.ask("devices")["devices"][0]["resident_bytes"]

    def wait(self, what, message):
        deadline = time.monotonic() + 20
        while not what() and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertTrue(what(), message)

    def test_loss(self):
        with self.daemon("cuda") as daemon:
            client = self.attached(daemon)
            uuid = self.uuid(client)
            client.sock.close()
            client = self.attached(daemon, uuid)
            self.assertEqual(self.buffer(client), 0)
            self.wait(lambda: self.resident(daemon) == 8 * MIB, "nothing was loaded")
            self.card.lost_error = ILLEGAL_ADDRESS
            self.assertIn("is lost", self.ended(client))
            # It answers, and says no to those who come.
            self.assertEqual(daemon.ask("status")["sessions"], 0)
            self.assertEqual(self.resident(daemon), 0)
            late = self.attached(daemon)
            self.assertNotEqual(self.buffer(late), 0)
            late.sock.close()
            self.assertEqual(daemon.log().count("error: cuda0 is lost:"), 1, daemon.log())
            self.card.lost_error = 0
            # It is there again: a later client works.
            after = None

            def works():
                nonlocal after
                if after:
                    after.sock.close()
                after = self.attached(daemon)
                return self.buffer(after) == 0

            self.wait(works, daemon.log())
            self.wait(lambda: self.resident(daemon) == 8 * MIB, daemon.log())
            self.assertEqual(self.answer(after, ATTACH, struct.pack("=16sII", uuid, 0, 0)), 0)
            after.sock.close()
            self.assertEqual(daemon.stop(), 0, daemon.log())
        self.wait(lambda: self.card.used_bytes() == 0, "memory is left")


if __name__ == "__main__":
    unittest.main(verbosity=2)
