#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Metrics over HTTP: what is answered to whom, and that clients who mean ill stop neither it nor the paging."""

import contextlib
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import unittest

SRC, BUILD, TMP = os.environ["VRAM_SRC"], os.environ["VRAM_BUILD"], os.environ["TEST_TMP"]
sys.path.insert(0, os.path.join(SRC, "tests", "support"))
import metrics_world  # noqa: E402
import vram_daemon  # noqa: E402

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
LAYERS = 12


def free_port(family=socket.AF_INET, host="127.0.0.1"):
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.bind((host, 0))
        return s.getsockname()[1]


class Listening(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.port = free_port()
        # A model of twice the budget: whoever walks over it pages.
        cls.world = metrics_world.World(
            TMP, budget="6M", settings={"daemon": {"metrics_listen": f"127.0.0.1:{cls.port}", "log_level": "debug"}}
        )
        cls.daemon = cls.world.daemon
        cls.client = cls.world.client(b"secret-engine", b"secret-model", layers=LAYERS, walk=False)
        cls.layer = 0

    @classmethod
    def tearDownClass(cls):
        cls.daemon.check()
        cls.world.close()

    def connect(self):
        s = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        self.addCleanup(s.close)
        return s

    def send(self, data):
        """What the server says to these bytes until it closes."""
        s = self.connect()
        said = b""
        with contextlib.suppress(ConnectionError):
            s.sendall(data)
            while part := s.recv(65536):
                said += part
        s.close()
        return said

    def get(self, path="/metrics", method="GET", headers=()):
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", *headers, "", ""]
        head, _, body = self.send("\r\n".join(lines).encode()).partition(b"\r\n\r\n")
        status, *fields = head.decode().split("\r\n")
        fields = dict(field.split(": ", 1) for field in fields)
        return int(status.split()[1]), fields, body.decode()

    def page(self, rounds=1):
        """Walks over the model: every layer has to be brought in."""
        for _ in range(rounds):
            for layer in range(LAYERS):
                self.client.acquire(layer)

    def test_answers(self):
        status, fields, text = self.get()
        self.assertEqual((status, fields["Content-Type"]), (200, "text/plain; version=0.0.4; charset=utf-8"))
        self.assertIn("\nvram_faults_total{", text)
        self.assertNotIn("# EOF", text)
        status, fields, text = self.get(headers=[f"Accept: {OPENMETRICS},text/plain;q=0.5"])
        self.assertEqual((status, fields["Content-Type"]), (200, OPENMETRICS))
        self.assertTrue(text.endswith("# EOF\n"))
        status, fields, text = self.get(method="HEAD")
        self.assertEqual((status, text), (200, ""))
        self.assertGreater(int(fields["Content-Length"]), 1000)
        self.assertIn("/metrics", self.get("/")[2])
        self.assertEqual(self.get("/etc/passwd")[0], 404)
        self.assertEqual(self.get("/metrics/../x")[0], 404)
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "X"):
            status, fields, _ = self.get(method=method)
            self.assertEqual((status, fields["Allow"]), (405, "GET, HEAD"), method)

    def test_no_names(self):
        text = self.get()[2]
        for word in ("secret", "cgroup:", "exe:", "vram_session_", "vram_model_"):
            self.assertNotIn(word, text)
        self.assertIn(f'subject="user:{os.getuid()}"', text)

    def test_fresh(self):
        before = self.get()[2]
        self.page()
        time.sleep(0.2)
        self.assertNotEqual(before, self.get()[2])

    def test_other_names_of_the_host(self):
        for host, wanted in (
            ("localhost", 200), (f"LOCALHOST:{self.port}", 200), ("127.8.9.1", 200), ("[::1]:1", 200),
            ("evil.example", 403), ("127.evil.example", 403), ("localhost.evil.example", 403), ("192.168.1.2", 403),
        ):
            said = self.send(f"GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            self.assertEqual(int(said.split()[1]), wanted, host)

    def test_nonsense(self):
        """Whatever is sent: the next one is served."""
        host = b"Host: localhost\r\n"
        for data in (
            b"", b"\0" * 4096, b"GET", b"GET /metrics\r\n\r\n", b"\r\n" * 1000, os.urandom(100000),
            b"GET /metrics HTTP/9.9\r\n\r\n",
            b"GET " + b"/" * (1 << 20) + b" HTTP/1.1\r\n" + host + b"\r\n",
            b"GET /metrics HTTP/1.1\r\n" + host + b"X: " + b"x" * (1 << 20) + b"\r\n\r\n",
            b"GET /metrics HTTP/1.1\r\n" + host + b"X: x\r\n" * 100000 + b"\r\n",
            b"GET /metrics HTTP/1.1\r\n" + host + b"Content-Length: 99999999999999999999\r\n\r\n",
            b"GET /metrics HTTP/1.1\r\n" + host + b"Content-Length: 1000000\r\n\r\n" + b"x" * 1000000,
            b"GET /metrics HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx",
            b"POST /metrics HTTP/1.1\r\n" + host + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
            b"GET /%00%ff?a=%zz HTTP/1.1\r\n" + host + b"\r\n",
        ):
            s = self.connect()
            with contextlib.suppress(OSError):
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
                while s.recv(65536):
                    pass
            s.close()
            self.assertEqual(self.get()[0], 200, data[:60])
        self.page()

    def test_many_requests_at_once(self):
        """Pipelined: the first is answered, and the connection ends."""
        said = self.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000)
        self.assertEqual(said.count(b"HTTP/1.1 200"), 1)

    def test_readers_that_hang_up(self):
        for _ in range(50):
            s = self.connect()
            s.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            # Not a clean end: a reset.
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0))
            s.close()
        self.assertEqual(self.get()[0], 200)

    def test_slow_and_many(self):
        """Silent ones, ones that send a byte now and then, ones that do not read: more of them than there may be. Paging
        goes on meanwhile, and when their time is over the next one is served."""
        held = []
        for _ in range(50):
            s = socket.socket()
            s.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                s.connect(("127.0.0.1", self.port))
            held.append(s)
        stop = threading.Event()

        def dribble():
            data = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n"
            while True:
                for s in held[:25]:
                    with contextlib.suppress(OSError):
                        s.send(data)
                data = b"X-a: b\r\n"
                if stop.wait(0.3):
                    break

        thread = threading.Thread(target=dribble)
        thread.start()
        try:
            faults = self.daemon.ask("status")["faults"]
            self.page(rounds=3)
            self.assertGreaterEqual(self.daemon.ask("status")["faults"], faults + LAYERS)
            # Those that hold the places go by and by.
            self.assertEqual(self.get()[0], 200)
        finally:
            stop.set()
            thread.join()
            for s in held:
                s.close()
        self.page()
        self.assertEqual(self.get()[0], 200)


