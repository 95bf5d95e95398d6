#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""docs/administration.md, done as it says: in a mount namespace of its own its configuration files are written to
where it writes them, its users exist, and each of its commands is run by whom it says, on a real vramd with the host
device. What a command prints must have every line that the page shows, numbers aside.

  test_administration.py [--update] [-v]      as root; --update writes what was printed into the page

How the page is read:

  ## Title                        a world of its own: files, users, and a vramd that starts with the first command
  ```conf file=/etc/X             a file; a second block for the same path replaces it
  ```ini file=/etc/systemd/...    a unit; systemd is not process 1 here, so ExecStart=, User= and Slice= are obeyed when a
                                  command would start it, and systemd-analyze verifies the rest
  ```console                      commands: `#` is root, `ann$` is ann; a backslash goes on; ` &` stays until the end of
                                  the section; ` # refused` must fail, all others must not
  ```console needs=systemd|card|terminal|packages     not run here, and named as a skip
  ```console needs=bpf            run with --update only, as tests/trace look at vramtrace
  ...                             in the output: other lines may stand there

In tables of troubleshooting each message of the first column must be one that the sources print.
"""

import functools
import glob
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

SRC, BUILD = os.environ["VRAM_SRC"], os.environ["VRAM_BUILD"]
sys.path.insert(0, os.path.join(SRC, "tests/support"))
import gen_gguf  # noqa: E402

PAGE = os.path.join(SRC, "docs/administration.md")
USERS = {"ann": 2001, "ben": 2002, "cleo": 2003, "dora": 2004, "llm": 2010}
GROUPS = {"vram": (2100, list(USERS)), "students": (2101, ["cleo", "dora"])}
# Name, and the layers of a network of which each has some 3 MB.
MODELS = {"chat.gguf": 30, "code.gguf": 45, "thesis.gguf": 32, "embed.gguf": 14}
TIMEOUT = 60
VERBOSE = "-v" in sys.argv
problems, skipped = [], []
began = time.monotonic()


def say(text):
    print(text, flush=True)


# ---- the page ------------------------------------------------------------------


class Command:
    def __init__(self, user, text, line):
        self.user, self.text, self.line = user, text, line
        self.shown, self.printed = [], None
        self.refused = bool(re.search(r"\s# refused$", text))
        self.background = text.endswith(" &")


def parse_console(lines, first):
    commands = []
    for number, line in enumerate(lines, first):
        prompt = re.match(r"(?:(#)|([a-z]*)\$) (.*)", line)
        if commands and commands[-1].text.endswith("\\"):
            commands[-1].text = commands[-1].text[:-1] + line.strip()
            commands[-1].background = line.endswith(" &")
            commands[-1].refused = line.endswith("# refused")
            commands[-1].shown = []
            commands[-1].raw.append(line)
        elif prompt:
            commands.append(Command("root" if prompt.group(1) else prompt.group(2) or "ann", prompt.group(3), number))
            commands[-1].raw = [line]
        elif commands:
            commands[-1].shown.append(line)
        else:
            raise SystemExit(f"{PAGE}:{number}: a block of commands begins with a prompt")
    return commands


def parse_page(text):
    """[(title, [("file", path, text) | ("run", [Command], needs) | ("message", text, line)])]"""
    sections, lines, i = [("", [])], text.splitlines(), 0
    while i < len(lines):
        line = lines[i]
        fence = re.match(r"```(\w*)(.*)$", line)
        if fence:
            end = next(k for k in range(i + 1, len(lines)) if lines[k] == "```")
            body, about = lines[i + 1 : end], dict(re.findall(r"(\w+)=(\S+)", fence.group(2)))
            items = sections[-1][1]
            if "file" in about:
                items.append(("file", about["file"], "\n".join(body) + "\n"))
            elif fence.group(1) == "console":
                items.append(("run", parse_console(body, i + 2), about.get("needs")))
            else:
                raise SystemExit(f"{PAGE}:{i + 1}: a block that is neither a file nor commands")
            i = end
        elif line.startswith("## "):
            sections.append((line[3:], []))
        elif re.match(r"\| `", line):
            sections[-1][1].append(("message", re.match(r"\| `([^`]+)`", line).group(1), i + 1))
        i += 1
    return sections


def update_page(text, sections):
    """The page with what was printed in the place of what it shows, unless that has gaps."""
    lines, out, i = text.splitlines(), [], 0
    commands = {c.line: c for _, items in sections for item in items if item[0] == "run" for c in item[1]}
    while i < len(lines):
        command = commands.get(i + 1)
        out.append(lines[i])
        i += 1
        if command is None or command.printed is None:
            continue
        i += len(command.raw) - 1
        out += command.raw[1:]
        if "..." in command.shown:
            continue
        i += len(command.shown)
        out += command.printed
        if not command.printed and command.shown and command.shown[-1] == "":
            out.append("")
    return "\n".join(out) + "\n"


# ---- comparing what was printed ---------------------------------------------------


def shape(line):
    """A line without what differs between two runs: numbers, sizes, times, states, bars, and how wide columns are."""
    line = re.sub(r"\b0x[0-9a-f]+\b", "N", line)
    line = re.sub(r"(?<![\w.])[-+]?\d[\d,.]*(?:e[-+]?\d+)?\s?(?:[KMGT]i?B?|B|%|ns|us|ms|s|m|h)?(?:/s)?(?![\w.])", "N", line)
    line = re.sub(r"(?<=[=:])\d[\d.]*(?:e[-+]?\d+)?", "N", line)
    line = re.sub(r"(?<!\S)-(?!\S)", "N", line)
    line = re.sub(r"\b(running|idle|stalled|queued)\b", "STATE", line)
    line = re.sub(r"[#=|.\-]{3,}", "BAR", line)
    return re.sub(r"\s+", " ", line).strip()


def missing_lines(shown, printed):
    have = [shape(line) for line in printed]
    return [line for line in shown if line.strip() not in ("", "...") and shape(line) not in have]


# ---- the world ---------------------------------------------------------------------


def mount(*args):
    subprocess.run(["mount", *args], check=True)


class World:
    """Folders that this process and its children alone see."""

    def __init__(self, tmp):
        self.tmp = tmp
        mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", tmp)
        self.bin = os.path.join(tmp, "bin")
        etc = os.path.join(tmp, "etc")
        shutil.copytree("/etc", etc, symlinks=True, ignore_dangling_symlinks=True)
        shutil.rmtree(os.path.join(etc, "vramd"), ignore_errors=True)
        for name in ("nsswitch.conf",):
            path = os.path.join(etc, name)
            if os.path.exists(path):
                os.remove(path)
        self.people(etc)
        mount("--bind", etc, "/etc")
        for folder in ("/run", "/srv", "/var/lib"):
            mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", folder)
        self.programs()
        self.models()
        self.env = {
            "PATH": f"{self.bin}:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "COLUMNS": "110",
            "NO_COLOR": "1",
            "TERM": "dumb",
        }
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "VRAM_TEST_TOKEN"):
            if name in os.environ:
                self.env[name] = os.environ[name]

    def people(self, etc):
        with open(os.path.join(etc, "passwd"), "a", encoding="utf-8") as f:
            for name, uid in USERS.items():
                f.write(f"{name}:x:{uid}:{uid}::{self.tmp}/home/{name}:/bin/bash\n")
                home = os.path.join(self.tmp, "home", name)
                os.makedirs(home)
                os.chown(home, uid, uid)
        with open(os.path.join(etc, "group"), encoding="utf-8") as f:
            lines = [line for line in f if line.split(":")[0] not in GROUPS]
        with open(os.path.join(etc, "group"), "w", encoding="utf-8") as f:
            f.writelines(lines)
            for name, uid in USERS.items():
                f.write(f"{name}:x:{uid}:\n")
            for name, (gid, members) in GROUPS.items():
                f.write(f"{name}:x:{gid}:{','.join(members)}\n")

    def programs(self):
        os.makedirs(self.bin)
        for name in ("vramd", "vramrun", "vramctl", "vramtop", "vramtrace", "libvram-preload.so"):
            path = os.path.join(BUILD, name)
            if os.path.exists(path):
                shutil.copy(path, self.bin)
        for name in ("llama-server", "llama-completion"):
            shutil.copy(os.path.join(SRC, "tests/support/engine_standin.py"), os.path.join(self.bin, name))

    def models(self):
        os.makedirs("/srv/models")
        gen_gguf.ring = functools.cache(gen_gguf.ring)
        for name, layers in MODELS.items():
            gen_gguf.generate(f"/srv/models/{name}", (layers, 512, 1536, 8, 4, 512))


def become(user):
    """What a child does to be that user; nothing that could wait for anybody."""
    if user == "root":
        return os.setpgrp
    entry = pwd.getpwnam(user)
    groups = os.getgrouplist(user, entry.pw_gid)

    def change():
        os.setpgrp()
        os.setgroups(groups)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)

    return change


class Section:
    """One set-up: its daemon, and what runs in the background."""

    def __init__(self, world, title):
        self.world, self.title = world, title
        self.daemon, self.log, self.jobs, self.units, self.cgroups = None, None, [], {}, []
        self.no_cgroups = False

    def write(self, path, text):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        if path.endswith((".service", ".slice", ".socket")) and not re.search(r"\.d/[^/]*$", path):
            self.units[os.path.basename(path)] = text
            self.verify(path)

    def verify(self, path):
        if not shutil.which("systemd-analyze"):
            skipped.append(f"systemd-analyze verify {path}: not installed")
            return
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True,
                              timeout=TIMEOUT, check=False, env=dict(self.world.env, PATH=self.world.env["PATH"]))
        text = "\n".join(
            line for line in done.stderr.splitlines()
            if os.path.basename(path) in line and "not executable" not in line and "Failed to create" not in line
        )
        if text:
            problems.append(f"{path}: {text}")

    def start(self):
        """What `systemctl start vramd` does: the daemon, in the cgroup of its unit where that can be made."""
        self.log = open(os.path.join(self.world.tmp, "vramd.log"), "w+", encoding="utf-8")
        self.daemon = subprocess.Popen(
            [os.path.join(self.world.bin, "vramd")], env=self.world.env, stdin=subprocess.DEVNULL,
            stdout=self.log, stderr=self.log, cwd="/", preexec_fn=os.setpgrp)
        deadline = time.monotonic() + 20
        while not os.path.exists("/run/vramd/vramd.sock"):
            if self.daemon.poll() is not None or time.monotonic() > deadline:
                problems.append(f"{self.title}: vramd did not start:\n{self.said()}")
                return False
            time.sleep(0.02)
        return True

    def said(self):
        self.log.flush()
        with open(self.log.name, encoding="utf-8", errors="replace") as f:
            return f.read()

    def stop(self):
        for job in self.jobs:
            try:
                os.killpg(job.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            job.wait()
        if self.daemon and self.daemon.poll() is None:
            self.daemon.send_signal(signal.SIGTERM)
            try:
                self.daemon.wait(20)
            except subprocess.TimeoutExpired:
                problems.append(f"{self.title}: vramd did not stop")
                os.killpg(self.daemon.pid, signal.SIGKILL)
                self.daemon.wait()
            if self.daemon.returncode != 0:
                problems.append(f"{self.title}: vramd ended with {self.daemon.returncode}:\n{self.said()}")
        for folder in reversed(self.cgroups):
            for _ in range(100):
                try:
                    os.rmdir(folder)
                    break
                except OSError:
                    time.sleep(0.02)
        shutil.rmtree("/etc/vramd", ignore_errors=True)
        if self.log:
            self.log.close()

    def run(self, command):
        text = re.sub(r"\s# refused$", "", command.text)
        if VERBOSE:
            say(f"  {time.monotonic() - began:6.2f} {command.user}> {text}")
        if self.no_cgroups and "models.slice" in " ".join([text, *command.shown]):
            skipped.append(f"needs cgroups: {text}")
            return
        unit = re.fullmatch(r"systemctl start (\S+)", text)
        if unit and self.start_unit(unit.group(1)):
            command.printed = []
            return
        if command.background:
            self.launch(command.user, text[:-2])
            command.printed = []
            return
        home = "/root" if command.user == "root" else os.path.join(self.world.tmp, "home", command.user)
        try:
            done = subprocess.run(
                ["bash", "-o", "pipefail", "-c", text],
                env=dict(self.world.env, HOME=home, USER=command.user),
                cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, timeout=TIMEOUT, check=False, preexec_fn=become(command.user))
        except subprocess.TimeoutExpired:
            problems.append(f"{PAGE}:{command.line}: {text}: does not end")
            return
        command.printed = [line.rstrip() for line in done.stdout.splitlines()]
        where = f"{PAGE}:{command.line}: {text}"
        if (done.returncode != 0) != command.refused:
            problems.append(f"{where}: exit status {done.returncode}\n{done.stdout}")
        missing = missing_lines(command.shown, command.printed)
        if missing and "--update" not in sys.argv:
            problems.append(f"{where}: printed\n{done.stdout}without\n" + "\n".join(missing))

    def launch(self, user, text, cgroup=None):
        """In the background, and not before it is at work: a client of vramd, or ended."""
        change = become(user)

        def prepare():
            if cgroup:
                with open(os.path.join(cgroup, "cgroup.procs"), "w", encoding="utf-8") as f:
                    f.write("0")
            change()

        job = subprocess.Popen(
            ["bash", "-c", f"exec {text}"], env=dict(self.world.env, HOME=f"{self.world.tmp}/home/{user}", USER=user),
            cwd="/", stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, preexec_fn=prepare)
        self.jobs.append(job)
        deadline = time.monotonic() + TIMEOUT
        while not self.works(job.pid) and job.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        port = re.search(r"--port (\d+)", text)
        while port and job.poll() is None and time.monotonic() < deadline and not listens(int(port.group(1))):
            time.sleep(0.05)
        if job.poll() is not None or time.monotonic() >= deadline:
            problems.append(f"{self.title}: {text} does not come to work:\n{self.said()}")

    def works(self, pid):
        """Whether this process has something of a model; vramrun itself connects first, to see whether it can."""
        done = subprocess.run([os.path.join(self.world.bin, "vramctl"), "-j", "clients"], env=self.world.env,
                              capture_output=True, text=True, timeout=TIMEOUT, check=False)
        clients = json.loads(done.stdout)["clients"] if done.returncode == 0 else []
        return any(c["pid"] == pid and c["resident_bytes"] > 0 for c in clients)

    def start_unit(self, name):
        """Obeys the three lines of a unit that matter here. Return: whether it is one of the page's."""
        name = name if "." in name else name + ".service"
        if name not in self.units:
            return False
        lines = dict(re.findall(r"^(ExecStart|User|Slice)=(.*)$", self.units[name], re.M))
        command = re.sub(r"^/usr/(local/)?s?bin/", "", lines["ExecStart"])
        self.launch(lines.get("User", "root"), command, self.cgroup(lines.get("Slice", "system.slice"), name))
        return True

    def cgroup(self, slice_name, unit):
        root = cgroup_root()
        if not root:
            skipped.append(f"{unit} in {slice_name}: no cgroups of version 2 here")
            self.no_cgroups = True
            return None
        # a-b.slice lies in a.slice.
        parts, folder = slice_name.removesuffix(".slice").split("-"), root
        for i in range(len(parts)):
            folder = self.make_cgroup(folder, "-".join(parts[: i + 1]) + ".slice")
            if not folder:
                return None
        return self.make_cgroup(folder, unit)

    def make_cgroup(self, folder, name):
        path = os.path.join(folder, name)
        try:
            os.mkdir(path)
            self.cgroups.append(path)
        except FileExistsError:
            pass
        except OSError as e:
            skipped.append(f"cgroup {path}: {e.strerror}")
            self.no_cgroups = True
            return None
        return path


