#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Messages that no honest client sends: each is answered clearly or ends its own session, and nobody else notices.

While all this goes on, a reader under vramrun compares every page of a model three times the budget.
"""

import array
import ctypes
import errno
import fcntl
import mmap
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
sys.path.insert(0, HERE)
import test_vramrun  # noqa: E402
import vram_daemon  # noqa: E402

HELLO, MODEL_OPEN, EXTENTS, BUFFER_NEW, OBJECT_CLOSE, UFFD, MAP, UNMAP = range(1, 9)
ACQUIRE, CANCEL, USED, PREFETCH, ORDER, PASS, STATS, ADMIN = range(9, 17)
DEVICE, ATTACH, CHUNKS, RECLAIMED, TRIGGER, ADMIT = range(17, 23)
REPLY, GOODBYE = 0x80000000, 65
SILENT = (EXTENTS, ACQUIRE, CANCEL, USED, PREFETCH, PASS, RECLAIMED)
SLOTS = 1
HUGE = 1 << 63
SYS_USERFAULTFD, UFFDIO_API = 323, 0xC018AA3F
UFFD_FEATURES = (
    1 << 2 | 1 << 5 | 1 << 6 | 1 << 10
)  # EVENT_REMAP, MISSING_SHMEM, EVENT_UNMAP, MINOR_SHMEM
libc = ctypes.CDLL(None, use_errno=True)


class Ended(Exception):
    pass


class Raw:
    """A session, spoken by hand."""

    def __init__(self, path, hello=True):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(20)
        self.sock.connect(path)
        self.seq = 0
        self.table = None
        self.goodbye = None
        if hello:
            error, _, fds = self.ask(HELLO, hello_body())
            assert error == 0 and len(fds) == 1, (error, fds)
            self.table = fds[0]

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.sock.close()
        if self.table is not None:
            os.close(self.table)

    def packet(self, data, fds=()):
        extra = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self.sock.sendmsg([data], extra)
        except (BrokenPipeError, ConnectionResetError):
            pass  # ended already: the next receive says so

    def send(self, kind, body=b"", fds=(), seq=None, error=0):
        if seq is None:
            self.seq += 1
            seq = 0 if kind in SILENT else self.seq
        self.packet(struct.pack("<IIIi", kind, 16 + len(body), seq, error) + body, fds)

    def receive(self):
        """(type, seq, error, body, descriptors) of the next packet; Ended at the end."""
        fds = array.array("i")
        for last in (False, True):
            try:
                data, extra, _, _ = self.sock.recvmsg(70000, socket.CMSG_SPACE(4 * 16))
                break
            except ConnectionResetError:
                # Said once, and ahead of what is queued: the GOODBYE may be behind it.
                if last:
                    raise Ended from None
        for _, _, raw in extra:
            fds.frombytes(raw[: len(raw) // 4 * 4])
        if not data:
            raise Ended
        kind, size, seq, error = struct.unpack_from("<IIIi", data)
        assert size == len(data), "the daemon's own packet has a wrong size"
        if kind == GOODBYE:
            self.goodbye = data[16:].split(b"\0")[0].decode()
            raise Ended
        return kind, seq, error, data[16:], list(fds)

    def ask(self, kind, body=b"", fds=(), **more):
        self.send(kind, body, fds, **more)
        while True:
            got, seq, error, body, out = self.receive()
            if got & REPLY and seq == self.seq:
                return error, body, out

    def outcome(self, kind, body=b"", fds=(), **more):
        """`ended`, or the errno of an error that has a text, or 0. What has no answer is followed by STATS."""
        try:
            if kind in SILENT:
                self.send(kind, body, fds, **more)
                error, text, out = self.ask(STATS)
            else:
                error, text, out = self.ask(kind, body, fds, **more)
        except Ended:
            if not self.goodbye:
                return "ended without a word"
            return "ended"
        for fd in out:
            os.close(fd)
        if error:
            return -error if len(text) == 240 and text.strip(b"\0") else "an error without text"
        return 0

    def fresh(self, kind, body):
        """Asks, and drops the descriptors. Return: the body."""
        error, body, fds = self.ask(kind, body[0], body[1])
        assert error == 0, (kind, error, body)
        for fd in fds:
            os.close(fd)
        return body


def hello_body(version=1, flags=0, features=0, name=b"hostile"):
    return struct.pack("<IIQ64s", version, flags, features, name)


def open_body(size, layers=0, extents=0, flags=0, pad=0, name=b"m"):
    return struct.pack("<QIIII128s", size, layers, extents, flags, pad, name)


def extents_body(*extents, n=None, pad=0):
    return struct.pack("<II", len(extents) if n is None else n, pad) + b"".join(
        struct.pack("<QQII", *e) for e in extents
    )


def buffer_body(size, layer, flags=0, pad=0, name=b"b"):
    return struct.pack("<QQII128s", size, layer, flags, pad, name)


def map_body(obj, addr, length, offset, pad=0):
    return struct.pack("<IIQQQ", obj, pad, addr, length, offset)


def slots_body(*slots, n=None, pad=0):
    return struct.pack("<II", len(slots) if n is None else n, pad) + struct.pack(
        f"<{len(slots)}I", *slots
    )


def order_body(obj, *layers, n=None):
    return struct.pack("<II", obj, len(layers) if n is None else n) + struct.pack(
        f"<{len(layers)}I", *layers
    )


def u32s(*numbers):
    return struct.pack(f"<{len(numbers)}I", *numbers)


def userfaultfd(flags=os.O_CLOEXEC | os.O_NONBLOCK, api=True):
    fd = libc.syscall(SYS_USERFAULTFD, flags | 1)
    if fd >= 0 and api:
        fcntl.ioctl(fd, UFFDIO_API, bytearray(struct.pack("<QQQ", 0xAA, UFFD_FEATURES, 0)))
    return fd


class World:
    def __init__(self, daemon, folder):
        self.daemon, self.folder = daemon, folder
        self.path = os.path.join(folder, "model.gguf")
        self.size = test_vramrun.MODEL
        self.count, self.failures = 0, 0

    def session(self, **more):
        return Raw(self.daemon.socket, **more)

    def with_model(self):
        """A session with an object of four layers. Return: (session, object)."""
        s = self.session()
        quarter = self.size // 4
        with open(self.path, "rb") as f:
            s.send(MODEL_OPEN, open_body(self.size, 4, 4, SLOTS), [f.fileno()])
            s.send(
                EXTENTS, extents_body(*((i * quarter, quarter, i, 0) for i in range(4))), seq=s.seq
            )
        error, body, fds = self.reply(s)
        assert error == 0, error
        os.close(fds[0])
        return s, struct.unpack_from("<I", body)[0]

    @staticmethod
    def reply(s):
        _, _, error, body, fds = s.receive()
        return error, body, fds

    def expect(self, what, got, *wanted):
        self.count += 1
        if got not in wanted:
            self.failures += 1
            print(f"FAILED {what}: {got!r}, not {' or '.join(map(repr, wanted))}", flush=True)

    def still_well(self, what):
        if not self.daemon.alive():
            raise SystemExit(f"FAILED {what}: vramd has ended\n{self.daemon.log()[-3000:]}")
        with self.session() as s:
            error, _, _ = s.ask(STATS)
            self.expect(f"{what}: the next client", error, 0)


def valid(w, f):
    """One good example of every message: (type, body, descriptors)."""
    return [
        (HELLO, hello_body(), []),
        (MODEL_OPEN, open_body(w.size), [f]),
        (EXTENTS, extents_body((0, 4096, 0, 0)), []),
        (BUFFER_NEW, buffer_body(1 << 20, 4096), []),
        (OBJECT_CLOSE, u32s(1, 0), []),
        (UFFD, b"", [f]),
        (MAP, map_body(1, 1 << 30, 4096, 0), []),
        (UNMAP, struct.pack("<IIQQ", 1, 0, 1 << 30, 4096), []),
        (ACQUIRE, u32s(0, 0), []),
        (CANCEL, u32s(0, 0), []),
        (USED, u32s(0, 0), []),
        (PREFETCH, slots_body(0, 1), []),
        (ORDER, order_body(1, 0, 1), []),
        (PASS, u32s(1, 2), []),
        (STATS, b"", []),
        (DEVICE, b"", []),
        (ATTACH, bytes(24), []),
        (CHUNKS, chunks_body(1, 2), []),
        (RECLAIMED, chunks_body(1, 2), []),
        (ADMIT, admit_body(4096), []),
    ]


def admit_body(working_set, timeout=0, priority=0, flags=0):
    return struct.pack("<QQiI", working_set, timeout, priority, flags)


def chunks_body(*ids, n=None):
    return struct.pack(f"<II{len(ids)}Q", len(ids) if n is None else n, 0, *ids)


def test_cards(w):
    """The messages about the memory of a card, to a daemon that has none."""
    with w.session() as s:
        error, body, _ = s.ask(DEVICE)
        w.expect("a device", (error, body[16:28]), (0, struct.pack("<QI", 0, 1)))
        w.expect("attach to the host", s.outcome(ATTACH, bytes(24)), errno.EOPNOTSUPP)
        w.expect("chunks without attach", s.outcome(CHUNKS, chunks_body(1)), errno.EINVAL)
        w.expect("the session lives", s.outcome(STATS), 0)
    for what, kind, body in (
        ("attach with flags", ATTACH, bytes(16) + u32s(1, 0)),
        ("attach with padding", ATTACH, bytes(16) + u32s(0, 1)),
        ("reclaimed without attach", RECLAIMED, chunks_body(1)),
        ("chunks that count wrong", CHUNKS, chunks_body(1, 2, n=1)),
        ("chunks that count 4 billion", CHUNKS, chunks_body(1, n=0xFFFFFFFF)),
        ("no chunks", CHUNKS, chunks_body(1, n=0)),
        ("chunks with padding", CHUNKS, u32s(1, 1) + bytes(8)),
        ("17 chunks", CHUNKS, chunks_body(*range(17))),
        ("reclaimed that counts wrong", RECLAIMED, chunks_body(1, 2, n=1)),
    ):
        with w.session() as s:
            w.expect(what, s.outcome(kind, body), "ended")
    w.still_well("cards")


def test_frames(w):
    """Cut short at every length, too long, sizes that lie, too few and too many descriptors, before HELLO."""
    with open(w.path, "rb") as f:
        null = os.open("/dev/null", os.O_RDWR)
        for kind, body, fds in valid(w, f.fileno()):
            fds = [x if x != f.fileno() else f.fileno() for x in fds]
            whole = struct.pack("<IIIi", kind, 16 + len(body), 0 if kind in SILENT else 9, 0) + body
            for cut in range(1, len(whole)):
                with w.session(hello=kind != HELLO) as s:
                    s.packet(whole[:cut], fds)
                    w.expect(f"type {kind} cut to {cut}", ends(s), "ended")
            for what, data, more in (
                ("one byte more", whole + b"\0", fds),
                ("a size that lies upward", lie(whole, len(whole) + 4), fds),
                ("a size that lies downward", lie(whole, 16), fds if body else fds + [null]),
                ("a size of 0", lie(whole, 0), fds),
                ("a descriptor too many", whole, fds + [null]),
                ("as many descriptors as go", whole, [null] * 250),
                ("64 KiB", whole + bytes(65536 - len(whole)), fds),
                ("more than 64 KiB", whole + bytes(100000), fds),
                ("an error in a request", whole[:12] + struct.pack("<i", -5) + whole[16:], fds),
            ):
                with w.session(hello=kind != HELLO) as s:
                    s.packet(data, more)
                    w.expect(f"type {kind}: {what}", ends(s), "ended")
            if fds:
                with w.session() as s:
                    s.packet(whole)
                    w.expect(f"type {kind}: no descriptor", ends(s), "ended")
            if kind != HELLO:
                with w.session(hello=False) as s:
                    s.packet(whole, fds)
                    w.expect(f"type {kind} before HELLO", ends(s), "ended")
            flipped = whole[:8] + struct.pack("<I", 9 if kind in SILENT else 0) + whole[12:]
            with w.session(hello=kind != HELLO) as s:
                s.packet(flipped, fds)
                w.expect(f"type {kind}: a seq as it must not be", ends(s), "ended")
        for kind in (0, 23, 63, 64, 65, 66, 255, 0x7FFFFFFF, REPLY | HELLO, REPLY | STATS, 0xFFFFFFFF):
            with w.session() as s:
                s.send(kind)
                w.expect(f"type {kind:#x}", ends(s), "ended")
        os.close(null)
    w.still_well("frames")


def lie(packet, size):
    return packet[:4] + struct.pack("<I", size) + packet[8:]


def ends(s):
    try:
        while True:
            s.receive()
    except Ended:
        return "ended" if s.goodbye else "ended without a word"
    except socket.timeout:
        return "nothing happened"


def test_hello(w):
    for version in (0, 2, 0xFFFFFFFF):
        with w.session(hello=False) as s:
            w.expect(
                f"version {version}", s.outcome(HELLO, hello_body(version)), errno.EPROTONOSUPPORT
            )
            w.expect(f"version {version}, afterwards", ends(s), "ended")
    with w.session(hello=False) as s:
        w.expect(
            "unknown flags",
            s.outcome(HELLO, hello_body(flags=0x80)),
            "ended",
            errno.EPROTO,
            errno.EINVAL,
        )
    with w.session(hello=False) as s:
        w.expect("a name without end", s.outcome(HELLO, hello_body(name=b"x" * 64)), "ended")
    with w.session() as s:
        w.expect("a second HELLO", s.outcome(HELLO, hello_body()), "ended")
    with w.session() as s:
        w.expect("ADMIN as a client", s.outcome(ADMIN, b'{"cmd":"status"}'), "ended", errno.EPERM)
    for text in (
        b"{}",
        b"[]",
        b"{" * 3000,
        b"\xff\xfe",
        b'{"cmd":null}',
        b'{"cmd":"nonsense"}',
        b"{}" * 20000,
    ):
        with w.session(hello=False) as s:
            error, _, fds = s.ask(HELLO, hello_body(flags=2))
            w.expect("HELLO of an administrator", (error, len(fds)), (0, 0))
            got = s.outcome(ADMIN, text)
            # An answer may be JSON that says what is wrong.
            w.expect(
                f"ADMIN {text[:12]!r}", got == 0 or got == "ended" or isinstance(got, int), True
            )
    w.still_well("hello")


def test_models(w):
    size = w.size
    with open(w.path, "rb") as f:
        fd = [f.fileno()]
        one = extents_body((0, 4096, 0, 0))
        with w.session() as s:
            for what, body in (
                ("100,000 layers", open_body(size, 100000, 100000, SLOTS)),
                ("4 billion layers", open_body(size, 0xFFFFFFFF, 1, SLOTS)),
                ("more extents than allowed", open_body(size, 1, 300000, SLOTS)),
            ):
                s.send(MODEL_OPEN, body, fd)
                error, text, _ = w.reply(s)
                w.expect(f"{what}: refused", -error, errno.E2BIG)
                w.expect(f"{what}: with a reason", bool(text.strip(b"\0")), True)
                n = struct.unpack_from("<QII", body)[2]
                # The extents that were announced come all the same, and are to be swallowed.
                while n > 0:
                    count = min(n, 2048)
                    s.send(EXTENTS, extents_body(*[(0, 4096, 0, 0)] * count), seq=s.seq)
                    n -= count
                w.expect(f"{what}: the session lives", s.outcome(STATS), 0)
            for what, n in (
                ("another size", size - 1),
                ("size 0", 0),
                ("size 2^63", HUGE),
                ("size 2^64 - 1", (1 << 64) - 1),
            ):
                w.expect(
                    what,
                    s.outcome(MODEL_OPEN, open_body(n), fd),
                    errno.ESTALE,
                    errno.E2BIG,
                    errno.EINVAL,
                )
            w.expect("the session lives", s.outcome(STATS), 0)
        for what, body, extents in (
            ("unknown flags", open_body(size, flags=0x40), []),
            ("padding", open_body(size, pad=1), []),
            ("a name without end", open_body(size, name=b"x" * 128), []),
            ("layers without extents", open_body(size, 4), []),
            ("extents without layers", open_body(size, 0, 4), []),
            ("EXTENTS of 0", open_body(size, 1, 1), [extents_body()]),
            ("EXTENTS that count wrong", open_body(size, 1, 2), [extents_body((0, 1, 0, 0), n=2)]),
            ("EXTENTS with padding", open_body(size, 1, 1), [extents_body((0, 1, 0, 0), pad=1)]),
            (
                "more EXTENTS than announced",
                open_body(size, 1, 1),
                [extents_body(*[(0, 1, 0, 0)] * 2)],
            ),
            ("an extent of 0 bytes", open_body(size, 1, 1), [extents_body((0, 0, 0, 0))]),
            (
                "an extent beyond the end",
                open_body(size, 1, 1),
                [extents_body((size - 1, 2, 0, 0))],
            ),
            (
                "an extent that wraps",
                open_body(size, 1, 1),
                [extents_body((4096, (1 << 64) - 4096, 0, 0))],
            ),
            ("an extent at 2^63", open_body(size, 1, 1), [extents_body((HUGE, 1, 0, 0))]),
            ("a layer that is not there", open_body(size, 1, 1), [extents_body((0, 1, 1, 0))]),
            ("unknown flags of an extent", open_body(size, 1, 1), [extents_body((0, 1, 0, 0x80))]),
        ):
            with w.session() as s:
                s.send(MODEL_OPEN, body, fd)
                for e in extents:
                    s.send(EXTENTS, e, seq=s.seq)
                w.expect(what, ends(s), "ended")
        with w.session() as s:
            s.send(MODEL_OPEN, open_body(size, 2, 1, SLOTS), fd)
            s.send(EXTENTS, one, seq=s.seq)
            w.expect("a layer without extents", -w.reply(s)[0], errno.EINVAL)
        with w.session() as s:
            s.send(EXTENTS, one, seq=7)
            w.expect("EXTENTS without MODEL_OPEN", ends(s), "ended")
        with w.session() as s:
            s.send(MODEL_OPEN, open_body(size, 1, 2), fd)
            s.send(EXTENTS, one, seq=s.seq + 1)
            w.expect("EXTENTS of another seq", ends(s), "ended")
        with w.session() as s:
            s.send(MODEL_OPEN, open_body(size, 1, 2), fd)
            s.send(STATS)
            w.expect("another message among EXTENTS", ends(s), "ended")
        # Gone in the middle.
        with w.session() as s:
            s.send(MODEL_OPEN, open_body(size, 1, 2), fd)
            s.send(EXTENTS, one, seq=s.seq)
        # More objects than allowed: refused, not dropped.
        with w.session() as s:
            got = [s.outcome(MODEL_OPEN, open_body(size), fd) for _ in range(1100)]
            w.expect("the first of 1100 objects", got[0], 0)
            w.expect("the last of 1100 objects", got[-1], errno.E2BIG)
    w.still_well("models")


def test_descriptors(w):
    size = w.size
    empty = os.path.join(w.folder, "empty")
    fifo = os.path.join(w.folder, "fifo")
    with open(empty, "wb"):
        pass
    os.mkfifo(fifo)
    pipe = os.pipe()
    pair = socket.socketpair()
    bad = {
        "O_PATH": os.open(w.path, os.O_PATH),
        "O_WRONLY": os.open(w.path, os.O_WRONLY),
        "a directory": os.open(w.folder, os.O_RDONLY),
        "a FIFO": os.open(fifo, os.O_RDONLY | os.O_NONBLOCK),
        "a pipe": pipe[0],
        "a socket": pair[0].fileno(),
        "/dev/zero": os.open("/dev/zero", os.O_RDONLY),
        "an empty file": os.open(empty, os.O_RDONLY),
        "a file of /proc": os.open("/proc/self/maps", os.O_RDONLY),
    }
    with w.session() as s:
        for what, fd in bad.items():
            got = s.outcome(MODEL_OPEN, open_body(size), [fd])
            w.expect(f"{what} as a model", isinstance(got, int) and got != 0, True)
            w.expect(f"{what} as a model: the session lives", s.outcome(STATS), 0)
    bad["the model"] = os.open(w.path, os.O_RDONLY)
    for what, fd in bad.items():
        with w.session() as s:
            got = s.outcome(UFFD, b"", [fd])
            w.expect(
                f"{what} as a userfaultfd",
                got == "ended" or got == errno.EINVAL or got == errno.EBADF,
                True,
            )
    blocking = userfaultfd(os.O_CLOEXEC)
    raw = userfaultfd(api=False)
    good = userfaultfd()
    if good >= 0:
        with w.session() as s:
            got = s.outcome(UFFD, b"", [blocking])
            w.expect("a userfaultfd that blocks", got in ("ended", errno.EINVAL), True)
        with w.session() as s:
            got = s.outcome(UFFD, b"", [raw])
            # Accepted or not, it must not bring anybody down.
            w.expect("a userfaultfd without UFFDIO_API", got in ("ended", errno.EINVAL, 0), True)
        with w.session() as s:
            w.expect("a good userfaultfd", s.outcome(UFFD, b"", [good]), 0)
            w.expect(
                "a second userfaultfd",
                s.outcome(UFFD, b"", [good])
                in ("ended", errno.EEXIST, errno.EINVAL, errno.EALREADY),
                True,
            )
    for fd in [*bad.values(), blocking, raw, good, pipe[1]]:
        if fd >= 0 and fd != pair[0].fileno():
            os.close(fd)
    w.still_well("descriptors")


def test_objects(w):
    refused = (
        "ended",
        errno.EINVAL,
        errno.ENOENT,
        errno.E2BIG,
        errno.ENOSPC,
        errno.ENOMEM,
        errno.EPROTO,
        errno.ENOTCONN,
        errno.ENXIO,
        errno.EBADF,
        errno.EFBIG,
    )
    for what, body in (
        ("2^63 bytes", buffer_body(HUGE, 4096)),
        ("0 bytes", buffer_body(0, 4096)),
        ("2^64 - 1 bytes", buffer_body((1 << 64) - 1, 4096)),
        ("layers of 0", buffer_body(1 << 20, 0)),
        ("layers of 1", buffer_body(1 << 20, 1)),
        ("layers of 2^63", buffer_body((1 << 64) - 1, HUGE)),
        ("100,000 layers", buffer_body(100000 * 4096, 4096)),
        ("flags", buffer_body(4096, 4096, flags=1)),
        ("padding", buffer_body(4096, 4096, pad=1)),
        ("a name without end", buffer_body(4096, 4096, name=b"y" * 128)),
    ):
        with w.session() as s:
            w.expect(f"a buffer with {what}", s.outcome(BUFFER_NEW, body), *refused)
    messages = []
    for obj in (0, 2, 99, 0xFFFFFFFF):
        messages += [
            (f"close of object {obj}", OBJECT_CLOSE, u32s(obj, 0)),
            (f"map of object {obj}", MAP, map_body(obj, 1 << 30, 4096, 0)),
            (f"order of object {obj}", ORDER, order_body(obj, 0)),
        ]
    messages += [
        ("close with padding", OBJECT_CLOSE, u32s(1, 1)),
        ("map with padding", MAP, map_body(1, 1 << 30, 4096, 0, pad=1)),
        ("unmap with padding", UNMAP, struct.pack("<IIQQ", 1, 1, 1 << 30, 4096)),
        ("map without a userfaultfd", MAP, map_body(1, 1 << 30, 4096, 0)),
        ("order with a layer twice", ORDER, order_body(1, 0, 1, 0)),
        ("order with a layer that is not there", ORDER, order_body(1, 4)),
        ("order with 4 billion", ORDER, order_body(1, 0xFFFFFFFF)),
        ("order that counts wrong", ORDER, order_body(1, 0, 1, n=1)),
        ("order that counts 4 billion", ORDER, order_body(1, 0, n=0xFFFFFFFF)),
    ]
    for what, kind, body in messages:
        s, _ = w.with_model()
        with s:
            w.expect(what, s.outcome(kind, body), *refused)
    # Without an answer: the session ends, or goes on; nothing else happens.
    for what, kind, body in (
        ("acquire of no slot", ACQUIRE, u32s(4, 0)),
        ("acquire of slot 4 billion", ACQUIRE, u32s(0xFFFFFFFF, 0)),
        ("acquire with padding", ACQUIRE, u32s(0, 1)),
        ("cancel of what was not asked", CANCEL, u32s(1, 0)),
        ("used, of no slot", USED, u32s(77, 0)),
        ("used, of an absent layer", USED, u32s(3, 0)),
        ("prefetch of no slot", PREFETCH, slots_body(0, 0xFFFFFFFF)),
        ("prefetch that counts wrong", PREFETCH, slots_body(0, n=9)),
        ("prefetch of the same a thousand times", PREFETCH, slots_body(*[1] * 1024)),
        ("pass of no object", PASS, u32s(99, 2)),
        ("pass of no kind", PASS, u32s(1, 99)),
    ):
        s, _ = w.with_model()
        with s:
            w.expect(what, s.outcome(kind, body), "ended", 0)
    w.still_well("objects")


def test_mappings(w):
    fd = userfaultfd()
    if fd < 0:
        print("skip   mappings: no userfaultfd")
        return
    s, obj = w.with_model()
    page = 4096
    with s:
        w.expect("a userfaultfd", s.outcome(UFFD, b"", [fd]), 0)
        top = (1 << 64) - page
        for what, body in (
            ("an odd address", map_body(obj, (1 << 30) + 1, page, 0)),
            ("an odd length", map_body(obj, 1 << 30, 5, 0)),
            ("an odd offset", map_body(obj, 1 << 30, page, 7)),
            ("length 0", map_body(obj, 1 << 30, 0, 0)),
            ("length 2^63", map_body(obj, 1 << 30, HUGE, 0)),
            ("the end of memory", map_body(obj, top, 2 * page, 0)),
            ("an offset beyond", map_body(obj, 1 << 30, page, w.size)),
            ("offset 2^63", map_body(obj, 1 << 30, page, HUGE)),
            ("more than there is", map_body(obj, 1 << 30, w.size + page, 0)),
            ("what is not mapped", map_body(obj, 1 << 30, page, 0)),
            ("address 0", map_body(obj, 0, page, 0)),
            ("the kernel", map_body(obj, 0xFFFF888000000000, page, 0)),
        ):
            got = s.outcome(MAP, body)
            w.expect(f"map: {what}", isinstance(got, int) and got != 0, True)
            w.expect(f"map: {what}: the session lives", s.outcome(STATS), 0)
        # Memory of another kind: the kernel refuses to register it.
        libc.mmap.restype = ctypes.c_void_p
        anonymous = libc.mmap(None, ctypes.c_size_t(w.size), 3, 0x22, -1, ctypes.c_long(0))
        got = s.outcome(MAP, map_body(obj, anonymous, w.size, 0))
        w.expect("map: anonymous memory", isinstance(got, int) and got != 0, True)
        for what, addr, length in (
            ("nothing there", 1 << 30, page),
            ("length 2^63", 1 << 30, HUGE),
            ("the end of memory", top, 2 * page),
            ("odd", 3, 5),
        ):
            got = s.outcome(UNMAP, struct.pack("<IIQQ", obj, 0, addr, length))
            w.expect(f"unmap: {what}", got == "ended" or isinstance(got, int), True)
    os.close(fd)
    w.still_well("mappings")


def test_memory(w):
    """The descriptor of a model's memory: cannot be written, and whoever reads its holes harms nobody."""
    with w.session() as s, open(w.path, "rb") as f:
        error, _, fds = s.ask(MODEL_OPEN, open_body(w.size), [f.fileno()])
        w.expect("a model", (error, len(fds)), (0, 1))
        fd = fds[0]
        w.expect(
            "its memory is read-only", fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE, os.O_RDONLY
        )
        for what, attempt in (
            ("written", lambda: os.write(fd, b"x")),
            ("cut", lambda: os.ftruncate(fd, 4096)),
            (
                "mapped writable",
                lambda: mmap.mmap(fd, w.size, prot=mmap.PROT_READ | mmap.PROT_WRITE),
            ),
            ("punched", lambda: os.posix_fallocate(fd, 0, 4096)),
        ):
            try:
                attempt()
                got = "it worked"
            except OSError as e:
                got = e.errno
            w.expect(
                f"its memory {what}",
                got in (errno.EBADF, errno.EINVAL, errno.EACCES, errno.EPERM),
                True,
            )
        if os.geteuid():
            print("skip   opening it anew for another user's writing: needs root")
        elif os.fork() == 0:
            os.setgid(65534)
            os.setuid(65534)
            try:
                os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
                os._exit(1)
            except OSError:
                os._exit(0)
        else:
            w.expect("opened anew by another user", os.wait()[1], 0)
        # Unregistered, a hole reads as a zero page, which is then in the file for all to see.
        for flags in (mmap.MAP_SHARED, mmap.MAP_PRIVATE):
            m = mmap.mmap(fd, w.size, prot=mmap.PROT_READ, flags=flags)
            for _ in range(5):
                sum(m[i] for i in range(0, w.size, 4096))
            m.close()
        os.close(fd)
    # Such pages cost memory that nobody has asked for: it is found and given back.
    end = time.monotonic() + 30
    while (w.daemon.memory_now() or 0) > test_vramrun.BUDGET and time.monotonic() < end:
        time.sleep(0.1)
    w.expect(
        "planted pages are given back", (w.daemon.memory_now() or 0) <= test_vramrun.BUDGET, True
    )
    w.still_well("memory")


