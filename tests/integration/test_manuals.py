#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What the programs and the module say about themselves, their manual pages, the completion and the
packaged configuration agree: each option, command, setting and default stands everywhere or nowhere."""

import os
import re
import subprocess
import tempfile
import unittest

SRC, BUILD = os.environ["VRAM_SRC"], os.environ["VRAM_BUILD"]


def run(program, *args):
    done = subprocess.run(
        [os.path.join(BUILD, program), *args],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, (program, args, done)
    return done.stdout


def source(*path):
    with open(os.path.join(SRC, *path), encoding="utf-8") as f:
        return f.read()


def page(name):
    """A manual page's sections, in plain words: {"OPTIONS": [the line after each .TP]}."""
    sections, tags, name_next = {}, None, False
    for line in source("docs", "man", name).splitlines():
        line = re.sub(r"\\f[BIRP]", "", line).replace("\\-", "-").replace("\\~", " ")
        if line.startswith(".SH "):
            tags = sections.setdefault(line[4:].strip('"'), [])
        elif line == ".TP":
            name_next = True
        elif name_next:
            # The alternating fonts of .BR and .BI join words; quotes keep spaces.
            macro = re.match(r"\.(B|I|BR|BI|IR|RB) (.*)", line)
            if macro:
                words = re.findall(r'"([^"]*)"|(\S+)', macro.group(2))
                join = " " if macro.group(1) in ("B", "I") else ""
                line = join.join(a or b for a, b in words)
            tags.append(line)
            name_next = False
    return sections


def help_part(text, title):
    """The lines of a part of --help, as (what stands left, what stands right)."""
    part = re.search(rf"^{title}[^\n]*:\n((?:  .*\n)+)", text, re.M).group(1)
    return [tuple(re.split(r"\s{2,}", line.strip(), maxsplit=1)) for line in part.splitlines()]


def options_of(lines):
    """["-j, --json", "--socket PATH"] of a help text."""
    return sorted(left if not left.startswith("-") else left for left, _ in lines)