def listens(port):
    with open("/proc/net/tcp", encoding="utf-8") as f:
        return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in list(f)[1:])


def cgroup_root():
    with open("/proc/self/mountinfo", encoding="utf-8") as f:
        for line in f:
            if " - cgroup2 " in line:
                return line.split()[4]
    return None


# ---- messages ------------------------------------------------------------------------


def literals():
    """All that the programs may print: their string literals, joined where C joins them."""
    text = []
    for pattern in ("daemon/*.c", "libclient/*.c", "libclient/preload/*.c", "libclient/cudashim/*.c", "tools/*/*.c",
                    "common/*.c", "kmod/*.c"):
        for path in glob.glob(os.path.join(SRC, pattern)):
            with open(path, encoding="utf-8") as f:
                code = f.read()
            for run in re.findall(r'(?:"(?:[^"\\\n]|\\.)*"\s*(?:PRI\w+\s*)?)+', code):
                text.append("".join(re.findall(r'"((?:[^"\\\n]|\\.)*)"', run)))
    return [t.replace('\\"', '"').replace("\\n", "") for t in text]


def check_message(message, line, have):
    """The parts between its gaps (...) stand in one string of the sources, in that order; or, where a message is put
    together of several, each in one."""
    parts = [p.strip() for p in message.split("...") if len(p.strip()) > 3]
    in_order = re.compile(".*".join(re.escape(p) for p in parts), re.S)
    if any(in_order.search(literal) for literal in have):
        return
    alone = [p for p in parts if len(p) < 9 or not any(p in literal for literal in have)]
    if alone or not parts:
        problems.append(f"{PAGE}:{line}: no program prints `{message}` ({alone})")


