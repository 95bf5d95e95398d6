#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Check what can be checked of the tree's style without a compiler.

check_style.py [--top DIR] [PATH...]: formatting (clang-format 14), licence lines,
header guards, file lengths, words of unfinished work, paths of somebody's
machine, shell scripts (shellcheck). With paths, only what lies below them. The rules prove
themselves on planted violations first.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tree  # noqa: E402

CODE = (".c", ".h")
SCRIPTS = (".sh", ".py", ".awk", ".pml")
MAX_LINES = 800

# The licence of a file by its path; the first match counts.
LICENCES = [
    (r"kmod/uapi/", "GPL-2.0-only WITH Linux-syscall-note"),
    (r"kmod/|.*\.bpf\.c$", "GPL-2.0-only"),
    (r"(libclient|common)/", "LGPL-2.1-only OR MIT"),
    (r"", "GPL-2.0-only"),
]

# Split, so that this file does not find itself.
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK|not (yet )?impl" r"emented|"
                        r"unimpl" r"emented|place" r"holder)\b")
# Somebody's own folders have no business in the tree.
MACHINE = re.compile(r"(?<![\w./-])/(home|root|work|Users)/\w")


def check_licence(name, text):
    want = next(licence for where, licence in LICENCES if re.match(where, name))
    head = [line for line in text[:2] if not line.startswith("#!")]
    got = re.search(r"SPDX-License-Identifier: (.*?)(\s*\*/)?\s*$", head[0] if head else "")
    if not got:
        yield 1, "no SPDX-License-Identifier on the first line"
    elif got.group(1) != want:
        yield 1, f"the licence here is {want}, not {got.group(1)}"


def guards(name):
    parts = re.sub(r"[^a-z0-9/]", "_", name[:-2].lower()).upper().split("/")
    yield "VRAM_" + "_".join(parts) + "_H"
    yield "VRAM_" + "_".join(parts[-2:]) + "_H"
    if name in ("libclient/vram.h", "kmod/uapi/vram.h"):
        yield "VRAM_H"
        yield "_UAPI_LINUX_VRAM_H"


def check_guard(name, text):
    # A trace-event header is read several times on purpose.
    if not name.endswith(".h") or name == "kmod/trace.h":
        return
    for number, line in enumerate(text, 1):
        match = re.match(r"#ifndef (\w+)$", line)
        if match:
            wanted = list(guards(name))
            if match.group(1) not in wanted:
                yield number, f"the guard here is {wanted[0]}"
            elif text[number:number + 1] != [f"#define {match.group(1)}"]:
                yield number, "#define of the guard must follow"
            return
        if re.match(r"#\s*(include|define|if)", line):
            break
    yield 1, "no guard"


def check_length(name, text):
    if len(text) > MAX_LINES:
        yield MAX_LINES + 1, f"{len(text)} lines; split by noun above {MAX_LINES}"


def check_words(name, text):
    for number, line in enumerate(text, 1):
        match = UNFINISHED.search(line)
        if match:
            yield number, f"'{match.group(0)}': finish it"
        match = MACHINE.search(line)
        if match:
            yield number, f"'{match.group(0)}': a path of somebody's machine"


def check_rules(top, below):
    found = []
    for name in tree.tracked(top, *CODE, *SCRIPTS, "Makefile", "Kbuild", ".md", ".in", ".conf"):
        if not below(name):
            continue
        text = tree.lines(top, name)
        rules = [check_words]
        if name.endswith(CODE + SCRIPTS):
            rules += [check_licence, check_length]
        if name.endswith(".h"):
            rules.append(check_guard)
        for rule in rules:
            found += [f"{name}:{number}: {why}" for number, why in rule(name, text)]
    return found


def clang_format():
    for program in ("clang-format-14", "clang-format"):
        if shutil.which(program):
            version = subprocess.run([program, "--version"], stdout=subprocess.PIPE).stdout.decode()
            if re.search(r"version 14\.", version):
                return program
    return None