class Vramctl(unittest.TestCase):
    def setUp(self):
        self.help = run("vramctl", "--help")
        self.page = page("vramctl.1")

    def test_options(self):
        self.assertEqual(options_of(help_part(self.help, "Options")), sorted(self.page["OPTIONS"]))

    def test_commands(self):
        commands = [left for left, _ in help_part(self.help, "Commands")]
        self.assertEqual(commands, self.page["COMMANDS"])
        self.assertGreaterEqual(len(commands), 9)

    def test_every_command_has_help(self):
        for left, right in help_part(self.help, "Commands"):
            name = re.match(r"[a-z]+( (show|set|reset|list))?", left).group(0)
            text = run("vramctl", *name.split(), "--help")
            self.assertIn(f"vramctl {left} ", text + " ")
            self.assertIn(right[1:], text)

    def test_completion(self):
        words = run("vramctl", "--complete").split()
        names = {left.split()[0] for left, _ in help_part(self.help, "Commands")}
        # Those that every command has: `version` has no others.
        options = {
            re.search(r"--[a-z]+", left).group(0)
            for left, _ in help_part(run("vramctl", "version", "--help"), "Options")
        }
        self.assertEqual(set(words), names | options)
        self.assertEqual(len(words), len(set(words)))
        self.assertIn("--all", run("vramctl", "--complete", "evict").split())
        second = {word for word in run("vramctl", "--complete", "limit").split() if word[0] != "-"}
        self.assertEqual(second, {"list", "reset", "set", "show"})

    def test_completion_of_the_shell(self):
        script = (
            'source "$1"; COMP_WORDS=("$2" "$3" "$4"); COMP_CWORD=$5; COMP_LINE="$2 $3 $4"; _vram; '
            'echo "${COMPREPLY[*]}"'
        )
        for words, at, wanted in (
            (("li", ""), 1, "limit"),
            (("limit", "sh"), 2, "show"),
            (("--js", ""), 1, "--json"),
            (("evict", "--a"), 2, "--all"),
        ):
            done = subprocess.run(
                [
                    "bash",
                    "-c",
                    script,
                    "bash",
                    os.path.join(SRC, "packaging/completion/vram"),
                    os.path.join(BUILD, "vramctl"),
                    *words,
                    str(at),
                ],
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
            self.assertEqual(done.stdout.strip(), wanted, (words, done))


class Vramrun(unittest.TestCase):
    def test_options(self):
        options = [left for left, _ in help_part(run("vramrun", "--help"), "Options")]
        self.assertEqual(options, page("vramrun.1")["OPTIONS"])
        self.assertGreaterEqual(len(options), 11)


class Vramd(unittest.TestCase):
    def setUp(self):
        self.help = run("vramd", "--help")

    def settings(self):
        """{("device", "budget"): "50%"} of --help."""
        found = {}
        for left, right in help_part(self.help, "Settings"):
            section, key = left.split(".")
            found[section, key] = re.search(r"\[([^][]*)\]$", right).group(1)
        self.assertGreaterEqual(len(found), 27)
        return found

    def test_options(self):
        options = [left for left, _ in help_part(self.help, "Options")]
        self.assertEqual(options, page("vramd.8")["OPTIONS"])

    def test_settings_of_the_manual(self):
        documented = {}
        for section, tags in page("vramd.conf.5").items():
            for tag in tags if section.startswith("[") else ():
                key, default = re.match(r"(\w+) \((.*)\)$", tag).groups()
                documented[section.strip("[]"), key] = default
        self.assertEqual(documented, self.settings())

    def test_packaged_configuration(self):
        """With its comment signs taken off it is the built-in configuration."""
        text = source("packaging", "vramd.conf")
        uncommented = re.sub(r"^#(\w+ =)", r"\1", text, flags=re.M)
        self.assertEqual(len(re.findall(r"^\w+ =", uncommented, re.M)), len(self.settings()))
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as shown, tempfile.NamedTemporaryFile(
            "w", suffix=".conf"
        ) as empty:
            shown.write(uncommented)
            shown.flush()
            self.assertEqual(
                run("vramd", "--check-config", "-c", shown.name),
                run("vramd", "--check-config", "-c", empty.name),
            )
            empty.write(text)
            empty.flush()
            run("vramd", "--check-config", "-c", empty.name)

    def test_defaults(self):
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as empty:
            printed = run("vramd", "--check-config", "-c", empty.name)
        section, values = None, {}
        for line in printed.splitlines():
            if line.startswith("["):
                section = line.strip("[]")
            elif line and line[0] != "#":
                key, value = line.split(" =", 1)
                values[section, key] = value.strip()
        settings = self.settings()
        self.assertEqual(values.keys(), settings.keys())
        worked_out = {
            ("daemon", "socket"),
            ("device", "name"),
            ("device", "card"),
            ("swap", "path"),
            ("limits", "dir"),
            ("io", "fault"),
        }
        for name, default in settings.items():
            if name not in worked_out:
                self.assertEqual(values[name], default, name)
        self.assertEqual(values["daemon", "socket"], "/run/vramd/vramd.sock")


class Module(unittest.TestCase):
    """vram(4) and docs/tracing.md against the module's source; nothing is loaded."""

    def setUp(self):
        self.page = page("vram.4")

    def test_parameters(self):
        code = source("kmod", "main.c")
        names = re.findall(r"module_param_named\((\w+), (\w+),", code)
        self.assertGreaterEqual(len(names), 3)
        wanted = []
        for name, variable in names:
            default = re.search(rf"^unsigned int {variable} = (\d+);", code, re.M).group(1)
            self.assertRegex(code, rf'MODULE_PARM_DESC\({name}, "[^"]*\({default}\)"\)')
            wanted.append(f"{name} ({default})")
        self.assertEqual(self.page["MODULE PARAMETERS"], wanted)

    def test_ioctls(self):
        defined = re.findall(r"#define\s+(VRAM_IOC_\w+)\s+_IO", source("kmod", "uapi", "vram.h"))
        self.assertGreaterEqual(len(defined), 16)
        self.assertEqual(self.page["IOCTLS"], defined)

    def test_errors(self):
        """What the page promises is in the ABI's manual, and the kernel's reasons are real ones."""
        manual = source("kmod", "uapi", "vram.h").split("#ifndef", 1)[0]
        for tag in self.page["ERRORS"]:
            for name in tag.split(", "):
                if name not in ("EACCES", "ENOENT", "ENXIO"):
                    self.assertRegex(manual, rf"\b{name}\b")

    def test_files(self):
        debugfs = source("kmod", "debugfs.c")
        made = set(re.findall(r'debugfs_create_file\("(\w+)", 0400, root', debugfs))
        self.assertGreaterEqual(len(made), 4)
        self.assertIn('debugfs_create_file("pressure", 0400, dir,', debugfs)
        prefix = "/sys/kernel/debug/vram/"
        shown = {tag.removeprefix(prefix) for tag in self.page["FILES"] if tag.startswith(prefix)}
        self.assertEqual(shown, made | {"device/N/pressure"})

    def test_states_of_the_arbiter(self):
        names = re.search(r"state_names\[\] = \{ ([^}]*) \}", source("kmod", "debugfs.c")).group(1)
        text = source("docs", "man", "vram.4")
        for name in re.findall(r'"(\w+)"', names):
            self.assertRegex(text, rf"\b{name}\b")

    def test_example(self):
        """The program in EXAMPLES is one."""
        text = source("docs", "man", "vram.4").replace("\\-", "-").replace("\\e", "\\")
        program = re.search(r"^(#include <fcntl.h>\n.*?^\}\n)", text, re.M | re.S).group(1)
        with tempfile.TemporaryDirectory() as folder:
            os.mkdir(os.path.join(folder, "linux"))
            os.symlink(
                os.path.join(SRC, "kmod/uapi/vram.h"), os.path.join(folder, "linux/vram.h")
            )
            done = subprocess.run(
                ["cc", "-Wall", "-Wextra", "-Werror", "-I", folder, "-fsyntax-only", "-xc", "-"],
                input=program,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_trace_points(self):
        """docs/tracing.md has every field of every event that the tests pin, and no other."""
        pinned = {}
        for line in source("tests", "kmod", "trace_formats.txt").splitlines():
            if line and not line.startswith("#"):
                event, _, _, _, field = line.split()
                pinned.setdefault(event, set()).add(field)
        self.assertEqual(len(pinned), 12)
        told = {}
        part = re.search(r"^## The events\n(.*?)^## ", source("docs", "tracing.md"), re.M | re.S)
        for section in re.split(r"^### ", part.group(1), flags=re.M)[1:]:
            rows = re.findall(r"^\| ([a-z_, ]+) \| [a-z]", section, re.M)
            fields = {name for row in rows for name in row.split(", ")} - {"field"}
            told[tuple(section.splitlines()[0].split(", "))] = fields
        self.assertEqual(sorted(event for events in told for event in events), sorted(pinned))
        for events, fields in told.items():
            self.assertEqual(fields, set().union(*(pinned[event] for event in events)), events)


if __name__ == "__main__":
    unittest.main(verbosity=2)
