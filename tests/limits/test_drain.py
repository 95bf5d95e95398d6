#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Draining: what a target has goes, in bytes; what cannot go is named; what is held stays out, newcomers too."""

import os
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
import vram_tenant  # noqa: E402
from vram_tenant import ANN, BOB, M, SystemDaemon, Tenant  # noqa: E402


class Drain(unittest.TestCase):
    def daemon(self, budget="24M", **sections):
        settings = {"limits": {"pin_timeout": "1s", **sections.pop("limits", {})}, **sections}
        return self.enterContext(SystemDaemon(budget, settings))

    def tenant(self, daemon, **more):
        return self.enterContext(Tenant(daemon, **more))

    def loaded(self, daemon, name, size=8, **more):
        """A tenant with a model of its own, of which everything is in. Return: (tenant, session)."""
        t = self.tenant(daemon, name=name, **more)
        t.open(daemon.model(name, size * M), size)
        self.assertEqual([t.use(i) for i in range(size)], [0] * size)
        return t, t.session()

    def test_a_user(self):
        d = self.daemon()
        a, ida = self.loaded(d, "a", uid=ANN)
        _, idb = self.loaded(d, "b", uid=BOB)
        self.assertEqual(d.resident(), 16 * M)
        job = d.job("drain", target=f"user:{ANN}")
        self.assertEqual((job["state"], job["done_bytes"], job["total_bytes"], job["error"], job["note"]),
                         ("done", 8 * M, 8 * M, None, None))
        self.assertEqual((d.client(ida)["resident_bytes"], d.client(idb)["resident_bytes"]), (0, 8 * M))
        self.assertEqual(d.resident(), 8 * M)
        # It was not held: what is used comes back.
        self.assertEqual([a.use(i) for i in range(8)], [0] * 8)
        self.assertEqual(d.client(ida)["resident_bytes"], 8 * M)

    def test_hold_and_newcomers(self):
        d = self.daemon(limits={"wait_timeout": "1s"})
        a, ida = self.loaded(d, "a", uid=ANN)
        b, _ = self.loaded(d, "b", uid=BOB)
        out, _ = d.ctl("drain", f"user:{ANN}", "--hold", "--wait")
        self.assertIn("8M", out)
        self.assertIn(f"user:{ANN} was drained by root, and is held", d.ctl("status")[0])
        waits = a.begin("acquire", 0, 30)
        touches = a.begin("touch", 1)
        new = self.tenant(d, uid=ANN, name="new")
        new.open(d.model("n", 2 * M), 2)
        late = new.begin("acquire", 0, 30)
        # Longer than limits.wait_timeout, and than limits.pin_timeout: nothing of it may end here.
        time.sleep(1.5)
        self.assertFalse(waits.done() or touches.done() or late.done())
        self.assertEqual(d.client(ida)["resident_bytes"], 0)
        self.assertEqual([b.use(i) for i in range(8)], [0] * 8)
        # What root holds its user cannot let go.
        self.assertEqual(a.admin("resume", target=f"user:{ANN}")["errno"], "EPERM")
        self.assertEqual(a.admin("resume", target=f"session:{ida}")["errno"], "EBUSY")
        d.ctl("resume", f"user:{ANN}")
        self.assertEqual((waits.result(), late.result()), (0, 0))
        touches.result()
        self.assertEqual(d.admin("status")["held"], [])
        d.ctl("resume", f"user:{ANN}", status=1)

    def test_device(self):
        d = self.daemon()
        a, _ = self.loaded(d, "a")
        gone, _ = self.loaded(d, "cached", 4)
        gone.end()
        d.until("it has ended", lambda: len(d.admin("clients")["clients"]) == 1)
        name = d.admin("status")["devices"][0]["name"]
        self.assertEqual(d.resident(), 12 * M)
        self.assertEqual(d.job("drain", target=name, hold=True)["state"], "done")
        self.assertEqual(d.resident(), 0)
        self.assertTrue(d.admin("snapshot")["devices"][0]["held"])
        # Nobody begins while it is held.
        asks = self.tenant(d)
        pending = asks.begin("admit", M, 0, 30, 0)
        use = a.begin("acquire", 0, 30)
        d.until("it is in the queue", lambda: d.admin("queue")["queue"])
        time.sleep(0.3)
        self.assertFalse(pending.done() or use.done())
        states = {s["name"]: s["state"] for s in d.admin("snapshot")["sessions"]}
        self.assertEqual(states["a"], "paused")
        d.ctl("resume", "device:0")
        self.assertEqual(pending.result(), [0, M])
        self.assertEqual(use.result(), 0)

    def test_pins(self):
        d = self.daemon()
        a, ida = self.loaded(d, "a")
        self.assertEqual((a.acquire(0), a.acquire(1)), (0, 0))
        # A client that does not listen: it is asked, what it holds stays, and it lives.
        job = d.job("drain", target=f"session:{ida}")
        self.assertEqual((job["state"], job["done_bytes"]), ("failed", 6 * M))
        self.assertIn("2M held by pins of clients", job["error"])
        a.call("dispatch")
        self.assertIn(1, a.call("seen"))
        _, err = d.ctl("drain", ida, "--wait", status=1)
        self.assertIn("held by pins", err)
        self.assertEqual(d.client(ida)["resident_bytes"], 2 * M)
        # Now it listens.
        a.call("listen", True)
        pending = d.admin("drain", target=f"session:{ida}")["job"]
        end = time.monotonic() + 10
        while d.admin("job", id=pending)["state"] == "running" and time.monotonic() < end:
            a.call("dispatch")
            time.sleep(0.05)
        self.assertEqual(d.job_end(pending)["state"], "done")
        self.assertEqual(d.client(ida)["resident_bytes"], 0)

    def test_shared_and_pinned_models_stay(self):
        d = self.daemon()
        a, b = self.tenant(d, uid=ANN, name="a"), self.tenant(d, uid=BOB, name="b")
        shared, own = d.model("shared", 4 * M), d.model("own", 4 * M)
        for t, path in ((a, shared), (b, shared), (a, own)):
            first = t.open(path, 4)
            self.assertEqual([t.use(first + i) for i in range(4)], [0] * 4)
        job = a.admin("drain", target=f"user:{ANN}")["job"]
        job = d.job_end(job)
        self.assertEqual((job["state"], job["done_bytes"]), ("done", 4 * M))
        self.assertIn("4M used by others as well", job["note"])
        self.assertEqual(d.row("shared")["resident_bytes"], 4 * M)
        self.assertEqual(d.job("pin", model="shared")["state"], "done")
        job = d.job("drain", target="device:0")
        self.assertIn("4M of models that are pinned", job["note"])
        self.assertEqual(d.resident(), 4 * M)

    def buffer(self, daemon, size=8):
        t = self.tenant(daemon, name="buffers")
        t.call("buffer", size * M, M)
        for i in range(size):
            self.assertEqual(t.acquire(i), 0)
            t.call("fill", i, i + 1)
            t.call("release", i)
        return t, t.session()

    def check_buffer(self, t, size=8):
        for i in range(size):
            self.assertEqual(t.acquire(i), 0)
            self.assertEqual(t.call("touch", i), (i + 1) * M // 4096)
            t.call("release", i)

    def test_buffers_without_swap(self):
        d = self.daemon()
        t, session = self.buffer(d)
        job = d.job("drain", target=f"session:{session}")
        self.assertEqual((job["state"], job["done_bytes"]), ("failed", 0))
        self.assertIn("without a swap file", job["error"])
        self.check_buffer(t)
        # There is no host tier, and that is said.
        out = d.admin("drain", target=f"session:{session}", to="host")
        self.assertEqual(out["errno"], "EOPNOTSUPP")
        self.assertIn("no host tier", out["error"])

    def test_tiers(self):
        d = self.daemon(device={"link": "4G/s", "host_budget": "16M"}, swap={"size": "16M"})
        t, session = self.buffer(d)

        def used():
            device = d.admin("devices")["devices"][0]
            return device["resident_bytes"], device["host_used_bytes"], device["swap_used_bytes"]

        job = d.job("drain", target=f"session:{session}", to="host")
        self.assertEqual(job["state"], "done", job)
        self.assertEqual(used(), (0, 8 * M, 0))
        job = d.job("drain", target=f"session:{session}", to="disk")
        self.assertEqual((job["state"], job["done_bytes"]), ("done", 8 * M), job)
        self.assertEqual(used(), (0, 0, 8 * M))
        self.check_buffer(t)
        job = d.job("drain", target="device:0", to="disk")
        self.assertEqual((job["state"], used()), ("done", (0, 0, 8 * M)), job)
        self.check_buffer(t)

    def test_who_may(self):
        d = self.daemon()
        a, ida = self.loaded(d, "a", 2, uid=ANN)
        _, idb = self.loaded(d, "b", 2, uid=BOB)
        for target, error in ((f"session:{idb}", "ENOENT"), (f"user:{BOB}", "EPERM"), ("device:0", "EPERM"),
                              ("cgroup:/x", "EPERM"), ("cgroup:/", "EINVAL"), ("exe:/bin/sh", "EPERM"), ("user:root", "EINVAL"),
                              ("default", "EINVAL"), ("group:0", "EINVAL"), ("device:1", "ENOENT"),
                              ("", "EINVAL"), ("x\x1b[31m y", "EINVAL"), ("session:0", "EINVAL"),
                              ("session:18446744073709551615", "ENOENT")):
            got = a.admin("drain", target=target)
            self.assertEqual(got.get("errno"), error, (target, got))
        self.assertEqual(d.resident(), 4 * M)
        # One's own, also held; root may end that, others not.
        self.assertEqual(d.job_end(a.admin("drain", target=f"session:{ida}", hold=True)["job"])["state"], "done")
        self.assertEqual(d.resident(), 2 * M)
        self.assertEqual(a.admin("resume", target=f"session:{ida}"), {"sessions": 1})
        self.assertEqual([a.use(i) for i in range(2)], [0, 0])
        for bad in ({}, {"target": 1}, {"target": "device:0", "to": "moon"}, {"target": "device:0", "hold": "yes"},
                    {"target": "device:0", "what": 1}, {"target": "device:0", "to": None}):
            self.assertEqual(d.admin("drain", **bad).get("errno"), "EINVAL", bad)
        self.assertEqual(d.admin("job", id=10**15)["errno"], "ENOENT")
        self.assertEqual(d.admin("job", id=-1)["errno"], "EINVAL")

    def test_timeout_and_jobs(self):
        d = self.daemon(limits={"pin_timeout": "3s"})
        a, ida = self.loaded(d, "a", 2)
        self.assertEqual(a.acquire(0), 0)
        _, err = d.ctl("drain", ida, "--timeout", "300ms", status=3)
        self.assertIn("goes on", err)
        job = d.admin("jobs")["jobs"][-1]
        self.assertEqual((job["state"], job["kind"], job["target"]), ("running", "drain", f"session:{ida}"))
        a.call("release", 0)
        d.ctl("jobs", job["id"], "--wait")
        out, _ = d.ctl("jobs")
        self.assertIn("done", out)
        d.ctl("jobs", "99", status=1)
        d.ctl("jobs", "x", status=2)
        d.ctl("jobs", "--wait", status=2)
        d.ctl("drain", status=2)
        d.ctl("drain", ida, "--to", "moon", status=2)
        d.ctl("drain", ida, "--timeout", "x", status=2)
        d.ctl("pause", ida, "--hold", status=2)
        # A target that ends in the middle: so does the job. Then the daemon, while one is running.
        self.assertEqual(a.acquire(0), 0)
        number = d.admin("drain", target=f"session:{ida}", hold=True)["job"]
        a.end()
        self.assertEqual(d.job_end(number)["state"], "done")
        self.assertEqual(d.admin("status")["held"], [])
        b, idb = self.loaded(d, "b", 2)
        self.assertEqual(b.acquire(0), 0)
        d.admin("drain", target=f"session:{idb}")
        self.assertEqual(d.stop(), 0, d.log())


if __name__ == "__main__":
    vram_tenant.skip_without()
    unittest.main(verbosity=2)
