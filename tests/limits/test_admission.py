#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Sessions that ask for their working set begin when there is room for it, in the right order, and wait till then."""

import errno
import os
import signal
import subprocess
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
import vram_daemon  # noqa: E402
import vram_tenant  # noqa: E402
from vram_tenant import ANN, BOB, M, SystemDaemon, Tenant  # noqa: E402

SETTINGS = {"limits": {"admit_idle": "60s"}}


class Admission(unittest.TestCase):
    def daemon(self, budget="16M", **limits):
        daemon = SystemDaemon(budget, {"limits": {**SETTINGS["limits"], **limits}})
        self.enterContext(daemon)
        return daemon

    def tenant(self, daemon, **more):
        return self.enterContext(Tenant(daemon, **more))

    def queue(self, daemon):
        return daemon.admin("queue")["queue"]

    def wait_queued(self, daemon, n):
        daemon.until(f"{n} in the queue", lambda: len(self.queue(daemon)) == n)

    def test_order_and_end(self):
        d = self.daemon()
        holder = self.tenant(d, name="holder")
        self.assertEqual(holder.admit(12 * M), [0, 12 * M])
        self.assertEqual(self.queue(d), [])
        later, sooner, small = (self.tenant(d, name=n) for n in ("later", "sooner", "small"))
        pending = {}
        for tenant, size, priority in ((later, 10, 5), (sooner, 10, 0)):
            pending[tenant] = tenant.begin("admit", size * M, priority, 60, 0)
            self.wait_queued(d, len(pending))
        # What fits beside the holder does not wait: nobody knows when the first one's turn comes.
        self.assertEqual(small.admit(4 * M), [0, 4 * M])
        rows = self.queue(d)
        self.assertEqual([r["name"] for r in rows], ["sooner", "later"])
        self.assertEqual([r["priority"] for r in rows], [0, 5])
        self.assertEqual([r["asked_bytes"] for r in rows], [10 * M, 10 * M])
        self.assertTrue(all(59 * 10**9 < r["timeout_ns"] <= 60 * 10**9 for r in rows), rows)
        self.assertTrue(all(r["predicted_ns"] is None for r in rows), rows)
        self.assertTrue(all(r["waiting_ns"] > 0 for r in rows), rows)
        out, _ = d.ctl("status")
        self.assertIn("QUEUED", out)
        self.assertLess(out.index("sooner"), out.index("later"))
        self.assertEqual(d.admin("status")["queue"][0]["name"], "sooner")
        # One goes: the first in the queue comes, and no other.
        holder.end()
        self.assertEqual(pending[sooner].result(), [0, 10 * M])
        self.assertFalse(pending[later].done())
        # Now reservations have ended, and how long the next one takes can be foreseen.
        small.end()
        row = d.until("a prediction", lambda: [r for r in self.queue(d) if r["predicted_ns"] is not None]
                      or not self.queue(d))
        if row is not True:
            self.assertEqual(row[0]["name"], "later")
        sooner.end()
        self.assertEqual(pending[later].result(), [0, 10 * M])
        self.assertEqual(self.queue(d), [])
        self.assertNotIn("QUEUED", d.ctl("status")[0])

    def test_deadlines(self):
        d = self.daemon(admit_timeout="1s")
        holder, other = self.tenant(d), self.tenant(d)
        self.assertEqual(holder.admit(16 * M), [0, 16 * M])
        self.assertEqual(other.admit(M, timeout=0)[0], -errno.EAGAIN)
        # One answer, and one line for it.
        refused = [line for line in d.log().splitlines() if "refused" in line]
        self.assertEqual(len(refused), 1, refused)
        self.assertIn("there is no room now, and it did not want to wait", refused[0])
        r, text = other.admit(M, timeout=0.5)
        self.assertEqual(r, -errno.ETIMEDOUT)
        self.assertIn("1 MiB", text)
        # Without a time of its own: the daemon's.
        self.assertEqual(other.call("admit", M, 0, None, 0)[0], -errno.ETIMEDOUT)
        self.assertEqual(self.queue(d), [])
        # Nothing of it counts afterwards; asking anew with 0 gives back what there is.
        self.assertEqual(holder.admit(0), [0, 0])
        self.assertEqual(other.admit(16 * M), [0, 16 * M])
        # A client that goes while it waits leaves the queue.
        pending = holder.begin("admit", M, 0, 60, 0)
        self.wait_queued(d, 1)
        holder.end()
        self.wait_queued(d, 0)
        self.assertRaises(AssertionError, pending.result, 5)

    def test_never(self):
        d = self.daemon()
        t = self.tenant(d, uid=ANN)
        r, text = t.admit(17 * M)
        self.assertEqual(r, -errno.ENOSPC)
        self.assertIn("larger than the device", text)
        self.assertEqual(t.admit(17 * M, flags=1), [0, 16 * M])
        d.ctl("limit", "set", f"user:{ANN}", "vram.max=4M")
        r, text = t.admit(5 * M)
        self.assertEqual(r, -errno.E2BIG)
        self.assertIn(f"user:{ANN}", text)
        self.assertEqual(t.admit(5 * M, flags=1), [0, 4 * M])
        # Within the user's max, but not beside another session of the user's: that waits, and nobody else does.
        two, bob = self.tenant(d, uid=ANN), self.tenant(d, uid=BOB)
        pending = two.begin("admit", M, 0, 60, 0)
        self.wait_queued(d, 1)
        self.assertEqual(bob.admit(8 * M), [0, 8 * M])
        self.assertFalse(pending.done())
        d.ctl("limit", "set", f"user:{ANN}", "vram.max=8M")
        self.assertEqual(pending.result(), [0, M])
        self.assertEqual(t.admit(20, priority=-1)[0], -errno.EACCES)
        self.assertEqual(t.admit(20, priority=20)[0], -errno.EINVAL)

    def test_promised_by_min(self):
        d = self.daemon()
        holder, ann = self.tenant(d, uid=BOB), self.tenant(d, uid=ANN)
        self.assertEqual(holder.admit(12 * M), [0, 12 * M])
        d.ctl("limit", "set", f"user:{ANN}", "vram.min=6M")
        # It asks for less, but 6 MiB are promised to its user, and they are not there.
        pending = ann.begin("admit", M, 0, 60, 0)
        self.wait_queued(d, 1)
        self.assertEqual(self.queue(d)[0]["asked_bytes"], 6 * M)
        holder.end()
        self.assertEqual(pending.result(), [0, 6 * M])
        # The promise is the user's: the second session is not given it once more.
        again = self.tenant(d, uid=ANN)
        self.assertEqual(again.admit(M), [0, M])

    def test_idle_ones_make_way(self):
        d = self.daemon(admit_idle="1500ms")
        idle, busy, late = self.tenant(d, name="idle"), self.tenant(d, name="busy"), self.tenant(d, name="late")
        model = d.model("m", 4 * M)
        busy.open(model, 4)
        self.assertEqual(idle.admit(8 * M), [0, 8 * M])
        self.assertEqual(busy.admit(8 * M), [0, 8 * M])
        stop = time.monotonic() + 6
        pending = late.begin("admit", 8 * M, 0, 60, 0)
        # One works, without a message to the daemon: all that it acquires is there.
        while not pending.done() and time.monotonic() < stop:
            self.assertEqual([busy.use(i) for i in range(4)], [0] * 4)
            time.sleep(0.02)
        self.assertEqual(pending.result(), [0, 8 * M])
        # Who works counts: there is no room for another one beside the two.
        for t in (busy, late):
            t.begin("burn", 20)
        more = self.tenant(d)
        self.assertEqual(more.admit(8 * M, timeout=0)[0], -errno.EAGAIN)
        # When the idle one works again it takes its place before those who wait, as soon as there is one.
        pending = more.begin("admit", 8 * M, 0, 60, 0)
        self.wait_queued(d, 1)
        idle.begin("burn", 20)
        time.sleep(1)
        late.end()
        time.sleep(0.3)
        self.assertFalse(pending.done())
        busy.end()
        self.assertEqual(pending.result(), [0, 8 * M])

    def test_library_asks_again(self):
        if vram_daemon.wants_module():
            self.skipTest("another daemon at the same socket is tried without the module")
        d = self.daemon()
        t, waits = self.tenant(d), self.tenant(d)
        self.assertEqual(t.admit(12 * M), [0, 12 * M])
        pending = waits.begin("admit", 8 * M, 0, 60, 0)
        self.wait_queued(d, 1)
        # Who is back first has its place first: that is to be the one that had it.
        os.kill(waits.pid, signal.SIGSTOP)
        d.process.kill()
        d.process.wait()
        os.unlink(d.socket)
        d.__enter__()
        d.until("the first one is back", lambda: t.call("dispatch") == 0)
        os.kill(waits.pid, signal.SIGCONT)
        # It counts as before; the one that waited waits on, at the new daemon.
        self.wait_queued(d, 1)
        self.assertFalse(pending.done())
        t.end()
        self.assertEqual(pending.result(), [0, 8 * M])

    def test_vramrun(self):
        d = self.daemon()
        path = os.path.join(d.dir, "m.gguf")
        with open(path, "wb") as f:
            f.write(b"GGUF\x03\0\0\0" + bytes(16))
            f.truncate(6 * M)
        program = "import mmap, sys; f = open(sys.argv[1], 'rb'); " \
                  "print(len(mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)[:]))"

        def start(*options):
            return subprocess.Popen(
                [os.path.join(d.build, "vramrun"), "--socket", d.socket, *options, "--", sys.executable, "-c",
                 program, path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

        def run(*options):
            p = start(*options)
            out, err = p.communicate(timeout=60)
            return p.returncode, out.strip(), err

        holder = self.tenant(d)
        self.assertEqual(holder.admit(12 * M), [0, 12 * M])
        self.assertEqual(run()[:2], (0, str(6 * M)))
        self.assertEqual(run("--working-set", "4M")[:2], (0, str(6 * M)))
        for options, what in ((("--wait=300ms",), "waits to be admitted"), (("--wait=0",), "no room now"),
                              (("--working-set=1G",), "larger than the device"), (("-w1", "--priority=-1"), "")):
            status, out, err = run(*options)
            self.assertEqual((status, out), (1, ""), (options, err))
            self.assertIn(what, err)
        for options in (("--wait=x",), ("--priority", "20"), ("--working-set", "-1"), ("--priority",)):
            self.assertEqual(run(*options)[0], 2, options)
        p = start("--wait=60")
        self.wait_queued(d, 1)
        self.assertEqual(self.queue(d)[0]["asked_bytes"], 6 * M)
        holder.end()
        self.assertEqual(p.communicate(timeout=60)[0].strip(), str(6 * M))
        self.assertEqual(p.returncode, 0)

    def test_users_see_their_own(self):
        d = self.daemon()
        holder, ann, bob = self.tenant(d), self.tenant(d, uid=ANN), self.tenant(d, uid=BOB)
        holder.admit(16 * M)
        ann.begin("admit", M, 0, 60, 0)
        self.wait_queued(d, 1)
        bob.begin("admit", M, 0, 60, 0)
        self.wait_queued(d, 2)
        seen = ann.admin("queue")
        self.assertEqual([r["uid"] for r in seen["queue"]], [ANN])
        self.assertEqual(seen["queue_others"], 1)
        self.assertEqual(len(ann.admin("status")["queue"]), 1)


if __name__ == "__main__":
    vram_tenant.skip_without()
    unittest.main(verbosity=2)
