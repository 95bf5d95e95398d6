# SPDX-License-Identifier: GPL-2.0-only
"""What the scripts for a real card share: is there one, a daemon on it, skipping with a reason."""

import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
import vram_daemon  # noqa: E402

SKIP = 77
MIB = 1 << 20


def skip(reason):
    print(f"SKIP: {reason}")
    sys.exit(SKIP)


def fail(reason):
    print(f"FAIL: {reason}")
    sys.exit(1)


def path(*names):
    return os.path.join(vram_daemon.build_dir(), *names)


def need(*names):
    """Programs below the build folder; skips if one is not built."""
    gone = vram_daemon.missing(names)
    if gone:
        skip(f"{', '.join(gone)} not built")


def torch_python():
    """A Python that has PyTorch for CUDA, None if there is none."""
    for candidate in (os.environ.get("GPU_PYTHON"), sys.executable, "python3", "/opt/torch/.venv/bin/python3"):
        try:
            done = subprocess.run([candidate or "false", "-c", "import torch; print(torch.version.cuda or '')"],
                                  capture_output=True, text=True, check=False, timeout=120)
        except OSError:
            continue
        if done.returncode == 0 and done.stdout.strip():
            return candidate
    return None


class Card:
    """What the card says of itself; skips where there is none, and on the stand-in driver unless that is wanted."""

    def __init__(self):
        need("tests/gpu/questions")
        done = subprocess.run([path("tests", "gpu", "questions"), "-j", "device"], capture_output=True, text=True,
                              check=False, timeout=120)
        if done.returncode == SKIP:
            skip(done.stdout.strip().removeprefix("SKIP: "))
        self.answers = {}
        for line in done.stdout.splitlines():
            a = json.loads(line)
            if a["kind"] == "failed":
                fail(a["text"])
            self.answers[a["what"]] = a.get("value", a.get("text"))
        self.name = self.answers.get("card", "?")
        self.total_bytes = int(self.answers.get("memory", 0)) * MIB
        self.standin = "what this is" in self.answers
        if self.standin and not os.environ.get("GPU_STANDIN"):
            skip("the stand-in driver is no card; GPU_STANDIN=1 tries the program on it")

    def budget(self, wanted):
        """So much, or what GPU_VRAM (MiB) or half of the card allows."""
        most = int(os.environ.get("GPU_VRAM", "0")) * MIB or self.total_bytes // 2
        return max(64 * MIB, min(wanted, most) // (32 * MIB) * (32 * MIB))


class Daemon(vram_daemon.Daemon):
    """vramd on the card. everybody: of the system, for all users; needs root."""

    def __init__(self, budget, settings=None, everybody=False):
        sections = {"device": {"kind": "cuda"}}
        if os.environ.get("GPU_STANDIN"):
            sections["device"]["reserve"] = "0"  # it may be small, and nobody else needs it
        for section, values in (settings or {}).items():
            sections.setdefault(section, {}).update(values)
        super().__init__(budget, sections)
        self.everybody = everybody
        if everybody:
            os.chmod(self.dir, 0o755)

    def mode(self):
        if not self.everybody:
            return super().mode()
        os.makedirs(os.path.dirname(self.socket), mode=0o755, exist_ok=True)
        return ["--socket", self.socket, "--set", f"swap.path={self.dir}", "--set", "arbiter.use=local"]
