#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 300
"""A program under vramrun without vramd, with one that ends, and where it cannot be served: what it is told, and that it lives."""

import os
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import shim_world as sw  # noqa: E402

MIB = sw.MIB


def wait_for(what, program, text):
    end = time.monotonic() + sw.PATIENCE
    while text not in program.errors():
        assert time.monotonic() < end, f"{what}: {program.errors()!r}"
        time.sleep(0.05)


def ends_while_in(world):
    """Who has its turn keeps what it has; what comes then is the driver's."""
    program = world.program("LOOKUP", options=["--name", "in"])
    address, _ = program.alloc(0, 64 * MIB)
    program.ask("put 0 1")
    world.kill_daemon()
    wait_for("the end of vramd", program, "vramd has gone")
    assert program.ask("check 0 1") == ["same"]
    program.ask("put 0 2")
    assert program.ask("check 0 2") == ["same"]
    assert program.numbers("range 0 0") == [address, 64 * MIB]
    before = world.card.calls("cuMemAlloc", program.pid)
    program.alloc(1, 32 * MIB)
    assert world.card.calls("cuMemAlloc", program.pid) == before + 1, "not of the driver"
    program.ask("put 1 3")
    assert program.ask("check 1 3") == ["same"] and program.ask("check 0 2") == ["same"]
    program.ask("free 1")
    program.ask("free 0")
    assert program.end() == 0
    print("vramd ends while the program is in: ok")


def ends_while_out(world):
    """Whose bytes were with vramd gets a final error, and no byte; who was in goes on."""
    out = world.program("DLSYM", options=["--name", "out"])
    for slot in range(3):
        out.alloc(slot, 64 * MIB)
        out.ask(f"put {slot} {slot}")
    stays = world.program("LINKED", options=["--name", "stays"])
    for slot in range(3):
        stays.alloc(slot, 64 * MIB)
        stays.ask(f"put {slot} {slot + 10}")
    for slot in range(3):
        assert stays.ask(f"check {slot} {slot + 10}") == ["same"]
    world.kill_daemon()
    wait_for("the end of vramd", out, "vramd has gone")
    assert out.refusal("check 0 0") == sw.LAUNCH_FAILED
    assert out.refusal("fill 1 1") == sw.LAUNCH_FAILED
    assert out.refusal("spin 0 1000") == sw.LAUNCH_FAILED
    assert "lost its memory" in out.errors(), out.errors()
    # What is no work for the device still works.
    assert out.numbers("range 0 0")[1] == 64 * MIB
    out.ask("free 0")
    for slot in range(3):
        assert stays.ask(f"check {slot} {slot + 10}") == ["same"]
    assert out.end() == 0 and stays.end() == 0
    print("vramd ends while the program is out: ok")


def ends_in_the_middle(world):
    """vramd is killed while two programs at work push each other out: each goes on or is told, and every sum is right."""
    programs = [world.program(way, options=["--name", way]) for way in ("LINKED", "LOOKUP")]
    for seed, program in enumerate(programs):
        for slot in range(3):
            program.alloc(slot, 60 * MIB)
            program.ask(f"put {slot} {10 * seed + slot}")
    for program in programs:
        program.tell("work 0 4000")
    time.sleep(1.5)
    world.kill_daemon()
    told = 0
    for seed, program in enumerate(programs):
        try:
            rounds = program.answer("work")
            assert rounds[0] != "wrong" and int(rounds[0]) > 0, rounds
            for slot in (1, 2):
                assert program.ask(f"check {slot} {10 * seed + slot}") == ["same"], "another's bytes"
        except sw.Refused as refused:
            assert refused.code == sw.LAUNCH_FAILED, refused
            told += 1
        assert program.end() == 0
    # Both, if vramd was just moving one out and the other in.
    print(f"vramd ends in the middle, {told} of 2 told: ok")


def without(world):
    """No vramd: vramrun says so, and the program runs; unless it is required."""
    missing = os.path.join(world.sockets.name, "nobody")
    argv = [os.path.join(world.build, "vramrun"), "--socket", missing]
    plain = [sw.compile_program("DLSYM", world.folder)]
    done = subprocess.run(argv + plain, env=world.env, input="alloc 0 67108864\nput 0 1\ncheck 0 1\n", text=True,
                          capture_output=True, check=True)
    assert done.stdout.splitlines()[1:][-1] == "ok same", done
    done = subprocess.run(argv + ["--require"] + plain, env=world.env, input="", text=True, capture_output=True,
                          check=False)
    assert done.returncode == 125 and "cannot reach vramd" in done.stderr, done
    print("without vramd: ok")


