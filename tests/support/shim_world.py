# SPDX-License-Identifier: GPL-2.0-only
"""vramd on the stand-in's card, and programs of the driver API that know nothing of it, under vramrun.

    with World(card_mib=256, settings={"device.reserve": "0"}) as world:
        a = world.program("LINKED", name="a")      # a way of finding the driver: shim_program.c
        address, _ = a.alloc(0, 64 << 20)
        a.ask("put 0 7")                           # the words behind "ok"; Refused for "error N"
        assert a.ask("check 0 7") == ["same"]
"""

import os
import select
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import standin  # noqa: E402
import vram_daemon  # noqa: E402

SOURCE = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
WAYS = ("LINKED", "DLSYM", "LOOKUP", "PER_THREAD")
SUCCESS, INVALID_VALUE, OUT_OF_MEMORY, NOT_FOUND, LAUNCH_FAILED, NOT_SUPPORTED = 0, 1, 2, 500, 719, 801
MIB = 1 << 20
# A sanitizer slows everything down; so does a machine shared with others.
PATIENCE = 60 * (4 if os.environ.get("SAN") else 1)


class Refused(Exception):
    """The program got this error of CUDA's."""

    def __init__(self, code, command):
        super().__init__(f"{command}: CUDA error {code}")
        self.code = code


def compile_program(way, folder):
    """The program, found from shim_program.c; -lcuda is ours, which has every name of the driver's."""
    out = os.path.join(folder, f"program-{way}")
    if not os.path.exists(out):
        build = vram_daemon.build_dir()
        subprocess.run([os.environ.get("CC", "gcc"), "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-I", SOURCE,
                        f"-DFIND_{way}", "-o", out, os.path.join(SOURCE, "tests/support/cuda/shim_program.c"),
                        "-pthread"] + ([f"-L{build}/cuda", "-lcuda"] if way == "LINKED" else []), check=True)
    return out


class Program:
    """One process. ask() waits for the answer; tell() and answer() are its halves."""

    def __init__(self, argv, env, errors):
        self.errors_path = errors
        with open(errors, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        self.buffer = b""
        first = self.line()
        assert first.startswith("ready "), f"{argv}: {first!r}; {self.errors()}"
        self.pid = int(first.split()[1])

    def errors(self):
        with open(self.errors_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def line(self, timeout=None):
        end = time.monotonic() + (timeout or PATIENCE)
        while b"\n" not in self.buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise TimeoutError(f"no answer; it said: {self.errors()}")
            piece = os.read(self.process.stdout.fileno(), 65536)
            if not piece:
                raise EOFError(f"it ended with {self.process.wait()}; it said: {self.errors()}")
            self.buffer += piece
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode()

    def tell(self, command):
        self.process.stdin.write(command.encode() + b"\n")
        self.process.stdin.flush()

    def answer(self, command="", timeout=None):
        words = self.line(timeout).split()
        if words[0] == "error":
            raise Refused(int(words[1]), command)
        assert words[0] == "ok", words
        return words[1:]

    def ask(self, command, timeout=None):
        self.tell(command)
        return self.answer(command, timeout)

    def refusal(self, command):
        """The error that this command gets; 0 for none."""
        try:
            self.ask(command)
        except Refused as refused:
            return refused.code
        return SUCCESS

    def alloc(self, slot, size, how=""):
        address, pitch = self.ask(f"alloc {slot} {size} {how}")
        return int(address), int(pitch)

    def numbers(self, command):
        return [int(word) for word in self.ask(command)]

    def end(self):
        """As a program ends. Its exit status."""
        self.process.stdin.close()
        status = self.process.wait(timeout=PATIENCE)
        self.process.stdout.close()
        return status

    def kill(self):
        self.process.kill()
        self.process.wait()


class World:
    def __init__(self, card_mib=256, settings=None, **fields):
        self.folder = tempfile.mkdtemp(prefix="shim-", dir=os.environ.get("TEST_TMP"))
        self.sockets = tempfile.TemporaryDirectory(prefix="vs-", dir="/tmp")  # a socket's path is short
        self.socket = os.path.join(self.sockets.name, "s")
        self.build = vram_daemon.build_dir()
        self.card = standin.Card(card_mib * MIB, folder=self.folder, **fields)
        self.settings = {"daemon.socket": self.socket, "device.kind": "cuda", "device.reserve": "16M",
                         "swap.path": self.folder, "swap.size": "1G", "device.host_budget": "64M", "policy.turn": "100ms",
                         "arbiter.use": "local", **(settings or {})}
        self.env = dict(os.environ, **self.card.environ(self.build))
        self.log_path = os.path.join(self.folder, "vramd.log")
        self.programs = []
        self.daemon = None

    def start(self):
        argv = [os.path.join(self.build, "vramd"), "--user"]
        for key, value in self.settings.items():
            argv += ["--set", f"{key}={value}"]
        with open(self.log_path, "a", encoding="utf-8") as log:
            self.daemon = subprocess.Popen(argv, env=dict(self.env, XDG_RUNTIME_DIR=self.sockets.name), stdout=log,
                                           stderr=log)
        end = time.monotonic() + PATIENCE
        while not os.path.exists(self.socket):
            assert self.daemon.poll() is None and time.monotonic() < end, self.log()
            time.sleep(0.02)
        return self

    def log(self):
        with open(self.log_path, encoding="utf-8") as log:
            return log.read()

    def vramctl(self, *words):
        subprocess.run([os.path.join(self.build, "vramctl"), "--socket", self.socket, *words], check=True, env=self.env)

    def program(self, way="LINKED", options=(), own_context=False, env=None):
        argv = [os.path.join(self.build, "vramrun"), "--socket", self.socket, *options, "--",
                compile_program(way, self.folder)] + (["own"] if own_context else [])
        errors = os.path.join(self.folder, f"stderr.{len(self.programs)}")
        program = Program(argv, dict(self.env, **(env or {})), errors)
        self.programs.append(program)
        return program

    def kill_daemon(self):
        self.daemon.kill()
        self.daemon.wait()
        if os.path.exists(self.socket):
            os.unlink(self.socket)

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        for program in self.programs:
            if program.process.poll() is None:
                program.kill()
        if self.daemon.poll() is None:
            self.daemon.send_signal(signal.SIGTERM)
            try:
                self.daemon.wait(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()
        if kind:
            print(self.log())
            for program in self.programs:
                print(f"--- {program.pid}: {program.errors()}")
        self.card.close()
        self.sockets.cleanup()
