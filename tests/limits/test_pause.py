#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A paused session loads nothing, its memory goes to others, and nothing ends it; who waits for another's memory waits."""

import errno
import os
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
import vram_tenant  # noqa: E402
from vram_tenant import ANN, BOB, M, SystemDaemon, Tenant  # noqa: E402


class Pause(unittest.TestCase):
    def daemon(self, budget="8M", **limits):
        settings = {"limits": {"pin_timeout": "1s", "wait_timeout": "1s", **limits}, "device": {"chunk": "256K"}}
        return self.enterContext(SystemDaemon(budget, settings))

    def tenant(self, daemon, model=0, **more):
        t = self.enterContext(Tenant(daemon, **more))
        if model:
            t.open(daemon.model(more["name"], model * M), model)
        return t

    def use_all(self, t, n):
        self.assertEqual([t.use(i) for i in range(n)], [0] * n)

    def test_memory_goes_and_nothing_ends_it(self):
        d = self.daemon()
        a, b = self.tenant(d, 8, name="a", uid=ANN), self.tenant(d, 8, name="b", uid=BOB)
        self.use_all(a, 8)
        ida = a.session()
        # What is protected is so no longer while it is paused.
        d.ctl("limit", "set", f"user:{ANN}", "vram.min=8M")
        d.ctl("pause", ida)
        self.use_all(b, 8)
        d.until("all of it has gone", lambda: self.use_all(b, 8) or d.client(ida)["resident_bytes"] == 0)
        waits = [a.begin("acquire", i, 30) for i in range(3)]
        touches = a.begin("touch", 4)
        time.sleep(2)
        self.assertFalse(touches.done() or any(w.done() for w in waits))
        self.assertEqual(d.client(ida)["resident_bytes"], 0)
        # Paused twice is paused.
        d.ctl("pause", f"session:{ida}")
        d.ctl("resume", ida)
        self.assertEqual([w.result() for w in waits], [0] * 3)
        touches.result()

    def test_pins(self):
        d = self.daemon()
        a, b = self.tenant(d, 8, name="a", uid=ANN), self.tenant(d, 8, name="b", uid=BOB)
        self.assertEqual([a.acquire(i) for i in range(8)], [0] * 8)
        ida = a.session()
        d.ctl("pause", ida)
        # Held by root: its pins stay, whoever waits for them gives up in time, and not for want of memory.
        self.assertEqual(b.acquire(0), -errno.ETIMEDOUT)
        time.sleep(1)
        self.assertIsNotNone(d.client(ida))
        self.assertEqual(a.admin("resume", target=f"session:{ida}")["errno"], "EPERM")
        d.ctl("resume", ida)
        # Held by its own user, who could keep memory so: pins are revoked as ever.
        self.assertEqual(a.admin("pause", session=ida), {"sessions": 1})
        pending = b.begin("acquire", 0, 30)
        d.until("it was ended", lambda: d.client(ida) is None)
        got = pending.result()
        self.assertIn(got, (0, -errno.ETIMEDOUT))
        self.assertEqual(b.use(0), 0)

    def test_shared_model(self):
        d = self.daemon()
        path = d.model("m", 4 * M)
        a, b = (self.tenant(d, name=n, uid=u) for n, u in (("a", ANN), ("b", BOB)))
        for t in (a, b):
            t.open(path, 4)
        ida = a.session()
        d.admin("pause", session=ida)
        pending = a.begin("acquire", 0, 30)
        touch = a.begin("touch", 1)
        d.until("it waits", lambda: d.client(ida)["faults"] >= 2)
        self.assertFalse(pending.done())
        # The other one uses it meanwhile: then it is there for both.
        self.use_all(b, 4)
        self.assertEqual(pending.result(), 0)
        touch.result()
        self.assertEqual(d.client(ida)["resident_bytes"], 4 * M)

    def test_who_may(self):
        d = self.daemon()
        a, b = self.tenant(d, 2, name="a", uid=ANN), self.tenant(d, 2, name="b", uid=BOB)
        ida, idb = a.session(), b.session()
        self.assertEqual(a.admin("pause", session=idb)["errno"], "ENOENT")
        self.assertEqual(a.admin("resume", target=f"session:{idb}")["errno"], "ENOENT")
        self.assertEqual(a.admin("resume", target=f"user:{BOB}")["errno"], "EPERM")
        for bad in ({}, {"session": "1"}, {"session": -1}, {"session": 1.5}, {"session": ida, "more": 1}):
            self.assertEqual(d.admin("pause", **bad).get("errno"), "EINVAL", bad)
        self.assertEqual(d.admin("pause", session=10**18)["errno"], "ENOENT")
        for bad in ({}, {"target": ida}, {"target": "nonsense"}, {"target": f"session:{ida}"}):
            self.assertEqual(d.admin("resume", **bad).get("errno"), "EINVAL", bad)
        self.assertEqual(a.admin("pause", session=ida), {"sessions": 1})
        pending = a.begin("acquire", 0, 30)
        self.use_all(b, 2)
        self.assertFalse(pending.done())
        self.assertEqual(a.admin("resume", target=f"session:{ida}"), {"sessions": 1})
        self.assertEqual(pending.result(), 0)
        # A paused one ends; a waiting one is cancelled: nothing of it stays behind.
        d.ctl("pause", ida)
        a.call("release", 0)
        d.ctl("evict", "a")
        self.assertEqual(a.acquire(1, 0.3), -errno.ETIMEDOUT)
        a.begin("touch", 1)
        a.end()
        d.until("it has ended", lambda: d.client(ida) is None)
        self.use_all(b, 2)
        d.ctl("pause", "x", status=2)
        d.ctl("pause", ida, status=1)
        d.ctl("resume", status=2)


