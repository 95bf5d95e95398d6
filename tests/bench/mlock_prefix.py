# SPDX-License-Identifier: GPL-2.0-only
"""mlock_prefix.py FILE BYTES: hold the first BYTES of the file in memory until stdin ends.

The few lines that an expert would write against a model that does not fit: the page cache cannot drop the
locked part any more, so only the rest is read again for every token. Says "locked" when it is done.
"""

import ctypes
import mmap
import os
import sys

LOCK_CHUNK = 16 << 20


def main():
    path, n_bytes = sys.argv[1], int(sys.argv[2])
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    libc.mlock.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    fd = os.open(path, os.O_RDONLY)
    addr = libc.mmap(None, n_bytes, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
    if addr == ctypes.c_void_p(-1).value:
        sys.exit(f"mlock_prefix: mmap: {os.strerror(ctypes.get_errno())}")
    for at in range(0, n_bytes, LOCK_CHUNK):
        if libc.mlock(addr + at, min(LOCK_CHUNK, n_bytes - at)):
            sys.exit(f"mlock_prefix: mlock: {os.strerror(ctypes.get_errno())}")
    print("locked", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
