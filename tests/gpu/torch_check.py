#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""torch: an ordinary PyTorch program gives the same numbers with vram as without.

Runs torch_vramrun.py plainly, under vramrun, twice at once under vramrun in a budget that is smaller than both, and
with libvram-torch.so as its allocator.
"""

import json
import os
import subprocess
import sys
import tempfile

import gpulib
import vram_daemon

PROGRAM = os.path.join(gpulib.HERE, "torch_vramrun.py")


class Run:
    """One run of the program."""

    def __init__(self, folder, name, command, env=None):
        self.name = name
        self.out = os.path.join(folder, name.replace(" ", "-") + ".json")
        self.process = subprocess.Popen(command + [self.out], env=dict(os.environ, **(env or {})),
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def result(self):
        text, _ = self.process.communicate(timeout=400)
        if text.strip():
            print(f"-- {self.name}:\n{text.rstrip()}")
        if self.process.returncode:
            gpulib.fail(f"{self.name}: exit status {self.process.returncode}")
        with open(self.out, encoding="utf-8") as f:
            return json.load(f)


def compare(name, got, want):
    """Same card, same kernels: the numbers are expected to be the same to the last bit; what counts as wrong is more
    than the rounding that another choice of kernel would bring."""
    worst = 0.0
    for key in ("sums", "losses"):
        for a, b in zip(got[key], want[key], strict=True):
            worst = max(worst, abs(a - b) / max(abs(b), 1e-30))
    print(f"{name}: largest relative difference {worst:.3g}, {got['rounds']} rounds in {got['seconds']:.2f} s, "
          f"memory of the process {got.get('peak_mib', 0)} MiB, it was shown {got['total_mib']} MiB")
    if not worst < 1e-3:
        gpulib.fail(f"{name}: other numbers than without")


def main():
    card = gpulib.Card()
    gpulib.need("vramd", "vramctl", "vramrun")
    runner = gpulib.torch_python()
    if not runner:
        gpulib.skip("no Python with PyTorch for CUDA; GPU_PYTHON names one")
    mib = 1024
    with tempfile.TemporaryDirectory(prefix="vram-torch-") as folder:
        base = [runner, PROGRAM, "--mib", str(mib)]
        want = Run(folder, "plain", base).result()
        print(f"PyTorch {want['torch']}")
        with gpulib.Daemon(card.budget(8 << 30)) as daemon:
            compare("under vramrun", Run(folder, "under vramrun", daemon.vramrun(base)).result(), want)
            peak = sum(d["peak_bytes"] for d in daemon.ask("status")["devices"])
            if peak < mib << 20:
                gpulib.fail(f"under vramrun: only {peak >> 20} MiB were vramd's")
        with gpulib.Daemon(card.budget(8 << 30)) as daemon:
            library = gpulib.path("libvram-torch.so")
            if os.path.exists(library):
                got = Run(folder, "pluggable allocator", base + ["--allocator", library],
                          {"VRAM_SOCKET": daemon.socket}).result()
                compare("pluggable allocator", got, want)
                # It was vramd's memory, or nothing was shown.
                peak = sum(d["peak_bytes"] for d in daemon.ask("status")["devices"])
                if peak < mib << 20:
                    gpulib.fail(f"pluggable allocator: only {peak >> 20} MiB were vramd's")
            else:
                print("pluggable allocator: not tried, libvram-torch.so is not built")
            daemon.check()
        # Each fits, both do not: they take turns.
        budget = (want["peak_mib"] * 3 // 2) << 20
        with gpulib.Daemon(budget, {"swap": {"size": "8G"}, "policy": {"turn": "500ms"}}) as daemon:
            runs = [Run(folder, f"pair {i}", daemon.vramrun(base + ["--seconds", "8"])) for i in range(2)]
            for run in runs:
                compare(f"two at once in {budget >> 20} MiB, {run.name}", run.result(), want)
            daemon.check()


if __name__ == "__main__":
    try:
        main()
    except vram_daemon.DaemonError as error:
        gpulib.fail(str(error))