class AnothersDoing(unittest.TestCase):
    """Nothing fails for want of memory because somebody else has it: it waits."""

    def daemon(self, **limits):
        settings = {"limits": {"pin_timeout": "0", "wait_timeout": "60s", **limits}, "device": {"chunk": "256K"},
                    "swap": {"size": "0"}}
        return self.enterContext(SystemDaemon("8M", settings))

    def tenant(self, daemon, **more):
        return self.enterContext(Tenant(daemon, **more))

    def fill(self, t, n):
        """A buffer of n layers, written. Return: its first layer."""
        first = t.call("buffer", n * M, M)
        for i in range(first, first + n):
            self.assertEqual(t.acquire(i), 0)
            t.call("fill", i, 7)
            t.call("release", i)
        return first

    def waits(self, pending, seconds=2.6):
        """Longer than a full swap file of one's own is waited for."""
        time.sleep(seconds)
        self.assertFalse(pending.done())

    def test_buffers_of_another(self):
        d = self.daemon()
        a, b = self.tenant(d, name="a", uid=ANN), self.tenant(d, name="b", uid=BOB)
        first = self.fill(a, 8)
        b.open(d.model("m", 2 * M), 2)
        layer, touch = b.begin("acquire", 0, 60), b.begin("touch", 1)
        own = b.call("buffer", M, M)
        third = b.begin("acquire", own, 60)
        self.waits(layer)
        self.assertFalse(touch.done() or third.done())
        a.call("close", first)
        self.assertEqual((layer.result(), third.result()), (0, 0))
        touch.result()
        # One's own is told soon.
        self.assertEqual((b.call("release", 0), b.call("release", own)), (0, 0))
        first = b.call("buffer", 9 * M, M)
        got = 0
        for i in range(first, first + 9):
            got = b.acquire(i, 30)
            if got:
                break
            b.call("fill", i, 1)
            b.call("release", i)
        self.assertEqual(got, -errno.ENOSPC)

    def test_within_a_users_limit(self):
        d = self.daemon()
        d.ctl("limit", "set", f"user:{ANN}", "vram.max=4M")
        a, b = self.tenant(d, name="a", uid=ANN), self.tenant(d, name="b", uid=ANN)
        first = self.fill(a, 4)
        b.open(d.model("m", 2 * M), 2)
        layer, touch = b.begin("acquire", 0, 60), b.begin("touch", 1)
        self.waits(layer, 1)
        self.assertFalse(touch.done())
        a.call("close", first)
        self.assertEqual(layer.result(), 0)
        touch.result()
        # What one could not have alone either is refused.
        b.call("release", 0)
        b.open(d.model("large", 6 * M), 1)
        self.assertIn(b.acquire(2, 30), (-errno.ENOSPC, -errno.E2BIG))

    def test_protected_of_another(self):
        d = self.daemon()
        a, b = self.tenant(d, name="a", uid=ANN), self.tenant(d, name="b", uid=BOB)
        a.open(d.model("a", 8 * M), 8)
        self.assertEqual([a.use(i) for i in range(8)], [0] * 8)
        d.ctl("limit", "set", f"user:{ANN}", "vram.min=8M")
        b.open(d.model("b", 2 * M), 2)
        layer, touch = b.begin("acquire", 0, 60), b.begin("touch", 1)
        self.waits(layer, 1)
        self.assertFalse(touch.done())
        a.end()
        self.assertEqual(layer.result(), 0)
        touch.result()


if __name__ == "__main__":
    vram_tenant.skip_without()
    unittest.main(verbosity=2)
