#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A client of vramd in a process of its own, told what to do over a pipe: for tests with several users.

    with Tenant(daemon, uid=1000) as t:
        t.open("/path/model", 8)            # layers of equal size
        t.acquire(0)                        # 0 or -errno, waits at most `timeout` seconds
        job = t.begin("acquire", 1, 30)     # the same in a thread of the tenant
        t.admit(4 << 20, timeout=5)
        job.result(10)
"""

import ctypes
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import vram_daemon  # noqa: E402
import vram_wire  # noqa: E402

PAGE = 4096
M = 1 << 20
# Users that are not root; their numbers are all that matters.
ANN, BOB = 12001, 12002


class Extent(ctypes.Structure):
    _fields_ = [("offset", ctypes.c_uint64), ("length", ctypes.c_uint64),
                ("layer", ctypes.c_uint32), ("reserved", ctypes.c_uint32)]


class Admission(ctypes.Structure):
    _fields_ = [("working_set_bytes", ctypes.c_uint64), ("priority", ctypes.c_int),
                ("flags", ctypes.c_uint)]


class Stats(ctypes.Structure):
    _fields_ = [(n, ctypes.c_uint64) for n in (
        "resident_bytes", "charged_bytes", "total_bytes", "loaded_bytes", "evicted_bytes", "faults",
        "stall_ns", "budget_bytes", "limit_bytes")]


class Event(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int), ("layer", ctypes.c_void_p), ("deadline_ns", ctypes.c_uint64),
                ("text", ctypes.c_char_p)]


EVENT_FN = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.POINTER(Event))


class Child:
    """The client itself. Every method is a command; what it returns is the answer."""

    def __init__(self, build):
        self.lib = ctypes.CDLL(os.path.join(build, "libvram.so.0"))
        self.libc = ctypes.CDLL(None)
        for name, kind in (("vram_error_text", ctypes.c_char_p), ("vram_model_layer", ctypes.c_void_p),
                           ("vram_buffer_layer", ctypes.c_void_p), ("vram_buffer_ptr", ctypes.c_void_p),
                           ("vram_layer_acquire", ctypes.c_int), ("vram_admit", ctypes.c_int)):
            getattr(self.lib, name).restype = kind
        self.client = ctypes.c_void_p()
        self.layers, self.objects, self.pinned = [], {}, {}
        self.events, self.release_on_revoke = [], False
        self.callback = EVENT_FN(self.on_event)

    def on_event(self, _arg, event):
        kind = event.contents.kind
        self.events.append(kind)
        if kind == 1 and self.release_on_revoke:
            layer = event.contents.layer
            for _ in range(self.pinned.pop(layer, 0)):
                self.lib.vram_layer_release(ctypes.c_void_p(layer))

    def connect(self, path, name, flags):
        r = self.lib.vram_connect(path.encode(), name.encode(), flags, ctypes.byref(self.client))
        if r == 0:
            self.lib.vram_client_set_callback(self.client, self.callback, None)
        return r

    def error(self):
        return self.lib.vram_error_text().decode()

    def open(self, path, n_layers, name):
        size = os.stat(path).st_size
        step = size // n_layers // PAGE * PAGE
        extents = (Extent * n_layers)()
        for i in range(n_layers):
            extents[i] = Extent(i * step, step if i < n_layers - 1 else size - i * step, i, 0)
        model, fd = ctypes.c_void_p(), os.open(path, os.O_RDONLY)
        r = self.lib.vram_model_open_extents(self.client, fd, name.encode("utf-8", "surrogateescape"),
                                             n_layers, extents, ctypes.c_size_t(n_layers),
                                             ctypes.byref(model))
        os.close(fd)
        if r == 0:
            first = len(self.layers)
            for i in range(n_layers):
                self.layers.append(self.lib.vram_model_layer(model, i))
            self.objects[first] = ("model", model)
            return first
        return r

    def buffer(self, bytes_, layer_bytes):
        buffer = ctypes.c_void_p()
        r = self.lib.vram_buffer_new(self.client, b"buffer", ctypes.c_uint64(bytes_),
                                     ctypes.c_uint64(layer_bytes), ctypes.byref(buffer))
        if r:
            return r
        first = len(self.layers)
        for i in range(self.lib.vram_buffer_n_layers(buffer)):
            self.layers.append(self.lib.vram_buffer_layer(buffer, i))
        self.objects[first] = ("buffer", buffer)
        return first

    def close(self, first):
        kind, handle = self.objects.pop(first)
        (self.lib.vram_model_close if kind == "model" else self.lib.vram_buffer_free)(handle)
        return 0

    def acquire(self, layer, timeout):
        """Pins; 0 or -errno."""
        at = self.layers[layer]
        r = self.lib.vram_layer_acquire(ctypes.c_void_p(at), ctypes.c_int64(int(timeout * 1e9)))
        if r == 0:
            self.pinned[at] = self.pinned.get(at, 0) + 1
        return r

    def release(self, layer):
        at = self.layers[layer]
        if self.pinned.get(at, 0) == 0:
            return -1
        self.pinned[at] -= 1
        self.lib.vram_layer_release(ctypes.c_void_p(at))
        return 0

    def _memory(self, layer):
        ptr, size = ctypes.c_void_p(), ctypes.c_uint64()
        self.lib.vram_layer_extent(ctypes.c_void_p(self.layers[layer]), 0, ctypes.byref(ptr),
                                   ctypes.byref(size))
        return ptr.value, size.value

    def touch(self, layer):
        """Reads a byte of each page without acquiring. Return: their sum."""
        address, size = self._memory(layer)
        got, total = ctypes.create_string_buffer(1), 0
        for at in range(0, size, PAGE):
            # In a call of C: while the thread stands at a closed page, others go on.
            self.libc.memcpy(got, ctypes.c_void_p(address + at), ctypes.c_size_t(1))
            total += got.raw[0]
        return total

    def fill(self, layer, value):
        address, size = self._memory(layer)
        self.libc.memset(ctypes.c_void_p(address), value, ctypes.c_size_t(size))
        return 0

    def admit(self, bytes_, priority, timeout, flags):
        """timeout: seconds; None: the daemon's; negative: for ever. Return: [r, bytes reserved]."""
        want = Admission(bytes_, priority, flags)
        reserved = ctypes.c_uint64()
        ns = -(1 << 63) if timeout is None else int(timeout * 1e9)
        r = self.lib.vram_admit(self.client, ctypes.byref(want), ctypes.c_int64(ns),
                                ctypes.byref(reserved))
        return [r, reserved.value if r == 0 else self.error()]

    def stats(self):
        stats = Stats()
        r = self.lib.vram_client_stats(self.client, ctypes.byref(stats))
        return {n: getattr(stats, n) for n, _ in Stats._fields_} if r == 0 else r

    def dispatch(self):
        return self.lib.vram_client_dispatch(self.client)

    def listen(self, release):
        """Whether pins are let go when the daemon asks for them."""
        self.release_on_revoke = bool(release)
        return 0

    def seen(self):
        """Kinds of events so far."""
        return self.events

    def admin(self, path, request):
        """The answer to an administrator's request, asked by this user."""
        with vram_wire.admin_client(path) as client:
            return client.admin(request)

    def burn(self, seconds):
        """Uses the processor."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass
        return 0


def child_main():
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    uid = int(sys.argv[2])
    # What is loaded may lie in a folder of root's.
    child = Child(os.environ["VRAM_BUILD_DIR"])
    if uid >= 0:
        # With the kernel module whoever may open its device.
        os.setgroups([os.stat("/dev/vram").st_gid] if vram_daemon.wants_module() else [])
        os.setgid(uid)
        os.setuid(uid)
    out = threading.Lock()

    def serve(number, name, args):
        try:
            answer = {"id": number, "value": getattr(child, name)(*args)}
        except Exception as e:  # pylint: disable=broad-except
            answer = {"id": number, "failed": repr(e)}
        with out:
            print(json.dumps(answer), flush=True)

    for line in sys.stdin:
        number, thread, name, args = json.loads(line)
        if thread:
            threading.Thread(target=serve, args=(number, name, args), daemon=True).start()
        else:
            serve(number, name, args)
    os._exit(0)


class SystemDaemon(vram_daemon.Daemon):
    """The system's daemon, as root: any user may connect. ctl() and admin() are root's."""

    def mode(self):
        use = "module" if vram_daemon.wants_module() else "local"
        os.makedirs(os.path.dirname(self.socket), exist_ok=True)
        return ["--socket", self.socket, "--set", f"arbiter.use={use}", "--set", f"swap.path={self.dir}"]

    def __enter__(self):
        super().__enter__()
        os.chmod(self.dir, 0o755)
        os.chmod(os.path.dirname(self.socket), 0o755)
        os.chmod(self.socket, 0o666)
        return self

    def model(self, name, size):
        """A file of other bytes than any other one; everybody may read it."""
        path = os.path.join(self.dir, name)
        with open(path, "wb") as f:
            f.write(os.urandom(size))
        os.chmod(path, 0o644)
        return path

    def admin(self, command, **more):
        with vram_wire.admin_client(self.socket) as client:
            return client.admin({"command": command, **more})

    def job(self, command, seconds=20, **more):
        """Asks for a job and waits for its end. Return: it."""
        answer = self.admin(command, **more)
        assert "job" in answer, answer
        return self.job_end(answer["job"], seconds)

    def job_end(self, number, seconds=20):
        deadline = time.monotonic() + seconds
        while True:
            job = self.admin("job", id=number)
            assert "error" in job and "state" in job, job
            if job["state"] != "running":
                return job
            assert time.monotonic() < deadline, job
            time.sleep(0.02)

    def ctl(self, *args, status=0):
        """vramctl. Return: (stdout, stderr)."""
        done = subprocess.run([os.path.join(self.build, "vramctl"), "--socket", self.socket, *map(str, args)],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        assert done.returncode == status, (args, done.returncode, done.stdout, done.stderr)
        return done.stdout, done.stderr

    def client(self, session):
        """The row of the session, or None."""
        for row in self.admin("clients")["clients"]:
            if row["id"] == session:
                return row
        return None

    def row(self, name):
        """The model of that name."""
        return next((m for m in self.admin("models")["models"] if m["name"] == name), None)

    def resident(self):
        return self.admin("status")["devices"][0]["resident_bytes"]

    def until(self, what, check, seconds=20):
        """Waits until check() is true. Return: what it returned."""
        deadline = time.monotonic() + seconds
        while True:
            got = check()
            if got:
                return got
            assert time.monotonic() < deadline, (what, self.log()[-2000:])
            self.check()
            time.sleep(0.02)


def skip_without():
    """To be called before anything else: ends the test where it cannot be had."""
    if vram_daemon.missing(["vramd", "vramctl"]):
        print("SKIP: not built: vramd or vramctl")
        sys.exit(77)
    if os.geteuid() != 0:
        print("SKIP: needs root: a daemon of the system and clients of several users")
        sys.exit(77)


class Pending:
    def __init__(self):
        self.answers = queue.Queue()
        self.value = None

    def done(self):
        return not self.answers.empty()

    def result(self, timeout=20):
        answer = self.answers.get(timeout=timeout)
        if "failed" in answer:
            raise AssertionError(answer["failed"])
        return answer["value"]


class Tenant:
    def __init__(self, daemon, uid=-1, name="tenant", flags=0):
        self.daemon = daemon
        env = dict(daemon.env, VRAM_BUILD_DIR=daemon.build)
        self.process = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), "child", str(uid)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        self.number, self.waiting, self.lock = 0, {}, threading.Lock()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        r = self.call("connect", daemon.socket, name, flags)
        if r:
            raise AssertionError(f"vram_connect: {r}: {self.call('error')}")
        self.pid = self.process.pid

    def _read(self):
        for line in self.process.stdout:
            answer = json.loads(line)
            with self.lock:
                pending = self.waiting.pop(answer["id"])
            pending.answers.put(answer)
        with self.lock:
            for pending in self.waiting.values():
                pending.answers.put({"failed": "the tenant has ended"})

    def _ask(self, thread, name, args):
        with self.lock:
            self.number += 1
            pending = self.waiting[self.number] = Pending()
            self.process.stdin.write(json.dumps([self.number, thread, name, args]) + "\n")
            self.process.stdin.flush()
        return pending

    def call(self, name, *args):
        return self._ask(False, name, args).result(60)

    def begin(self, name, *args):
        """In a thread of its own. Return: a Pending."""
        return self._ask(True, name, args)

    def open(self, path, n_layers, name=None):
        """Return: the number of its first layer."""
        return self.call("open", path, n_layers, name or os.path.basename(path))

    def acquire(self, layer, timeout=20):
        return self.call("acquire", layer, timeout)

    def use(self, layer, timeout=20):
        """Acquires and releases."""
        r = self.acquire(layer, timeout)
        if r == 0:
            self.call("release", layer)
        return r

    def admit(self, bytes_, timeout=20, priority=0, flags=0):
        return self.call("admit", bytes_, priority, timeout, flags)

    def admin(self, command, **more):
        """As the tenant's user."""
        return self.call("admin", self.daemon.socket, {"command": command, **more})

    def session(self):
        """Its number, as vramd has it."""
        for client in self.daemon.ask("clients")["clients"]:
            if client["pid"] == self.pid:
                return client["id"]
        return None

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.end()

    def end(self):
        """It goes; what it waits for is given up."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join(5)
        self.process.stdin.close()
        self.process.stdout.close()


if __name__ == "__main__" and sys.argv[1:2] == ["child"]:
    child_main()
