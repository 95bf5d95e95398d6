#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""kmod: what the ledger and the calls of /dev/vram cost.

ledger_flat, _chain, _share: instructions for a charge and its uncharge in the source that module and daemon share,
counted by valgrind: the same number on every machine with the same compiler. Of two runs that differ in the number of
pairs alone, the difference is the pairs'.

charge_pair, wait_no, ...: times in a virtual machine (Debian's 6.1, emulated), as multiples of an ioctl that does
nothing, measured there by tests/bench/kmod_calls.c.
"""

import os
import re
import shutil
import subprocess
import sys

import benchlib
import vram_daemon

PAIRS = (1000, 11000)
KERNEL = "6.1"


def instructions(program, shape, pairs):
    done = subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, shape, str(pairs)],
                          check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    found = re.search(r"Collected\s*:\s*(\d+)", done.stderr)
    if not found:
        sys.exit(f"kmod: valgrind says no count:\n{done.stderr}")
    return int(found.group(1))


def ledger(build):
    program = os.path.join(build, "tests", "bench", "kmod-ledger")
    flat = None
    for shape in ("flat", "chain", "share"):
        counts = [instructions(program, shape, pairs) for pairs in PAIRS]
        pair = (counts[1] - counts[0]) / (PAIRS[1] - PAIRS[0])
        flat = flat or pair
        benchlib.emit("kmod", f"ledger_{shape}", pair, "instructions", "ledger_flat", flat, pair / flat,
                      pairs=PAIRS[1] - PAIRS[0])


def calls(build):
    vm = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "vm")
    folder = os.path.join(build, f"kmod-{KERNEL}")
    for command in ([os.path.join(vm, "kernels.sh"), "fetch", KERNEL],
                    [os.path.join(vm, "kernels.sh"), "build", KERNEL, folder]):
        done = subprocess.run(command, check=False, stdout=sys.stderr)
        if done.returncode:
            return done.returncode
    program = os.path.join(build, "tests", "bench", "kmod-calls")
    done = subprocess.run([os.path.join(vm, "run.sh"), "--kernel", KERNEL, "--name", "bench", "--module",
                           os.path.join(folder, "vram.ko"), "--", "sh", "-c", 'insmod "$VRAM_KO" && exec "$0"', program],
                          check=False, stdout=subprocess.PIPE, text=True)
    for line in done.stdout.splitlines():
        print(line, file=sys.stdout if line.startswith("{") else sys.stderr, flush=True)
    return done.returncode


def main():
    build = vram_daemon.build_dir()
    gone = vram_daemon.missing(["tests/bench/kmod-ledger", "tests/bench/kmod-calls"])
    if gone:
        benchlib.skip(f"kmod: {', '.join(gone)} not built")
    if not shutil.which("valgrind"):
        benchlib.skip("kmod: needs valgrind")
    ledger(build)
    return calls(build)


if __name__ == "__main__":
    sys.exit(main())
