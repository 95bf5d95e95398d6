#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Limits in percent of a card whose budget changes because others use it: they are worked out anew, by themselves."""

import json
import os
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.environ["VRAM_SRC"], "tests", "support"))
import standin  # noqa: E402
import vram_daemon  # noqa: E402
import vram_wire  # noqa: E402

MIB = 1 << 20


class Percent(unittest.TestCase):
    def setUp(self):
        self.card = standin.Card(64 * MIB)
        self.addCleanup(self.card.close)
        for name, value in self.card.environ().items():
            old = os.environ.get(name)
            os.environ[name] = value
            self.addCleanup(os.environ.__setitem__ if old else os.environ.pop, name, *([old] if old else []))

    def ask(self, *words):
        done = subprocess.run([os.path.join(self.daemon.build, "vramctl"), "--socket", self.daemon.socket, "-j", *words],
                              capture_output=True, text=True, timeout=60, check=True)
        return json.loads(done.stdout)

    def maxes(self):
        """The budget, and what a user with a session and `default` have of it."""
        rows = {row["subject"]: row["max"] for row in self.ask("limit", "show")["limits"] if row["tier"] == "vram"}
        return rows["root"], rows[f"user:{os.getuid()}"], rows["default"]

    def test_follows_the_budget(self):
        with tempfile.TemporaryDirectory() as rules:
            with open(os.path.join(rules, "50.conf"), "w", encoding="ascii") as f:
                f.write(f"[default]\nvram.max = 25%\n[user:{os.getuid()}]\nvram.max = 12.5%\n")
            os.chmod(f.name, 0o644)
            self.daemon = vram_daemon.Daemon("auto", {
                "device": {"kind": "cuda", "reserve": "0", "host_budget": "16M", "chunk": "2M"},
                "limits": {"dir": rules}})
            with self.daemon:
                client = vram_wire.Client(self.daemon.socket)
                self.addCleanup(client.sock.close)
                self.assertEqual(client.hello()[2], 0)
                budget, user, default = self.maxes()
                self.assertEqual((user, default), (budget // 8, budget // 4))
                self.card.outside_bytes = 32 * MIB
                deadline, most = time.monotonic() + 60, budget
                while self.maxes()[0] > most - 30 * MIB:
                    self.assertLess(time.monotonic(), deadline)
                    time.sleep(0.05)
                budget, user, default = self.maxes()
                self.assertEqual((user, default), (budget // 8, budget // 4))
                # What was set in bytes stays.
                self.ask("limit", "set", "default", "vram.max=5M")
                self.card.outside_bytes = 0
                while self.maxes()[0] < most:
                    self.assertLess(time.monotonic(), deadline)
                    time.sleep(0.05)
                self.assertEqual(self.maxes(), (most, most // 8, 5 * MIB))


if __name__ == "__main__":
    unittest.main(verbosity=2)
