# SPDX-License-Identifier: GPL-2.0-only
"""runai_read.py LIBSTREAMER.so FILE: read a file into memory with the Run:ai model streamer's own library.

Only the streamer's C interface is used, as its Python package uses it for host memory: that package itself needs
torch. The destination is as good as it gets: huge pages, aligned. Prints the bytes and the ns that it took.
"""

import ctypes as c
import json
import mmap
import os
import sys
import time

RANGE = 16 << 20
HUGE = 2 << 20
MADV_HUGEPAGE = 14


class Device(c.Structure):
    _fields_ = [("type", c.c_int), ("id", c.c_int)]


def check(code, what):
    if code:
        sys.exit(f"runai_read: {what}: {code}")


def main():
    lib, path = c.CDLL(sys.argv[1]), sys.argv[2]
    lib.runai_file_streamer_request.argtypes = [
        c.c_void_p, c.POINTER(c.c_uint64), c.c_uint32, c.POINTER(c.c_char_p), c.POINTER(c.c_uint32),
        c.POINTER(c.c_size_t), c.POINTER(c.c_size_t), c.POINTER(c.c_void_p), Device]
    lib.runai_file_streamer_response.argtypes = [
        c.c_void_p, c.POINTER(c.c_uint64), c.POINTER(c.c_uint32), c.POINTER(c.c_uint32), c.POINTER(c.c_int), c.c_uint]
    lib.runai_file_streamer_end.argtypes = [c.c_void_p]
    size = os.path.getsize(path)
    start = time.monotonic_ns()
    memory = mmap.mmap(-1, size + HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(MADV_HUGEPAGE)
    base = c.addressof(c.c_char.from_buffer(memory))
    base += -base % HUGE
    streamer = c.c_void_p()
    check(lib.runai_file_streamer_start(c.byref(streamer)), "start")
    offsets = list(range(0, size, RANGE))
    n = len(offsets)
    submission = c.c_uint64()
    check(lib.runai_file_streamer_request(
        streamer, c.byref(submission), 1, (c.c_char_p * 1)(path.encode()), (c.c_uint32 * 1)(n),
        (c.c_size_t * n)(*offsets), (c.c_size_t * n)(*[min(RANGE, size - o) for o in offsets]),
        (c.c_void_p * n)(*[base + o for o in offsets]), Device(0, 0)), "request")
    file_index, index, done = c.c_uint32(), c.c_uint32(), c.c_int()
    for _ in range(n):
        check(lib.runai_file_streamer_response(streamer, c.byref(submission), c.byref(file_index), c.byref(index),
                                               c.byref(done), 0), "response")
    spent = time.monotonic_ns() - start
    with open(path, "rb") as f:
        f.seek(offsets[-1])
        tail = f.read()
    if c.string_at(base + offsets[-1], len(tail)) != tail:
        sys.exit("runai_read: what arrived is not the file")
    print(json.dumps({"bytes": size, "ns": spent}))
    lib.runai_file_streamer_end(streamer)


if __name__ == "__main__":
    main()