class Settings(unittest.TestCase):
    def refused(self, address):
        with self.assertRaises(vram_daemon.DaemonError) as caught:
            with vram_daemon.Daemon("32M", {"daemon": {"metrics_listen": address}}):
                pass
        return str(caught.exception)

    def test_refused(self):
        self.assertIn("can be reached from other machines", self.refused("0.0.0.0:9838"))
        self.assertIn("metrics_listen", self.refused("0.0.0.0:9838"))
        self.assertIn("is not 127.0.0.1:PORT", self.refused("9838"))

    def test_taken(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            s.listen()
            self.assertIn("another program does", self.refused(f"127.0.0.1:{s.getsockname()[1]}"))

    def test_all(self):
        port = free_port()
        world = metrics_world.World(
            TMP, settings={"daemon": {"metrics_listen": f"127.0.0.1:{port}", "metrics_detail": "all"}}
        )
        try:
            world.client(b"engine", b"the model")
            with socket.create_connection(("127.0.0.1", port), timeout=60) as s:
                s.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                text = b""
                while part := s.recv(65536):
                    text += part
            self.assertIn(b'model="the model"', text)
            self.assertIn(b'name="engine"', text)
        finally:
            world.close()

    def test_ipv6(self):
        try:
            port = free_port(socket.AF_INET6, "::1")
        except OSError:
            self.skipTest("no IPv6 here")
        with vram_daemon.Daemon("32M", {"daemon": {"metrics_listen": f"[::1]:{port}"}}) as daemon:
            with socket.create_connection(("::1", port), timeout=60) as s:
                s.sendall(f"GET /metrics HTTP/1.1\r\nHost: [::1]:{port}\r\n\r\n".encode())
                self.assertTrue(s.recv(64).startswith(b"HTTP/1.1 200"))
            daemon.check()


if __name__ == "__main__":
    if vram_daemon.missing(["vramd", "vramctl"]):
        print("no vramd is built")
        sys.exit(77)
    unittest.main(verbosity=2)
