#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A limit of one who uses a model keeps it from nobody else who does."""

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.environ["VRAM_SRC"], "tests", "support"))
from vram_tenant import ANN, BOB, M, SystemDaemon, Tenant, skip_without  # noqa: E402


class SharedLimit(unittest.TestCase):
    def test_nobody_else_fails(self):
        d = self.enterContext(SystemDaemon("64M"))
        path = d.model("m", 8 * M)
        ann, bob = (self.enterContext(Tenant(d, uid=uid, name=name)) for uid, name in ((ANN, "ann"), (BOB, "bob")))
        ann.open(path, 8)
        bob.open(path, 8)
        # As everybody may: bob's own session, lower than it was.
        answer = bob.admin("limit_set", subject=f"session:{bob.session()}", settings=["vram.max=0"])
        self.assertNotIn("error", answer)
        self.assertEqual([ann.use(i % 8) for i in range(24)], [0] * 24)
        # An administrator's for bob, and for bob's session as well: two that refuse.
        d.ctl("limit", "set", f"user:{BOB}", "vram.max=0")
        self.assertEqual([ann.use(i % 8) for i in range(24)], [0] * 24)
        # Ann's own limit is hers.
        d.ctl("limit", "set", f"user:{ANN}", "vram.max=0")
        d.until("all of it has gone", lambda: d.resident() == 0)
        self.assertNotEqual(ann.use(0, 3), 0)
        d.ctl("limit", "reset", f"user:{ANN}")
        bob.end()
        self.assertEqual([ann.use(i) for i in range(8)], [0] * 8)
        # Nothing is charged twice, or to nobody.
        rows = d.admin("limit_show", subject=f"user:{ANN}")["limits"]
        self.assertEqual([r["usage_bytes"] for r in rows if r["tier"] == "vram"], [8 * M])
        self.assertEqual(d.resident(), 8 * M)


if __name__ == "__main__":
    skip_without()
    unittest.main()
