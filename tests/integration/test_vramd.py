#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""vramd as a process: starting, refusing to start, signals, systemd, rights, who is let in."""

import errno
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.environ["VRAM_SRC"], "tests", "support"))
import vram_wire  # noqa: E402

BUILD, TMP = os.environ["VRAM_BUILD"], os.environ["TEST_TMP"]
VRAMD = os.path.join(BUILD, "vramd")
NOBODY = 65534


def public_dir(test):
    """A folder that other users reach, too; TEST_TMP is below one that they do not. It goes with
    the test."""
    folder = tempfile.mkdtemp(prefix="vram-public-")
    os.chmod(folder, 0o755)
    test.addCleanup(shutil.rmtree, folder, ignore_errors=True)
    return folder


class Vramd:
    """A running vramd. dir is its XDG_RUNTIME_DIR."""

    count = 0

    def __init__(self, *args, user=True, env=None, wrapper=(), folder=None, wait=True, **popen):
        Vramd.count += 1
        self.dir = folder or os.path.join(TMP, f"run{Vramd.count}")
        os.makedirs(self.dir, mode=0o700, exist_ok=True)
        self.socket = os.path.join(self.dir, "vramd", "vramd.sock")
        self.env = dict(
            os.environ,
            XDG_RUNTIME_DIR=self.dir,
            XDG_STATE_HOME=self.dir,
            XDG_CONFIG_HOME=self.dir,
            **(env or {}),
        )
        mode = ["--user"] if user else ["--socket", self.socket]
        self.log_file = open(os.path.join(self.dir, f"log{Vramd.count}"), "w+b")
        self.process = subprocess.Popen(
            [*wrapper, VRAMD, *mode, "--budget", "64M", *args],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=self.log_file,
            stderr=self.log_file,
            **popen,
        )
        if wait:
            self.wait_for("listening on")

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log_file.close()

    def log(self):
        with open(self.log_file.name, encoding="utf-8", errors="replace") as f:
            return f.read()

    def wait_for(self, text):
        deadline = time.monotonic() + 30
        while text not in self.log():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"no '{text}' in the log:\n{self.log()}")
            time.sleep(0.01)

    def status(self):
        with vram_wire.admin_client(self.socket) as client:
            return client.admin({"command": "status"})

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(30)


def run(*args, **env):
    env = {**os.environ, "XDG_RUNTIME_DIR": TMP, "XDG_CONFIG_HOME": TMP, **env}
    return subprocess.run(
        [VRAMD, *args],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )


