#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Who has what its min protects goes on with it, however many others wait for what they cannot have."""

import errno
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.environ["VRAM_SRC"], "tests", "support"))
from vram_tenant import ANN, BOB, M, SystemDaemon, Tenant, skip_without  # noqa: E402

# One more than the daemon asks in vain before it takes it that the device is full for all.
OTHERS = 9


class Starved(unittest.TestCase):
    def check(self, protected, waiting, what):
        with SystemDaemon("8M") as d:
            d.ctl("limit", "set", f"user:{ANN}", f"vram.min={protected}")
            a = self.enterContext(Tenant(d, uid=ANN, name="a"))
            a.open(d.model("a", 16 * M), 16)
            self.assertEqual([a.use(i) for i in range(16)], [0] * 16)
            others = [self.enterContext(Tenant(d, uid=BOB, name=f"b{i}")) for i in range(waiting)]
            for i, other in enumerate(others):
                other.open(d.model(f"b{i}", M), 1)
            pending = [other.begin(*what) for other in others]
            # They wait: a turn of the model's owner must pass while they do.
            d.until("all of them have asked", lambda: all(d.client(other.session())["faults"] for other in others))
            self.assertEqual([a.use(i % 16) for i in range(32)], [0] * 32)
            self.assertTrue(any(not p.done() for p in pending))
            # With the limit taken back there is room for them.
            d.ctl("limit", "reset", f"user:{ANN}")
            for p, other in zip(pending, others):
                self.assertIn(p.result() if what[0] == "acquire" else p.result() and 0, (0, -errno.ETIMEDOUT))
                other.end()
            a.end()

    def test_layers(self):
        self.check("8M", 1, ("acquire", 0, 5))
        self.check("6M", OTHERS, ("acquire", 0, 5))

    def test_pages(self):
        self.check("8M", OTHERS, ("touch", 0))


if __name__ == "__main__":
    skip_without()
    unittest.main()
