#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A max that leaves no room for a single chunk: who asks for a layer is told, and a thread at a page waits; nobody is killed."""

import errno
import os
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
import vram_tenant  # noqa: E402
from vram_tenant import ANN, M, SystemDaemon, Tenant  # noqa: E402


class Nothing(unittest.TestCase):
    def test_waits_for_another_limit(self):
        d = self.enterContext(SystemDaemon("8M", {"device": {"chunk": "256K"}, "limits": {"wait_timeout": "1s"}}))
        a = self.enterContext(Tenant(d, name="a", uid=ANN))
        a.open(d.model("m", 4 * M), 4)
        self.assertEqual([a.use(i) for i in range(4)], [0] * 4)
        session = a.session()
        for nothing in ("vram.max=0", "vram.max=64K"):
            d.ctl("limit", "set", f"user:{ANN}", nothing, "--wait", "--timeout", "10")
            self.assertEqual(d.client(session)["resident_bytes"], 0)
            touches = [a.begin("touch", i) for i in range(2)]
            d.until("it stands there", lambda: d.client(session)["state"] == "stalled")
            self.assertEqual(a.acquire(3), -errno.ENOSPC)
            time.sleep(2)
            self.assertFalse(any(t.done() for t in touches))
            self.assertEqual(d.client(session)["resident_bytes"], 0)
            d.ctl("limit", "reset", f"user:{ANN}")
            for touched in touches:
                touched.result()
        said = d.log()
        self.assertIn("vram.max of its user has no room for it: the program waits", said)
        self.assertNotIn("SIGBUS", said)


if __name__ == "__main__":
    vram_tenant.skip_without()
    unittest.main(verbosity=2)
