#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Who is let in at a socket that systemd passes and that everybody can reach: members of the group vram and who sits
at the machine. In a mount namespace, with a group file and a logind of its own."""

import ctypes
import os
import socket
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.environ["VRAM_SRC"], "tests", "support"))
import vram_wire  # noqa: E402

BUILD, TMP = os.environ["VRAM_BUILD"], os.environ["TEST_TMP"]
GID, OTHER, UID = 54321, 54322, 54323
CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 1 << 12, 1 << 14, 1 << 18
PATH = "/run/door.sock"
libc = ctypes.CDLL(None, use_errno=True)


def mount(source, target, kind=None, flags=0):
    if libc.mount(source.encode(), target.encode(), kind, flags, None):
        raise OSError(ctypes.get_errno(), f"mount {target}")


def usable():
    """None, or why not."""
    if os.geteuid() != 0:
        return "needs root, for a mount namespace and other users"
    if libc.unshare(CLONE_NEWNS):
        return "mount namespaces are not permitted here"
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    return None


def start(with_group, *args):
    with open("/etc/group", encoding="utf-8") as f:
        lines = [line for line in f if not line.startswith("vram:")]
    if with_group:
        lines.append(f"vram:x:{GID}:\n")
    group = os.path.join(TMP, "group")
    with open(group, "w", encoding="utf-8") as f:
        f.writelines(lines)
    mount(group, "/etc/group", None, MS_BIND)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.path.exists(PATH):
        os.unlink(PATH)
    listening.bind(PATH)
    os.chmod(PATH, 0o666)
    listening.listen(64)
    command = ["sh", "-c", 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$@" 3<&%d' % listening.fileno(), "sh"]
    command += [os.path.join(BUILD, "vramd"), "--budget", "64M", *args]
    for setting in ("device.kind=host", "arbiter.use=local", f"swap.path={TMP}"):
        command += ["--set", setting]
    process = subprocess.Popen(command, pass_fds=[listening.fileno()])
    listening.close()
    # Nobody is asked before it listens, and a client waits till then.
    with vram_wire.admin_client(PATH) as client:
        assert client.admin({"command": "version"})["version"]
    libc.umount2(b"/etc/group", 2)
    return process


def as_user(gid, groups):
    """'' if a process with these groups is let in, or what it is told."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups(groups)
            os.setgid(gid)
            os.setuid(UID)
            with vram_wire.Client(PATH) as client:
                try:
                    reply = client.hello()
                except (BrokenPipeError, ConnectionResetError):  # refused before it was heard
                    reply = client.receive()
                told = vram_wire.text(reply[3]) if reply[2] or reply[0] == vram_wire.GOODBYE else ""
                os.write(write_end, told.encode())
                os._exit(0)
        finally:
            os._exit(1)
    os.close(write_end)
    with os.fdopen(read_end, encoding="utf-8") as f:
        told = f.read()
    assert os.waitpid(pid, 0)[1] == 0
    return told


def seat(state):
    """What logind writes of a user; None: the user is not logged in."""
    os.makedirs("/run/systemd/users", exist_ok=True)
    path = f"/run/systemd/users/{UID}"
    if os.path.exists(path):
        os.unlink(path)
    if state:
        with open(path, "w", encoding="utf-8") as f:
            f.write(f"NAME=somebody\nSTATE={state}\nSEATS=seat0\n")
            f.write("ACTIVE_SEATS=seat0\n" if state == "active" else "")


class Members(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        mount("run", "/run", b"tmpfs")
        cls.vramd = start(True)

    @classmethod
    def tearDownClass(cls):
        cls.vramd.terminate()
        assert cls.vramd.wait(60) == 0

    def test_strangers_are_told(self):
        seat(None)
        self.assertIn("`adduser NAME vram`, then log in again", as_user(OTHER, [OTHER]))
        self.assertIn("group vram", as_user(OTHER, list(range(60000, 60200))))

    def test_members(self):
        seat(None)
        self.assertEqual(as_user(GID, []), "")
        self.assertEqual(as_user(OTHER, [OTHER, GID]), "")
        # More groups than are looked for at first.
        self.assertEqual(as_user(OTHER, [*range(60000, 60200), GID]), "")

    def test_seats(self):
        seat("active")
        self.assertEqual(as_user(OTHER, []), "")
        # Another user has the screen now.
        seat("online")
        self.assertIn("who sits at the machine", as_user(OTHER, []))
        seat(None)

    def test_root(self):
        with vram_wire.Client(PATH) as client:
            self.assertEqual(client.hello()[2], 0)


class Everybody(unittest.TestCase):
    def test_without_the_group(self):
        mount("run", "/run", b"tmpfs")
        vramd = start(False)
        self.assertEqual(as_user(OTHER, []), "")
        vramd.terminate()
        self.assertEqual(vramd.wait(60), 0)
        libc.umount2(b"/run", 2)


if __name__ == "__main__":
    why = usable()
    if why:
        print(why)
        sys.exit(77)
    unittest.main(verbosity=2)