def goes_between(world):
    """vramd ends between vramrun and the first allocation."""
    plain = world.program("LOOKUP", options=["--name", "plain"])
    strict = world.program("LOOKUP", options=["--name", "strict", "--require"])
    world.kill_daemon()
    plain.alloc(0, 64 * MIB)
    plain.ask("put 0 1")
    assert plain.ask("check 0 1") == ["same"]
    assert plain.errors().count("runs without vramd") == 1, plain.errors()
    plain.alloc(1, 32 * MIB)
    assert plain.errors().count("vramrun:") == 1, plain.errors()
    assert strict.refusal(f"alloc 0 {64 * MIB}") == sw.OUT_OF_MEMORY
    strict.alloc(0, MIB)
    assert "gets no large memory" in strict.errors(), strict.errors()
    assert plain.end() == 0 and strict.end() == 0
    print("vramd ends before the first allocation: ok")


def environments(world):
    """Where the driver is looked for, and what is refused."""
    ours = os.path.join(world.build, "cuda", "libcuda.so.1")
    real = os.path.join(world.build, "cuda-standin", "libcuda.so.1")
    run = os.path.join(world.build, "vramrun")
    program = sw.compile_program("LOOKUP", world.folder)
    ask = {"input": "alloc 0 67108864\ninfo 0\n", "text": True, "capture_output": True, "check": False}

    def vramrun(*options, env=None):
        return subprocess.run([run, "--socket", world.socket, "-v", *options, "--", program], env=env or world.env, **ask)

    served = vramrun()
    assert served.returncode == 0 and "is vramd's" in served.stderr, served
    assert "is vramd's" in vramrun("--driver", real, env={**world.env, "LD_LIBRARY_PATH": ""}).stderr
    assert "is vramd's" in vramrun(env={**world.env, "VRAM_CUDA_REAL": real}).stderr
    # A vramrun in a vramrun.
    nested = subprocess.run([run, "--socket", world.socket, run, "-v", program], env=world.env, **ask)
    assert nested.returncode == 0 and nested.stderr.count("is vramd's") == 1, nested
    left = vramrun("--no-cuda")
    assert left.returncode == 0 and left.stderr == "", left
    # Itself as the driver: as without a driver, no loop.
    itself = vramrun("--driver", ours)
    assert "vram's own library" in itself.stderr and "fatal no cuGetProcAddress" in itself.stdout, itself
    copy = os.path.join(world.folder, "libcuda.so.1")
    shutil.copy(ours, copy)
    itself = vramrun("--driver", copy)
    assert "vram's own library" in itself.stderr and "fatal no cuGetProcAddress" in itself.stdout, itself
    other = vramrun("--driver", "/proc/self/exe")
    assert "fatal no cuGetProcAddress" in other.stdout and "finds no CUDA driver" in other.stderr, other
    nowhere = vramrun("--driver", "/nowhere/libcuda.so.1")
    assert "/nowhere/libcuda.so.1" in nowhere.stderr, nowhere
    # A machine without a driver: the program runs, and says what it says there.
    bare = vramrun(env={**world.env, "LD_LIBRARY_PATH": ""})
    assert "cannot be served" in bare.stderr and "libcuda.so.1" in bare.stderr, bare
    assert vramrun("--require", env={**world.env, "LD_LIBRARY_PATH": ""}).returncode == 125
    # A program that names the folder of the driver itself.
    stubborn = os.path.join(world.folder, "stubborn")
    subprocess.run(["gcc", "-x", "c", "-o", stubborn, "-", f"-Wl,--disable-new-dtags,-rpath,{os.path.dirname(real)}"],
                   input="int main(void) { return 7; }\n", text=True, check=True)
    escaped = subprocess.run([run, "--socket", world.socket, stubborn], env=world.env, **ask)
    assert escaped.returncode == 7 and "DT_RPATH" in escaped.stderr, escaped
    escaped = subprocess.run([run, "--socket", world.socket, "--require", stubborn], env=world.env, **ask)
    assert escaped.returncode == 125 and "DT_RPATH" in escaped.stderr, escaped
    print("environments: ok")


def main():
    for part in (without, ends_while_in, ends_while_out, ends_in_the_middle, goes_between, environments):
        with sw.World(256) as world:
            part(world)


main()
