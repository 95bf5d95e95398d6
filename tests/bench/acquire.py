#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""acquire: ns and system calls for an acquire and a release of a resident layer.

Starts a vramd whose budget holds a small model and lets tests/bench/acquire.c measure libvram with it, and the
bare residency slot beside it. Figures: acquire_release_ns (goal: 30), acquire_release_vs_ioctl (how many times
faster than an ioctl that does nothing), syscalls_per_acquire (goal: 0); slot_ in front: without libvram.
"""

import os
import subprocess
import sys

import benchlib
import vram_daemon


def main():
    program = os.path.join(vram_daemon.build_dir(), "tests", "bench", "acquire")
    gone = vram_daemon.missing(["vramd", "tests/bench/acquire"])
    if gone:
        benchlib.skip(f"acquire: {', '.join(gone)} not built")
    with benchlib.work_folder() as folder, vram_daemon.Daemon(256 << 20) as daemon:
        model = benchlib.generated(folder, "tiny")
        done = subprocess.run([program, daemon.socket, model], check=False, timeout=300)
        if done.returncode not in (0, benchlib.SKIP):
            benchlib.note(daemon.log())
        return done.returncode


if __name__ == "__main__":
    sys.exit(main())
