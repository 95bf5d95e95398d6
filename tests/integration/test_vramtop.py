#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""vramtop on a terminal (tmux), and --batch: what it shows is what the daemon says at a quiet point;
keys, sizes, a daemon that goes and comes back, and the terminal afterwards."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.environ["VRAM_SRC"], "tests", "support")]
import test_vramctl  # noqa: E402
import vram_daemon  # noqa: E402
import vram_wire  # noqa: E402

BUILD, TMP = os.environ["VRAM_BUILD"], os.environ["TEST_TMP"]
VRAMTOP = os.path.join(BUILD, "vramtop")
PATIENCE = 20
NAMES = [b"engine-a", b"engine-b", b"hostile \x1b[31m\x07", b"a name that is longer than its column"]
COLOUR = re.compile(r"\x1b\[[0-9;]*\b(3[0-7]|4[0-7]|[34]8;5)[0-9;]*m")


def text_of(number):
    """Bytes as vramtop shows them, worked out apart from its code."""
    units = ["", "K", "M", "G", "T"]
    while number >= 1023.5 and len(units) > 1:
        number /= 1024
        units.pop(0)
    if units[0] and number < 99.95 and round(number, 1) != round(number):
        return f"{number:.1f}{units[0]}"
    return f"{number:.0f}{units[0]}"


