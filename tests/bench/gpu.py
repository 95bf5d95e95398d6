#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 1800
"""gpu: what vram costs on a real card, each figure against the card's own in the same run.

  gpu.py [FIGURE...]     of: swap_in swap_out both switch acquire overhead torch overlap

Skips without a card. GPU_VRAM is how much of the card may be used at most, in MiB (half of it). GPU_STANDIN=1
runs it on the stand-in driver of the tests, to try the benchmark; no figure is printed then, since none would mean anything.
"""

import contextlib
import json
import os
import select
import statistics
import subprocess
import sys

import benchlib
from benchlib import MB, note
import vram_daemon

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "gpu"))
import gpulib  # noqa: E402

CHUNK = 32 * MB
LAYER = 16 * CHUNK
SWITCH_BYTES = 20 * 1000 ** 3
SWAP_BYTES = 4 << 30
ROUNDS = 7
FIGURES = ("swap_in", "swap_out", "both", "switch", "acquire", "overhead", "torch", "overlap")


class ToolError(Exception):
    pass


class Tool:
    """A program that does what it is told, a line each way."""

    def __init__(self, command, env=None):
        self.name = os.path.basename(command[0])
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        self.hear()

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self):
        line = self.process.stdout.readline().strip()
        if not line or line.startswith("error"):
            raise ToolError(f"{self.name}: {line or 'has ended'}")
        return line

    def ask(self, line):
        self.tell(line)
        return self.hear()

    def ns(self, line):
        return float(self.ask(line).removeprefix("ns "))

    def end(self):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Bench:
    def __init__(self, card, folder):
        self.card, self.folder = card, folder
        self.quick = card.standin
        self.rounds = 2 if self.quick else ROUNDS

    def emit(self, figure, value, unit, peer, peer_value, ratio, **context):
        if self.card.standin:
            note(f"gpu: {figure} was measured on the stand-in driver: no figure")
            return
        benchlib.emit("gpu", figure, value, unit, peer, peer_value, ratio, card=self.card.name, **context)

    # ---- what is measured ----

    def tool(self, stack, *command, env=None):
        tool = Tool(list(command), env)
        stack.callback(tool.end)
        return tool

    def yardstick(self, stack):
        return self.tool(stack, gpulib.path("tests", "bench", "gpu-copy"), str(CHUNK // MB if not self.quick else 2))

    def client(self, stack, daemon, where="card"):
        return self.tool(stack, gpulib.path("tests", "bench", "gpu-client"), daemon.socket, where)

    def size(self, wanted):
        """What one client has: whole layers, or some chunks of a small card. The card holds it once, not twice."""
        budget = self.card.budget(wanted * 5 // 4)
        if self.quick:
            budget = min(budget, 128 * MB)
        n_bytes = budget * 4 // 5
        return n_bytes // LAYER * LAYER or max(CHUNK, n_bytes // CHUNK * CHUNK)

    @contextlib.contextmanager
    def daemon(self, n_bytes, swap=False):
        """With room for n_bytes on the card, and for everything twice in pinned memory behind it."""
        ram = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        behind = 2 * n_bytes + n_bytes // 4 + 256 * MB
        if behind > ram * 7 // 10:
            benchlib.skip(f"gpu: {behind >> 30} GiB of memory are needed behind the card, of {ram >> 30}")
        settings = {"device": {"host_budget": behind},
                    "limits": {"pin_timeout": "120s"}}
        if swap:
            settings["swap"] = {"size": 2 * n_bytes + 256 * MB, "path": self.folder}
        with gpulib.Daemon(n_bytes + CHUNK, settings) as daemon:
            yield daemon

    def pair_of_models(self, stack, daemon, n_bytes):
        """Two clients with a model each, both brought in once, so that what follows comes from memory. The files are
        all zeros: what is in them takes no part."""
        clients = []
        for i in range(2):
            name = os.path.join(self.folder, f"zeros{i}")
            with open(name, "wb") as f:
                f.truncate(n_bytes)
            client = self.client(stack, daemon)
            client.ask(f"extents {name} {n_bytes} {max(1, n_bytes // LAYER)}")
            clients.append(client)
        for _ in range(2):
            for client in clients:
                client.ns("switch")
        return clients

    def alternate(self, clients, command, yard, direction, n_bytes):
        """Rates of ours and of the yardstick, in bytes a second: medians over rounds that come by turns."""
        ours, theirs = [], []
        for i in range(self.rounds):
            theirs.append(n_bytes / yard.ns(f"{direction} {n_bytes}") * 1e9)
            ours.append(n_bytes / clients[i % len(clients)].ns(command) * 1e9)
        return statistics.median(ours), statistics.median(theirs)

    def swap_in(self):
        n_bytes = self.size(SWAP_BYTES)
        with self.daemon(n_bytes) as daemon, contextlib.ExitStack() as stack:
            yard = self.yardstick(stack)
            clients = self.pair_of_models(stack, daemon, n_bytes)
            ours, theirs = self.alternate(clients, "switch", yard, "up", n_bytes)
            self.emit("swap_in", ours / 1e9, "GB/s", "pinned copy to the card", theirs / 1e9, ours / theirs,
                      bytes=n_bytes)

    def swap_out(self):
        """A buffer that was written goes out when another one is made and acquired, which copies nothing in."""
        n_bytes = self.size(SWAP_BYTES)
        layers = max(1, n_bytes // (4 * CHUNK))
        with self.daemon(n_bytes, swap=True) as daemon, contextlib.ExitStack() as stack:
            yard = self.yardstick(stack)
            full, fresh = self.client(stack, daemon), self.client(stack, daemon)
            full.ask(f"buffer {n_bytes} {layers}")
            ours, theirs = [], []
            for i in range(self.rounds + 1):
                full.ns(f"write {i % 200 + 1}")
                fresh.ask(f"buffer {n_bytes} {layers}")
                ns = fresh.ns("switch")
                peer = yard.ns(f"down {n_bytes}")
                if full.ask(f"check {i % 200 + 1}") != "wrong 0":
                    raise ToolError("a buffer came back with other bytes")
                fresh.ask("drop")
                if i:
                    ours.append(n_bytes / ns * 1e9)
                    theirs.append(n_bytes / peer * 1e9)
            ours, theirs = statistics.median(ours), statistics.median(theirs)
            self.emit("swap_out", ours / 1e9, "GB/s", "pinned copy from the card", theirs / 1e9, ours / theirs,
                      bytes=n_bytes)

    def both(self):
        """Two buffers that both were written: one goes out while the other comes in."""
        n_bytes = self.size(SWAP_BYTES)
        layers = max(1, n_bytes // (4 * CHUNK))
        with self.daemon(n_bytes, swap=True) as daemon, contextlib.ExitStack() as stack:
            yard = self.yardstick(stack)
            clients = [self.client(stack, daemon) for _ in range(2)]
            for i, client in enumerate(clients):
                client.ask(f"buffer {n_bytes} {layers}")
                client.ns(f"write {i + 1}")
            for client in clients:
                client.ns("switch")
            ours, up, both = [], [], []
            for i in range(self.rounds):
                up.append(n_bytes / yard.ns(f"up {n_bytes}") * 1e9)
                both.append(2 * n_bytes / yard.ns(f"both {n_bytes}") * 1e9)
                ours.append(2 * n_bytes / clients[i % 2].ns("switch") * 1e9)
            for i, client in enumerate(clients):
                if client.ask(f"check {i + 1}") != "wrong 0":
                    raise ToolError("a buffer came back with other bytes")
            ours, up, both = (statistics.median(x) for x in (ours, up, both))
            self.emit("both_directions", ours / 1e9, "GB/s", "pinned copy to the card", up / 1e9, ours / up,
                      bytes=n_bytes, pinned_both_GBps=both / 1e9)

    def switch(self):
        n_bytes = self.size(SWITCH_BYTES)
        with self.daemon(n_bytes) as daemon, contextlib.ExitStack() as stack:
            yard = self.yardstick(stack)
            clients = self.pair_of_models(stack, daemon, n_bytes)
            ours, theirs = self.alternate(clients, "switch", yard, "up", n_bytes)
            self.emit("switch", n_bytes / ours, "s", "pinned copy of as much", n_bytes / theirs, theirs / ours,
                      bytes=n_bytes)

    def acquire(self):
        rounds = 3 if self.quick else 101
        n_bytes = CHUNK
        with contextlib.ExitStack() as stack:
            card = stack.enter_context(self.daemon(n_bytes))
            host = stack.enter_context(vram_daemon.Daemon(2 * n_bytes, {"device": {"kind": "host"}}))
            clients = [self.client(stack, card), self.client(stack, host, "host")]
            name = os.path.join(self.folder, "small")
            with open(name, "wb") as f:
                f.truncate(n_bytes)
            for client in clients:
                client.ask(f"extents {name} {n_bytes} 1")
            ns = [[], []]
            for _ in range(self.rounds):
                for i, client in enumerate(clients):
                    ns[i].append(client.ns(f"acquire {rounds}"))
            ours, theirs = (statistics.median(x) for x in ns)
            self.emit("acquire_release", ours, "ns", "on the host device", theirs, ours / theirs)

    def products(self):
        return [gpulib.path("tests", "bench", "gpu-product"), *(("1024", "6") if self.quick else ("2048", "32"))]

    def overhead(self):
        """An unmodified program under vramrun, all of it fitting, against itself without, and another without: what
        differs between those two is noise."""
        command = self.products()
        blocks, rounds = (3, 5) if self.quick else (31, 20)
        with gpulib.Daemon(self.card.budget(4 << 30)) as daemon, contextlib.ExitStack() as stack:
            engines = [self.tool(stack, *command), self.tool(stack, *daemon.vramrun(command)),
                       self.tool(stack, *command)]
            told = [[], [], []]
            for block in range(blocks):
                for k in range(3):
                    i = (block + k) % 3
                    told[i].append(engines[i].ns(f"block {rounds}"))
            sums = {e.ask("sum") for e in engines}
            if len(sums) != 1:
                raise ToolError(f"under vramrun the result is another: {sums}")
            held = sum(d["resident_bytes"] for d in daemon.ask("status")["devices"])
            if not held:
                raise ToolError("nothing of the program lay with vramd, so nothing was measured of it")
            ratio = statistics.median(a / b for a, b in zip(told[1], told[0]))
            control = statistics.median(a / b for a, b in zip(told[2], told[0]))
            self.emit("overhead", (ratio - 1) * 100, "%", "without vramrun", statistics.median(told[0]) / 1e6, ratio,
                      control_percent=(control - 1) * 100, resident_bytes=held)

    def torch(self):
        """Matrix products in PyTorch: rounds a second by itself and under vramrun, by turns."""
        program = os.path.join(gpulib.HERE, "torch_vramrun.py")
        python = gpulib.torch_python()
        if not python:
            note("gpu: torch: not measured, no PyTorch for CUDA")
            return
        out = os.path.join(self.folder, "torch.json")
        command = [python, program, "--mib", "512", "--seconds", "5", out]
        with gpulib.Daemon(self.card.budget(8 << 30)) as daemon:
            rates = [[], []]
            for _ in range(3):
                for i, line in enumerate((command, daemon.vramrun(command))):
                    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
                    with open(out, encoding="utf-8") as f:
                        result = json.load(f)
                    rates[i].append(result["rounds"] / result["seconds"])
            plain, ours = (statistics.median(r) for r in rates)
            self.emit("overhead_torch", (plain / ours - 1) * 100, "%", "without vramrun", plain, plain / ours)

    def overlap(self):
        """One program computes while another swaps: what each keeps of what it does alone."""
        n_bytes = self.size(SWAP_BYTES)
        rounds = 10 if self.quick else 400
        with self.daemon(n_bytes) as daemon, contextlib.ExitStack() as stack:
            product = self.tool(stack, *self.products())
            clients = self.pair_of_models(stack, daemon, n_bytes)
            product.ns("block 10")
            alone = product.ns(f"block {rounds}")
            swaps = [clients[i % 2].ns("switch") for i in range(self.rounds)]
            product.tell(f"block {rounds * self.rounds}")
            beside, i = [], 0
            while not has_line(product.process.stdout) and i < 1000:
                beside.append(clients[i % 2].ns("switch"))
                i += 1
            together = float(product.hear().removeprefix("ns ")) / self.rounds
            # The last one ran beside nothing for a while.
            swap = statistics.median(beside[:-1] or beside)
            self.emit("overlap_compute", rounds / together * 1e9, "1/s", "the same alone", rounds / alone * 1e9,
                      alone / together, bytes=n_bytes)
            self.emit("overlap_swap_in", n_bytes / swap, "GB/s", "the same alone", n_bytes / statistics.median(swaps),
                      statistics.median(swaps) / swap, bytes=n_bytes)


def has_line(stream):
    """Whether a line can be read. Lines are read one for each command, so none waits in Python's buffer."""
    return bool(select.select([stream], [], [], 0)[0])


def main():
    wanted = sys.argv[1:] or FIGURES
    card = gpulib.Card()
    gpulib.need("vramd", "vramctl", "vramrun", "tests/bench/gpu-client", "tests/bench/gpu-copy",
                "tests/bench/gpu-product")
    failed = []
    with benchlib.work_folder() as folder:
        bench = Bench(card, folder)
        for figure in wanted:
            note(f"gpu: {figure}")
            try:
                getattr(bench, figure)()
            # One figure that cannot be had must not take the others along: a card is rarely at hand.
            except (ToolError, vram_daemon.DaemonError, OSError, subprocess.SubprocessError) as error:
                note(f"gpu: {figure}: {error}")
                failed.append(figure)
    if failed:
        note(f"gpu: failed: {' '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
