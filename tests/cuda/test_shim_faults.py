#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 300
"""The driver fails under a program of vramd's, at every call that its memory takes: it gets an error of CUDA's or goes on, it never
sees a wrong byte, and what was allocated for nothing comes back."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import shim_world as sw  # noqa: E402

MIB = sw.MIB
SIZE = 40 * MIB
CALLS = ("cuMemAddressReserve", "cuMemImportFromShareableHandle", "cuMemMap", "cuMemSetAccess", "cuCtxPushCurrent",
         "cuCtxGetDevice", "cuCtxGetCurrent")
UNKNOWN = 999


def allocating(world):
    """Each call fails once, at its first, second... time within an allocation."""
    program = world.program("LOOKUP")
    program.alloc(0, SIZE)
    program.ask("put 0 1")
    tried = refused = 0
    for function in CALLS:
        for error in (sw.OUT_OF_MEMORY, UNKNOWN):
            for skip in range(4):
                fault = world.card.fault(function, error, skip=skip, pid=program.pid)
                code = program.refusal(f"alloc 1 {SIZE}")
                hit = world.card.hits(fault)
                world.card.clear_faults()
                if not hit:
                    if not code:
                        program.ask("free 1")
                    break
                tried += 1
                # Out of memory is what a program expects of an allocation; or the driver's plain memory helped.
                assert code in (sw.SUCCESS, sw.OUT_OF_MEMORY, UNKNOWN), f"{function}: {code}"
                if code:
                    refused += 1
                else:
                    program.ask("put 1 2")
                    assert program.ask("check 1 2") == ["same"], function
                    program.ask("free 1")
                assert program.ask("check 0 1") == ["same"], f"{function}: the other allocation has changed"
    assert tried > 10 and refused > 5, f"only {tried} faults met, {refused} refused"
    # Nothing was lost on the way: all but what is there can be had.
    free, _ = program.numbers("info 0")
    program.alloc(2, free)
    program.ask("put 2 3")
    assert program.ask("check 2 3") == ["same"]
    assert program.ask("check 0 1") == ["same"]
    assert program.end() == 0
    print(f"allocating: {tried} faults, {refused} refused: ok")


def coming_back(world):
    """The same on the way back from a turn: the program goes on, or is told that its memory is lost; nothing in between."""
    outcomes = {True: 0, False: 0}
    for function in ("cuMemImportFromShareableHandle", "cuMemMap", "cuMemSetAccess", "cuMemUnmap", "cuCtxSynchronize"):
        # Out of memory for good is waited for, as it passes when others make room.
        for error, times in ((sw.OUT_OF_MEMORY, 1), (UNKNOWN, 1), (UNKNOWN, -1)):
            a = world.program("DLSYM", options=["--name", "a"])
            b = world.program("LINKED", options=["--name", "b"])
            for program, seed in ((a, 10), (b, 20)):
                for slot in range(3):
                    program.alloc(slot, 60 * MIB)
                    program.ask(f"put {slot} {seed + slot}")
            fault = world.card.fault(function, error, times=times, pid=a.pid)
            lives = True
            for _ in range(2):
                for slot in range(3):
                    try:
                        assert not lives or a.ask(f"check {slot} {10 + slot}") == ["same"], f"{function}: a wrong byte"
                    except sw.Refused as refused:
                        assert refused.code in (sw.LAUNCH_FAILED, error), f"{function}: {refused}"
                        lives = False
                for slot in range(3):
                    assert b.ask(f"check {slot} {20 + slot}") == ["same"], f"{function}: the other one's bytes"
            outcomes[lives] += world.card.hits(fault)
            world.card.clear_faults()
            assert a.end() == 0 and b.end() == 0
    assert outcomes[True] > 4 and outcomes[False] > 4, f"hardly a fault was met: {outcomes}"
    print(f"coming back: {outcomes[True]} faults survived, {outcomes[False]} final: ok")


def main():
    with sw.World(256) as world:
        allocating(world)
        coming_back(world)


main()