def test_floods(w):
    with w.session() as s:
        # Never reads: its answers pile up until the daemon has enough of it.
        s.sock.settimeout(10)
        packet = struct.pack("<IIIi", STATS, 16, 5, 0)
        try:
            for _ in range(100000):
                s.sock.send(packet)
            sent = "all"
        except (BrokenPipeError, ConnectionResetError):
            sent = "ended"
        except socket.timeout:
            sent = "stuck"
        w.expect("answers that nobody reads", sent, "ended")
    s, _ = w.with_model()
    with s:
        for i in range(20000):
            s.send((ACQUIRE, CANCEL, USED)[i % 3], u32s(i % 4, 0))
        w.expect("20,000 requests in a row", s.outcome(STATS), 0, "ended")
    crowd = []
    try:
        for _ in range(300):
            crowd.append(w.session(hello=False))
    except OSError:
        pass
    for s in crowd:
        s.sock.close()
    # The socket's queue may be full of the dead for a moment.
    w.still_well("floods")


def main():
    for name in vram_daemon.missing(["vramd", "vramrun", "vramctl", "libvram-preload.so"]):
        print(f"SKIP: {name} is not built")
        return 77
    folder = tempfile.mkdtemp(prefix="vram-hostile-", dir="/var/tmp")
    try:
        with vram_daemon.Daemon(str(test_vramrun.BUDGET), test_vramrun.SETTINGS) as daemon:
            w = World(daemon, folder)
            test_vramrun.write_model(w.path)
            witness = subprocess.Popen(
                daemon.vramrun(
                    [sys.executable, os.path.join(HERE, "test_vramrun.py"), "child", "restart"]
                ),
                env=dict(os.environ, TEST_MODEL=w.path),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            witness.stdout.readline()
            for test in (
                test_frames,
                test_cards,
                test_hello,
                test_models,
                test_descriptors,
                test_objects,
                test_mappings,
                test_memory,
                test_floods,
            ):
                before = w.count, w.failures
                test(w)
                print(
                    f"{test.__name__}: {w.count - before[0]} checks, {w.failures - before[1]} failed",
                    flush=True,
                )
            w.expect("the witness goes on", witness.poll(), None)
            test_vramrun.make_stop(w.path)
            out, err = witness.communicate(timeout=60)
            w.expect(
                "the witness", (witness.returncode, out.endswith("done\n"), err), (0, True, "")
            )
            left = daemon.ask("clients")["clients"]
            w.expect("nobody is left", [c for c in left if c.get("name") == "hostile"], [])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{w.count} checks, {w.failures} failed")
    return 1 if w.failures else 0


if __name__ == "__main__":
    sys.exit(main())
