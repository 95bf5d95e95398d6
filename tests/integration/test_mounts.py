#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Models on mounts that only the client has: an ordinary one is served, and a mount table that was made long on
purpose is not read to its end by the thread that serves everybody. And on the machine's mounts, of which a vramd with a
mount namespace of its own, as systemd's restrictions give it, has copies."""

import ctypes
import errno
import os
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.environ["VRAM_SRC"], "tests", "support"))
import vram_wire  # noqa: E402

BUILD = os.environ["VRAM_BUILD"]
MODEL_OPEN, SIZE, LINES = 2, 1 << 20, 8192
CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 1 << 12, 1 << 14, 1 << 18
libc = ctypes.CDLL(None, use_errno=True)


def mount(source, target, kind=None, flags=0):
    if libc.mount(source.encode(), target.encode(), kind, flags, None):
        raise OSError(ctypes.get_errno(), f"mount {target}")


def model_open(client, folder):
    """Return: the errno, 0 if it was opened."""
    mount("tmpfs", folder, b"tmpfs")
    path = os.path.join(folder, "model")
    with open(path, "wb") as f:
        f.write(bytes(SIZE))
    with open(path, "rb") as f:
        return send_open(client, f)


def send_open(client, f):
    client.send(MODEL_OPEN, struct.pack("=QIIII128s", SIZE, 0, 0, 0, 0, b"m"), [f.fileno()])
    _, _, error, body, fds = client.receive()
    for fd in fds:
        os.close(fd)
    print(error, vram_wire.text(body) if error else "opened")
    return -error


def copies(folder):
    """vramd has other mounts than the machine, and so has the client by the time that it connects."""
    model, path = os.path.join(folder, "ours"), os.path.join(folder, "copies")
    with open(model, "wb") as f:
        f.write(bytes(SIZE))
    command = [*daemon_command(path, folder)]
    with subprocess.Popen(["unshare", "--mount", "--propagation", "slave", *command]) as daemon:
        try:
            while not os.path.exists(path):
                assert daemon.poll() is None
                time.sleep(0.02)
            with open(model, "rb") as f:
                before = vram_wire.Client(path)
                assert before.hello()[2] == 0
                assert send_open(before, f) == 0
                assert libc.unshare(CLONE_NEWNS) == 0
                after = vram_wire.Client(path)
                assert after.hello()[2] == 0
                assert send_open(after, f) == 0
            before.sock.close()
            after.sock.close()
        finally:
            daemon.terminate()
        assert daemon.wait() == 0


def check(path, folder):
    client = vram_wire.Client(path)
    assert client.hello()[2] == 0
    assert model_open(client, folder) == 0
    for i in range(LINES):
        mount(folder, folder, None, MS_BIND)
    assert model_open(client, folder) == errno.EOPNOTSUPP
    client.sock.close()


def daemon_command(path, folder):
    command = [os.path.join(BUILD, "vramd"), "--socket", path, "--budget", "64M"]
    for setting in ("device.kind=host", "arbiter.use=local", f"swap.path={folder}"):
        command += ["--set", setting]
    return command


def main():
    if os.geteuid() != 0:
        print("needs root and a mount namespace")
        return 77
    with tempfile.TemporaryDirectory(prefix="vram-mounts-") as folder:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                copies(folder)
                status = 0
            finally:
                sys.stdout.flush()
                os._exit(status)
        if os.waitpid(pid, 0)[1]:
            return 1
    if libc.unshare(CLONE_NEWNS):
        print("needs root and a mount namespace")
        return 77
    with tempfile.TemporaryDirectory(prefix="vram-mounts-", ignore_cleanup_errors=True) as folder:
        path, inner = os.path.join(folder, "sock"), os.path.join(folder, "inner")
        os.mkdir(inner)
        command = daemon_command(path, folder)
        # In the namespace of before: vramd does not see what the client mounts from here on.
        with subprocess.Popen(command) as daemon:
            try:
                while not os.path.exists(path):
                    assert daemon.poll() is None
                    time.sleep(0.02)
                assert libc.unshare(CLONE_NEWNS) == 0
                mount("none", "/", None, MS_REC | MS_PRIVATE)
                check(path, inner)
            finally:
                libc.umount2(inner.encode(), 2)
                daemon.terminate()
            assert daemon.wait() == 0
        while libc.umount2(inner.encode(), 2) == 0:
            pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
