#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Completion as bash does it: an interactive bash on a terminal is given lines and keys, with the
package bash-completion and without."""

import os
import pty
import re
import select
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.environ["VRAM_SRC"], "tests", "support"))
import vram_daemon  # noqa: E402
import vram_wire  # noqa: E402

SRC, BUILD, TMP = os.environ["VRAM_SRC"], os.environ["VRAM_BUILD"], os.environ["TEST_TMP"]
SCRIPT = os.path.join(SRC, "packaging", "completion", "vram")
PACKAGE = "/usr/share/bash-completion/bash_completion"
PROGRAMS = ("vramctl", "vramtop", "vramtrace", "vramrun", "vramd")
PATIENCE = 20
ALL = b"\x1b*"  # insert-completions


class Shell:
    """Lines are typed and what stands in the line afterwards is read."""

    def __init__(self, *sourced, env=None):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(TMP)
            os.environ.update(PATH=f"{BUILD}:{os.environ['PATH']}", TERM="dumb", LC_ALL="C.UTF-8")
            os.environ.update(INPUTRC="/dev/null", HISTFILE="", **(env or {}))
            os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
        self.seen = b""
        self.type(b"bind 'set bell-style none'; bind 'set enable-bracketed-paste off'\n")
        self.type(b"bind 'set completion-query-items 0'; bind 'set page-completions off'\n")
        self.type(b"bind -x '\"\\C-t\": printf \"\\n{%s}\\n\" \"$READLINE_LINE\"'\n")
        for name in sourced:
            self.type(b". " + name.encode() + b"\n")
        self.type(b"PS1=; stty cols 4000; echo rea''dy\n")
        self.until(rb"ready\r?\n")

    def close(self):
        os.close(self.fd)
        os.waitpid(self.pid, 0)

    def type(self, keys):
        os.write(self.fd, keys)

    def until(self, pattern):
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, self.seen)):
            if time.monotonic() > deadline:
                raise AssertionError(f"bash does not say {pattern}: {self.seen[-2000:]}")
            if select.select([self.fd], [], [], 0.1)[0]:
                self.seen += os.read(self.fd, 65536)
        self.seen = self.seen[found.end() :]
        return found

    def complete(self, line, keys=b"\t"):
        """What the line is then."""
        self.type(line.encode() + keys)
        self.type(b"\x14")
        text = self.until(rb"\n\{([^\n]*)\}\r?\n").group(1).decode()
        self.type(b"\x15")
        return text

    def words(self, line):
        """Everything that could follow, in the place of the last word."""
        found = self.complete(line, ALL)
        self.assert_prefix(found, line)
        return found[len(line) - len(line.rsplit(" ", 1)[1]) :].split()

    @staticmethod
    def assert_prefix(found, line):
        head = line.rsplit(" ", 1)[0]
        assert found.startswith(head), (found, line)


def options_of(program, *command):
    """The long options of --help."""
    done = subprocess.run(
        [os.path.join(BUILD, program), *command, "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    part = re.search(r"^Options:\n((?:  .*\n)+)", done.stdout, re.M).group(1)
    return set(re.findall(r"^  (?:-\w, |    )(--[a-z-]+)", part, re.M))


class Completion(unittest.TestCase):
    package = False

    @classmethod
    def setUpClass(cls):
        if cls.package and not os.path.exists(PACKAGE):
            raise unittest.SkipTest("bash-completion is not installed")
        cls.daemon = vram_daemon.Daemon("16M").__enter__()
        cls.client = vram_wire.Client(cls.daemon.socket)
        cls.client.hello(name=b"engine")
        for name in ("model one.gguf", "model-two.gguf"):
            with open(os.path.join(TMP, name), "w", encoding="ascii"):
                pass
        sourced = ([PACKAGE] if cls.package else []) + [SCRIPT]
        cls.shell = Shell(*sourced, env={"VRAM_SOCKET": cls.daemon.socket})

    @classmethod
    def tearDownClass(cls):
        cls.shell.close()
        cls.client.sock.close()
        cls.daemon.__exit__(None, None, None)

    def check(self, line, wanted):
        self.assertEqual(self.shell.complete(line), wanted, line)

    def test_options_of_every_program(self):
        for program in PROGRAMS:
            command = {"vramctl": ["version"], "vramtrace": []}.get(program, [])
            if not os.path.exists(os.path.join(BUILD, program)):
                continue
            line = " ".join([program, *command, "--"])
            wanted = options_of(program, *command)
            if program == "vramtrace":
                wanted = set(self.shell.words(line)) & wanted
                self.assertGreaterEqual(len(wanted), 8)
            self.assertEqual(set(self.shell.words(line)), wanted, program)

    def test_words(self):
        self.check("vramctl lim", "vramctl limit ")
        self.check("vramctl limit sh", "vramctl limit show ")
        self.check("vramctl --json limit sh", "vramctl --json limit show ")
        self.check("vramctl --socket /x limit sh", "vramctl --socket /x limit show ")
        self.check("vramctl evict --al", "vramctl evict --all ")
        self.check("vramctl metrics --format=prom", "vramctl metrics --format=prometheus ")
        self.check("vramctl kill --signal KI", "vramctl kill --signal KILL ")
        self.check("vramtop --vie", "vramtop --view ")
        self.check("vramtop --view que", "vramtop --view queue ")
        self.check("vramtop --view=que", "vramtop --view=queue ")
        self.check("vramtop -s wei", "vramtop -s weight ")
        # What an argument may be is not known: nothing is offered, least of all commands.
        self.check("vramtop --filter st", "vramtop --filter st")
        # Options come when they are begun.
        self.assertNotIn("--json", self.shell.words("vramctl "))

    def test_colons(self):
        """At which bash breaks words."""
        (mine,) = self.sessions()
        self.check("vramctl limit show sess", f"vramctl limit show session:{mine} ")
        self.check("vramctl limit show session:", f"vramctl limit show session:{mine} ")
        self.check(f"vramctl limit show session:{mine}", f"vramctl limit show session:{mine} ")
        self.check("vramctl limit show def", "vramctl limit show default ")

    def sessions(self):
        with vram_wire.admin_client(self.daemon.socket) as client:
            return [s["id"] for s in client.admin({"command": "clients"})["clients"]]

    def test_equals(self):
        self.check("vramd --set device.ki", "vramd --set device.kind=")
        self.check("vramd --set device.kind=c", "vramd --set device.kind=cuda ")
        self.check("vramd --set=device.kind=c", "vramd --set=device.kind=cuda ")
        self.check("vramd --set device.budg", "vramd --set device.budget=")
        words = self.shell.words("vramd --set device.kind=")
        self.assertEqual(words, ["device.kind=auto", "cuda", "host"])

    def test_files(self):
        self.check("vramd -c model-", "vramd -c model-two.gguf ")
        self.check("vramd --config=model-", "vramd --config=model-two.gguf ")
        self.check("vramd --config model\\ o", "vramd --config model\\ one.gguf ")

    def test_the_other_program(self):
        """Behind the program of vramrun all is the program's."""
        os.symlink("/bin/true", os.path.join(TMP, "engine-of-mine"))
        self.check("vramrun --qui", "vramrun --quiet ")
        self.check("vramrun ./engine-of", "vramrun ./engine-of-mine ")
        self.check("vramrun -s /x ls model-", "vramrun -s /x ls model-two.gguf ")
        self.check("vramrun -- ls --qui model-", "vramrun -- ls --qui model-two.gguf ")
        if self.package:
            self.check("vramrun vramctl limit sh", "vramrun vramctl limit show ")
            self.check("vramrun -q -- vramd --set io.dir", "vramrun -q -- vramd --set io.direct=")
        os.unlink(os.path.join(TMP, "engine-of-mine"))

    def test_it_starts_nothing(self):
        """`vramd --complete ...` ends, whatever follows; so do the others."""
        for program in PROGRAMS:
            for words in (["--user"], ["--", "x"], ["--socket"], ["--no", "=", ""], [":", "a" * 5000]):
                done = subprocess.run(
                    [os.path.join(BUILD, program), "--complete", *words],
                    capture_output=True,
                    timeout=60,
                    stdin=subprocess.DEVNULL,
                    check=False,
                )
                self.assertIn(done.returncode, (0, 2), (program, words, done))


class WithThePackage(Completion):
    package = True


if __name__ == "__main__":
    unittest.main(verbosity=2)
