#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Loading ahead: what is free is filled, nothing of use goes for it, a path is opened and stays cached."""

import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
import vram_tenant  # noqa: E402
from vram_tenant import ANN, BOB, M, SystemDaemon, Tenant  # noqa: E402


def safetensors(path, n_bytes):
    header = b'{"w":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (n_bytes, n_bytes)
    with open(path, "wb") as f:
        f.write(len(header).to_bytes(8, "little") + header + os.urandom(n_bytes))
    os.chmod(path, 0o644)


class Prefetch(unittest.TestCase):
    def daemon(self, budget="12M", **sections):
        return self.enterContext(SystemDaemon(budget, {"device": {"chunk": "256K"}, **sections}))

    def tenant(self, daemon, **more):
        return self.enterContext(Tenant(daemon, **more))

    def test_loads(self):
        d = self.daemon()
        a = self.tenant(d, name="a")
        a.open(d.model("m", 8 * M), 8)
        self.assertEqual(d.row("m")["resident_bytes"], 0)
        job = d.job("prefetch", model="m")
        self.assertEqual((job["state"], job["done_bytes"], job["total_bytes"]), ("done", 8 * M, 8 * M))
        faults = d.client(a.session())["faults"]
        loaded = d.admin("status")["paged_in_bytes"]
        self.assertEqual([a.use(i) for i in range(8)], [0] * 8)
        self.assertEqual(d.admin("status")["paged_in_bytes"], loaded)
        # A first acquire asks the daemon, but waits for nothing.
        self.assertLessEqual(d.client(a.session())["faults"] - faults, 8)

    def test_stays_below_high(self):
        d = self.daemon("32M")
        d.ctl("limit", "set", f"user:{BOB}", "vram.high=4M")
        a = self.tenant(d, name="a", uid=BOB)
        a.open(d.model("m", 16 * M), 16)
        # One's own high, which whoever loads ahead by other means heeds, too.
        job = d.job_end(a.admin("prefetch", model="m")["job"])
        self.assertEqual((job["state"], job["error"]), ("done", None), job)
        self.assertIn("above a high", job["note"])
        self.assertEqual((d.row("m")["resident_bytes"], d.row("m")["loaded_bytes"]), (4 * M, 4 * M))

    def test_takes_nothing_of_use(self):
        d = self.daemon()
        a, b = self.tenant(d, name="a", uid=ANN), self.tenant(d, name="b", uid=BOB)
        a.open(d.model("a", 8 * M), 8)
        self.assertEqual([a.use(i) for i in range(8)], [0] * 8)
        b.open(d.model("b", 8 * M), 8)
        idb = b.session()
        b.end()
        d.until("it has ended", lambda: d.client(idb) is None)
        # Nobody uses it: what is free is filled, and that is said.
        job = d.job("prefetch", model="b")
        self.assertEqual((job["state"], job["error"]), ("done", None), job)
        self.assertEqual(d.row("a")["resident_bytes"], 8 * M)
        self.assertLessEqual(job["done_bytes"], 4 * M)
        self.assertGreaterEqual(job["done_bytes"], 3 * M)
        self.assertIn("nothing else", job["note"])
        out, _ = d.ctl("prefetch", "b", "--wait")
        self.assertIn("nothing else", out)

    def test_path(self):
        d = self.daemon()
        path = os.path.join(d.dir, "m.safetensors")
        safetensors(path, 4 * M)
        self.assertEqual(d.admin("models")["models"], [])
        out, err = d.ctl("prefetch", path)
        self.assertEqual(err, "")
        row = d.admin("models")["models"][0]
        self.assertEqual((row["clients"], row["pinned"]), (0, False))
        self.assertGreaterEqual(row["resident_bytes"], 4 * M)
        self.assertIn("M", out)
        # It is known now: nothing has to be opened, and the next user finds it.
        d.ctl("prefetch", path, "--wait")
        self.assertEqual(len(d.admin("models")["models"]), 1)
        loaded = d.admin("status")["paged_in_bytes"]
        a = self.tenant(d, uid=ANN)
        a.open(path, 4)
        self.assertEqual([a.use(i) for i in range(4)], [0] * 4)
        self.assertEqual(d.admin("status")["paged_in_bytes"], loaded)
        out, _ = d.ctl("-j", "prefetch", path, "--wait")
        self.assertIn('"state": "done"', out)
        d.ctl("prefetch", status=2)
        d.ctl("prefetch", "nothing", status=1)

    def test_who_may(self):
        d = self.daemon()
        a, b = self.tenant(d, name="a", uid=ANN), self.tenant(d, name="b", uid=BOB)
        a.open(d.model("a", 2 * M), 2)
        b.open(d.model("b", 2 * M), 2)
        self.assertEqual(a.admin("prefetch", model="b")["errno"], "ENOENT")
        self.assertEqual(a.admin("prefetch", model="model:2")["errno"], "ENOENT")
        job = a.admin("prefetch", model="a")["job"]
        self.assertEqual(d.job_end(job)["state"], "done")
        self.assertEqual(a.admin("job", id=job)["done_bytes"], 2 * M)
        # Jobs are their owners'.
        self.assertEqual(b.admin("job", id=job)["errno"], "ENOENT")
        self.assertEqual((len(a.admin("jobs")["jobs"]), b.admin("jobs")["jobs"]), (1, []))
        for bad in ({}, {"model": ""}, {"model": ["a"]}, {"model": "a", "x": 0}):
            self.assertEqual(d.admin("prefetch", **bad).get("errno"), "EINVAL", bad)
        # Nobody fills the table for others.
        for _ in range(100):
            a.admin("prefetch", model="a")
        self.assertEqual(b.admin("prefetch", model="b").keys(), {"job"})
        self.assertLessEqual(len(d.admin("jobs")["jobs"]), 64)

    def test_model_goes_meanwhile(self):
        d = self.daemon(policy={"keep": "0"}, device={"chunk": "256K", "link": "2M/s", "host_budget": "4M"})
        a = self.tenant(d, name="a")
        a.open(d.model("m", 8 * M), 8)
        ida = a.session()
        job = d.admin("prefetch", model="m")["job"]
        self.assertEqual(d.admin("job", id=job)["state"], "running")
        a.end()
        end = d.job_end(job)
        self.assertEqual(end["state"], "failed", end)
        self.assertIn("not there any more", end["error"])
        d.until("all has gone", lambda: d.client(ida) is None and d.resident() == 0)


if __name__ == "__main__":
    vram_tenant.skip_without()
    unittest.main(verbosity=2)