# ---- all of it -------------------------------------------------------------------------


def run_section(world, title, items):
    section = Section(world, title)
    up = False
    try:
        for kind, what, more in items:
            if kind == "file":
                section.write(what, more)
            elif kind == "run" and more and not (more == "bpf" and "--update" in sys.argv):
                skipped.extend(f"needs {more}: {command.text}" for command in what)
            elif kind == "run":
                if not up:
                    up = section.start()
                    if not up:
                        return
                for command in what:
                    section.run(command)
                    if section.daemon.poll() is not None:
                        problems.append(f"{PAGE}:{command.line}: vramd has ended:\n{section.said()}")
                        return
    finally:
        section.stop()


def inside():
    with open(PAGE, encoding="utf-8") as f:
        text = f.read()
    sections = parse_page(text)
    have = literals()
    ran = files = 0
    tmp = tempfile.mkdtemp(prefix="vram-", dir=os.environ.get("TEST_TMP"))
    world = World(tmp)
    for title, items in sections:
        for item in items:
            if item[0] == "message":
                check_message(item[1], item[2], have)
        if any(item[0] != "message" for item in items):
            say(f"{title}")
            run_section(world, title, items)
        files += sum(item[0] == "file" for item in items)
        ran += sum(c.printed is not None for item in items if item[0] == "run" for c in item[1])
    if "--update" in sys.argv:
        with open(PAGE, "w", encoding="utf-8") as f:
            f.write(update_page(text, sections))
    for line in skipped:
        say(f"skipped: {line}")
    for line in problems:
        say(f"FAILED: {line}")
    say(f"{files} files, {ran} commands run, {len(skipped)} skipped, {len(problems)} problems")
    if ran < 30 and not problems:
        problems.append("the page has fewer commands than it had")
    return 1 if problems else 0


def main():
    if os.geteuid() != 0:
        say("needs root: it becomes the users of the page")
        return 77
    if os.environ.get("VRAM_TEST_INSIDE") == "1":
        return inside()
    unshare = ["unshare", "--mount", "--propagation", "private", "--"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode != 0:
        say("may not make a mount namespace here")
        return 77
    return subprocess.run([*unshare, sys.executable, *sys.argv], env=dict(os.environ, VRAM_TEST_INSIDE="1"),
                          check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
