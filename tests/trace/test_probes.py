#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""vramd's probes are those of docs/tracing.md: names, arguments, sizes; and each that is off is a load and a branch."""

import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import vram_daemon  # noqa: E402

SRC = os.environ.get("VRAM_SRC") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
VRAMD = os.path.join(vram_daemon.build_dir(), "vramd")
SIZES = {"u64": "8", "u32": "4", "s32": "-4", "char *": "8"}


def documented():
    """The table of probes: name and types of its arguments."""
    probes = {}
    with open(os.path.join(SRC, "docs", "tracing.md"), encoding="utf-8") as f:
        for line in f:
            row = re.match(r"\| `(vram_\w+)` \| (.*) \|$", line)
            if row:
                probes[row.group(1)] = [a.strip().rsplit(" ", 1) for a in row.group(2).split(",")]
    return probes


def pinned():
    """Fields of the module's events."""
    events = {}
    with open(os.path.join(SRC, "tests", "kmod", "trace_formats.txt"), encoding="ascii") as f:
        for line in f:
            if not line.startswith("#"):
                event, _, _, kind, name = line.split()
                events.setdefault(event, []).append((kind.replace("char[16]", "char *"), name))
    return events


def built():
    """Name, whether there is a semaphore, and arguments as the notes have them."""
    notes = subprocess.run(["readelf", "-nW", VRAMD], capture_output=True, text=True, check=True).stdout
    probes = {}
    for provider, name, semaphore, arguments in re.findall(
            r"Provider: (\w+)\n\s+Name: (\w+)\n.*?Semaphore: (0x\w+)\n\s+Arguments: (.*)\n", notes):
        if provider == "vram":
            probes.setdefault(name, []).append((int(semaphore, 16) != 0, arguments.split()))
    return probes


def loads_and_branches():
    """Where code looks at semaphores: how many look, and how many of these do so by a load and a branch."""
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", VRAMD], capture_output=True, text=True,
                          check=True).stdout.splitlines()
    n = good = 0
    for i, line in enumerate(text):
        # The first address behind the data is one of theirs, which the compiler's own start code asks for.
        if "_semaphore>" not in line or re.match(r"^[0-9a-f]+ <", line) or "\tlea " in line:
            continue
        n += 1
        # movzwl, test, then a jump; or cmpw $0 and a jump. Other instructions may stand between.
        good += any(re.search(r"\tj(ne|e)\s", later) for later in text[i + 1:i + 8])
    return n, good


def main():
    if vram_daemon.missing(["vramd"]):
        print("SKIP: vramd is not built")
        return 77
    failed = 0

    def check(what, is_, should):
        nonlocal failed
        failed += is_ != should
        print("ok    " if is_ == should else "FAILED", what, "" if is_ == should else f"{is_}, not {should}")

    docs, notes, module = documented(), built(), pinned()
    check("the table has what there is", sorted(docs), sorted(notes))
    for name, fields in docs.items():
        probes = notes.get(name, [])
        check(f"{name}: one place", len(probes), 1)
        for semaphore, arguments in probes:
            check(f"{name}: a semaphore", semaphore, True)
            check(f"{name}: sizes", [a.split("@")[0] for a in arguments], [SIZES.get(kind) for kind, _ in fields])
            # Registers, constants, and memory at a fixed offset: what every reader of these notes understands.
            check(f"{name}: forms", [a for a in arguments if not re.fullmatch(r"-?\d+@(%\w+|\$-?\d+|-?\d*\(%\w+\))", a)],
                  [])
        if name in module:
            own = [(kind, field) for kind, field in fields]
            check(f"{name}: as the module's", [list(f) for f in own[:len(module[name])]],
                  [list(f) for f in module[name]])
    check("every event of the module", sorted(set(module) - set(docs)), [])
    if not os.environ.get("SAN") and os.uname().machine == "x86_64":
        n, good = loads_and_branches()
        print(f"{n} places look at a semaphore")
        check("each by a load and a branch", good, n)
        check("there are some", n >= len(docs), True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
