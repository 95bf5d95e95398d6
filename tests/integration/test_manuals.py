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
    # What is right of something long stands below it.
    part = re.sub(r"(\S)\n {12,}", r"\1  ", part)
    return [tuple(re.split(r"\s{2,}", line.strip(), maxsplit=1)) for line in part.splitlines()]


def command_name(left):
    """["limit", "show"] of "limit show [SUBJECT]"."""
    return re.match(r"[a-z]+( [a-z]+)?(?![a-z=]*[|])", left).group(0).split()


# Program, page, and which parts of --help are which sections of it.
PROGRAMS = [
    ("vramctl", "vramctl.1", {"Options": "OPTIONS", "Commands": "COMMANDS"}),
    ("vramtop", "vramtop.1", {"Options": "OPTIONS", "Keys": "KEYS", "Columns": "COLUMNS"}),
    ("vramrun", "vramrun.1", {"Options": "OPTIONS"}),
    ("vramd", "vramd.8", {"Options": "OPTIONS"}),
    ("vramtrace", "vramtrace.8", {"Options": "OPTIONS", "Views": "VIEWS"}),
]
# In the page several columns may share a paragraph: "in, out, written".
SEVERAL = {"COLUMNS"}


def long_options(lefts):
    return {word for left in lefts for word in re.findall(r"--[a-z-]+", left.split("[=")[0])}


def differences(text, sections, parts, words, only_for_commands=()):
    """What --help, the page and the completion do not agree upon, as sentences."""
    found = []
    for title, section in parts.items():
        lefts = [left for left, _ in help_part(text, title)]
        tags = sections.get(section, [])
        if section in SEVERAL:
            tags = [word for tag in tags for word in tag.split(", ")]
            lefts, tags = sorted(lefts), sorted(tags)
        found += [f"{left}: not in the page's {section}" for left in lefts if left not in tags]
        found += [f"{tag}: in {section}, not in --help" for tag in tags if tag not in lefts]
        if section != "OPTIONS" and not found and lefts != tags:
            found.append(f"{section}: in another order than --help")
        if len(set(lefts)) != len(lefts):
            found.append(f"{title}: something stands twice")
    options = long_options(left for left, _ in help_part(text, "Options")) - set(only_for_commands)
    offered = [word for word in words if word.startswith("--")]
    found += [f"{option}: not completed" for option in options if option not in offered]
    found += [f"{word}: completed, not in --help" for word in offered if word not in options]
    if len(set(words)) != len(words):
        found.append("completed twice")
    return found


class Pages(unittest.TestCase):
    """--help, which is printed from the table that parses, against page and completion."""

    def material(self, program, name):
        """(--help, the page, what is completed first, options that only some commands have)"""
        text = run(program, "--help")
        special = set()
        if program in ("vramctl", "vramtrace"):
            title = "Commands" if program == "vramctl" else "Views"
            every = long_options(left for left, _ in help_part(text, "Options"))
            names = [command_name(left) for left, _ in help_part(text, title)]
            each = [
                long_options(left for left, _ in help_part(run(program, *at, "--help"), "Options"))
                for at in names
            ]
            special = every - set.intersection(*each)
            # Each is for some command.
            self.assertEqual(set.union(*each), every)
        return text, page(name), run(program, "--complete").split(), special

    def test_programs(self):
        for program, name, parts in PROGRAMS:
            with self.subTest(program=program):
                text, sections, words, special = self.material(program, name)
                self.assertEqual(differences(text, sections, parts, words, special), [])
                self.assertGreaterEqual(len(help_part(text, "Options")), 9)

    def test_planted_differences(self):
        """Each of these would be found."""
        program, name, parts = PROGRAMS[1]
        text, sections, words, _ = self.material(program, name)
        self.assertEqual(differences(text, sections, parts, words), [])

        def changed(section, change):
            return {**sections, section: change(list(sections[section]))}

        def swapped(tags):
            return [tags[1], tags[0], *tags[2:]]

        for what, found in {
            "a new option": (text.replace("      --ascii", "  -a, --ascii"), sections, words),
            "an argument": (text.replace("--iterations N", "--iterations M"), sections, words),
            "one that is gone": (re.sub(r"\n .*--ascii.*", "", text), sections, words),
            "a forgotten paragraph": (text, changed("OPTIONS", lambda t: t[1:]), words),
            "one too many": (text, changed("OPTIONS", lambda t: [*t, "--more"]), words),
            "another order": (text, changed("KEYS", swapped), words),
            "a key": (text, changed("KEYS", lambda t: t[:-1]), words),
            "a column": (text, changed("COLUMNS", lambda t: [*t, "speed"]), words),
            "no completion": (text, sections, words[1:]),
            "too much of it": (text, sections, [*words, "--more"]),
            "twice": (text, sections, [*words, words[0]]),
        }.items():
            with self.subTest(planted=what):
                self.assertNotEqual(differences(found[0], found[1], parts, found[2]), [])

    def test_every_command_has_help(self):
        for program, title, least in (("vramctl", "Commands", 9), ("vramtrace", "Views", 5)):
            lines = help_part(run(program, "--help"), title)
            self.assertGreaterEqual(len(lines), least)
            for left, right in lines:
                text = run(program, *command_name(left), "--help")
                self.assertIn(f"{program} {left} ", text + " ")
                self.assertIn(right[1:], text)

    def test_commands_are_completed(self):
        for program, title in (("vramctl", "Commands"), ("vramtrace", "Views")):
            names = [command_name(left) for left, _ in help_part(run(program, "--help"), title)]
            words = [word for word in run(program, "--complete").split() if word[0] != "-"]
            self.assertEqual(sorted(words), sorted({name[0] for name in names}))
            for first in {name[0] for name in names if len(name) > 1}:
                second = {name[1] for name in names if name[0] == first and len(name) > 1}
                words = run(program, "--complete", first).split()
                self.assertEqual({word for word in words if word[0] != "-"}, second)


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

    def documented(self, sections):
        """The same as settings(), of the page."""
        found = {}
        for section, tags in sections.items():
            for tag in tags if section.startswith("[") else ():
                key, default = re.match(r"(\w+) \((.*)\)$", tag).groups()
                found[section.strip("[]"), key] = default
        return found

    def test_settings_of_the_manual(self):
        sections = page("vramd.conf.5")
        self.assertEqual(self.documented(sections), self.settings())
        # A key too few, one too many, and another default are found.
        for change in (lambda t: t[1:], lambda t: [*t, "more (1)"], lambda t: ["path (/)", *t[1:]]):
            planted = {**sections, "[swap]": change(sections["[swap]"])}
            self.assertNotEqual(self.documented(planted), self.settings())

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
