#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 600
"""The tests of clients that know no device, over a card: what libvram promises, restarts, charges, killed clients, buffers
through all tiers, the protocol's rules. Each is the same program as in its own suite, with a stand-in card of its own."""

import os
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.environ["VRAM_SRC"], "tests", "support"))
import standin  # noqa: E402

BUILD, SRC = os.environ["VRAM_BUILD"], os.environ["VRAM_SRC"]
CARD = 128 << 20
PROGRAMS = [
    ("conformance/test_client", {}),
    ("conformance/test_restart", {}),
    ("conformance/test_charges", {}),
    ("integration/test_kills", {"VRAM_KILLS": "150"}),
    ("integration/test_buffers", {"CK_RUN_CASE": "clients"}),
    ("integration/test_hostile.py", {}),
]


def run(name, more):
    path = os.path.join(SRC if name.endswith(".py") else BUILD, "tests", name)
    if not os.access(path, os.X_OK):
        print(f"{name}: not built")
        return False
    with tempfile.TemporaryDirectory(dir=os.environ["TEST_TMP"]) as folder:
        card = standin.Card(CARD, folder=folder)
        env = dict(os.environ, VRAM_DEVICE="cuda", TEST_TMP=folder, **card.environ(), **more)
        start = time.monotonic()
        done = subprocess.run([path], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        taken = card.used_bytes()
        card.close()
    passed = done.returncode == 0 and not taken
    print(f"{name}: {'passed' if passed else 'FAILED'} in {time.monotonic() - start:.1f} s", flush=True)
    if done.returncode:
        print(done.stdout[-6000:], done.stderr[-3000:])
    if taken:
        print(f"{taken} bytes of the card are still taken")
    return passed


def main():
    results = [run(name, more) for name, more in PROGRAMS]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
