#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Signals to the processes of sessions: which, to whom, also to one that stands at a closed page; and who may send them."""

import os
import signal
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
import vram_tenant  # noqa: E402
from vram_tenant import ANN, BOB, M, SystemDaemon, Tenant  # noqa: E402


class Kill(unittest.TestCase):
    def daemon(self):
        return self.enterContext(SystemDaemon("12M", {"device": {"chunk": "256K"}}))

    def tenant(self, daemon, **more):
        return self.enterContext(Tenant(daemon, **more))

    def test_signals(self):
        d = self.daemon()
        for options, number in (((), signal.SIGTERM), (("--signal", "KILL"), signal.SIGKILL),
                                (("--signal", "sigusr1"), signal.SIGUSR1), (("--signal", "12"), signal.SIGUSR2)):
            t = self.tenant(d)
            session = t.session()
            out, _ = d.ctl("kill", session, *options)
            self.assertIn(f"{signal.Signals(number).name} was sent to process {t.pid}", out)
            self.assertEqual(t.process.wait(20), -number)
            d.until("it has ended", lambda s=session: d.client(s) is None)
            d.ctl("kill", session, status=1)
        for bad in ("XYZ", "0", "-1", "65", "999", ""):
            d.ctl("kill", "1", f"--signal={bad}", status=2)
        d.ctl("kill", "x", status=2)
        d.ctl("kill", status=2)

    def test_in_the_middle_of_a_fault(self):
        d = self.daemon()
        a, b = self.tenant(d, name="a"), self.tenant(d, name="b")
        path = d.model("m", 4 * M)
        for t in (a, b):
            t.open(path, 4)
        ida = a.session()
        # Paused, so that it stands there for good; with a layer that it waits for, and a place in the queue.
        b.admit(12 * M)
        d.admin("pause", session=ida)
        a.begin("touch", 1)
        a.begin("acquire", 0, 60)
        a.begin("admit", M, 0, 60, 0)
        d.until("it waits", lambda: d.client(ida)["faults"] >= 2 and d.admin("queue")["queue"])
        d.ctl("kill", f"session:{ida}")
        self.assertEqual(a.process.wait(20), -signal.SIGTERM)
        d.until("it has ended", lambda: d.client(ida) is None)
        self.assertEqual(d.admin("queue")["queue"], [])
        self.assertEqual([b.use(i) for i in range(4)], [0] * 4)
        # And one that is being drained.
        c = self.tenant(d, name="c")
        first = c.open(path, 4)
        self.assertEqual(c.acquire(first), 0)
        idc = c.session()
        job = d.admin("drain", target=f"session:{idc}", hold=True)["job"]
        d.ctl("kill", idc, "--signal=KILL")
        self.assertEqual(c.process.wait(20), -signal.SIGKILL)
        self.assertEqual(d.job_end(job)["state"], "done")

    def test_who_may(self):
        d = self.daemon()
        a, b, root = self.tenant(d, uid=ANN), self.tenant(d, uid=BOB), self.tenant(d)
        ida, idb, idroot = a.session(), b.session(), root.session()
        for session in (idb, idroot, 99999):
            self.assertEqual(a.admin("kill", session=session)["errno"], "ENOENT")
            self.assertEqual(a.admin("kill", session=session, signal=9)["errno"], "ENOENT")
        for bad in ({}, {"session": "1"}, {"session": ida, "signal": 0}, {"session": ida, "signal": 65},
                    {"session": ida, "signal": "TERM"}, {"session": ida, "signal": -1}, {"session": ida, "pid": 1}):
            self.assertEqual(d.admin("kill", **bad).get("errno"), "EINVAL", bad)
        self.assertTrue(all(t.process.poll() is None for t in (a, b, root)))
        second = self.tenant(d, uid=ANN)
        self.assertEqual(a.admin("kill", session=second.session(), signal=9), {"pid": second.pid, "signal": 9})
        self.assertEqual(second.process.wait(20), -signal.SIGKILL)


if __name__ == "__main__":
    vram_tenant.skip_without()
    unittest.main(verbosity=2)
