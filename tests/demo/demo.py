#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Three models at the same time in less memory than their weights need. docs/demo.md is the manual."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import vram_daemon  # noqa: E402
from vram_daemon import Daemon, DaemonError, parse_size  # noqa: E402

MB = 1e6
TICK = 0.5  # seconds between two lines of the table
PATIENCE = 240  # seconds until the clients are given up, unless --patience says otherwise


class Client:
    """One program: its command, and what it said in a run."""

    def __init__(self, role, model, rounds, args):
        here = os.path.dirname(os.path.abspath(__file__))
        build = vram_daemon.build_dir()
        self.role = role
        self.model = os.path.join(build, "models", model)
        engine = "engine_native.py" if args.native else "engine.py"
        self.command = [os.path.join(build, "venv", "bin", "python"), os.path.join(here, engine),
                        role, self.model, str(rounds), str(args.tokens)]
        self.process = self.out = self.err = None

    def start(self, wrap=lambda command: command, env=None):
        self.out, self.err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        self.process = subprocess.Popen(wrap(self.command), env=env, stdin=subprocess.DEVNULL,
                                        stdout=self.out, stderr=self.err)

    def running(self):
        return self.process is not None and self.process.poll() is None

    def answers(self):
        """The lines of its output. Raises DaemonError where the program failed."""
        self.process.wait()
        self.out.seek(0)
        self.err.seek(0)
        said = self.err.read().decode(errors="replace")
        if self.process.returncode:
            raise DaemonError(f"{self.role}: exit status {self.process.returncode}\n{said}")
        # vramrun says on stderr what it could not serve; whoever watches the demo wants to know.
        for line in said.splitlines():
            if line.startswith(("vramrun", "vram:")):
                print(f"  {self.role}: {line}")
        return [json.loads(line) for line in self.out.read().decode().splitlines()]


def essence(answers):
    """What has to be equal in two runs."""
    return [(a["round"], a["prompt"], a["answer"], a.get("tokens"), a.get("digest")) for a in answers]


class Table(threading.Thread):
    """Prints a line every TICK until stop(), and keeps the largest memory that the kernel saw."""

    COLUMNS = ("chat", "story", "search")

    def __init__(self, daemon, clients, budget):
        super().__init__(daemon=True)
        self.daemon_process, self.clients, self.budget = daemon, clients, budget
        self.done = threading.Event()
        self.kernel_peak = None
        self.error = None

    def stop(self):
        self.done.set()
        self.join()

    def look(self):
        seen = self.daemon_process.memory_now()
        if seen is not None:
            self.kernel_peak = max(self.kernel_peak or 0, seen)

    def run(self):
        start = time.monotonic()
        before, before_at, rows = None, start, 0
        try:
            while not self.done.is_set():
                # The table is slow, the peak is not: look at it in between, too.
                for _ in range(5):
                    self.look()
                    if self.done.wait(TICK / 5):
                        return
                status = self.daemon_process.ask("status")
                models = self.daemon_process.ask("models")["models"]
                now = time.monotonic()
                if rows % 20 == 0:
                    self.header()
                rows += 1
                rate = 0.0
                if before:
                    rate = (status["paged_in_bytes"] - before) / (now - before_at)
                before, before_at = status["paged_in_bytes"], now
                self.row(now - start, status, models, rate)
        except (DaemonError, KeyError, ValueError, OSError, subprocess.SubprocessError) as e:
            self.error = f"{type(e).__name__}: {e}"

    def header(self):
        roles = "".join(f"{c.role:>9}" for c in self.clients)
        print(f"\n  {'':6}|{'resident, MB':^{9 * len(self.clients) + 18}}|{'':10}|{'':10}|{'':10}")
        print(f"  {'s':>5} |{roles}{'all':>8}{'budget':>9} |{'in MB/s':>9} |{'evict MB':>9} |{'stall s':>9}")

    def row(self, seconds, status, models, rate):
        sizes = {os.path.basename(m["name"]): m["resident_bytes"] for m in models}
        cells = "".join(f"{sizes.get(os.path.basename(c.model), 0) / MB:9.1f}" for c in self.clients)
        device = status["devices"][0]
        print(f"  {seconds:5.1f} |{cells}{device['resident_bytes'] / MB:8.1f}{self.budget / MB:9.1f} |"
              f"{rate / MB:9.0f} |{status['evicted_bytes'] / MB:9.0f} |{status['stall_ns'] / 1e9:9.2f}",
              flush=True)


