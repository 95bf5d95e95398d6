#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 300
"""A program that knows nothing of vram, found by it in every way in which programs find the driver: what it sees of its memory."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import shim_world as sw  # noqa: E402

MIB = sw.MIB
RESERVE = 16 * MIB
CARD = 256 * MIB
# Of CUpointer_attribute.
CONTEXT, MEMORY_TYPE, DEVICE_POINTER, HOST_POINTER, BUFFER_ID, MANAGED, ORDINAL, IPC, START, SIZE = \
    1, 2, 3, 4, 7, 8, 9, 10, 11, 12


def same(got, wanted, what):
    assert got == wanted, f"{what}: {got}, not {wanted}"


def is_served(world, program):
    """Large memory is vramd's, and only that; bytes go in and out."""
    before = program.numbers("info 0")
    address, _ = program.alloc(0, 40 * MIB)
    program.ask("put 0 7")
    same(program.ask("check 0 7"), ["same"], "what was copied in")
    program.ask("fill 0 3")
    same(program.numbers("sum 0"), [3 * 40 * MIB], "what a kernel wrote")
    # In chunks' steps, rounded to the granularity of 2 MiB.
    same(before[0] - program.numbers("info 0")[0], 40 * MIB, "what is less free")
    assert world.card.calls("cuMemMap", program.pid) >= 2, "its memory is no chunks of vramd's"
    assert world.card.calls("cuMemAlloc", program.pid) == 1, "more than the sum's place came from the driver"
    assert address % (2 * MIB) == 0, hex(address)
    program.ask("free 0")
    same(program.numbers("info 0"), before, "all is free again")
    same(program.refusal("free 0"), sw.INVALID_VALUE, "freed twice")


def tells_the_truth(program):
    free, total = program.numbers("info 0")
    same(total, CARD - RESERVE, "the total is what vramd can give")
    same(program.numbers("total 0"), [CARD - RESERVE], "so says the device")
    program.alloc(0, 100 * MIB)
    same(program.numbers("info 0"), [free - 100 * MIB, total], "with 100M")
    program.alloc(1, MIB)
    same(program.numbers("info 0"), [free - 101 * MIB, total], "with 1M of the driver's")
    program.alloc(2, 3 * MIB, "managed")
    same(program.numbers("info 0"), [free - 104 * MIB, total], "with managed memory")
    program.ask("freesync 2")
    program.ask("free 1")
    program.ask("free 0")
    same(program.numbers("info 0"), [free, total], "after all")


def pointers(program):
    address, _ = program.alloc(0, 5 * MIB + 12)
    same(program.numbers("range 0 4096"), [address, 5 * MIB + 12], "the range around a pointer")
    same(program.refusal(f"range 0 {5 * MIB + 12}"), sw.NOT_FOUND, "behind its end")
    same(program.numbers(f"attribute 0 {MEMORY_TYPE}"), [2], "its kind")
    same(program.numbers(f"attribute 0 {DEVICE_POINTER}"), [address + 64], "itself")
    same(program.numbers(f"attribute 0 {MANAGED}"), [0], "managed")
    same(program.numbers(f"attribute 0 {ORDINAL}"), [0], "its device")
    same(program.numbers(f"attribute 0 {IPC}"), [0], "for IPC")
    same(program.numbers(f"attribute 0 {START}"), [address], "its start")
    same(program.numbers(f"attribute 0 {SIZE}"), [5 * MIB + 12], "its size")
    same(program.refusal(f"attribute 0 {HOST_POINTER}"), sw.INVALID_VALUE, "its host address")
    assert program.numbers(f"attribute 0 {CONTEXT}") != [0], "no context"
    first = program.numbers(f"attribute 0 {BUFFER_ID}")
    program.alloc(1, 5 * MIB)
    assert program.numbers(f"attribute 1 {BUFFER_ID}") != first, "two with one id"
    # What would hand a chunk to somebody whom vramd cannot ask for it.
    same(program.refusal("ipc 0"), sw.NOT_SUPPORTED, "IPC")
    same(program.refusal("retain 0"), sw.NOT_SUPPORTED, "its handle")
    same(program.refusal("unmap 0"), sw.INVALID_VALUE, "unmapping it")
    program.ask("put 0 9")
    same(program.ask("check 0 9"), ["same"], "after all that")
    program.ask("free 1")
    program.ask("free 0")


