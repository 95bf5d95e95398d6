#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""vramd does not wait long for a name service, and says that it does not know yet; vramctl then waits for it."""

import glob
import os
import signal
import subprocess
import sys
import threading
import unittest

SRC = os.environ["VRAM_SRC"]
sys.path.insert(0, os.path.join(SRC, "tests/support"))
import vram_daemon  # noqa: E402


def children(pid):
    found = []
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        with open(path, encoding="utf-8") as f:
            found += [int(word) for word in f.read().split()]
    return found


class LateNames(unittest.TestCase):
    def test_user(self):
        with vram_daemon.Daemon("64M") as daemon:
            helpers = children(daemon.process.pid)
            self.assertEqual(len(helpers), 1)
            command = [os.path.join(daemon.build, "vramctl"), "--socket", daemon.socket, "limit", "set", "user:daemon",
                       "vram.weight=7"]
            os.kill(helpers[0], signal.SIGSTOP)
            # Behind the daemon's own patience, and long before vramctl's ends.
            timer = threading.Timer(1, os.kill, (helpers[0], signal.SIGCONT))
            timer.start()
            try:
                done = subprocess.run(command, env=daemon.env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                      timeout=60, check=False)
            finally:
                timer.join()
            self.assertEqual(done.returncode, 0, done)
            limits = subprocess.run([command[0], "--socket", daemon.socket, "limit", "list"], env=daemon.env,
                                    capture_output=True, text=True, timeout=60, check=True).stdout
            self.assertRegex(limits, r"user:daemon\s+vram\.weight\s+7\s")


if __name__ == "__main__":
    unittest.main(verbosity=2)