class Screen:
    """A vramtop in a tmux of its own. Behind it the shell says how it ended and what the terminal is."""

    count = 0

    def __init__(self, path, width, height, *args, env=None):
        # A server of its own: one that is being ended still listens for a moment.
        Screen.count += 1
        self.sock = os.path.join(TMP, f"tmux{Screen.count}")
        command = shlex.join([VRAMTOP, "--socket", path, "-d", "200ms", *args])
        settings = {"LC_ALL": "C.UTF-8", "TERM": "tmux-256color", "NO_COLOR": "", **(env or {})}
        words = shlex.join(["env", *(f"{k}={v}" for k, v in settings.items())])
        script = (
            f"trap : INT; {words} sh -c 'echo $$ >{TMP}/pid; exec \"$@\"' sh {command}; "
            "echo rc=$? $(stty -a | grep -oE -- '-?(echo|icanon|isig)\\b' | xargs); exec sleep 600"
        )
        if os.path.exists(os.path.join(TMP, "pid")):
            os.unlink(os.path.join(TMP, "pid"))
        self.tmux("new-session", "-d", "-x", str(width), "-y", str(height), "bash", "-c", script)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            print("\n".join(self.lines()))
        self.tmux("kill-server")

    def tmux(self, *args):
        done = subprocess.run(
            ["tmux", "-u", "-f", "/dev/null", "-S", self.sock, *args],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout

    def lines(self, *args):
        return self.tmux("capture-pane", "-p", *args).split("\n")[:-1]

    def keys(self, *keys):
        self.tmux("send-keys", *keys)

    def resize(self, width, height):
        self.tmux("resize-window", "-x", str(width), "-y", str(height))

    def flag(self, name):
        return self.tmux("display-message", "-p", "#{" + name + "}").strip()

    def pid(self):
        with open(os.path.join(TMP, "pid"), encoding="ascii") as f:
            return int(f.read())

    def wait(self, what, *args):
        """The lines, once `what` (a text, or a function of the lines) is there."""
        deadline = time.monotonic() + PATIENCE
        while True:
            lines = self.lines(*args)
            if what(lines) if callable(what) else any(what in line for line in lines):
                return lines
            if time.monotonic() > deadline:
                raise AssertionError(f"not there: {what}\n" + "\n".join(lines))
            time.sleep(0.02)


def rows(lines, title):
    """The rows below the line of titles that has this one, as dicts by title."""
    at = next(i for i, line in enumerate(lines) if re.search(rf"(^|\s){title}(\s|$)", line))
    # The titles of numbers end where their cells do, those of names begin there.
    names = {"NAME", "USER", "S", "STATE", "KIND", "IN"}
    titles = [(m.group(0), m.start(), m.end()) for m in re.finditer(r"\S+", lines[at])]
    found = []
    for line in lines[at + 1 :]:
        row = {}
        for i, (name, start, end) in enumerate(titles):
            if name in names:
                left = start
                right = titles[i + 1][1] if i + 1 < len(titles) else len(line)
                if i + 1 < len(titles) and titles[i + 1][0] not in names:
                    right = titles[i + 1][2] - 5
            else:
                right = end
                left = max(end - 7, titles[i - 1][2] if i and titles[i - 1][0] not in names else 0)
            words = line[left:right].split() or [""]
            row[name] = words[0 if name in names else -1]
        found.append(row)
    return found


class WithDaemon(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        settings = {
            "device": {"link": "4G/s", "host_budget": "32M"},
            "swap": {"size": "16M"},
        }
        cls.daemon = vram_daemon.Daemon("64M", settings).__enter__()
        cls.path = cls.daemon.socket
        ready = os.pipe()
        cls.child = os.fork()
        if cls.child == 0:
            models = []
            for i, name in enumerate(NAMES):
                test_vramctl.TMP = os.path.join(TMP, f"model{i}")
                os.mkdir(test_vramctl.TMP)
                models.append(test_vramctl.Model(cls.path, name.split()[0] + b".gguf", name))
            # The last one has opened its model, and loaded nothing.
            for model in models[:-1]:
                model.load()
            os.write(ready[1], b"x")
            while True:
                signal.pause()
        assert os.read(ready[0], 1) == b"x"
        cls.snapshot = cls.quiet()

    @classmethod
    def tearDownClass(cls):
        os.kill(cls.child, signal.SIGKILL)
        os.waitpid(cls.child, 0)
        code, log = cls.daemon.stop(), cls.daemon.log()
        cls.daemon.__exit__(None, None, None)
        assert code == 0, log

    @classmethod
    def quiet(cls):
        """What the daemon says, once nothing moves any more."""
        with vram_wire.admin_client(cls.path) as client:
            last = None
            while True:
                now = client.admin({"command": "snapshot"})
                device = now["devices"][0]
                if last == device["tiers"] and device["inflight_bytes"] == 0:
                    return now
                last = device["tiers"]
                time.sleep(0.05)

    def screen(self, width, height, *args, **kwargs):
        return Screen(self.path, width, height, *args, **kwargs)

    def check_bars(self, lines, full, width):
        """Each tier's bar is as long as it should be, and its numbers are the daemon's."""
        for tier, numbers in self.snapshot["devices"][0]["tiers"].items():
            line = next(at for at in lines if f"{tier} [" in at)
            bar, rest = re.search(rf"{tier} \[([^]]*)\]\s*(\S+/\S+)", line).groups()
            used, size = numbers["used_bytes"], numbers["size_bytes"]
            self.assertEqual(rest, f"{text_of(used)}/{text_of(size)}")
            self.assertEqual(len(bar), width)
            self.assertLessEqual(abs(bar.count(full) - len(bar) * used / size), 1, line)

    def check_sessions(self, lines, titles):
        shown = {row["ID"]: row for row in rows(lines, "ID")}
        self.assertEqual(len(self.snapshot["sessions"]), len(NAMES))
        for session in self.snapshot["sessions"]:
            row = shown[str(session["id"])]
            wanted = {
                "VRAM": text_of(session["tiers"]["vram"]["resident_bytes"]),
                "HOST": text_of(session["tiers"]["host"]["resident_bytes"]),
                "DISK": text_of(session["tiers"]["disk"]["resident_bytes"]),
                "TOTAL": text_of(session["total_bytes"]),
                "IN/s": "0",
                "OUT/s": "0",
                "STALL": "0%",
                "NAME": session["name"].split()[0][:6],
            }
            for title in titles:
                self.assertTrue(row[title].startswith(wanted[title]), (title, row, wanted))
            self.assertEqual(row["VRAM"], wanted["VRAM"])
        self.assertGreater(self.snapshot["devices"][0]["tiers"]["vram"]["used_bytes"], 0)

    # ---- what is shown ----

    def test_80x24(self):
        with self.screen(80, 24, env={"LC_ALL": "C"}) as screen:
            lines = screen.wait(lambda lines: any(re.search(r"in 0/s", line) for line in lines))
        self.assertEqual(len(lines), 24)
        self.assertTrue(all(line.isascii() and len(line) <= 80 for line in lines))
        self.assertIn(f"{len(NAMES)} sessions", lines[0])
        self.check_bars(lines, "|", 56)
        titles = ["VRAM", "HOST", "DISK", "TOTAL", "STALL", "IN/s", "OUT/s", "NAME"]
        self.check_sessions(lines, titles)
        for title in ("HIT", "POS", "PACE"):
            self.assertTrue(any(re.search(rf"\b{title}\b", line) for line in lines), title)
        tenant = next(line for line in lines if line.startswith("user:"))
        usage = self.snapshot["tenants"][0]["tiers"]["vram"]["usage_bytes"]
        self.assertRegex(tenant, rf"^user:\S+ +{len(NAMES)} +{re.escape(text_of(usage))} ")

    def test_200x50(self):
        with self.screen(200, 50) as screen:
            lines = screen.wait(lambda lines: any(re.search(r"in 0/s", line) for line in lines))
        self.assertEqual(len(lines), 50)
        self.assertTrue(all(len(line) <= 200 for line in lines))
        self.check_bars(lines, "█", 42)
        self.check_sessions(lines, ["VRAM", "HOST", "DISK", "TOTAL", "NAME"])
        for session in self.snapshot["sessions"]:
            self.assertTrue(any(f" {session['pid']} " in line for line in lines))
        for title in ("CHRGD", "LIMIT", "FLT/s", "STATE", "WGHT", "PEAK"):
            self.assertTrue(any(re.search(rf"(^|\s){title}(\s|$)", line) for line in lines), title)
        # There is room for names now, and what was no character is none.
        self.assertTrue(any("a name that is longer than its column" in line for line in lines))
        self.assertTrue(any(re.search(r"hostile \?+\[31m\?", line) for line in lines))

    def test_sizes(self):
        with self.screen(80, 24) as screen:
            screen.wait("engine-a")
            for width, height in ((10, 3), (1, 1), (33, 7), (10, 3), (300, 80), (10, 3)):
                screen.resize(width, height)
                time.sleep(0.1)
                screen.keys("j")
            screen.resize(10, 3)
            lines = screen.wait(lambda lines: any("NAME" in line for line in lines))
            self.assertEqual(len(lines), 3)
            screen.resize(80, 24)
            lines = screen.wait(lambda lines: "quit" in lines[-1] and len(lines) == 24)
            self.check_bars(lines, "█", 56)
            screen.keys("q")
            screen.wait("rc=0")

    def test_colours(self):
        for kwargs, colours in (
            ({}, True),
            ({"env": {"NO_COLOR": "1"}}, False),
            ({"env": {"TERM": "vt100"}}, False),
        ):
            with self.screen(80, 24, **kwargs) as screen:
                screen.wait("engine-a")
                shown = "\n".join(screen.lines("-e"))
                self.assertEqual(bool(COLOUR.search(shown)), colours, (kwargs, shown))
        with self.screen(80, 24, "--no-color", "--ascii") as screen:
            screen.wait("engine-a")
            shown = "\n".join(screen.lines("-e"))
            self.assertFalse(COLOUR.search(shown), shown)
            self.assertTrue(shown.isascii())

    # ---- keys ----

    def names(self, lines):
        return [row["NAME"] for row in rows(lines, "ID") if row["ID"].isdigit()]

    def test_keys(self):
        with self.screen(100, 30) as screen:
            screen.wait("engine-a")
            screen.keys("s")
            screen.wait("Sort the sessions by")
            screen.keys("Up", "Up", "Up", "Up", "Up", "Enter")  # from vram up to id
            lines = screen.wait("sort: id")
            wanted = ["engine-a", "engine-b", "hostile", "a"]
            self.assertEqual(self.names(lines), wanted)
            screen.keys("r")
            lines = screen.wait("reversed")
            self.assertEqual(self.names(lines), wanted[::-1])
            screen.keys(">")
            screen.wait("sort: pid")
            screen.keys("/", "ENGINE")
            lines = screen.wait(lambda lines: not any("hostile" in line for line in lines))
            self.assertTrue(any(line.startswith("Only with: ENGINE") for line in lines))
            screen.keys("Enter")
            screen.wait(f"has 'ENGINE': 2 of {len(NAMES)}")
            screen.keys("t")
            lines = screen.wait("└─ ")
            user = next(line for line in lines if " - " in line and "(" in line)
            self.assertIn("(2)" if "(2)" in user else f"({len(NAMES)})", user)
            self.assertEqual(sum("├─" in line or "└─" in line for line in lines), 2)
            screen.keys("Enter")
            screen.wait(lambda lines: not any("└─" in line for line in lines))
            screen.keys("t", "Escape")
            screen.wait("hostile")
            screen.keys("h")
            lines = screen.wait("Keys")
            self.assertTrue(any(line.startswith(" q, F10") for line in lines))
            screen.keys("q")
            screen.wait("engine-a")
            screen.keys("1", "Enter")
            lines = screen.wait("Session ")
            self.assertTrue(any(line.startswith("some") for line in lines))
            screen.keys("q", "p")
            screen.wait("PAUSED")
            screen.keys("p", "d", "9", "Enter")
            screen.wait("9s")
            screen.keys("q")
            screen.wait("rc=0")

    def test_views(self):
        with self.screen(120, 24, "--view", "models") as screen:
            lines = screen.wait("KIND")
            for model in self.snapshot["models"]:
                size = text_of(model["size_bytes"])
                self.assertTrue(any(model["name"] in line and f" {size} " in line for line in lines))
            screen.keys("2")
            lines = screen.wait("Tab tenants")
            self.assertEqual(sum(line.startswith("user:") for line in lines), 1)
            screen.keys("4")
            screen.wait("nobody waits to be admitted")
            screen.keys("Tab")
            screen.wait("Tab sessions")

    # ---- the end ----

    def test_the_terminal_afterwards(self):
        statuses = {None: 0, signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGSEGV: 139}
        for number, status in statuses.items():
            with self.screen(80, 24) as screen:
                screen.wait("engine-a")
                self.assertEqual(screen.flag("alternate_on"), "1")
                if number is None:
                    screen.keys("q")
                elif number == signal.SIGINT:
                    screen.keys("C-c")
                else:
                    os.kill(screen.pid(), number)
                lines = screen.wait("rc=")
                said = next(line for line in lines if "rc=" in line)
                self.assertRegex(said, rf"rc={status} ")
                self.assertEqual(screen.flag("alternate_on"), "0", number)
                self.assertEqual(screen.flag("cursor_flag"), "1", number)
                self.assertEqual(sorted(said.split()[-3:]), ["echo", "icanon", "isig"], number)

    def test_a_daemon_that_hangs(self):
        with self.screen(80, 24) as screen:
            screen.wait("engine-a")
            os.kill(self.daemon.process.pid, signal.SIGSTOP)
            try:
                time.sleep(0.3)
                screen.keys("h")
                screen.wait("Keys")
                screen.keys("q", "q")
                screen.wait("rc=0")
            finally:
                os.kill(self.daemon.process.pid, signal.SIGCONT)

    # ---- without a terminal ----

    def batch(self, *args, code=0, **kwargs):
        done = subprocess.run(
            [VRAMTOP, "--socket", self.path, *args],
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            check=False,
            **kwargs,
        )
        self.assertEqual(done.returncode, code, done)
        return done.stderr if code else done.stdout

    def test_batch_json(self):
        lines = self.batch("-b", "-j", "-n", "2", "-d", "0.1").splitlines()
        samples = [json.loads(line) for line in lines]
        self.assertEqual(len(samples), 2)
        now = self.quiet()
        for sample in samples:
            self.assertGreater(sample["interval_ns"], 5e7)
            for key in ("tiers", "faults", "paged_in_bytes", "evicted_bytes"):
                self.assertEqual(sample["devices"][0][key], now["devices"][0][key])
            self.assertEqual(sample["devices"][0]["rates"]["in_bytes_per_s"], 0)
            for mine, its in zip(sample["sessions"], now["sessions"], strict=True):
                for key in ("id", "tiers", "total_bytes", "faults"):
                    self.assertEqual(mine[key], its[key], key)
                self.assertEqual(mine["rates"]["stall_percent"], 0)
                self.assertIsNone(mine["rates"]["hit_percent"])
        at_once = json.loads(self.batch("-b", "-j", "-n", "1", "-d", "0"))
        self.assertIsNone(at_once["interval_ns"])
        self.assertIsNone(at_once["sessions"][0]["rates"]["in_bytes_per_s"])

    def test_batch_tables(self):
        text = self.batch("-b", "-n", "2", "-d", "100ms")
        self.assertEqual(len(re.findall(r"^DEVICE +NAME", text, re.M)), 2)
        self.assertEqual(len(re.findall(r"^ID +PID +USER", text, re.M)), 2)
        self.assertNotIn("\x1b", text)
        for session in self.snapshot["sessions"]:
            self.assertRegex(text, rf"(?m)^ *{session['id']} +{session['pid']} ")
        text = self.batch("-b", "-n1", "-d0", "--view", "models", "--sort", "name", "-r")
        self.assertNotRegex(text, r"(?m)^ID +PID")
        shown = re.findall(r"\bmodel +1 ", text)
        self.assertEqual(len(shown), len(NAMES))
        text = self.batch("-b", "-n1", "-d0", "--view", "sessions", "-f", "engine-b")
        self.assertIn("engine-b", text)
        self.assertNotIn("engine-a", text)

    def test_mistakes(self):
        for args, says in (
            (["-j"], "--json is for --batch"),
            (["-n", "3"], "--iterations is for --batch"),
            (["-b", "-n", "0"], "--iterations"),
            (["-b", "-n", "-1"], "--iterations"),
            (["-d", "0"], "--interval 0"),
            (["-d", "nan"], "--interval"),
            (["-d", "1e9"], "--interval"),
            (["-d", "2 s"], "--interval"),
            (["--sort", "nothing"], "no column 'nothing'"),
            (["--sort", "bar"], "no column 'bar'"),
            (["--view", "x"], "no view 'x'"),
            (["--filter", "x" * 100], "--filter"),
            (["word"], "unexpected argument 'word'"),
            (["-x"], "no option -x"),
            (["--socket"], "needs an argument"),
        ):
            self.assertIn(says, self.batch(*args, code=2))
        self.assertIn("--batch", self.batch(code=1))
        self.assertIn("no vramd listens", self.batch("-b", "--socket", TMP + "/none", code=1))
        with open("/dev/full", "w", encoding="ascii") as full:
            done = subprocess.run(
                [VRAMTOP, "--socket", self.path, "-b", "-n1", "-d0"],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
                check=False,
            )
            self.assertEqual(done.returncode, 1)
            self.assertIn("No space left", done.stderr)
        with self.screen(80, 24, env={"TERM": "no-such-terminal"}) as screen:
            lines = screen.wait("rc=1")
            self.assertTrue(any("no-such-terminal" in line for line in lines))


class ComesAndGoes(unittest.TestCase):
    """A vramtop outlives its daemon."""

    def start(self, daemon):
        with open(daemon.log_path, "ab") as log:
            daemon.process = subprocess.Popen(
                [os.path.join(daemon.build, "vramd"), *daemon.mode(), "-c", daemon.config],
                env=daemon.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def test_restart(self):
        with vram_daemon.Daemon("64M") as daemon, Screen(daemon.socket, 80, 24) as screen:
            screen.wait("no sessions: nobody uses the device")
            self.assertEqual(daemon.stop(), 0)
            screen.wait(lambda lines: lines[0].startswith("no vramd listens on"))
            screen.keys("h")
            screen.wait("Keys")
            screen.keys("q")
            self.start(daemon)
            screen.wait(lambda lines: lines[0].startswith("vramtop  vramd "))
            screen.wait("in 0/s")
            daemon.process.kill()
            daemon.process.wait()
            screen.wait(lambda lines: lines[0].startswith("no vramd listens on"))
            self.start(daemon)
            screen.wait("in 0/s")
            screen.keys("q")
            screen.wait("rc=0")

    def test_nobody_there(self):
        """It waits for one; said in the title, and left with q."""
        with Screen(os.path.join(TMP, "none"), 80, 24) as screen:
            screen.wait(lambda lines: lines[0].startswith("no vramd listens on"))
            screen.keys("q")
            screen.wait("rc=0")


if __name__ == "__main__":
    if not shutil.which("tmux"):
        print("tmux is not installed")
        sys.exit(77)
    unittest.main(verbosity=2)