def show_answers(clients, answers):
    for client in clients:
        print(f"\n  {client.role}, {os.path.basename(client.model)}:")
        shown = set()
        for a in answers[client.role]:
            if a["prompt"] in shown:
                continue
            shown.add(a["prompt"])
            text = " ".join(a["answer"].split())
            extra = f"  [{a['score']:.3f}]" if "score" in a else ""
            print(f"    > {a['prompt']}\n      {text}{extra}")


def plain(clients):
    answers = {}
    for client in clients:
        start = time.monotonic()
        client.start()
        answers[client.role] = client.answers()
        print(f"  {client.role:7} {len(answers[client.role]):3} answers in {time.monotonic() - start:5.1f} s")
    return answers


def status_text(daemon):
    """What `vramctl status` prints for people."""
    vramctl = os.path.join(daemon.build, "vramctl")
    done = subprocess.run([vramctl, "--socket", daemon.socket, "status"], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise DaemonError(f"vramctl status: exit {done.returncode}: {done.stderr.strip()}")
    return "".join(f"  {line}\n" for line in done.stdout.splitlines())


def together(daemon, clients, budget, patience):
    """All clients at once under vramrun. Return: answers, the table."""
    table = Table(daemon, clients, budget)
    try:
        for client in clients:
            client.start(daemon.vramrun, daemon.env)
        table.start()
        deadline = time.monotonic() + patience
        while any(c.running() for c in clients):
            if time.monotonic() > deadline:
                raise DaemonError(f"the clients did not end within {patience} s")
            daemon.check()
            time.sleep(0.05)
    finally:
        if table.ident:
            table.stop()
        for client in clients:
            if client.running():
                client.process.kill()
                client.process.wait()
    return {c.role: c.answers() for c in clients}, table


def compare(clients, expected, got):
    same = True
    for client in clients:
        if essence(expected[client.role]) == essence(got[client.role]):
            continue
        same = False
        for a, b in zip(expected[client.role], got[client.role]):
            if essence([a]) != essence([b]):
                print(f"  {client.role}: DIFFERENT, round {a['round']}, {a['prompt']}\n"
                      f"    without vram: {a['answer']}\n    with vram:    {b['answer']}")
                break
        else:
            print(f"  {client.role}: {len(got[client.role])} answers, not {len(expected[client.role])}")
    return same


def report(status, table, same, n_models, plain_s, vram_s):
    """The closing figures and the last line. Return: the exit status."""
    device = status["devices"][0]
    paged = status["paged_in_bytes"] + status["paged_out_bytes"]
    peak, budget = device["peak_bytes"], device["budget_bytes"]
    print(f"\n  paged in {status['paged_in_bytes'] / MB:.0f} MB, out {status['paged_out_bytes'] / MB:.0f} MB, "
          f"evicted {status['evicted_bytes'] / MB:.0f} MB, {status['faults']} waits of "
          f"{status['stall_ns'] / 1e9:.2f} s together")
    print(f"  one after the other without vram {plain_s:.1f} s, at the same time with it {vram_s:.1f} s")
    print(f"  peak of the device {peak / MB:.1f} MB of {budget / MB:.1f} MB")
    problems = []
    if table.kernel_peak is not None:
        print(f"  peak that the kernel counted in the daemon's memory files {table.kernel_peak / MB:.1f} MB")
        if table.kernel_peak > budget:
            problems.append("the daemon's memory files held more than the budget")
    if table.error:
        problems.append(f"the table stopped: {table.error}")
    if not same:
        problems.append("answers differ")
    if peak > budget:
        problems.append("the device held more than its budget")
    if not paged:
        problems.append("nothing was paged: the programs were not served by vramd")
    elif not status["evicted_bytes"]:
        problems.append("nothing was evicted: the models did not compete")
    for problem in problems:
        print(f"  FAILED: {problem}")
    print(f"demo: identical={'yes' if same else 'no'} models={n_models} paged={paged} peak={peak} budget={budget}")
    return 1 if problems else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plain", action="store_true", help="only the runs without vram, twice, compared")
    parser.add_argument("--budget", default="128M", help="of the device (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="times that every client answers (default: %(default)s)")
    parser.add_argument("--searches", type=int, metavar="ROUNDS",
                        help="times that the embedding client ranks its sentences (default: six a round)")
    parser.add_argument("--tokens", type=int, default=96, help="longest answer (default: %(default)s)")
    parser.add_argument("--native", action="store_true",
                        help="llama.cpp's own programs instead of its Python wheel (tests/support/build_llama.sh)")
    parser.add_argument("--patience", type=int, default=PATIENCE, metavar="SECONDS",
                        help="until clients that have not ended are given up (default: %(default)s)")
    parser.add_argument("--log", action="store_true", help="print vramd's log at the end")
    args = parser.parse_args()
    budget = parse_size(args.budget)

    # An embedding is much cheaper than an answer: more rounds keep the third client there until the end.
    clients = [Client("chat", "SmolLM2-135M-Instruct.Q4_1.gguf", args.rounds, args),
               Client("story", "SmolLM2-135M-Instruct.Q8_0.gguf", args.rounds, args),
               Client("search", "all-MiniLM-L6-v2.F16.gguf", args.searches or 6 * args.rounds, args)]
    if not all(os.path.exists(p) for c in clients for p in (c.model, c.command[0])):
        print("demo: the engine or a model is missing: tests/support/fetch_models.sh brings them")
        return 2
    if args.native:
        os.environ["LLAMA_PROGRAMS"] = os.path.join(vram_daemon.build_dir(), "llama")
        if vram_daemon.missing(["llama/llama-completion", "llama/llama-embedding"]):
            print("demo: llama.cpp's programs are missing: tests/support/build_llama.sh")
            return 2
    gone = [] if args.plain else vram_daemon.missing(["vramd", "vramrun", "vramctl"])
    if gone:
        print(f"demo: {', '.join(gone)} not built: make all")
        return 2

    sizes = [os.path.getsize(c.model) for c in clients]
    print(f"models: {', '.join(f'{c.role} {s / MB:.1f} MB' for c, s in zip(clients, sizes))}, "
          f"together {sum(sizes) / MB:.1f} MB, the largest pair {sum(sorted(sizes)[1:]) / MB:.1f} MB; "
          f"the device's budget is {budget / MB:.1f} MB")
    print("\nwithout vram, one after the other:")
    start = time.monotonic()
    expected = plain(clients)
    plain_s = time.monotonic() - start
    if args.plain:
        print("\nonce more:")
        same = compare(clients, expected, plain(clients))
        show_answers(clients, expected)
        print(f"\nplain runs identical: {'yes' if same else 'no'}")
        return 0 if same else 1
    if budget >= sum(sorted(sizes)[1:]):
        print("demo: the budget must be smaller than the largest pair of models")
        return 2

    print("\nwith vram, at the same time:")
    try:
        with Daemon(budget) as daemon:
            try:
                start = time.monotonic()
                got, table = together(daemon, clients, budget, args.patience)
                vram_s = time.monotonic() - start
                status = daemon.ask("status")
                print("\nvramctl status:\n" + status_text(daemon))
            except DaemonError:
                print(f"vramd's log:\n{daemon.log()}")
                raise
            stopped = daemon.stop()
            if args.log or stopped:
                print(f"\nvramd's log (exit status {stopped}):\n{daemon.log()}")
    except DaemonError as e:
        print(f"demo: {e}")
        return 1
    same = compare(clients, expected, got)
    show_answers(clients, got)
    code = report(status, table, same, len(clients), plain_s, vram_s)
    return code if not stopped else 1


if __name__ == "__main__":
    sys.exit(main())
