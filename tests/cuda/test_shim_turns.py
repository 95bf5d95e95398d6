#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 300
"""Two programs that know nothing of each other, each with most of a card: both go on, in turns, and no byte is wrong."""

import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import shim_world as sw  # noqa: E402

MIB = sw.MIB
EACH = 64 * MIB
N = 3


def fill(program, seed):
    """Three allocations with patterns. Their addresses."""
    places = []
    for slot in range(N):
        places.append(program.alloc(slot, EACH)[0])
        program.ask(f"put {slot} {seed + slot}")
    return places


def look(program, seed, places, slots=range(N)):
    for slot in slots:
        assert program.ask(f"check {slot} {seed + slot}") == ["same"], f"slot {slot} of {program.pid} has changed"
        assert program.numbers(f"range {slot} 5")[0] == places[slot], "another address"


def times_out(program):
    """How often it was sent out; after its end."""
    line = [line for line in program.errors().splitlines() if "sent out" in line]
    assert line, program.errors()
    return int(line[-1].split("sent out ")[1].split()[0])


def in_turns(world):
    a = world.program("LINKED", options=["--stats", "--name", "a"])
    b = world.program("LOOKUP", options=["--stats", "--name", "b"], own_context=True)
    places_a, places_b = fill(a, 10), fill(b, 20)
    for _ in range(3):
        look(a, 10, places_a)
        look(b, 20, places_b)
    # Both at once: kernels that fill and sum, each sum looked at.
    a.tell("work 0 2000")
    b.tell("work 1 2000")
    for program in (a, b):
        rounds = program.answer("work")
        assert rounds[0] != "wrong" and int(rounds[0]) > 0, rounds
    look(a, 10, places_a, (1, 2))
    look(b, 20, places_b, (0, 2))
    # Threads whose host functions want a lock that is held by a thread which may stand at the gate.
    a.tell("threads 4 2000")
    b.tell("threads 4 2000")
    assert a.answer("threads") == [] and b.answer("threads") == []
    look(a, 10, places_a, (1, 2))
    look(b, 20, places_b, (0, 2))
    assert a.end() == 0 and b.end() == 0
    assert times_out(a) > 0 and times_out(b) > 0, "nobody was ever sent out: this has tested nothing"
    print("in turns: ok")


def long_kernels(world):
    """Who is asked to go while a kernel runs goes when it has ended."""
    a, b = world.program("DLSYM", options=["--name", "a"]), world.program("PER_THREAD", options=["--name", "b"])
    places_a, places_b = fill(a, 30), fill(b, 40)
    look(a, 30, places_a)
    for _ in range(4):
        a.ask("spin 0 300000000")
    a.ask("fill 0 9")
    begin = time.monotonic()
    look(b, 40, places_b)
    assert time.monotonic() - begin > 0.5, "the other did not wait for the kernels"
    assert a.numbers("sum 0") == [9 * EACH]
    look(a, 30, places_a, (1, 2))
    assert a.end() == 0 and b.end() == 0
    print("long kernels: ok")


def values(world):
    """Who is out and waits for a value in its memory waits for its own, not for what is there now."""
    a, b = world.program("LINKED", options=["--name", "a"]), world.program("LOOKUP", options=["--name", "b"])
    fill(a, 33)
    places_b = fill(b, 43)
    a.ask("fill 0 9")
    for slot in range(N):
        b.ask(f"fill {slot} 7")
    a.ask("wait 0 9")
    assert a.numbers("sum 0") == [9 * EACH]
    assert b.numbers("sum 0") == [7 * EACH] and len(places_b) == N
    assert a.end() == 0 and b.end() == 0
    print("values: ok")


def killed(world):
    """One is killed with work in flight: the other gets its room, and only its own bytes."""
    a, b = world.program("LINKED", options=["--name", "a"]), world.program("DLSYM", options=["--name", "b"])
    fill(a, 50)
    places_b = fill(b, 60)
    look(b, 60, places_b)
    a.ask("put 0 51")
    a.ask("spin 0 500000000")
    a.tell("work 0 60000")
    time.sleep(0.3)
    a.kill()
    look(b, 60, places_b)
    assert b.end() == 0
    c = world.program("LOOKUP", options=["--name", "c"])
    c.alloc(0, 200 * MIB)
    assert c.numbers("sum 0") == [0], "bytes of a program that was killed"
    c.ask("put 0 70")
    assert c.ask("check 0 70") == ["same"]
    assert c.end() == 0
    print("killed: ok")


def beside_linked(world):
    """Two programs that have all or nothing, and two engines that acquire layer by layer, on one card."""
    model = os.path.join(world.folder, "model.gguf")
    subprocess.run([sys.executable, os.path.join(sw.SOURCE, "tests/support/gen_gguf.py"), model, "6", "1024", "4096", "8",
                    "8", "2048"], check=True, stdout=subprocess.DEVNULL)
    programs = [world.program("LINKED", options=["--name", "a"]), world.program("LOOKUP", options=["--name", "b"])]
    for seed, program in enumerate(programs):
        for slot in range(N):
            program.alloc(slot, 50 * MIB)
            program.ask(f"put {slot} {80 + 10 * seed + slot}")
    walks = [subprocess.Popen([os.path.join(world.build, "examples", "cuda_walk"), "-s", world.socket, "-p", "10", model],
                              env=world.env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for seed, program in enumerate(programs):
        program.tell(f"work {seed} 2000")
    for program in programs:
        rounds = program.answer("work")
        assert rounds[0] != "wrong" and int(rounds[0]) > 0, rounds
    for walk in walks:
        said, _ = walk.communicate(timeout=sw.PATIENCE)
        assert walk.returncode == 0 and "wrong=0" in said, said
    for seed, program in enumerate(programs):
        for slot in range(N):
            if slot != seed:
                assert program.ask(f"check {slot} {80 + 10 * seed + slot}") == ["same"], "beside linked engines"
        assert program.end() == 0
    print("beside linked engines: ok")


def main():
    with sw.World(256) as world:
        in_turns(world)
        long_kernels(world)
        values(world)
        killed(world)
        beside_linked(world)


main()
