# SPDX-License-Identifier: GPL-2.0-only
"""Run decode_engine.py, one or two at once, and gather what they tell."""

import contextlib
import json
import os
import select
import statistics
import subprocess
import tempfile

SRC = os.path.dirname(os.path.abspath(__file__))


class Engine:
    """A decode_engine.py that is told when to go on."""

    def __init__(self, python, model, cpus, tokens, cgroup=None, daemon=None):
        """tokens: to warm up, to measure, and in a block if there are to be blocks. With a daemon it runs under
        vramrun."""
        environment = dict(daemon.env if daemon else os.environ, OMP_PROC_BIND="true", OMP_NUM_THREADS=str(len(cpus)),
                           OMP_PLACES=",".join("{%d}" % cpu for cpu in cpus))
        command = [python, os.path.join(SRC, "decode_engine.py"), model, str(len(cpus)), *map(str, tokens)]
        self.daemon = daemon
        self.err = tempfile.TemporaryFile()
        self.process = subprocess.Popen(daemon.vramrun(command) if daemon else command, env=environment,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.err, text=True,
                                        preexec_fn=cgroup.enter if cgroup else None)

    def wait(self, mark):
        # A client whose daemon has gone waits for another one, and we would wait for it.
        while self.daemon and not select.select([self.process.stdout], [], [], 1.0)[0]:
            self.daemon.check()
        line = self.process.stdout.readline()
        if not line:
            self.err.seek(0)
            raise RuntimeError(f"the engine ended with {self.process.wait()} before '{mark}':\n"
                               f"{self.err.read().decode(errors='replace')}")
        told = json.loads(line)
        if told["mark"] != mark:
            raise RuntimeError(f"the engine is at '{told['mark']}', not at '{mark}'")
        return told

    def go(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self):
        if self.process.poll() is None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Result:
    """Of one run with one or two engines."""

    def __init__(self, told, read_bytes):
        self.mean_ms = statistics.mean(sum(t["ns"]) / len(t["ns"]) for t in told) / 1e6
        self.median_ms = statistics.mean(statistics.median(t["ns"]) for t in told) / 1e6
        self.worst_ms = max(max(t["ns"]) for t in told) / 1e6
        self.bytes_per_token = read_bytes / len(told[0]["ns"])
        self.anon_bytes = max(t["anon_bytes"] for t in told)
        self.logits = {len(t["ns"]): t["logits"] for t in told}
        self.context = {}


def run_engines(engines, counter):
    """Bring all engines to their mark, let them run at once, and say what they told. counter() gives bytes."""
    try:
        for e in engines:
            e.wait("warm")
        before = counter() if counter else 0
        for e in engines:
            e.go()
        told = [e.wait("done") for e in engines]
        read = counter() - before if counter else sum(t["read_bytes"] for t in told)
        return Result(told, read)
    finally:
        for e in engines:
            e.end()


def io_bytes(pid):
    with open(f"/proc/{pid}/io", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("read_bytes"))


def cpu_ms(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")
