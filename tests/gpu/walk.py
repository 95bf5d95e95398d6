#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""walk: models larger than the budget on the card, every byte compared with the file.

vramd with room for half a model; cuda_walk copies what it acquires back from the card and compares it.
Alone, two models at once, and, as root, two users with the same file.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

import gpulib
import vram_daemon

SOMEBODY = 65534


def generate(folder, quick):
    """Two models of different weights: 0.5 GB, or 0.13."""
    models = []
    for i, layers in enumerate((48, 40) if quick else (16, 12)):
        name = os.path.join(folder, f"model{i}.gguf")
        width = ("512", "1536", "8", "4") if quick else ("1536", "5376", "24", "8")
        generator = os.path.join(gpulib.HERE, "..", "support", "gen_gguf.py")
        subprocess.run([sys.executable, generator, name, str(layers), *width, "512"], check=True)
        os.chmod(name, 0o644)
        models.append(name)
    os.chmod(folder, 0o755)
    return models


def start(daemon, model, uid=None, program=None):
    other = {"user": uid, "group": uid, "extra_groups": []} if uid else {}
    return subprocess.Popen([program or gpulib.path("examples", "cuda_walk"), "-s", daemon.socket, "-p", "3", model],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **other)


def reachable(folder):
    """A copy of the program and of the libraries that a bundle has beside it, where other users can read it."""
    program = os.path.join(folder, "bin", "examples", "cuda_walk")
    os.makedirs(os.path.dirname(program))
    shutil.copy(gpulib.path("examples", "cuda_walk"), program)
    if os.path.isdir(gpulib.path("lib")):
        shutil.copytree(gpulib.path("lib"), os.path.join(folder, "bin", "lib"))
    return program


def reaches(path):
    """Whether SOMEBODY can open the file."""
    done = subprocess.run(["head", "-c", "1", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          user=SOMEBODY, group=SOMEBODY, extra_groups=[], check=False)
    return done.returncode == 0


def finish(what, walks, more_than=0):
    """more_than: so many bytes must have been loaded, or nothing was shown."""
    for walk in walks:
        text, _ = walk.communicate(timeout=280)
        print(f"{what}: {text.strip()}")
        wrong = re.search(r"\bwrong=(\d+)", text)
        loaded = re.search(r"\bloaded=(\d+)", text)
        if walk.returncode or not wrong or int(wrong.group(1)):
            gpulib.fail(f"{what}: exit status {walk.returncode}")
        if more_than and (not loaded or int(loaded.group(1)) <= more_than):
            gpulib.fail(f"{what}: all of it stayed on the card, so nothing was shown")


def main():
    card = gpulib.Card()
    gpulib.need("vramd", "vramctl", "examples/cuda_walk")
    with tempfile.TemporaryDirectory(prefix="vram-walk-", dir=os.environ.get("BENCH_DIR", "/var/tmp")) as folder:
        models = generate(folder, card.standin)
        budget = card.budget(os.path.getsize(models[0]) // 2)
        with gpulib.Daemon(budget) as daemon:
            finish("one model", [start(daemon, models[0])], os.path.getsize(models[0]))
            finish("two models at once", [start(daemon, m) for m in models])
            daemon.check()
        if os.geteuid() != 0:
            print("two users: not tried, that needs root")
            return
        program = reachable(folder)
        if not reaches(program):
            print("two users: not tried, no other user reaches this folder")
            return
        with gpulib.Daemon(budget, everybody=True) as daemon:
            finish("two users, one file", [start(daemon, models[0]), start(daemon, models[0], SOMEBODY, program)])
            finish("the other user after them", [start(daemon, models[1], SOMEBODY, program)])
            daemon.check()


if __name__ == "__main__":
    try:
        main()
    except vram_daemon.DaemonError as error:
        gpulib.fail(str(error))
