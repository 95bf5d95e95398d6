#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Clients that break the rules of docs/protocol.md: each mistake costs its own session and nothing
else.

A well-behaved session lives through all of it; the daemon keeps no descriptor and no session.
"""

import errno
import os
import random
import socket
import struct
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.environ["VRAM_SRC"], "tests", "support"))
import vram_daemon  # noqa: E402
import vram_wire  # noqa: E402

TMP = os.environ["TEST_TMP"]
HELLO, MODEL_OPEN, EXTENTS, BUFFER_NEW, OBJECT_CLOSE, UFFD, MAP, UNMAP = range(1, 9)
ACQUIRE, CANCEL, USED, PREFETCH, ORDER, PASS, STATS, ADMIN = range(9, 17)
DEVICE, ATTACH, CHUNKS, RECLAIMED, TRIGGER, ADMIT = range(17, 23)
REPLY = vram_wire.REPLY
BIG32, BIG64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
FILE_BYTES = 1 << 20


def hello(version=1, flags=0, name=b"hostile"):
    return struct.pack("=IIQ64s", version, flags, 0, name)


def model_open(size=FILE_BYTES, n_layers=0, n_extents=0, flags=0, pad=0, name=b"m"):
    return struct.pack("=QIIII128s", size, n_layers, n_extents, flags, pad, name)


def extent(offset=0, length=4096, layer=0, flags=0):
    return struct.pack("=QQII", offset, length, layer, flags)


def extents(*each, n=None, pad=0):
    return struct.pack("=II", len(each) if n is None else n, pad) + b"".join(each)


def buffer_new(size=1 << 20, layer=4096 * 16, flags=0, pad=0, name=b"b"):
    return struct.pack("=QQII128s", size, layer, flags, pad, name)


def numbers(*each, n=None, first=0):
    """PREFETCH (first: pad) and, with the object first, ORDER."""
    count = len(each) if n is None else n
    return struct.pack("=II", count, first) + struct.pack(f"={len(each)}I", *each)


def order(obj, *layers, n=None):
    return struct.pack("=II", obj, len(layers) if n is None else n) + struct.pack(
        f"={len(layers)}I", *layers
    )


# What every type looks like when it is right: (body, descriptors, whether an answer comes).
VALID = {
    HELLO: (hello(), 0, True),
    MODEL_OPEN: (model_open(), 1, True),
    EXTENTS: (extents(extent()), 0, False),
    BUFFER_NEW: (buffer_new(), 0, True),
    OBJECT_CLOSE: (struct.pack("=II", 1, 0), 0, True),
    UFFD: (b"", 1, True),
    MAP: (struct.pack("=IIQQQ", 1, 0, 4096, 4096, 0), 0, True),
    UNMAP: (struct.pack("=IIQQ", 1, 0, 4096, 4096), 0, True),
    ACQUIRE: (struct.pack("=II", 0, 0), 0, False),
    CANCEL: (struct.pack("=II", 0, 0), 0, False),
    USED: (struct.pack("=II", 0, 0), 0, False),
    PREFETCH: (numbers(0), 0, False),
    ORDER: (order(1, 0), 0, True),
    PASS: (struct.pack("=II", 1, 0), 0, False),
    STATS: (b"", 0, True),
    ADMIN: (b"{}", 0, True),
    DEVICE: (b"", 0, True),
    ATTACH: (bytes(24), 0, True),
    CHUNKS: (struct.pack("=IIQ", 1, 0, 1), 0, True),
    RECLAIMED: (struct.pack("=IIQ", 1, 0, 1), 0, False),
    TRIGGER: (struct.pack("=IIQQ", 1, 0, 100000, 1000000), 0, True),
    ADMIT: (struct.pack("=QQiI", 4096, 0, 0, 0), 0, True),
}


class Hostile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = vram_daemon.Daemon("64M").__enter__()
        cls.path = cls.daemon.socket
        cls.file = os.path.join(TMP, "file")
        with open(cls.file, "wb") as f:
            f.write(os.urandom(FILE_BYTES))
        cls.fd = os.open(cls.file, os.O_RDONLY)
        cls.good = vram_wire.Client(cls.path)
        assert cls.good.hello()[2] == 0
        cls.good.send(MODEL_OPEN, model_open(n_layers=1, n_extents=1, flags=1), [cls.fd])
        cls.good.send(EXTENTS, extents(extent(length=FILE_BYTES)), seq=cls.good.seq)
        reply = cls.good.receive()
        assert reply[2] == 0, reply
        os.close(reply[4][0])
        # Files may be opened to look at something; what is there after a while is what stays.
        time.sleep(0.5)
        cls.wanted_fds = cls.fds()

    @classmethod
    def tearDownClass(cls):
        cls.good.sock.close()
        os.close(cls.fd)
        code, log = cls.daemon.stop(), cls.daemon.log()
        cls.daemon.__exit__(None, None, None)
        assert code == 0, log

    @classmethod
    def fds(cls):
        """Those of a card's memory come and go as it likes."""
        folder, n = f"/proc/{cls.daemon.process.pid}/fd", 0
        for name in os.listdir(folder):
            try:
                n += os.readlink(f"{folder}/{name}") != os.environ.get("VRAM_STANDIN")
            except FileNotFoundError:
                pass
        return n

    def sessions(self):
        with vram_wire.admin_client(self.path) as client:
            return client.admin({"command": "status"})["sessions"]

    def setUp(self):
        self.clients = []

    def tearDown(self):
        """Nobody else noticed, and nothing is left."""
        for client in self.clients:
            client.sock.close()
        self.good.send(STATS)
        kind, seq, error, body, _ = self.good.receive()
        self.assertEqual((kind, seq, error, len(body)), (STATS | REPLY, self.good.seq, 0, 72))
        self.settle()
        self.assertTrue(self.daemon.alive())

    def settle(self):
        """One session, and as many descriptors as after every other test."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.sessions() != 1:
            time.sleep(0.01)
        self.assertEqual(self.sessions(), 1)
        # Asking takes descriptors itself, for a moment.
        while time.monotonic() < deadline and self.fds() != self.wanted_fds:
            time.sleep(0.01)
        self.assertEqual(self.fds(), self.wanted_fds)

    def client(self, greet=True):
        client = vram_wire.Client(self.path)
        self.clients.append(client)
        if greet:
            self.assertEqual(client.hello()[2], 0)
        return client

    def ended(self, client, why="", what=None):
        """The session ends with GOODBYE, whatever answers come before."""
        while True:
            reply = client.receive()
            self.assertIsNotNone(reply, what)
            for fd in reply[4]:
                os.close(fd)
            if reply[0] == vram_wire.GOODBYE:
                break
        self.assertIn(why, vram_wire.text(reply[3]), what)
        self.assertIsNone(client.receive(), what)
        client.sock.close()

    def refused(self, client, wanted, what=None):
        """An error, and the session goes on."""
        kind, seq, error, body, fds = client.receive()
        self.assertEqual((seq, error, fds), (client.seq, -wanted, []), (what, vram_wire.text(body)))
        self.assertTrue(kind & REPLY)
        self.assertTrue(vram_wire.text(body))

    def alive(self, client):
        client.send(STATS)
        reply = client.receive()
        self.assertEqual((reply[0], reply[1], reply[2]), (STATS | REPLY, client.seq, 0))

    def send_ends(self, kind, body=b"", n_fds=0, why="", greet=True, what=None, **keys):
        client = self.client(greet)
        client.send(kind, body, [self.fd] * n_fds, **keys)
        self.ended(client, why, what or (kind, body[:40]))

    def raw_ends(self, packet, why):
        client = self.client()
        client.sock.send(packet)
        self.ended(client, why, packet[:40])

    # ---- frames ----

    def test_every_message_cut_short_and_too_long(self):
        for kind, (body, n_fds, answered) in VALID.items():
            seq = None if answered else 0
            wrong = [body[:-1], body + b"\0", body + bytes(8)] if kind != ADMIN else [b"{"]
            for other in wrong if body else wrong[1:]:
                self.send_ends(kind, other, n_fds, seq=seq)
            if body:
                self.send_ends(kind, b"", n_fds, seq=seq)

    def test_sizes_that_are_not_the_packets(self):
        for size in (0, 15, 17, 79, 81, 65536, BIG32):
            self.raw_ends(struct.pack("=IIIi", HELLO, size, 9, 0) + hello()[:64], "another size")
        for length in (1, 4, 15):
            self.raw_ends(b"\1" * length, "another size")
        client = self.client()
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        client.sock.send(struct.pack("=IIIi", ADMIN, 70000, 9, 0) + bytes(70000 - 16))
        self.ended(client, "too long")

    def test_empty_packet(self):
        client = self.client()
        client.sock.send(b"")
        self.assertIsNone(client.receive())

    def test_types_that_do_not_exist(self):
        for kind in (0, 23, 63, 64, 65, 66, REPLY | HELLO, REPLY, BIG32):
            self.send_ends(kind, why="unknown type")

    def test_error_and_seq_in_requests(self):
        self.raw_ends(struct.pack("=IIIi", STATS, 16, 5, -1), "with an error")
        for kind, (body, n_fds, answered) in VALID.items():
            if kind != EXTENTS:
                self.send_ends(kind, body, n_fds, why="seq", seq=0 if answered else 7)

    def test_descriptors_too_many_and_too_few(self):
        for kind, (body, n_fds, answered) in VALID.items():
            for n in (0, 1, 2):
                if n != n_fds:
                    self.send_ends(kind, body, n, why="descriptors", seq=None if answered else 0)
            self.send_ends(kind, body, 5, seq=None if answered else 0)
            self.send_ends(kind, body, 200, seq=None if answered else 0)

    # ---- HELLO ----

    def test_nothing_before_hello(self):
        for kind, (body, n_fds, answered) in VALID.items():
            if kind != HELLO:
                self.send_ends(
                    kind, body, n_fds, why="before HELLO", greet=False, seq=None if answered else 0
                )

    def test_hello(self):
        self.send_ends(HELLO, hello(), why="second HELLO")
        self.send_ends(HELLO, hello(flags=8), greet=False, why="flags")
        # 4: with a descriptor of the kernel module.
        self.send_ends(HELLO, hello(flags=4), 0, greet=False, why="descriptors")
        self.send_ends(HELLO, hello(flags=4), 2, greet=False, why="descriptors")
        self.send_ends(HELLO, hello(flags=0), 1, greet=False, why="descriptors")
        self.send_ends(HELLO, hello(flags=2 | 4), 1, greet=False, why="administrator")
        self.send_ends(HELLO, hello(flags=BIG32), 1, greet=False, why="flags")
        self.send_ends(HELLO, hello(name=b"x" * 64), greet=False, why="name")

    def test_wrong_version(self):
        for version in (0, 2, BIG32):
            client = self.client(greet=False)
            kind, _, error, body, fds = client.hello(version=version)
            self.assertEqual((kind, error, fds), (HELLO | REPLY, -errno.EPROTONOSUPPORT, []))
            self.assertIn("speaks 1", vram_wire.text(body))
            self.ended(client, "speaks 1")

    def test_administrators_sessions_are_for_that(self):
        for kind, (body, n_fds, answered) in VALID.items():
            if kind in (HELLO, ADMIN):
                continue
            client = vram_wire.admin_client(self.path)
            self.clients.append(client)
            client.send(kind, body, [self.fd] * n_fds, seq=None if answered else 0)
            self.ended(client, "administrator")
        self.send_ends(ADMIN, b'{"command":"evict","all":true}', why="ADMIN")

    # ---- models ----

    def test_model_open_that_makes_no_sense(self):
        for wrong in (
            model_open(n_layers=1),
            model_open(n_extents=1),
            model_open(flags=2),
            model_open(flags=BIG32),
            model_open(pad=1),
            model_open(name=b"x" * 128),
        ):
            self.send_ends(MODEL_OPEN, wrong, 1)

    def test_descriptors_that_are_no_model(self):
        os.mkfifo(os.path.join(TMP, "fifo"))
        empty = os.path.join(TMP, "empty")
        with open(empty, "wb"):
            pass
        client = self.client()
        cases = [
            (os.open(self.file, os.O_WRONLY), errno.EBADF),
            (os.open(self.file, os.O_PATH), errno.EBADF),
            (os.open(TMP, os.O_RDONLY), errno.EISDIR),
            (os.open("/dev/null", os.O_RDONLY), errno.EINVAL),
            (os.open(os.path.join(TMP, "fifo"), os.O_RDONLY | os.O_NONBLOCK), errno.EINVAL),
            (os.open(empty, os.O_RDONLY), errno.ENODATA),
            (socket.socket().detach(), errno.EINVAL),
        ]
        for fd, wanted in cases:
            client.send(MODEL_OPEN, model_open(), [fd])
            self.refused(client, wanted, fd)
            os.close(fd)
            self.alive(client)
        for size in (0, 1, FILE_BYTES - 1, FILE_BYTES + 1, 1 << 40):
            client.send(MODEL_OPEN, model_open(size=size), [self.fd])
            self.refused(client, errno.ESTALE, size)
        client.send(MODEL_OPEN, model_open(size=BIG64), [self.fd])
        self.refused(client, errno.E2BIG)
        self.alive(client)

    def test_absurd_numbers_of_layers(self):
        client = self.client()
        for n in (100_000, BIG32):
            client.send(MODEL_OPEN, model_open(n_layers=n, n_extents=1, flags=1), [self.fd])
            self.refused(client, errno.E2BIG, n)
            # The extents that were promised are taken and forgotten.
            client.send(EXTENTS, extents(extent()), seq=client.seq)
            self.alive(client)
        # 100,000 layers, one by one, more than the table holds.
        client.send(MODEL_OPEN, model_open(n_layers=100_000, n_extents=100_000, flags=1), [self.fd])
        self.refused(client, errno.E2BIG)
        for first in range(0, 100_000, 2000):
            client.send(
                EXTENTS, extents(*(extent(layer=first + i) for i in range(2000))), seq=client.seq
            )
        self.alive(client)
        # More extents than may be, promised and not sent: it holds nothing but itself.
        client.send(MODEL_OPEN, model_open(n_layers=1, n_extents=BIG32), [self.fd])
        self.refused(client, errno.E2BIG)
        client.send(STATS)
        self.ended(client, "EXTENTS")

    def test_extents(self):
        wrong = [
            extents(),
            extents(extent(), n=0),
            extents(extent(), n=2),
            extents(extent(), n=BIG32),
            extents(extent(), pad=1),
            extents(extent(), extent(), extent()),
            extents(extent(length=0)),
            extents(extent(offset=FILE_BYTES)),
            extents(extent(offset=FILE_BYTES - 1, length=2)),
            extents(extent(offset=1, length=BIG64)),
            extents(extent(offset=BIG64, length=1)),
            extents(extent(layer=2)),
            extents(extent(layer=BIG32)),
            extents(extent(flags=4)),
        ]
        for each in wrong:
            client = self.client()
            client.send(MODEL_OPEN, model_open(n_layers=2, n_extents=2), [self.fd])
            client.send(EXTENTS, each, seq=client.seq)
            self.ended(client, what=each[:40])
        self.send_ends(EXTENTS, extents(extent()), why="without a MODEL_OPEN", seq=1)
        client = self.client()
        client.send(MODEL_OPEN, model_open(n_layers=1, n_extents=1), [self.fd])
        client.send(EXTENTS, extents(extent()), seq=client.seq + 1)
        self.ended(client, "without a MODEL_OPEN")
        for kind, (body, n_fds, answered) in VALID.items():
            if kind == EXTENTS:
                continue
            client = self.client()
            client.send(MODEL_OPEN, model_open(n_layers=1, n_extents=1), [self.fd])
            client.send(kind, body, [self.fd] * n_fds, seq=None if answered else 0)
            self.ended(client, "middle of EXTENTS", kind)

    def test_extents_that_take_their_time(self):
        """Nobody else uses the model, and it is not to be kept: it must not go while it is being opened."""
        with vram_daemon.Daemon("64M", {"policy": {"keep": "0"}}) as daemon:
            for last in (False, True):
                one, other = vram_wire.Client(daemon.socket), vram_wire.Client(daemon.socket)
                for client in (one, other):
                    self.assertEqual(client.hello()[2], 0)
                    client.send(MODEL_OPEN, model_open(n_layers=2, n_extents=2, flags=1), [self.fd])
                    client.send(EXTENTS, extents(extent()), seq=client.seq)
                if last:
                    # The other one opens it, closes it again, or just goes.
                    other.send(EXTENTS, extents(extent(layer=1)), seq=other.seq)
                    os.close(other.receive()[4][0])
                other.sock.close()
                time.sleep(1.5)
                one.send(EXTENTS, extents(extent(layer=1)), seq=one.seq)
                kind, _, error, body, fds = one.receive()
                self.assertEqual((kind, error), (MODEL_OPEN | REPLY, 0), vram_wire.text(body))
                os.close(fds[0])
                one.sock.close()
            deadline = time.monotonic() + 30
            while daemon.ask("models")["models"] and time.monotonic() < deadline:
                time.sleep(0.05)
            self.assertEqual(daemon.ask("models")["models"], [])
            self.assertEqual(daemon.stop(), 0, daemon.log())

    def test_layer_without_extents(self):
        client = self.client()
        client.send(MODEL_OPEN, model_open(n_layers=3, n_extents=1, flags=1), [self.fd])
        client.send(EXTENTS, extents(extent(layer=1)), seq=client.seq)
        self.refused(client, errno.EINVAL)
        self.alive(client)

    def test_objects_without_end(self):
        """Up to the limit, and the next one is refused; closing makes room."""
        client = self.client()
        for _ in range(1024):
            client.send(BUFFER_NEW, buffer_new(size=4096, layer=4096))
            _, _, error, body, fds = client.receive()
            self.assertEqual(error, 0, vram_wire.text(body))
            os.close(fds[0])
        last = struct.unpack_from("=I", body)[0]
        client.send(BUFFER_NEW, buffer_new(size=4096, layer=4096))
        self.refused(client, errno.E2BIG)
        client.send(OBJECT_CLOSE, struct.pack("=II", last, 0))
        self.assertEqual(client.receive()[2], 0)
        client.send(BUFFER_NEW, buffer_new(size=4096, layer=4096))
        reply = client.receive()
        self.assertEqual(reply[2], 0)
        os.close(reply[4][0])

    # ---- buffers, mappings, slots ----

    def test_buffers(self):
        client = self.client()
        for wrong, wanted in (
            (buffer_new(size=0), errno.EINVAL),
            (buffer_new(layer=0), errno.EINVAL),
            (buffer_new(layer=4095), errno.EINVAL),
            (buffer_new(size=BIG64), errno.E2BIG),
            (buffer_new(size=BIG64, layer=BIG64 & ~4095), errno.E2BIG),
            (buffer_new(size=16385 * 4096, layer=4096), errno.E2BIG),
        ):
            client.send(BUFFER_NEW, wrong)
            self.refused(client, wanted, wrong[:24])
            self.alive(client)
        for wrong in (buffer_new(flags=1), buffer_new(pad=1), buffer_new(name=b"x" * 128)):
            self.send_ends(BUFFER_NEW, wrong)

    def test_objects_of_others(self):
        """Object 1 and slot 0 are those of the session that behaves."""
        client = self.client()
        for kind, body in (
            (OBJECT_CLOSE, struct.pack("=II", 1, 0)),
            (OBJECT_CLOSE, struct.pack("=II", BIG32, 0)),
            (MAP, VALID[MAP][0]),
            (UNMAP, VALID[UNMAP][0]),
            (ORDER, order(1, 0)),
        ):
            client.send(kind, body)
            self.refused(client, errno.ENOENT, kind)
            self.alive(client)
        for slot in (0, 1, 16383, 16384, BIG32):
            for kind in (ACQUIRE, CANCEL, USED):
                self.send_ends(kind, struct.pack("=II", slot, 0), why="slot", seq=0)
            self.send_ends(PREFETCH, numbers(slot), why="slot", seq=0)
        self.send_ends(PASS, struct.pack("=II", 1, 0), seq=0)

    def opened(self, n_layers=4):
        client = self.client()
        client.send(
            MODEL_OPEN, model_open(n_layers=n_layers, n_extents=n_layers, flags=1), [self.fd]
        )
        client.send(
            EXTENTS,
            extents(*(extent(offset=i * 4096, layer=i) for i in range(n_layers))),
            seq=client.seq,
        )
        _, _, error, body, fds = client.receive()
        self.assertEqual(error, 0, vram_wire.text(body))
        os.close(fds[0])
        return client, *struct.unpack_from("=II", body)

    def test_orders(self):
        client, obj, _ = self.opened()
        for wrong in (
            order(obj, 4),
            order(obj, BIG32),
            order(obj, 0, 0),
            order(obj, 0, 1, 2, 3, 0),
        ):
            client.send(ORDER, wrong)
            self.refused(client, errno.EINVAL, wrong)
            self.alive(client)
        client.send(ORDER, order(obj, 3, 1))
        self.assertEqual(client.receive()[2], 0)
        for n in (0, 2, BIG32):
            self.send_ends(ORDER, order(1, 0, n=n), what=n)

    def test_prefetches_and_passes(self):
        for wrong in (numbers(0, n=0), numbers(0, n=2), numbers(0, n=BIG32), numbers(0, first=1)):
            client, _, _ = self.opened()
            client.send(PREFETCH, wrong, seq=0)
            self.ended(client)
        for kind in (4, BIG32):
            client, obj, _ = self.opened()
            client.send(PASS, struct.pack("=II", obj, kind), seq=0)
            self.ended(client)

    def test_slots_of_a_closed_object(self):
        client, obj, base = self.opened()
        client.send(OBJECT_CLOSE, struct.pack("=II", obj, 0))
        self.assertEqual(client.receive()[2], 0)
        client.send(ACQUIRE, struct.pack("=II", base, 0), seq=0)
        self.ended(client, "slot")

    def test_no_userfaultfd(self):
        client, obj, _ = self.opened()
        client.send(MAP, struct.pack("=IIQQQ", obj, 0, 4096, 4096, 0))
        self.refused(client, errno.EOPNOTSUPP if vram_daemon.wants_card() else errno.EINVAL)
        event = os.eventfd(0)
        for fd in (self.fd, event, client.sock.fileno()):
            client.send(UFFD, b"", [fd])
            self.assertLess(client.receive()[2], 0)
            self.alive(client)
        os.close(event)

    # ---- too much ----

    def test_answers_that_nobody_reads(self):
        client = self.client()
        client.sock.settimeout(30)
        with self.assertRaises((BrokenPipeError, ConnectionResetError)):
            while True:
                client.send(STATS)
        client.sock.close()

    def test_acquires_and_cancels_without_end(self):
        client, _, base = self.opened()
        for _ in range(5000):
            client.send(ACQUIRE, struct.pack("=II", base + random.randrange(4), 0), seq=0)
            client.send(CANCEL, struct.pack("=II", base + random.randrange(4), 0), seq=0)
        self.alive(client)

    def test_random_packets(self):
        """Valid ones with some bytes changed, in any order, with any descriptors."""
        seed = int.from_bytes(os.urandom(4), "little")
        rng = random.Random(seed)
        print("seed", seed, end=" ", flush=True)
        until = time.monotonic() + float(os.environ.get("STRESS_SECONDS", "5")) / 2
        n = 0
        while time.monotonic() < until:
            client = vram_wire.Client(self.path)
            try:
                if rng.random() < 0.9:
                    client.hello()
                for _ in range(rng.randrange(1, 20)):
                    kind = rng.choice(list(VALID))
                    body, n_fds, answered = VALID[kind]
                    body = bytearray(body)
                    for _ in range(rng.randrange(3) if body else 0):
                        body[rng.randrange(len(body))] = rng.choice(
                            (0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256))
                        )
                    if rng.random() < 0.05:
                        n_fds = rng.randrange(4)
                    client.send(
                        kind,
                        bytes(body),
                        [self.fd] * n_fds,
                        seq=None if answered else client.seq * (kind == EXTENTS),
                    )
                    n += 1
            except (BrokenPipeError, ConnectionResetError):
                pass
            finally:
                client.sock.close()
        self.assertGreater(n, 10)


if __name__ == "__main__":
    unittest.main(verbosity=2)
