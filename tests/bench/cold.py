#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 1800
"""cold: from a file that nobody has in memory to layers that can be used, with libvram and by other ways.

  cold.py [--size full|small] [--rounds N] [--peers]

In every round the file leaves the page cache before each way: fio's O_DIRECT pass over the file (the yardstick,
before and after libvram), libvram through a fresh vramd, touching a mapping, read(), and the Run:ai model
streamer's library where it installs. BENCH_SIZE=small is --size small.
"""

import argparse
import glob
import json
import mmap
import os
import statistics
import subprocess
import sys
import time

import benchlib
from benchlib import MB, Fio, emit, note
import vram_daemon

SRC = os.path.dirname(os.path.abspath(__file__))


def with_mmap(path):
    with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as m:
        start = time.monotonic_ns()
        _ = m[::mmap.PAGESIZE]
        return time.monotonic_ns() - start


def with_read(path):
    buffer = bytearray(4 * MB)
    with open(path, "rb", buffering=0) as f:
        start = time.monotonic_ns()
        while f.readinto(buffer):
            pass
        return time.monotonic_ns() - start


def streamer():
    """The Run:ai streamer's library, or None with the reason said."""
    target = os.path.join(vram_daemon.build_dir(), "peers")
    wanted = os.path.join(target, "**", "libstreamer.so")
    if not glob.glob(wanted, recursive=True):
        done = subprocess.run(
            [benchlib.python(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
             "--only-binary=:all:", "--require-hashes", "--target", target, "-r",
             os.path.join(benchlib.SUPPORT, "requirements-peers.txt")], capture_output=True, text=True, check=False)
        if done.returncode:
            note(f"cold: no runai-model-streamer: {done.stderr.strip().splitlines()[-1:]}")
    found = glob.glob(wanted, recursive=True)
    return found[0] if found else None


def with_streamer(library, path):
    done = subprocess.run([sys.executable, os.path.join(SRC, "runai_read.py"), library, path],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the streamer failed: {done.stderr or done.stdout}")
    return json.loads(done.stdout.splitlines()[-1])["ns"]


def with_vram(path, size, facts):
    loader = os.path.join(vram_daemon.build_dir(), "tests", "bench", "cold-load")
    budget = (size // (2 * MB) + 64) * 2 * MB
    with vram_daemon.Daemon(budget) as daemon:
        done = subprocess.run([loader, daemon.socket, path], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"cold-load failed: {done.stderr}\n{daemon.log()}")
        told = json.loads(done.stdout)
        facts.append(told | {"paged_in": daemon.ask("status")["paged_in_bytes"]})
    return told["resident_ns"] * size / told["bytes"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("full", "small", "tiny"), default=os.environ.get("BENCH_SIZE", "full"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", action="store_true", help="only what vram is compared with")
    args = parser.parse_args()
    gone = [] if args.peers else vram_daemon.missing(["vramd", "vramctl", "tests/bench/cold-load"])
    if gone:
        benchlib.skip(f"cold: {', '.join(gone)} not built")
    with benchlib.work_folder() as folder:
        path = benchlib.generated(folder, args.size)
        size = os.path.getsize(path)
        fio = Fio(path)
        library = streamer()
        facts = []
        ways = {"mmap": lambda: with_mmap(path), "read": lambda: with_read(path)}
        if library:
            ways["runai"] = lambda: with_streamer(library, path)
        rates = {name: [] for name in ("fio", "vram", *ways)}
        if not args.peers:
            # In a virtual machine the first touch of memory is the host's work, ten times as slow as any later
            # one. Whoever loads a model into a machine that runs pays that no more.
            with_vram(path, size, [])
        for _ in range(args.rounds):
            rates["fio"].append(fio.probe(whole=True))
            if not args.peers:
                benchlib.drop(path)
                rates["vram"].append(size / with_vram(path, size, facts) * 1e9)
                rates["fio"].append(fio.probe(whole=True))
            for name, way in ways.items():
                benchlib.drop(path)
                rates[name].append(size / way() * 1e9)
        benchlib.drop(path)
    best = {name: statistics.median(r) / 1e9 for name, r in rates.items() if r}
    context = {"size": args.size, "model_bytes": size, "rounds": args.rounds, "fio_GBps": best["fio"],
               "fio_buffers": fio.buffers}
    if facts:
        context |= {"open_ms": statistics.median(f["open_ns"] for f in facts) / 1e6,
                    "bytes_per_load": statistics.median(f["paged_in"] for f in facts),
                    "vram_GBps_all": [r / 1e9 for r in rates["vram"]], "fio_GBps_all": [r / 1e9 for r in rates["fio"]]}
    for name in best:
        if name == "vram" or args.peers and name == "fio":
            continue
        figure = "file_to_resident" + ("" if name == "fio" else f"_vs_{name}")
        ours = best["fio"] if args.peers else best["vram"]
        emit("cold", f"fio_vs_{name}" if args.peers else figure, ours, "GB/s", name, best[name], ours / best[name],
             **context)
    return 0


if __name__ == "__main__":
    sys.exit(main())
