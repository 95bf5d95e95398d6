#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""cudart: a program compiled by nvcc, with and without vramrun, and two at once in too small a budget."""

import os
import re
import shutil
import subprocess
import sys
import tempfile

import gpulib
import vram_daemon


def programs(folder):
    """The program as it was carried here, and compiled here with both runtimes, as far as there is a compiler."""
    found = []
    carried = gpulib.path("tests", "gpu", "cudart")
    if os.access(carried, os.X_OK):
        found.append(("carried", carried))
    nvcc = shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    if os.access(nvcc, os.X_OK):
        for runtime in ("static", "shared"):
            out = os.path.join(folder, f"cudart-{runtime}")
            done = subprocess.run([nvcc, "-O2", "-cudart", runtime, "-o", out,
                                   os.path.join(gpulib.HERE, "cudart.cu")], capture_output=True, text=True, check=False)
            if done.returncode:
                gpulib.fail(f"nvcc: {done.stdout}{done.stderr}")
            found.append((f"{runtime} runtime", out))
    if not found:
        gpulib.skip("no nvcc, and no program was carried here")
    return found


def result(what, process):
    text, _ = process.communicate(timeout=200)
    print(f"{what}: {text.strip()}")
    if process.returncode or not re.search(r"\bwrong=0\b", text):
        gpulib.fail(f"{what}: exit status {process.returncode}")


def start(command):
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def main():
    card = gpulib.Card()
    if card.standin:
        gpulib.skip("CUDA's runtime does not run on the stand-in driver")
    gpulib.need("vramd", "vramctl", "vramrun")
    with tempfile.TemporaryDirectory(prefix="vram-cudart-") as folder:
        for name, program in programs(folder):
            result(f"{name}, plain", start([program, "256", "1"]))
            with gpulib.Daemon(card.budget(2 << 30)) as daemon:
                result(f"{name}, under vramrun", start(daemon.vramrun([program, "256", "1"])))
                peak = sum(d["peak_bytes"] for d in daemon.ask("status")["devices"])
                if peak < 128 << 20:
                    gpulib.fail(f"{name}, under vramrun: only {peak >> 20} MiB were vramd's")
            with gpulib.Daemon(384 << 20, {"swap": {"size": "2G"}, "policy": {"turn": "500ms"}}) as daemon:
                pair = [start(daemon.vramrun([program, "256", "6"])) for _ in range(2)]
                for i, process in enumerate(pair):
                    result(f"{name}, two at once in 384 MiB, {i}", process)
                daemon.check()


if __name__ == "__main__":
    try:
        main()
    except vram_daemon.DaemonError as error:
        gpulib.fail(str(error))
    except subprocess.TimeoutExpired as error:
        gpulib.fail(f"no end: {error}")
        sys.exit(1)
