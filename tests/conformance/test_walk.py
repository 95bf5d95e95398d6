#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The example engine walks real GGUF files that do not fit, alone and at the same time; every tensor is compared."""

import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SUPPORT = os.path.join(HERE, "..", "support")
sys.path.insert(0, SUPPORT)
import vram_daemon  # noqa: E402

BUDGET = 8 << 20
# The largest layer of the real models, the embeddings, has 30 MB.
REAL_BUDGET = 48 << 20


def walk_all(budget, chunk, rounds):
    """Rounds of walks at the same time; each has to go through more than the budget. Returns how many failed."""
    failed = 0
    with vram_daemon.Daemon(str(budget), {"device": {"huge": "never", "chunk": chunk}}) as daemon:
        walk = os.path.join(daemon.build, "examples", "walk")
        for passes, files in rounds:
            running = [
                subprocess.Popen(
                    [walk, "-s", daemon.socket, "-p", passes, m],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
                for m in files
            ]
            for model, process in zip(files, running):
                out, _ = process.communicate(timeout=120)
                figures = re.search(
                    r"^walk: passes=(\d+) layers=(\d+) tensors=(\d+) bytes=(\d+) wrong=(\d+) "
                    r"loaded=(\d+)$",
                    out,
                    re.M,
                )
                good = (
                    process.returncode == 0
                    and figures
                    and figures.group(1) == passes
                    and int(figures.group(5)) == 0
                    and int(figures.group(4)) > budget
                )
                failed += not good
                print(
                    "ok    " if good else "FAILED",
                    os.path.basename(model),
                    out.strip(),
                    process.returncode,
                )
        peak = daemon.ask("status")["devices"][0]["peak_bytes"]
        print("peak", peak, "budget", budget)
    return failed + (peak > budget)


def main():
    for name in vram_daemon.missing(["vramd", "vramctl", "examples/walk"]):
        print(f"SKIP: {name} is not built")
        return 77
    folder = tempfile.mkdtemp(prefix="vram-walk-", dir="/var/tmp")
    failed = 0
    try:
        models = []
        for i, shape in enumerate((["tiny"], ["6", "512", "1536", "8", "4", "512"])):
            models.append(os.path.join(folder, f"model{i}.gguf"))
            subprocess.run(
                [sys.executable, os.path.join(SUPPORT, "gen_gguf.py"), models[-1], *shape],
                check=True,
                stdout=subprocess.DEVNULL,
            )
        real = os.path.join(vram_daemon.build_dir(), "models")
        if os.path.isdir(real):
            models += [
                os.path.join(real, n) for n in sorted(os.listdir(real)) if n.endswith(".gguf")
            ][:1]
        failed += walk_all(
            BUDGET, "256K", [("2", models[:1]), ("3", models[1:2]), ("3", models[:2] * 2)]
        )
        if models[2:]:
            failed += walk_all(REAL_BUDGET, "2M", [("2", models[2:])])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