def check_format(top, below):
    """Return (violations, what could not be checked)."""
    program = clang_format()
    if not program:
        return [], ["formatting: clang-format 14 is not here"]
    names = [name for name in tree.tracked(top, *CODE) if below(name)]
    found = []
    for start in range(0, len(names), 64):
        run = subprocess.run([program, "--dry-run", "-Werror", "--style=file", *names[start:start + 64]],
                             cwd=top, stderr=subprocess.PIPE)
        bad = re.findall(r"^([^\s:]+):(\d+):\d+: error", run.stderr.decode(), re.M)
        first = {}
        for name, number in bad:
            first.setdefault(name, (number, sum(1 for other, _ in bad if other == name)))
        found += [f"{name}:{number}: not as clang-format writes it ({count} places); make format"
                  for name, (number, count) in first.items()]
        if run.returncode and not bad:
            found.append(f"{program}: {run.stderr.decode().strip()}")
    return found, []


def check_shell(top, below):
    if not shutil.which("shellcheck"):
        return [], ["scripts: shellcheck is not here"]
    names = [name for name in tree.tracked(top, ".sh", ".ci/run") if below(name)]
    if not names:
        return [], []
    run = subprocess.run(["shellcheck", "-x", "-f", "gcc", *names], cwd=top, stdout=subprocess.PIPE)
    return run.stdout.decode().splitlines(), []


SPDX = "/* SPDX-License-Identifier: %s */\n"
GPL = SPDX % "GPL-2.0-only"
LGPL = SPDX % "LGPL-2.1-only OR MIT"
PLANTED = [
    ("daemon/good.h", GPL + "#ifndef VRAM_DAEMON_GOOD_H\n#define VRAM_DAEMON_GOOD_H\n#endif\n", None),
    ("daemon/bad.h", GPL + "#ifndef BAD_H\n#define BAD_H\n#endif\n", "the guard here is"),
    ("daemon/none.h", GPL + "int x;\n", "no guard"),
    ("daemon/bare.c", "int x;\n", "no SPDX"),
    ("daemon/other.c", LGPL, "the licence here is GPL-2.0-only"),
    ("common/other.c", GPL, "the licence here is LGPL-2.1-only OR MIT"),
    ("kmod/uapi/x.c", GPL, "Linux-syscall-note"),
    ("daemon/long.c", GPL + "int x;\n" * MAX_LINES, "split by noun"),
    ("daemon/later.c", GPL + "/* TO" "DO: later */\n", "finish it"),
    ("daemon/mine.c", GPL + '#define X "/home/' 'me/x"\n', "somebody's machine"),
    ("tests/a.sh", "#!/bin/sh\n# SPDX-License-Identifier: GPL-2.0-only\necho /run/user\n", None),
]


def self_test():
    wrong = []
    with tempfile.TemporaryDirectory() as top:
        for name, text, _ in PLANTED:
            tree.plant(top, name, text)
        found = check_rules(top, lambda name: True)
        for name, _, complaint in PLANTED:
            mine = [line for line in found if line.startswith(name + ":")]
            if complaint is None and mine:
                wrong.append(f"self-test: {name} is right, yet: {mine[0]}")
            elif complaint is not None and not any(complaint in line for line in mine):
                wrong.append(f"self-test: planted in {name}, not found: {complaint} ({mine})")
    return wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--top", default=".")
    parser.add_argument("paths", nargs="*")
    args = parser.parse_args()
    paths = [os.path.normpath(path) for path in args.paths]

    def below(name):
        return not paths or any(name == path or name.startswith(path + "/") for path in paths)

    found, unchecked = self_test(), []
    if not found:
        print(f"self-test: {sum(1 for row in PLANTED if row[2])} planted violations found")
        found = check_rules(args.top, below)
        for check in (check_format, check_shell):
            more, cannot = check(args.top, below)
            found += more
            unchecked += cannot
    for line in found + unchecked:
        print(line)
    print(f"style: {len(found)} violations")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
