#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What looking costs: the time that one `snapshot`, and one answer with metrics, takes the daemon with 0, 100 and 1000
sessions (a model of 8 layers each), as processor time of the daemon an answer. The loop is held up for as long."""

import os
import resource
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import benchlib  # noqa: E402
import metrics_world  # noqa: E402
import vram_wire  # noqa: E402

TURNS = 40


def cpu_ns(pid):
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as f:
        return int(f.read().split()[0])


def measure(daemon, request):
    with vram_wire.Client(daemon.socket) as admin:
        admin.hello(flags=vram_wire.HELLO_ADMIN)
        admin.admin(request)
        costs = []
        for _ in range(TURNS):
            # Not what was rendered a moment ago.
            time.sleep(0.25)
            before = cpu_ns(daemon.process.pid)
            admin.admin(request)
            costs.append(cpu_ns(daemon.process.pid) - before)
        return sorted(costs)[len(costs) // 2]


def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (16384, 16384))
    if benchlib.vram_daemon.missing(["vramd"]):
        benchlib.skip("no vramd is built")
    with tempfile.TemporaryDirectory(prefix="vram-snapshot-") as tmp:
        world = metrics_world.World(tmp, budget="64M", settings={"limits": {"max_sessions_per_user": "2000",
                                                                            "max_sessions": "2000"}})
        try:
            for n in (0, 100, 1000):
                while len(world.clients) < n:
                    world.client(b"engine", f"model-{len(world.clients)}".encode(), layers=8, layer_bytes=4096,
                                 walk=False)
                # What the sessions' beginning has set going is over.
                time.sleep(1.5)
                for name in ("snapshot", "metrics"):
                    ns = measure(world.daemon, {"command": name})
                    benchlib.emit("snapshot", f"{name}_{n}_sessions", ns / 1e6, "ms", None, None, None)
        finally:
            world.close()


if __name__ == "__main__":
    main()
