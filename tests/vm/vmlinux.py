#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""vmlinux.py VMLINUZ VMLINUX [BTF]: unpack a compressed kernel.

The ELF kernel starts in QEMU without the boot code that unpacks it, which takes
most of a boot when every instruction is emulated. With a third argument, its
type information (section .BTF) is written there: the base that pahole needs for
a module's. Exit status 1: there is no ELF kernel in the file; 2: no .BTF.
"""
import lzma
import struct
import subprocess
import sys
import zlib

ELF = b"\x7fELF"


def unlzma(data):
    return lzma.LZMADecompressor().decompress(data)


def gunzip(data):
    return zlib.decompressobj(wbits=31).decompress(data)


def unzstd(data):
    # What follows the frame is not zstd, so the status says nothing.
    run = subprocess.run(["zstd", "-qdc"], input=data, capture_output=True, check=False)
    return run.stdout


# A magic may also stand in the boot code by chance: each place is tried.
FORMATS = ((b"\xfd7zXZ\x00", unlzma), (b"\x1f\x8b\x08", gunzip), (b"\x28\xb5\x2f\xfd", unzstd))


def unpack(image):
    if image.startswith(ELF):
        return image
    for magic, decompress in FORMATS:
        at = image.find(magic)
        while at >= 0:
            try:
                kernel = decompress(image[at:])
            except (OSError, ValueError, EOFError, lzma.LZMAError, zlib.error):
                kernel = b""
            if kernel.startswith(ELF):
                return kernel
            at = image.find(magic, at + 1)
    return None


def section(elf, wanted):
    """The bytes of a section of a little-endian ELF64 file, or None."""
    (table,) = struct.unpack_from("<Q", elf, 0x28)
    size, count, names = struct.unpack_from("<HHH", elf, 0x3A)
    # name, type, flags, address, offset, size
    headers = [struct.unpack_from("<IIQQQQ", elf, table + i * size) for i in range(count)]
    strings = headers[names][4]
    for header in headers:
        start = strings + header[0]
        if elf[start:elf.index(b"\0", start)] == wanted:
            return elf[header[4]:header[4] + header[5]]
    return None


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    with open(sys.argv[1], "rb") as file:
        kernel = unpack(file.read())
    if kernel is None:
        return 1
    with open(sys.argv[2], "wb") as file:
        file.write(kernel)
    if len(sys.argv) == 4:
        types = section(kernel, b".BTF")
        if types is None:
            return 2
        with open(sys.argv[3], "wb") as file:
            file.write(types)
    return 0


if __name__ == "__main__":
    sys.exit(main())
