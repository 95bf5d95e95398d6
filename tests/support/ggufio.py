#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Read and write GGUF v3 files with nothing but the standard library.

A GGUF file is a header (magic, version, counts), key-value pairs, tensor descriptions (name, dimensions with
the fastest first, type, offset from the start of the data) and, from the next multiple of the alignment on,
the tensors' data. read() gives a file's pieces, Writer lays a new file out; both leave the bytes of tensors to
the caller, so that files larger than memory are no trouble.

As a program it prints what a file holds: ggufio.py FILE
"""

import os
import struct
import sys
from dataclasses import dataclass

ALIGN = 32

# type name: number in the file, elements a block, bytes a block
TYPES = {
    "f32": (0, 1, 4),
    "f16": (1, 1, 2),
    "q4_0": (2, 32, 18),
    "q4_1": (3, 32, 20),
    "q5_0": (6, 32, 22),
    "q5_1": (7, 32, 24),
    "q8_0": (8, 32, 34),
    "q4_K": (12, 256, 144),
    "q5_K": (13, 256, 176),
    "q6_K": (14, 256, 210),
}
TYPE_NAMES = {v[0]: k for k, v in TYPES.items()}

# numbers of the value types of key-value pairs
U32, F32, BOOL, STR, ARRAY, I32 = 4, 6, 7, 8, 9, 5
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


def tensor_bytes(dims, kind):
    n = 1
    for d in dims:
        n *= d
    _, block, size = TYPES[kind]
    if n % block:
        raise ValueError(f"{dims} does not divide into blocks of {kind}")
    return n // block * size


def pad(n, align=ALIGN):
    return -n % align


@dataclass
class Tensor:
    name: str
    dims: tuple
    kind: str
    offset: int  # from the start of the file
    n_bytes: int


@dataclass
class File:
    kv: dict  # key: value
    kv_raw: dict  # key: the pair as it stands in the file
    tensors: list


def _string(f):
    (n,) = struct.unpack("<Q", f.read(8))
    return f.read(n).decode("utf-8", "surrogateescape")


def _value(f, kind):
    if kind == STR:
        return _string(f)
    if kind == ARRAY:
        inner, n = struct.unpack("<IQ", f.read(12))
        if inner in SCALARS:
            fmt = f"<{n}{SCALARS[inner]}"
            return list(struct.unpack(fmt, f.read(struct.calcsize(fmt))))
        return [_value(f, inner) for _ in range(n)]
    fmt = "<" + SCALARS[kind]
    return struct.unpack(fmt, f.read(struct.calcsize(fmt)))[0]


def read(path):
    """The header of the file at path, as a File."""
    with open(path, "rb") as f:
        if f.read(4) != b"GGUF":
            raise ValueError(f"{path}: not a GGUF file")
        version, n_tensors, n_kv = struct.unpack("<IQQ", f.read(20))
        if version not in (2, 3):
            raise ValueError(f"{path}: GGUF version {version}")
        kv, kv_raw = {}, {}
        for _ in range(n_kv):
            start = f.tell()
            key = _string(f)
            (kind,) = struct.unpack("<I", f.read(4))
            kv[key] = _value(f, kind)
            end = f.tell()
            f.seek(start)
            kv_raw[key] = f.read(end - start)
        infos = []
        for _ in range(n_tensors):
            name = _string(f)
            (n,) = struct.unpack("<I", f.read(4))
            dims = struct.unpack(f"<{n}Q", f.read(8 * n))
            number, offset = struct.unpack("<IQ", f.read(12))
            infos.append((name, dims, TYPE_NAMES[number], offset))
        data = f.tell() + pad(f.tell(), kv.get("general.alignment", ALIGN))
    tensors = [Tensor(n, d, k, data + o, tensor_bytes(d, k)) for n, d, k, o in infos]
    return File(kv, kv_raw, tensors)


def _packed(text):
    raw = text.encode("utf-8", "surrogateescape")
    return struct.pack("<Q", len(raw)) + raw


def kv_u32(key, value):
    return _packed(key) + struct.pack("<II", U32, value)


def kv_f32(key, value):
    return _packed(key) + struct.pack("<If", F32, value)


def kv_bool(key, value):
    return _packed(key) + struct.pack("<I?", BOOL, value)


def kv_str(key, value):
    return _packed(key) + struct.pack("<I", STR) + _packed(value)


def kv_strings(key, values):
    return _packed(key) + struct.pack("<IIQ", ARRAY, STR, len(values)) + b"".join(map(_packed, values))


def kv_ints(key, values):
    return _packed(key) + struct.pack(f"<IIQ{len(values)}i", ARRAY, I32, len(values), *values)


class Writer:
    """Lays a file out: give it the packed pairs and (name, dims, type) of every tensor, then write each
    tensor's data in that order. The file appears under its name only when close() has synced it."""

    def __init__(self, path, pairs, tensors):
        self.path = path
        self.sizes = [tensor_bytes(d, k) for _, d, k in tensors]
        head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs)) + b"".join(pairs)
        offset = 0
        for (name, dims, kind), size in zip(tensors, self.sizes):
            head += _packed(name) + struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
            head += struct.pack("<IQ", TYPES[kind][0], offset)
            offset += size + pad(size)
        head += b"\0" * pad(len(head))
        self.next = 0
        self.f = open(path + ".part", "wb", buffering=1 << 20)
        self.f.write(head)

    def tensor(self, pieces):
        """Write the next tensor's data, given as an iterable of buffers."""
        size = self.sizes[self.next]
        written = 0
        for piece in pieces:
            self.f.write(piece)
            written += len(piece)
        if written != size:
            raise ValueError(f"tensor {self.next} of {self.path}: {written} bytes, not {size}")
        self.f.write(b"\0" * pad(size))
        self.next += 1

    def close(self):
        if self.next != len(self.sizes):
            raise ValueError(f"{self.path}: {self.next} of {len(self.sizes)} tensors written")
        self.f.flush()
        os.fsync(self.f.fileno())
        self.f.close()
        os.rename(self.path + ".part", self.path)


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: ggufio.py FILE")
    info = read(sys.argv[1])
    for key, value in info.kv.items():
        shown = f"[{len(value)} values]" if isinstance(value, list) else repr(value)
        print(f"{key} = {shown}")
    for t in info.tensors:
        print(f"{t.offset:12} {t.n_bytes:10} {t.kind:5} {'x'.join(map(str, t.dims)):12} {t.name}")


if __name__ == "__main__":
    main()