class Starting(unittest.TestCase):
    def test_second_daemon_on_one_socket(self):
        with Vramd() as first:
            second = run("--user", XDG_RUNTIME_DIR=first.dir)
            self.assertEqual(second.returncode, 1)
            self.assertIn(
                f"another vramd listens on {first.socket} already, pid {first.process.pid}",
                second.stderr,
            )
            self.assertEqual(first.status()["pid"], first.process.pid)

    def test_many_at_once_one_wins(self):
        folder = os.path.join(TMP, "race")
        daemons = [Vramd(folder=folder, wait=False) for _ in range(8)]
        deadline = time.monotonic() + 60
        while sum(d.process.poll() is None for d in daemons) > 1 and time.monotonic() < deadline:
            time.sleep(0.02)
        alive = [d for d in daemons if d.process.poll() is None]
        self.assertEqual(len(alive), 1)
        alive[0].wait_for("listening on")
        self.assertEqual(alive[0].status()["pid"], alive[0].process.pid)
        for daemon in daemons:
            daemon.__exit__(None, None, None)

    def test_after_a_crash(self):
        folder = None
        for _ in range(20):
            with Vramd(folder=folder) as vramd:
                self.assertEqual(vramd.status()["pid"], vramd.process.pid)
                vramd.process.kill()
                vramd.process.wait()
                self.assertTrue(os.path.exists(vramd.socket))
                folder = vramd.dir

    def test_wrong_configuration(self):
        path = os.path.join(TMP, "wrong.conf")
        with open(path, "w", encoding="utf-8") as f:
            f.write("[device]\nbudget = 1G\n\n[limits]\nmax_sessions = many\n")
        done = run("--user", "-c", path)
        self.assertEqual(done.returncode, 2)
        self.assertEqual(
            done.stderr, f"vramd: {path}:5: limits.max_sessions: 'many' is not a whole number\n"
        )
        self.assertFalse(os.path.exists(os.path.join(TMP, "vramd", "vramd.sock")))

    def test_wrong_command_line(self):
        for args in (("--nope",), ("word",), ("--set", "x"), ("--budget",)):
            done = run(*args)
            self.assertEqual(done.returncode, 2, args)
            self.assertTrue(done.stderr.startswith("vramd: "), done.stderr)
            self.assertEqual(done.stdout, "")

    def test_version(self):
        done = run("--version")
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stdout, r"^vramd \d+\.\d+\.\d+\n$")

    def test_system_daemon_by_an_ordinary_user_says_what_to_do(self):
        if os.geteuid() != 0:
            done = run("--socket", "/run/vramd-test-nobody/vramd.sock")
        elif shutil.which("setpriv"):
            done = subprocess.run(
                [
                    "setpriv",
                    f"--reuid={NOBODY}",
                    "--clear-groups",
                    VRAMD,
                    "--socket",
                    "/run/vramd-test-nobody/vramd.sock",
                    "--budget",
                    "8M",
                ],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            if "setpriv" in done.stderr:
                self.skipTest("the build folder cannot be read by other users")
        else:
            self.skipTest("no setpriv")
        self.assertEqual(done.returncode, 1)
        self.assertIn("vramd --user", done.stderr)

    def test_path_of_the_socket_is_a_file(self):
        path = os.path.join(TMP, "precious")
        with open(path, "w", encoding="utf-8") as f:
            f.write("precious")
        done = run("--user", "--budget", "8M", "--socket", path)
        self.assertEqual(done.returncode, 1)
        self.assertIn("not a socket", done.stderr)
        with open(path, encoding="utf-8") as f:
            self.assertEqual(f.read(), "precious")


class Stopping(unittest.TestCase):
    def test_clients_are_told(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with Vramd() as vramd, vram_wire.Client(vramd.socket) as client:
                self.assertEqual(client.hello()[2], 0)
                self.assertEqual(vramd.stop(number), 0)
                kind, seq, error, body, _ = client.receive()
                self.assertEqual((kind, seq, error), (vram_wire.GOODBYE, 0, -errno.ESHUTDOWN))
                self.assertIn("stopping", vram_wire.text(body))
                self.assertIsNone(client.receive())
                self.assertFalse(os.path.exists(vramd.socket))
                self.assertIn("vramd: stopped", vramd.log())

    def test_and_again(self):
        with Vramd() as vramd:
            self.assertEqual(vramd.stop(), 0)
            with Vramd(folder=vramd.dir) as again:
                self.assertEqual(again.stop(), 0)

    def test_broken_pipe_is_no_end(self):
        with Vramd() as vramd:
            for _ in range(20):
                client = vram_wire.Client(vramd.socket)
                client.send(vram_wire.HELLO, b"x")
                client.sock.close()
            self.assertEqual(vramd.status()["pid"], vramd.process.pid)


class Reloading(unittest.TestCase):
    def test_log_level(self):
        folder = os.path.join(TMP, "reload")
        os.makedirs(os.path.join(folder, "vramd"), mode=0o700)
        path = os.path.join(folder, "vramd", "vramd.conf")
        with open(path, "w", encoding="utf-8") as f:
            f.write("[daemon]\nlog_level = info\n")
        with Vramd(folder=folder) as vramd:
            with open(path, "w", encoding="utf-8") as f:
                f.write("[daemon]\nlog_level = debug\n")
            vramd.process.send_signal(signal.SIGHUP)
            vramd.wait_for("the log level is debug")
            with open(path, "w", encoding="utf-8") as f:
                f.write("[daemon]\nlog_level = loud\n")
            vramd.process.send_signal(signal.SIGHUP)
            vramd.wait_for("configuration not taken")
            self.assertIn(f"{path}:2: daemon.log_level: 'loud' is not one of", vramd.log())
            self.assertEqual(vramd.status()["pid"], vramd.process.pid)
            self.assertEqual(vramd.stop(), 0)


class Systemd(unittest.TestCase):
    def test_notifications(self):
        path = os.path.join(TMP, "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(path)
            notify.settimeout(30)
            with Vramd(env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "100000"}) as vramd:
                self.assertIn(b"READY=1", notify.recv(4096))
                self.assertEqual(notify.recv(4096), b"WATCHDOG=1")
                self.assertEqual(notify.recv(4096), b"WATCHDOG=1")
                self.assertEqual(vramd.stop(), 0)
                left = notify.recv(4096)
                while left == b"WATCHDOG=1":
                    left = notify.recv(4096)
                self.assertEqual(left, b"STOPPING=1")

    def test_passed_socket(self):
        path = os.path.join(TMP, "passed.sock")
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listening.bind(path)
        listening.listen()

        def pass_it():
            os.dup2(listening.fileno(), 3)
            os.set_inheritable(3, True)

        shell = ("sh", "-c", 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"', "sh")
        with Vramd(wrapper=shell, preexec_fn=pass_it, close_fds=False) as vramd:
            with vram_wire.admin_client(path) as client:
                self.assertEqual(client.admin({"command": "version"})["protocol"], 1)
            self.assertFalse(os.path.exists(vramd.socket))
            self.assertIn(f"listening on {path}", vramd.log())
            self.assertEqual(vramd.stop(), 0)
            # It is systemd's: clients wait there for the next daemon.
            self.assertTrue(os.path.exists(path))
        listening.close()


class Rights(unittest.TestCase):
    def status_of(self, vramd):
        with open(f"/proc/{vramd.process.pid}/status", encoding="utf-8") as f:
            return dict(re.findall(r"^(\w+):\s*(.*)$", f.read(), re.M))

    def test_private_daemon_has_none(self):
        with Vramd() as vramd:
            status = self.status_of(vramd)
            self.assertEqual(int(status["CapEff"], 16), 0)
            self.assertEqual(int(status["CapPrm"], 16), 0)
            self.assertEqual(status["NoNewPrivs"], "1")
            self.assertEqual(os.stat(vramd.socket).st_mode & 0o7777, 0o600)

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_system_daemon_keeps_what_it_needs(self):
        dac_read_search, kill, ipc_lock = 1 << 2, 1 << 5, 1 << 14
        with Vramd(user=False) as vramd:
            status = self.status_of(vramd)
            self.assertEqual(int(status["CapEff"], 16) & ~(dac_read_search | kill | ipc_lock), 0)
            self.assertEqual(
                int(status["CapEff"], 16) & (dac_read_search | kill), dac_read_search | kill
            )
            self.assertEqual(int(status["CapBnd"], 16), 0)
            self.assertEqual(status["NoNewPrivs"], "1")

    def test_ordinary_user(self):
        """The whole way as somebody without any rights."""
        if os.geteuid() != 0:
            self.skipTest("what is tested is what this is: an ordinary user")
        if not shutil.which("setpriv"):
            self.skipTest("no setpriv")
        folder = public_dir(self)
        os.chmod(folder, 0o700)
        os.chown(folder, NOBODY, NOBODY)
        wrapper = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
        probe = subprocess.run([*wrapper, VRAMD, "--version"], capture_output=True, check=False)
        if probe.returncode:
            self.skipTest("the build folder cannot be read by other users")
        with Vramd(folder=folder, wrapper=wrapper) as vramd:
            self.assertEqual(vramd.status()["uid"], NOBODY)
            self.assertEqual(vramd.stop(), 0)


class LettingIn(unittest.TestCase):
    def test_limit_of_sessions(self):
        with Vramd("--set", "limits.max_sessions=3") as vramd:
            clients = [vram_wire.Client(vramd.socket) for _ in range(3)]
            for client in clients:
                self.assertEqual(client.hello()[2], 0)
            with vram_wire.Client(vramd.socket) as late:
                kind, _, _, body, _ = late.receive()
                self.assertEqual(kind, vram_wire.GOODBYE)
                self.assertIn("3 sessions already (limits.max_sessions)", vram_wire.text(body))
                self.assertIsNone(late.receive())
            clients.pop().sock.close()
            self.assertTrue(eventually(lambda: let_in(vramd.socket)))
            for client in clients:
                client.sock.close()

    def test_silent_clients_count(self):
        """Who connects and says nothing holds a place like others, and no more than that."""
        with Vramd("--set", "limits.max_sessions=2") as vramd:
            silent = [vram_wire.Client(vramd.socket) for _ in range(2)]
            self.assertTrue(eventually(lambda: not let_in(vramd.socket)))
            for client in silent:
                client.sock.close()
            self.assertTrue(eventually(lambda: let_in(vramd.socket)))

    @unittest.skipUnless(os.geteuid() == 0 and shutil.which("setpriv"), "needs root and setpriv")
    def test_limit_of_a_user(self):
        with Vramd(
            "--set", "limits.max_sessions_per_user=2", user=False, folder=public_dir(self)
        ) as vramd:
            script = (
                f"import sys; sys.path.insert(0, {os.path.dirname(vram_wire.__file__)!r})\n"
                "import vram_wire\n"
                f"path = {vramd.socket!r}\n"
                "held = [vram_wire.Client(path) for _ in range(2)]\n"
                "assert [c.hello()[2] for c in held] == [0, 0]\n"
                "print(vram_wire.text(vram_wire.Client(path).receive()[3]))\n"
            )
            done = subprocess.run(
                ["setpriv", f"--reuid={NOBODY}", "--clear-groups", sys.executable, "-c", script],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            if "ModuleNotFoundError" in done.stderr or "PermissionError" in done.stderr:
                self.skipTest("the source folder cannot be read by other users")
            self.assertEqual(done.returncode, 0, done)
            self.assertIn("2 sessions already (limits.max_sessions_per_user)", done.stdout)
            # root and the daemon's own user are not bound by it.
            clients = [vram_wire.Client(vramd.socket) for _ in range(5)]
            self.assertEqual([client.hello()[2] for client in clients], [0] * 5)
            for client in clients:
                client.sock.close()


def let_in(path):
    with vram_wire.Client(path) as client:
        try:
            reply = client.hello()
        except (BrokenPipeError, ConnectionResetError):
            return False
        return reply is not None and reply[0] == vram_wire.HELLO | vram_wire.REPLY and reply[2] == 0


def eventually(what):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if what():
            return True
        time.sleep(0.02)
    return False


class Administration(unittest.TestCase):
    """ADMIN without vramctl: what is not JSON, not a command, not allowed."""

    @classmethod
    def setUpClass(cls):
        cls.vramd = Vramd()

    @classmethod
    def tearDownClass(cls):
        code = cls.vramd.stop()
        cls.vramd.__exit__(None, None, None)
        assert code == 0, code

    def ask(self, request):
        with vram_wire.admin_client(self.vramd.socket) as client:
            return client.admin(request)

    def test_refused(self):
        wrong = [
            (b"xx", "EBADMSG"),
            (b"{}", "EBADMSG"),
            (b"[]", "EBADMSG"),
            (b'{"command": 7}', "EBADMSG"),
            (b'{"command":"status","command":"status"}', "EBADMSG"),
            (b'{"command":"status"', "EBADMSG"),
            (b'{"command":"st\x00atus"}', "EBADMSG"),
            (b"\xff\xfe", "EBADMSG"),
            (b"[" * 60000, "EBADMSG"),
            ({"command": "nope"}, "EOPNOTSUPP"),
            ({"command": "status", "x": 1}, "EINVAL"),
            ({"command": "limit_set"}, "EINVAL"),
            ({"command": "limit_set", "subject": "user:0"}, "EINVAL"),
            ({"command": "limit_set", "subject": "user:0", "settings": []}, "EINVAL"),
            ({"command": "limit_set", "subject": "user:0", "settings": {"a": 1}}, "EINVAL"),
            ({"command": "limit_set", "subject": "user:0", "settings": [7]}, "EINVAL"),
            (
                {"command": "limit_set", "subject": "user:0", "settings": ["vram.max=1G"] * 65},
                "EINVAL",
            ),
            (
                {"command": "limit_set", "subject": "user:0", "settings": ["vram.weight=0"]},
                "ERANGE",
            ),
            (
                {"command": "limit_set", "subject": "user:0", "settings": ["dev7.vram.max=1G"]},
                "ENOENT",
            ),
            (
                {"command": "limit_set", "subject": "user:no-such", "settings": ["vram.max=1G"]},
                "ENOENT",
            ),
            (
                {"command": "limit_set", "subject": "session:999999", "settings": ["vram.max=1G"]},
                "ENOENT",
            ),
            (
                {"command": "limit_set", "subject": "cgroup:/", "settings": ["vram.max=1G"]},
                "EINVAL",
            ),
            ({"command": "limit_set", "subject": "nobody", "settings": ["vram.max=1G"]}, "EINVAL"),
            ({"command": "limit_show", "subject": "session:999999"}, "ENOENT"),
            ({"command": "limit_show", "subject": "user:no-such-user"}, "ENOENT"),
            ({"command": "evict"}, "EINVAL"),
            ({"command": "evict", "all": False}, "EINVAL"),
            ({"command": "evict", "all": True, "model": "x"}, "EINVAL"),
            ({"command": "evict", "model": "no such model"}, "ENOENT"),
        ]
        before = self.ask({"command": "limit_show"})
        for request, wanted in wrong:
            answer = self.ask(request)
            self.assertEqual(answer.get("errno"), wanted, (request, answer))
            self.assertTrue(answer["error"], request)
        after = self.ask({"command": "limit_show"})
        self.assertEqual(
            [r for r in before["limits"] if not r["subject"].startswith("session")],
            [r for r in after["limits"] if not r["subject"].startswith("session")],
        )

    def test_not_in_a_clients_session(self):
        with vram_wire.Client(self.vramd.socket) as client:
            self.assertEqual(client.hello()[2], 0)
            client.send(vram_wire.ADMIN, json.dumps({"command": "status"}).encode())
            self.assertEqual(client.receive()[0], vram_wire.GOODBYE)

    def test_names_of_clients_are_data(self):
        ready, name = os.pipe(), b'\xff\xfe"\n\x1b[2J'
        child = os.fork()
        if child == 0:
            with vram_wire.Client(self.vramd.socket) as client:
                client.hello(name=name)
                os.write(ready[1], b"x")
                time.sleep(60)
            os._exit(0)
        try:
            self.assertEqual(os.read(ready[0], 1), b"x")
            found = [c for c in self.ask({"command": "clients"})["clients"] if c["pid"] == child]
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(ready[0])
            os.close(ready[1])
        self.assertEqual([c["name"] for c in found], ['??"??[2J'])

    def test_limits_take_and_go(self):
        subject = {"subject": f"user:{4243}"}
        self.assertEqual(
            self.ask(
                {"command": "limit_set", **subject, "settings": ["vram.max=32M", "vram.weight=7"]}
            ),
            {"settings": 2, "over": []},
        )
        row = self.ask({"command": "limit_show", **subject})["limits"][0]
        self.assertEqual((row["max"], row["weight"], row["high"]), (32 << 20, 7, "max"))
        self.assertEqual(sorted(row["set"]), ["max", "weight"])
        self.ask(
            {
                "command": "limit_set",
                **subject,
                "settings": ["vram.max=default", "vram.weight=default"],
            }
        )
        row = self.ask({"command": "limit_show", **subject})["limits"][0]
        self.assertEqual((row["max"], row["weight"], row["set"]), ("max", 100, []))


if __name__ == "__main__":
    unittest.main(verbosity=2)
