#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Unmodified programs whose pages cannot be had: SIGBUS, as from a mapped file that cannot be read, and never a wait
without end or a zero. The log says why; others go on."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.environ["VRAM_SRC"], "tests", "support"))
import vram_daemon  # noqa: E402

BUILD = os.environ["VRAM_BUILD"]
NOBODY = 65534
SIZE = 12 << 20

# Reads everything twice, slowly enough in between for the test to do something to the file.
PROGRAM = """
import mmap, os, sys, time
with open(sys.argv[1], "rb") as f:
    m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
def look(pages):
    for p in pages:
        want = b"GGUF" if p == 0 else p.to_bytes(4, "little")
        if m[p * 4096:p * 4096 + 4] != want:
            os.write(2, b"wrong page %d: %r" % (p, m[p * 4096:p * 4096 + 4]))
            os._exit(9)
n = len(m) // 4096
look(range(n // 4))
print("begun", flush=True)
sys.stdin.readline()
look(range(n))
look(range(n))
"""


def write_model(path, size=SIZE):
    with open(path, "wb") as f:
        for page in range(size // 4096):
            f.write(page.to_bytes(4, "little") * 1024)
        f.seek(0)
        f.write(b"GGUF\x03\0\0\0")
    os.chmod(path, 0o644)


class Program:
    def __init__(self, socket, path, wrapper=(), python=sys.executable):
        self.process = subprocess.Popen([*wrapper, os.path.join(BUILD, "vramrun"), "--socket", socket, python,
                                         "-c", PROGRAM, path],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def begun(self):
        line = self.process.stdout.readline()
        if line != b"begun\n":
            raise AssertionError((line, self.process.communicate(), self.process.wait(30)))

    def end(self):
        """Its exit status; what it said on stderr is in self.said."""
        _, self.said = self.process.communicate(b"\n", timeout=60)
        return self.process.returncode


class Sigbus(unittest.TestCase):
    def setUp(self):
        # On a disk: file systems in memory are another case.
        self.folder = tempfile.TemporaryDirectory(prefix="vram-test-", dir="/var/tmp")
        os.chmod(self.folder.name, 0o755)
        self.model = os.path.join(self.folder.name, "model.gguf")
        self.other = os.path.join(self.folder.name, "other.gguf")
        write_model(self.model)
        write_model(self.other)

    def tearDown(self):
        self.folder.cleanup()

    def daemon(self, **io):
        return vram_daemon.Daemon("4M", {"device": {"chunk": "256K"}, "io": io, "policy": {"keep": "0"}})

    def assert_nothing_left(self, daemon):
        deadline = time.monotonic() + 30
        while daemon.ask("status")["devices"][0]["resident_bytes"] and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual(daemon.ask("status")["devices"][0]["resident_bytes"], 0)
        self.assertEqual(daemon.stop(), 0)

    def changed(self, change):
        with self.daemon() as daemon:
            victim, witness = Program(daemon.socket, self.model), Program(daemon.socket, self.other)
            victim.begun()
            witness.begun()
            change()
            self.assertEqual(victim.end(), -signal.SIGBUS, victim.said)
            self.assertIn("SIGBUS", daemon.log())
            self.assertIn("ESTALE", daemon.log())
            self.assertEqual(witness.end(), 0, witness.said)
            self.assert_nothing_left(daemon)

    def test_file_is_truncated(self):
        self.changed(lambda: os.truncate(self.model, SIZE // 2))

    def test_file_is_written_to(self):
        def change():
            with open(self.model, "r+b") as f:
                f.seek(SIZE - 4096)
                f.write(b"x")
        self.changed(change)

    def test_disk_fails(self):
        # A quarter of the model is three reads of 1 MiB and what is read ahead; then no read succeeds any more.
        with self.daemon(fault="read:eio:after=40", read_size="256K") as daemon:
            program = Program(daemon.socket, self.model)
            program.begun()
            self.assertEqual(program.end(), -signal.SIGBUS, program.said)
            self.assertIn("EIO", daemon.log())
            self.assert_nothing_left(daemon)

    def test_disk_fails_now_and_then(self):
        with self.daemon(fault="read:eio:every=7", read_size="256K") as daemon:
            program = Program(daemon.socket, self.model)
            program.begun()
            # Every load is tried again.
            self.assertEqual(program.end(), 0, program.said)
            self.assert_nothing_left(daemon)

    def test_limit_below_one_chunk(self):
        """No failure of a disk or a file: a limit may be another one soon, so the program waits for that."""
        def limit(*words):
            subprocess.run([os.path.join(BUILD, "vramctl"), "--socket", daemon.socket, "limit", words[0],
                            f"user:{os.getuid()}", *words[1:]], check=True, stdout=subprocess.DEVNULL)

        with self.daemon() as daemon:
            program = Program(daemon.socket, self.model)
            program.begun()
            limit("set", "vram.max=64K")
            alive = []
            later = threading.Timer(2, lambda: (alive.append(program.process.poll() is None), limit("reset")))
            later.start()
            self.assertEqual(program.end(), 0, program.said)
            later.join()
            self.assertEqual(alive, [True])
            self.assertIn("has no room for it: the program waits", daemon.log())

    @unittest.skipUnless(os.geteuid() == 0, "needs root: the system's daemon and a client that is somebody else")
    def test_client_of_another_user(self):
        wrapper = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
        # Ours may lie in a folder of root's.
        python = "/usr/bin/python3"
        probe = subprocess.run([*wrapper, os.path.join(BUILD, "vramrun"), python, "-c", ""],
                               capture_output=True, text=True, check=False)
        if probe.returncode:
            self.skipTest(f"other users cannot run our programs: {probe.stderr.strip()}")
        socket = os.path.join(self.folder.name, "s")
        log = os.path.join(self.folder.name, "log")
        with open(log, "wb") as f:
            vramd = subprocess.Popen([os.path.join(BUILD, "vramd"), "--socket", socket, "--budget", "4M",
                                      "--set", "device.chunk=256K"], stdin=subprocess.DEVNULL, stdout=f, stderr=f)
        try:
            deadline = time.monotonic() + 30
            while not (os.path.exists(socket) and stat.S_ISSOCK(os.stat(socket).st_mode)):
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.02)
            os.chmod(socket, 0o666)
            program = Program(socket, self.model, wrapper, python)
            program.begun()
            os.truncate(self.model, SIZE // 2)
            self.assertEqual(program.end(), -signal.SIGBUS, program.said)
        finally:
            vramd.terminate()
            self.assertEqual(vramd.wait(30), 0)


if __name__ == "__main__":
    os.environ.pop("LD_PRELOAD", None)
    if vram_daemon.missing(["vramd", "vramrun", "vramctl"]):
        print("SKIP: not built: vramd, vramrun or vramctl")
        sys.exit(77)
    unittest.main(verbosity=2)
