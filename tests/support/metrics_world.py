# SPDX-License-Identifier: GPL-2.0-only
"""For tests of the metrics: Prometheus' own parser of OpenMetrics, and a daemon with clients whose layers are resident."""

import contextlib
import glob
import mmap
import os
import struct
import subprocess
import sys
import time

import vram_daemon
import vram_wire

HERE = os.path.dirname(os.path.abspath(__file__))
REQUIREMENTS = os.path.join(HERE, "requirements-metrics.txt")
MODEL_OPEN, EXTENTS, ACQUIRE = 2, 3, 9
RESIDENT = 2


def no_parser(build):
    """Makes the parser importable, from the network the first time. Return: why it cannot be had, or None."""
    with contextlib.suppress(ImportError):
        import prometheus_client.openmetrics.parser  # noqa: F401

        return None
    folder = os.path.join(build, "metrics")
    if not glob.glob(os.path.join(folder, "prometheus_client")):
        done = subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
             "--only-binary=:all:", "--require-hashes", "--target", folder, "-r", REQUIREMENTS],
            capture_output=True, text=True, timeout=300, check=False,
        )
        if done.returncode:
            return f"no prometheus_client: {done.stderr.strip().splitlines()[-1:]}"
    sys.path.insert(0, folder)
    return None


class Layers:
    """A client with one model, all layers of it resident."""

    def __init__(self, path, name, model, file, layers, layer_bytes):
        self.client = vram_wire.Client(path)
        self.client.send(vram_wire.HELLO, struct.pack("=IIQ64s", 1, 0, 0, name))
        _, _, error, body, fds = self.client.receive()
        assert error == 0, error
        self.id, n_slots = struct.unpack_from("=16xQ8xI", body)
        self.table = mmap.mmap(fds[0], n_slots * 64)
        os.close(fds[0])
        fd = os.open(file, os.O_RDONLY)
        self.client.send(MODEL_OPEN, struct.pack("=QIIII128s", layers * layer_bytes, layers, layers, 1, 0, model),
                         fds=[fd])
        os.close(fd)
        extents = b"".join(
            struct.pack("=QQII", i * layer_bytes, layer_bytes, i, 0) for i in range(layers)
        )
        self.client.send(EXTENTS, struct.pack("=II", layers, 0) + extents, seq=self.client.seq)
        _, _, error, body, fds = self.client.receive()
        assert error == 0, (error, body)
        for fd in fds:
            os.close(fd)
        self.object, self.base = struct.unpack_from("=II", body)
        self.layers = layers

    def acquire(self, layer):
        """As a client does: pin, look, ask, wait. The pin is released at once."""
        at = (self.base + layer) * 64
        acquired, released = struct.unpack_from("=QQ", self.table, at + 8)
        struct.pack_into("=Q", self.table, at + 8, acquired + 1)
        if struct.unpack_from("=I", self.table, at)[0] & 7 != RESIDENT:
            self.client.send(ACQUIRE, struct.pack("=II", self.base + layer, 0), seq=0)
            deadline = time.monotonic() + 30
            while struct.unpack_from("=I", self.table, at)[0] & 7 != RESIDENT:
                assert time.monotonic() < deadline, "never resident"
                time.sleep(0.001)
        struct.pack_into("=Q", self.table, at + 16, released + 1)

    def close(self):
        self.client.sock.close()
        self.table.close()


class World:
    def __init__(self, tmp, budget="32M", settings=None):
        self.tmp = tmp
        self.daemon = vram_daemon.Daemon(budget, settings or {"swap": {"size": "16M"}})
        self.daemon.__enter__()
        self.clients = []

    def client(self, name, model, layers=4, layer_bytes=1 << 20, walk=True):
        path = os.path.join(self.tmp, f"model-{len(self.clients)}")
        with open(path, "wb") as f:
            f.write(os.urandom(4096) * (layers * layer_bytes // 4096))
        client = Layers(self.daemon.socket, name, model, path, layers, layer_bytes)
        self.clients.append(client)
        for _ in range(3 if walk else 0):
            for layer in range(layers):
                client.acquire(layer)
        return client

    def close(self):
        for client in self.clients:
            client.close()
        self.daemon.__exit__(None, None, None)

    @staticmethod
    def parse(text):
        """{family: what the parser makes of it}; ValueError for what is no OpenMetrics."""
        from prometheus_client.openmetrics.parser import text_string_to_metric_families

        found = {}
        for family in text_string_to_metric_families(text):
            assert family.name not in found, family.name
            found[family.name] = family
        return found