def other_allocations(program):
    free, _ = program.numbers("info 0")
    address, pitch = program.alloc(0, 4 * MIB, "pitch")
    same(pitch, 1024, "the pitch of rows of 1000 bytes")
    program.ask("put 0 1")
    same(program.ask("check 0 1"), ["same"], "pitched")
    program.ask("free 0")
    program.alloc(0, 8 * MIB, "async")
    program.ask("put 0 2")
    # Work in the stream, then the free: it must wait for that.
    program.ask("spin 0 200000000")
    program.ask("fill 0 5")
    program.ask("free 0")
    program.ask("sync")
    again, _ = program.alloc(1, 8 * MIB, "async")
    program.ask("put 1 3")
    same(program.ask("check 1 3"), ["same"], "in a stream's order")
    program.ask("free 1")
    program.ask("sync")
    program.alloc(2, 8 * MIB)
    same(program.refusal("unmap 2"), sw.INVALID_VALUE, "not the program's to unmap")
    program.ask("free 2")
    same(program.numbers("info 0")[0], free, f"all is free again ({address:#x}, {again:#x})")


def the_limit(program):
    """Beyond what vramd can give: the driver's own word for it, and nothing is lost by having asked."""
    program.alloc(0, 150 * MIB)
    program.ask("put 0 4")
    same(program.refusal(f"alloc 1 {100 * MIB}"), sw.OUT_OF_MEMORY, "more than is there")
    same(program.refusal(f"alloc 1 {1 << 40}"), sw.OUT_OF_MEMORY, "a terabyte")
    same(program.refusal(f"alloc 1 {(1 << 64) - 1}"), sw.OUT_OF_MEMORY, "all there could be")
    program.alloc(1, 80 * MIB)
    same(program.ask("check 0 4"), ["same"], "what was there")
    program.ask("free 0")
    program.ask("free 1")


def reset(program):
    """As cudaDeviceReset: all is gone, and all can be had anew."""
    before = program.numbers("info 0")
    program.alloc(0, 100 * MIB)
    program.alloc(1, 100 * MIB)
    program.ask("put 0 5")
    program.ask("reset")
    assert program.refusal("range 0 0") != sw.SUCCESS, "an allocation outlived its context"
    same(program.numbers("info 0"), before, "after a reset")
    program.alloc(0, 200 * MIB)
    program.ask("put 0 6")
    same(program.ask("check 0 6"), ["same"], "after a reset")
    program.ask("reset")


def own_limit(world):
    """A limit of the tenant's own is what it is told, and what it can have."""
    world.vramctl("limit", "set", f"user:{os.geteuid()}", "vram.max=100M")
    program = world.program("LOOKUP")
    same(program.numbers("info 0"), [100 * MIB, 100 * MIB], "the tenant's limit")
    same(program.numbers("total 0"), [100 * MIB], "so says the device")
    program.alloc(0, 64 * MIB)
    same(program.numbers("info 0"), [36 * MIB, 100 * MIB], "with 64M")
    same(program.refusal(f"alloc 1 {40 * MIB}"), sw.OUT_OF_MEMORY, "beyond the limit")
    program.alloc(1, 36 * MIB)
    program.ask("put 0 1")
    program.ask("put 1 2")
    same(program.ask("check 0 1") + program.ask("check 1 2"), ["same", "same"], "all of it")
    same(program.end(), 0, "its exit status")


def passed_through(program):
    same(program.numbers("table 0"), [16], "the export table")
    status = program.ask("fork 0")
    assert status != ["died"] and int(status[0]) not in (0, 126), f"CUDA in a forked child: {status}"


def main():
    with sw.World(CARD // MIB) as world:
        for way in sw.WAYS:
            for own in (False, True):
                program = world.program(way, own_context=own)
                is_served(world, program)
                pointers(program)
                other_allocations(program)
                passed_through(program)
                if not own:
                    tells_the_truth(program)
                    the_limit(program)
                    reset(program)
                else:
                    # What a context held goes with it.
                    program.alloc(0, 100 * MIB)
                    program.ask("destroy")
                same(program.end(), 0, "its exit status")
                same(program.errors(), "", "what vram said")
                print(f"{way}{', a context of its own' if own else ''}: ok")
        # The sessions are gone, and with them all they had.
        program = world.program("DLSYM")
        program.alloc(0, 220 * MIB)
        program.ask("put 0 1")
        same(program.ask("check 0 1"), ["same"], "all of the card")
        program.end()
        own_limit(world)


main()
