# SPDX-License-Identifier: GPL-2.0-only
"""vramtrace beside a vramd of the test's own: start and stop it, take what it printed, run known work.

VRAM_TRACE_SOURCE is given to --source: so a test is run over each of the sources.
"""

import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import vram_daemon

CHUNK = 256 << 10
# Of the shape below, in chunks of CHUNK: a prime number, as are the others that tests count.
MODEL_SHAPE = ["6", "512", "1536", "8", "4", "512"]
MODEL_CHUNKS = 79


# `make check-trace` runs all parts; `make check` those that find most.
ALL_PARTS = bool(os.environ.get("TRACE_ROUNDS"))


def source_arguments():
    source = os.environ.get("VRAM_TRACE_SOURCE")
    return ["--source", source] if source else []


def with_module():
    return vram_daemon.wants_module()


def binary(name):
    return os.path.join(vram_daemon.build_dir(), name)


def missing():
    return vram_daemon.missing(["vramd", "vramctl", "vramtrace", "examples/walk"])


class Trace:
    """with Trace(daemon, "events", "-e", "charge") as t: ...; t.objects, t.said once it has ended."""

    def __init__(self, daemon, *arguments, text=False, wait=True, source=True):
        self.command = [binary("vramtrace")] + ([] if text else ["-j"])
        if daemon is not None:
            self.command += ["--socket", daemon.socket]
        self.command += (source_arguments() if source else []) + list(arguments)
        self.text = text
        self.out, self.said = "", ""
        self.process = None
        self.wait = wait

    def __enter__(self):
        self.output = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self.errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=self.output, stderr=self.errors)
        deadline = time.monotonic() + 60
        while self.wait and not self.begun():
            if self.process.poll() is not None:
                self.collect()
                raise RuntimeError(f"{' '.join(self.command)}: exit {self.process.returncode}: {self.said}")
            if time.monotonic() > deadline:
                self.process.kill()
                raise RuntimeError(f"{' '.join(self.command)} does not begin: {self.read(self.errors)}")
            time.sleep(0.01)
        return self

    @staticmethod
    def read(file):
        # The process goes on writing at the same place.
        return os.pread(file.fileno(), 1 << 26, 0).decode("utf-8", "replace")

    def begun(self):
        return "Hit Ctrl-C to end." in self.read(self.output if self.text else self.errors)

    def collect(self):
        self.out, self.said = self.read(self.output), self.read(self.errors)
        self.output.close()
        self.errors.close()

    def stop(self, number=signal.SIGINT):
        """Ends it. Return: its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(60)
        if not self.output.closed:
            self.collect()
        return status

    def __exit__(self, kind, value, trace):
        if kind is not None and self.process.poll() is None:
            self.process.kill()
        self.stop()

    @property
    def objects(self):
        """What it printed, each line an object by itself."""
        return [json.loads(line) for line in self.out.splitlines()]

    def events(self, name=None):
        return [o for o in self.objects if o["event"] != "lost" and name in (None, o["event"])]

    def lost(self):
        return sum(o["lost"] for o in self.objects if o.get("event") == "lost")


def reason_not_to(daemon):
    """Why programs cannot be loaded here, or None."""
    done = subprocess.run([binary("vramtrace"), "-j", "--socket", daemon.socket, "pressure", "0.01", "1"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    if done.returncode == 0:
        return None
    said = done.stderr.strip() or f"exit {done.returncode}"
    if re.search(r"needs root|not permitted|without BPF|locked down", said):
        return said.splitlines()[-1]
    raise RuntimeError(f"vramtrace does not work here, and not for lack of permission: {said}")


def make_model(folder):
    path = os.path.join(folder, "model.gguf")
    here = os.path.dirname(os.path.abspath(__file__))
    subprocess.run([sys.executable, os.path.join(here, "gen_gguf.py"), path] + MODEL_SHAPE, check=True,
                   stdout=subprocess.DEVNULL)
    assert -(-os.path.getsize(path) // CHUNK) == MODEL_CHUNKS
    return path


class World:
    """A folder with a model, and a daemon with known chunks."""

    def __init__(self, budget=64 << 20, settings=None, **others):
        self.settings = {"device": {"huge": "never", "chunk": str(CHUNK)}, "policy": {"keep": "1h"},
                         "swap": {"size": "64M"}}
        for section, values in (settings or {}).items():
            self.settings.setdefault(section, {}).update(values)
        self.daemon = vram_daemon.Daemon(str(budget), self.settings, **others)
        self.folder = tempfile.mkdtemp(prefix="vram-trace-", dir=os.environ.get("TEST_TMP"))

    def __enter__(self):
        try:
            self.model = make_model(self.folder)
            self.daemon.__enter__()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        return self

    def __exit__(self, kind, value, trace):
        self.daemon.__exit__(kind, value, trace)
        shutil.rmtree(self.folder, ignore_errors=True)

    def walk_command(self, passes=1):
        return [binary("examples/walk"), "-s", self.daemon.socket, "-p", str(passes), self.model]

    def walk_start(self, passes=1, **how):
        return subprocess.Popen(self.walk_command(passes), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, **how)

    def walk_end(self, process):
        """The bytes it compared; all of them have to be right."""
        out, _ = process.communicate(timeout=240)
        figures = re.search(r"bytes=(\d+) wrong=(\d+)", out)
        assert process.returncode == 0 and figures and figures.group(2) == "0", (process.returncode, out)
        return int(figures.group(1))

    def walk(self, passes=1, **how):
        n = self.walk_end(self.walk_start(passes, **how))
        self.settle()
        return n

    def settle(self):
        """Until the daemon knows that everybody has gone, and moves nothing."""
        deadline = time.monotonic() + 60
        while True:
            status = self.daemon.ask("status")
            if status["sessions"] == 0 and status["devices"][0]["inflight_bytes"] == 0:
                return status
            assert time.monotonic() < deadline, status
            time.sleep(0.01)

    def vramctl(self, *arguments):
        done = subprocess.run([binary("vramctl"), "--socket", self.daemon.socket, "-j"] + list(arguments),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (arguments, done.stderr)
        return json.loads(done.stdout) if done.stdout.strip() else None

    def evict_all(self):
        return self.vramctl("evict", "--all")["evicted_bytes"]


class Buffer:
    """A buffer of so many layers of one chunk each, by libvram, in this process."""

    def __init__(self, daemon, layers):
        lib = self.lib = ctypes.CDLL(binary("libvram.so"))
        for name in ("vram_buffer_ptr", "vram_buffer_layer"):
            getattr(lib, name).restype = ctypes.c_void_p
        lib.vram_buffer_ptr.argtypes = [ctypes.c_void_p]
        lib.vram_buffer_layer.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
        lib.vram_buffer_free.argtypes = [ctypes.c_void_p]
        lib.vram_layer_acquire.argtypes = [ctypes.c_void_p, ctypes.c_int64]
        lib.vram_layer_release.argtypes = [ctypes.c_void_p]
        lib.vram_close.argtypes = [ctypes.c_void_p]
        lib.vram_connect.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint, ctypes.c_void_p]
        lib.vram_buffer_new.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint64, ctypes.c_uint64,
                                        ctypes.c_void_p]
        self.client, self.buffer = ctypes.c_void_p(), ctypes.c_void_p()
        self.layers = layers
        r = lib.vram_connect(daemon.socket.encode(), b"trace", 0, ctypes.byref(self.client))
        assert r == 0, r
        r = lib.vram_buffer_new(self.client, b"numbers", layers * CHUNK, CHUNK, ctypes.byref(self.buffer))
        assert r == 0, r

    def visit(self, fill=None):
        """Acquires each layer once; writes into it, or returns its first byte."""
        firsts = []
        for i in range(self.layers):
            layer = self.lib.vram_buffer_layer(self.buffer, i)
            r = self.lib.vram_layer_acquire(layer, -1)
            assert r == 0, r
            at = self.lib.vram_buffer_ptr(self.buffer) + i * CHUNK
            if fill is not None:
                ctypes.memset(at, fill + i, CHUNK)
            firsts.append(ctypes.string_at(at, 1)[0])
            self.lib.vram_layer_release(layer)
        return firsts

    def close(self):
        self.lib.vram_buffer_free(self.buffer)
        self.lib.vram_close(self.client)


class Checks:
    """Counts what was as it should be, and what was not, and says which."""

    def __init__(self):
        self.failed = 0

    def equal(self, what, is_, should):
        good = is_ == should
        self.failed += not good
        print("ok    " if good else "FAILED", what, is_ if good else f"{is_!r}, not {should!r}", flush=True)

    def true(self, what, condition, more=""):
        self.failed += not condition
        print("ok    " if condition else "FAILED", what, "" if condition else more, flush=True)


def run_parts(checks, quick, slow=()):
    """The parts that the command line or VRAM_TRACE_PARTS names, or all that there is time for."""
    wanted = sys.argv[1:] or os.environ.get("VRAM_TRACE_PARTS", "").split()
    for part in list(quick) + list(slow):
        if part.__name__ in wanted or (not wanted and (part in quick or ALL_PARTS)):
            begin = time.monotonic()
            print(f"== {part.__name__}", flush=True)
            part(checks)
            print(f"   {time.monotonic() - begin:.1f} s", flush=True)


def main(run):
    """Runs run(checks) and ends: 77 where BPF is not permitted."""
    for name in missing():
        print(f"SKIP: {name} is not built")
        sys.exit(77)
    with vram_daemon.Daemon(str(16 << 20)) as daemon:
        reason = reason_not_to(daemon)
    if reason:
        print(f"SKIP: {reason}")
        sys.exit(77)
    checks = Checks()
    run(checks)
    print(f"{checks.failed} failed")
    sys.exit(1 if checks.failed else 0)


__all__ = ["Trace", "World", "Buffer", "Checks", "main", "run_parts", "CHUNK", "MODEL_CHUNKS", "with_module"]
