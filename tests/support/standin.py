# SPDX-License-Identifier: GPL-2.0-only
"""The card of the stand-in driver for Python tests: tests/cuda-standin/standin.h in ctypes.

    card = standin.Card(64 << 20)           # makes the image
    vramd started with card.environ()       # VRAM_STANDIN and LD_LIBRARY_PATH
    card.outside_bytes = 32 << 20           # any time
    card.fault("cuMemCreate", 2, skip=3)    # the 4th call from now fails
    card.calls("cuMemMap", pid)             # how often
    card.close()
"""

import ctypes
import fcntl
import mmap
import os
import struct
import tempfile

PAGE = 2 << 20
DATA = 16 << 20
PAGES, PROCS, MAX_FUNCTIONS, FAULTS, OVERRIDES = 65536, 64, 224, 64, 16
MAGIC = 0x314E4453565242
STICKY, ASYNC = 1, 2
F_OFD_GETLK = 36


class Fault(ctypes.Structure):
    _fields_ = [("armed", ctypes.c_uint32), ("error", ctypes.c_uint32), ("flags", ctypes.c_uint32),
                ("pid", ctypes.c_int32), ("skip", ctypes.c_int64), ("times", ctypes.c_int64),
                ("hits", ctypes.c_uint64), ("function", ctypes.c_char * 48)]


class Proc(ctypes.Structure):
    _fields_ = [("pid", ctypes.c_int32), ("contexts", ctypes.c_uint32), ("name", ctypes.c_char * 16),
                ("calls", ctypes.c_uint64 * MAX_FUNCTIONS)]


class Page(ctypes.Structure):
    _fields_ = [("owner", ctypes.c_uint64), ("orphaned_ns", ctypes.c_uint64), ("next", ctypes.c_uint32),
                ("creator", ctypes.c_int32), ("handle_types", ctypes.c_uint32), ("pad", ctypes.c_uint32)]


class Override(ctypes.Structure):
    _fields_ = [("attribute", ctypes.c_int32), ("value", ctypes.c_int32)]


class Image(ctypes.Structure):
    _fields_ = [("magic", ctypes.c_uint64), ("layout_bytes", ctypes.c_uint64), ("image_pages", ctypes.c_uint64),
                ("size_bytes", ctypes.c_uint64), ("context_bytes", ctypes.c_uint64),
                ("outside_bytes", ctypes.c_uint64), ("driver_version", ctypes.c_int32),
                ("init_error", ctypes.c_uint32), ("lost_error", ctypes.c_uint32), ("mig", ctypes.c_uint32),
                ("vmm_survives", ctypes.c_uint32), ("pad", ctypes.c_uint32),
                ("uuid", ctypes.c_char * 16), ("pci", ctypes.c_char * 16), ("name", ctypes.c_char * 64),
                ("overrides", Override * OVERRIDES), ("hidden", (ctypes.c_char * 48) * 4),
                ("h2d_bytes_per_s", ctypes.c_uint64), ("d2h_bytes_per_s", ctypes.c_uint64),
                ("d2d_bytes_per_s", ctypes.c_uint64), ("latency_ns", ctypes.c_uint64),
                ("create_ns", ctypes.c_uint64), ("set_access_ns", ctypes.c_uint64),
                ("unmap_ns", ctypes.c_uint64), ("linger_ns", ctypes.c_uint64), ("serial", ctypes.c_uint64),
                ("engine_free_ns", ctypes.c_uint64 * 3), ("refused", ctypes.c_uint64),
                ("spare", ctypes.c_uint64 * 16), ("faults", Fault * FAULTS),
                ("functions", (ctypes.c_char * 48) * MAX_FUNCTIONS), ("calls", ctypes.c_uint64 * MAX_FUNCTIONS),
                ("procs", Proc * PROCS), ("pages", Page * PAGES)]


class Card:
    """One card. Every field of Image can be read and set as an attribute of the card."""

    def __init__(self, size_bytes, folder=None, **fields):
        assert size_bytes % PAGE == 0
        folder = folder or os.environ.get("TEST_TMP") or tempfile.gettempdir()
        self._fd, self.path = tempfile.mkstemp(prefix="standin.", dir=folder)
        os.fchmod(self._fd, 0o666)  # several users may share a card
        os.ftruncate(self._fd, DATA + size_bytes)
        self._map = mmap.mmap(self._fd, DATA + size_bytes)
        self._image = Image.from_buffer(self._map)
        image = self._image
        image.layout_bytes = ctypes.sizeof(Image)
        image.image_pages = size_bytes // PAGE
        image.size_bytes = size_bytes
        image.driver_version = 12040
        image.latency_ns = 20000
        self.set_bytes("uuid", b"vram stand-in \0\1")
        image.pci = b"0000:65:00.0"
        image.name = b"vram test stand-in"
        for name, value in fields.items():
            setattr(self, name, value)
        image.magic = MAGIC

    def __getattr__(self, name):
        if name.startswith("_") or name not in dict(Image._fields_):
            raise AttributeError(name)
        return getattr(self._image, name)

    def __setattr__(self, name, value):
        if not name.startswith("_") and name in dict(Image._fields_):
            setattr(self._image, name, value)
        else:
            object.__setattr__(self, name, value)

    def set_bytes(self, name, value):
        offset = getattr(Image, name).offset
        self._map[offset:offset + len(value)] = value

    def environ(self, build=None):
        """What a process needs in its environment to find this card."""
        folder = os.path.join(build or os.environ["VRAM_BUILD"], "cuda-standin")
        return {"VRAM_STANDIN": self.path, "LD_LIBRARY_PATH": folder}

    def fault(self, function, error, skip=0, times=1, pid=0, flags=0):
        for index, fault in enumerate(self._image.faults):
            if not fault.armed and not fault.hits:
                fault.error, fault.flags, fault.pid = error, flags, pid
                fault.skip, fault.times, fault.function = skip, times, function.encode()
                fault.armed = 1
                return index
        raise RuntimeError("no free place for a fault")

    def hits(self, index):
        return self._image.faults[index].hits

    def clear_faults(self):
        for fault in self._image.faults:
            fault.armed = 0
            fault.hits = 0

    def functions(self):
        return [name.value.decode() for name in self._image.functions if name.value]

    def calls(self, function, pid=0):
        """Calls by one process that still runs, or by all so far."""
        functions = self.functions()
        if function not in functions:
            return 0
        index = functions.index(function)
        if not pid:
            return self._image.calls[index]
        return sum(proc.calls[index] for proc in self._image.procs if proc.pid == pid)

    def set_override(self, attribute, value):
        for override in self._image.overrides:
            if override.attribute in (0, attribute):
                override.attribute, override.value = attribute, value
                return
        raise RuntimeError("no free place for an override")

    def hide(self, *functions):
        for place, name in zip(self._image.hidden, functions):
            place.value = name.encode()

    def page_taken(self, page):
        request = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, DATA + page * PAGE, 1, 0)
        return struct.unpack("hhqqi4x", fcntl.fcntl(self._fd, F_OFD_GETLK, request))[0] != fcntl.F_UNLCK

    def used_bytes(self):
        return sum(PAGE for page in range(self.image_pages) if self.page_taken(page))

    def page(self, page):
        """The bytes of one page of the card."""
        return self._map[DATA + page * PAGE:DATA + (page + 1) * PAGE]

    def find(self, pattern, only_free=False):
        """Pages that have this pattern somewhere."""
        return [page for page in range(self.image_pages)
                if not (only_free and self.page_taken(page)) and pattern in self.page(page)]

    def close(self):
        os.unlink(self.path)
        os.close(self._fd)
