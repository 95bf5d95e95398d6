#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Pinned models are in and stay in, used or not; nobody is charged for them; what does not fit is refused with numbers."""

import os
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
import vram_tenant  # noqa: E402
from vram_tenant import ANN, BOB, M, SystemDaemon, Tenant  # noqa: E402


class Pin(unittest.TestCase):
    def daemon(self, budget="12M", **sections):
        settings = {"device": {"chunk": "256K"}, **sections}
        return self.enterContext(SystemDaemon(budget, settings))

    def tenant(self, daemon, **more):
        return self.enterContext(Tenant(daemon, **more))

    def root_usage(self, daemon):
        return daemon.admin("status")["devices"][0]["resident_bytes"]

    def test_stays(self):
        d = self.daemon(policy={"keep": "0"})
        a, b = self.tenant(d, uid=ANN, name="a"), self.tenant(d, uid=BOB, name="b")
        a.open(d.model("keep", 4 * M), 4)
        b.open(d.model("other", 12 * M), 12)
        ida = a.session()
        out, err = d.ctl("pin", "keep", "--wait")
        self.assertIn("4M", out)
        self.assertEqual(err, "")
        row = d.row("keep")
        self.assertEqual((row["resident_bytes"], row["pinned"]), (4 * M, True))
        for _ in range(3):
            self.assertEqual([b.use(i) for i in range(12)], [0] * 12)
            self.assertEqual(d.row("keep")["resident_bytes"], 4 * M)
        # The user has it for nothing, and a max of its own does not hold it up; the device's sum is right.
        d.ctl("limit", "set", f"user:{ANN}", "vram.max=1M")
        self.assertEqual([a.use(i) for i in range(4)], [0] * 4)
        self.assertEqual(d.client(ida)["charged_bytes"], 0)
        self.assertEqual(self.root_usage(d), d.row("keep")["resident_bytes"] + d.row("other")["resident_bytes"])
        d.ctl("evict", "keep")
        self.assertEqual(d.row("keep")["resident_bytes"], 4 * M)
        # Without users it stays, though nothing is cached here; who comes finds it.
        a.end()
        d.until("it has ended", lambda: d.client(ida) is None)
        time.sleep(0.3)
        self.assertEqual([b.use(i) for i in range(12)], [0] * 12)
        self.assertEqual(d.row("keep")["resident_bytes"], 4 * M)
        c = self.tenant(d, uid=BOB, name="c")
        c.open(os.path.join(d.dir, "keep"), 4)
        loaded = d.admin("status")["paged_in_bytes"]
        self.assertEqual([c.use(i) for i in range(4)], [0] * 4)
        self.assertEqual(d.admin("status")["paged_in_bytes"], loaded)
        self.assertEqual(d.client(c.session())["charged_bytes"], 0)
        # Let go of, it is charged to who uses it, and goes when nobody does.
        d.ctl("unpin", "keep")
        self.assertEqual(d.client(c.session())["charged_bytes"], 4 * M)
        self.assertEqual(d.row("keep")["pinned"], False)
        idc = c.session()
        c.end()
        d.until("it has ended", lambda: d.client(idc) is None)
        self.assertIsNone(d.row("keep"))
        self.assertEqual(self.root_usage(d), d.row("other")["resident_bytes"])

    def test_does_not_fit(self):
        d = self.daemon()
        a = self.tenant(d, uid=ANN, name="a")
        for name, size in (("x", 4), ("y", 6), ("z", 12)):
            first = a.open(d.model(name, size * M), size)
            self.assertEqual(a.use(first), 0)
        _, err = d.ctl("pin", "z", status=1)
        self.assertIn("z has 12M", err)
        self.assertIn("12M of host", err)
        d.ctl("pin", "x", "--wait")
        self.assertIn("model", d.ctl("models")[0])
        b = self.tenant(d, uid=BOB, name="b")
        # What a pin has taken is no longer there to be promised.
        self.assertEqual(b.admit(9 * M)[0], -28)
        self.assertEqual(b.admit(7 * M), [0, 7 * M])
        _, err = d.ctl("pin", "y", status=1)
        self.assertIn("4M that are pinned and 7M that are protected or promised", err)
        self.assertEqual(b.admit(0), [0, 0])
        d.ctl("pin", "y", "--wait")
        self.assertEqual(b.admit(2 * M, timeout=0), [0, 2 * M])
        self.assertEqual(b.admit(3 * M, timeout=0)[0], -28)
        # Twice is once; unpinned, all is as before.
        d.ctl("pin", "x", "--wait")
        d.ctl("unpin", "x")
        d.ctl("unpin", "x", status=1)
        d.ctl("unpin", "y")
        self.assertEqual(b.admit(12 * M, timeout=0), [0, 12 * M])

    def test_names(self):
        d = self.daemon()
        a = self.tenant(d, name="a")
        one, two = d.model("one", M), d.model("two", M)
        for path, name in ((one, "same"), (two, "same"), (d.model("three", M), "a b\tc\x1b[31m"),
                           (d.model("four", M), "model:1")):
            self.assertEqual(a.use(a.open(path, 1, name)), 0)
        _, err = d.ctl("pin", "same", status=1)
        self.assertRegex(err, "2 models are called 'same': say one of model:1, model:2")
        d.ctl("pin", "model:2", "--wait")
        rows = {m["id"]: m for m in d.admin("models")["models"]}
        self.assertEqual([rows[i]["pinned"] for i in (1, 2, 3, 4)], [False, True, False, False])
        # A number is a number, whatever a client calls its model.
        d.ctl("pin", "model:1", "--wait")
        rows = {m["id"]: m for m in d.admin("models")["models"]}
        self.assertEqual([rows[i]["pinned"] for i in (1, 2, 3, 4)], [True, True, False, False])
        name = rows[3]["name"]
        self.assertNotIn("\x1b", name)
        d.ctl("pin", name, "--wait")
        for out in (d.ctl("models")[0], d.ctl("jobs")[0]):
            self.assertNotIn("\x1b", out)
        for bad in ("", "model:", "model:99", "model:0", "nothing", "model:18446744073709551617"):
            self.assertIn(d.admin("pin", model=bad).get("errno"), ("ENOENT", "EINVAL"), bad)
        for bad in ({}, {"model": 1}, {"model": "same", "x": 1}):
            self.assertEqual(d.admin("pin", **bad).get("errno"), "EINVAL", bad)

    def test_path(self):
        d = self.daemon()
        path = os.path.join(d.dir, "m.safetensors")
        header = b'{"w":{"dtype":"F32","shape":[262144],"data_offsets":[0,1048576]}}'
        with open(path, "wb") as f:
            f.write(len(header).to_bytes(8, "little") + header + os.urandom(M))
        d.ctl("pin", path)
        row = d.admin("models")["models"][0]
        self.assertTrue(row["pinned"])
        self.assertGreaterEqual(row["resident_bytes"], M)
        self.assertEqual(row["clients"], 0)
        d.ctl("unpin", path)
        _, err = d.ctl("pin", os.path.join(d.dir, "nothing/here"), status=1)
        self.assertIn("no model", err)
        _, err = d.ctl("unpin", d.config, status=1)
        self.assertIn("does not have", err)
        _, err = d.ctl("pin", d.config, status=1)
        self.assertIn("cannot be opened", err)

    def test_who_may(self):
        d = self.daemon()
        a = self.tenant(d, uid=ANN, name="a")
        self.assertEqual(a.use(a.open(d.model("m", M), 1)), 0)
        self.assertEqual(a.admin("pin", model="m")["errno"], "EPERM")
        d.ctl("pin", "m", "--wait")
        self.assertEqual(a.admin("unpin", model="m")["errno"], "EPERM")
        self.assertTrue(d.row("m")["pinned"])

    def test_changed_file(self):
        d = self.daemon()
        a = self.tenant(d, name="a")
        path = d.model("m", 2 * M)
        self.assertEqual(a.use(a.open(path, 2)), 0)
        d.ctl("evict", "m")
        os.utime(path, (1, 1))
        job = d.job("pin", model="m")
        self.assertEqual(job["state"], "failed")
        self.assertIn("cannot be read", job["error"])
        d.ctl("unpin", "m")


if __name__ == "__main__":
    vram_tenant.skip_without()
    unittest.main(verbosity=2)
