# SPDX-License-Identifier: GPL-2.0-only
"""A private vramd for the demo and the benchmarks: start it, ask it with vramctl -j, stop it.

The keys that callers may rely on are in docs/demo.md.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class DaemonError(Exception):
    pass


# A runner that loses patience sends SIGTERM: folders, cgroups and daemons have to go all the same.
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def parse_size(text):
    number, unit = (text[:-1], text[-1].upper()) if text and text[-1].isalpha() else (text, "")
    if unit not in UNITS:
        raise ValueError(f"{text}: a number with K, M, G or T")
    return int(float(number) * UNITS[unit])


def build_dir():
    here = os.path.dirname(os.path.abspath(__file__))
    return os.path.abspath(os.environ.get("VRAM_BUILD") or os.path.join(here, "..", "..", "build"))


def missing(names):
    """Of these programs below the build folder, those that are not there."""
    return [n for n in names if not os.access(os.path.join(build_dir(), n), os.X_OK)]


def wants_module():
    """Whether the kernel module is to be the arbiter: see tests/support/vramd.h."""
    return os.environ.get("VRAM_ARBITER") == "kmod"


def wants_card():
    return os.environ.get("VRAM_DEVICE") == "cuda"


class Daemon:
    """with Daemon(budget) as d: d.run(...), d.ask("status"), d.peak_memory()"""

    def __init__(self, budget, settings=None, preexec_fn=None):
        self.preexec_fn = preexec_fn
        self.build = build_dir()
        # A socket's name has 107 bytes: a short folder of our own serves as the runtime folder.
        self.dir = tempfile.mkdtemp(prefix="vram-")
        self.socket = os.path.join(self.dir, "vramd", "vramd.sock")
        self.log_path = os.path.join(self.dir, "vramd.log")
        self.env = dict(os.environ, XDG_RUNTIME_DIR=self.dir)
        self.process = None
        # Also where there is a card; VRAM_DEVICE=cuda wants one, as for tests in C (tests/support/device.h).
        sections = {"device": {"kind": "host", "budget": budget}}
        if wants_card():
            sections["device"].update({"kind": "cuda", "reserve": "0", "host_budget": "64M"})
        for section, values in (settings or {}).items():
            sections.setdefault(section, {}).update(values)
        self.config = os.path.join(self.dir, "vramd.conf")
        with open(self.config, "w", encoding="utf-8") as f:
            for section, values in sections.items():
                f.write(f"[{section}]\n" + "".join(f"{k} = {v}\n" for k, v in values.items()))

    def mode(self):
        """Whose daemon this is: its caller's own, or, for the module, the machine's."""
        if wants_module():
            os.makedirs(os.path.dirname(self.socket), exist_ok=True)
            return ["--socket", self.socket, "--set", "arbiter.use=module", "--set", f"swap.path={self.dir}"]
        local = ["--set", "arbiter.use=local"] if os.environ.get("VRAM_ARBITER") else []
        return ["--user"] + local

    def __enter__(self):
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [os.path.join(self.build, "vramd")] + self.mode() + ["-c", self.config],
                env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=self.preexec_fn)
        deadline = time.monotonic() + 20
        while not os.path.exists(self.socket):
            if self.process.poll() is not None or time.monotonic() > deadline:
                text = self.log()
                self.__exit__(None, None, None)
                raise DaemonError(f"vramd did not start:\n{text}")
            time.sleep(0.02)
        return self

    def __exit__(self, kind, value, trace):
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def stop(self):
        """Ask it to stop. Return: its exit status, None if it was not running any more."""
        if self.process is None or self.process.poll() is not None:
            return None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            print("vramd did not stop within 20 s: killed", file=sys.stderr)
            self.process.kill()
            return self.process.wait()

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def alive(self):
        return self.process.poll() is None

    def check(self):
        if not self.alive():
            raise DaemonError(f"vramd has ended with {self.process.returncode}:\n{self.log()}")

    def vramrun(self, command):
        return [os.path.join(self.build, "vramrun"), "--socket", self.socket] + command

    def ask(self, what):
        """The answer of `vramctl -j WHAT`."""
        self.check()
        vramctl = os.path.join(self.build, "vramctl")
        done = subprocess.run([vramctl, "--socket", self.socket, "-j", what], env=self.env,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
        if done.returncode:
            raise DaemonError(f"vramctl -j {what}: exit {done.returncode}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def memory_now(self):
        """Bytes that the daemon's memory files for weights really hold, as the kernel counts them, or None where
        it does not let us look, or where they change while we do: a sum over files read one after the other
        counts twice what moves from one to the next. This does not believe the daemon's own figures."""
        for _ in range(3):
            before, now = self.memory_files(), self.memory_files()
            if before is not None and before == now:
                return sum(now.values())
        return None

    def memory_files(self):
        """Bytes of each of these files, by device and inode."""
        files = {}
        folder = f"/proc/{self.process.pid}/fd"
        with open("/proc/self/mountinfo", encoding="utf-8") as f:
            mounted = {line.split()[2] for line in f}
        try:
            for fd in os.listdir(folder):
                path = os.path.join(folder, fd)
                target = os.readlink(path)
                if not (target.startswith("/memfd:") or target.endswith(" (deleted)")):
                    continue
                st = os.stat(path)
                # Memory files live on file systems that are mounted nowhere; the swap file does not. Small
                # ones are tables and messages.
                device = f"{os.major(st.st_dev)}:{os.minor(st.st_dev)}"
                if device in mounted or st.st_size < 8 << 20:
                    continue
                files[st.st_dev, st.st_ino] = st.st_blocks * 512
        except OSError:
            return None
        return files
