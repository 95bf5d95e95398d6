#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The manual pages as their reader sees them (rendered by mandoc): they are well formed, refer to pages that there
are, name nothing that is not there, and those of the library say exactly what its headers say. The programs in their
examples compile, link, and do what they are there for."""

import functools
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

SRC, BUILD = os.environ["VRAM_SRC"], os.environ["VRAM_BUILD"]
sys.path.insert(0, os.path.join(SRC, "tests/support"))
import vram_daemon  # noqa: E402

PAGES = sorted(glob.glob(os.path.join(SRC, "docs/man/*.[1-9]")))
LIBRARY = [path for path in PAGES if path.endswith(".3")]
HEADERS = ("libclient/vram.h", "libclient/vram_cuda.h")
# Pages whose program exits with 1 on the host device, because they are about a card.
NEEDS_CARD = {"vram_cuda.3"}


def source(path):
    with open(os.path.join(SRC, path), encoding="utf-8") as f:
        return f.read()


@functools.cache
def rendered(path):
    """The page as plain text, on a screen so wide that nothing of a listing is broken."""
    done = subprocess.run(
        ["mandoc", "-T", "ascii", "-O", "width=400", path],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return re.sub(r".\x08", "", done.stdout)


def sections(text):
    """{"SYNOPSIS": its lines, without the indentation of the page}"""
    found, lines = {}, None
    for line in text.splitlines():
        if re.match(r"[A-Z]", line):
            lines = found.setdefault(line.strip(), [])
        elif lines is not None:
            lines.append(line[7:] if line.startswith("       ") else line.strip())
    return {name: "\n".join(lines) for name, lines in found.items()}


def flat(text):
    return re.sub(r"\s+", " ", text).replace("( ", "(").strip()


def prototypes():
    """{"vram_close": "void vram_close(struct vram_client *client)"} of the headers."""
    found = {}
    for header in HEADERS:
        code = re.sub(r"/\*.*?\*/", "", source(header), flags=re.S)
        for text in re.findall(r"^VRAM_API ([^;{]*)\s*;", code, re.M):
            found[re.search(r"(\w+)\(", text).group(1)] = flat(text)
    return found


def errors_of_headers():
    """{"vram_close": {"-EINVAL", ...}} as the comment above each function has it."""
    found, closed = {}, set()
    for header in HEADERS:
        code = source(header)
        if not closed:
            closed = set(re.findall(r"^ \*\t(-E[A-Z0-9]+)", code, re.M))
        told, bound = set(), False
        for comment, text in re.findall(r"(/\*(?:(?!\*/).)*\*/)|^VRAM_API ([^;{]*);", code, re.M | re.S):
            if comment:
                part = re.search(r"[Rr]eturn: (.*)", re.sub(r"\n \*", " ", comment), re.S)
                told, bound = set(), True
                if part:
                    # What stands behind the list, "Without 0 ...", names no errors.
                    told = set(re.findall(r"-E[A-Z0-9]+", part.group(1)))
                    if "all but" in part.group(1):
                        told = closed - told
                    if "as vram_connect()" in part.group(1):
                        told |= found["vram_connect"]
                continue
            assert bound
            found[re.search(r"(\w+)\(", text).group(1)] = set(told)
    return found, closed


def functions_of(page_text):
    """The functions whose prototypes are in the synopsis: {name: prototype}"""
    synopsis = flat(sections(page_text).get("SYNOPSIS", ""))
    parts = [re.sub(r"^(#include <\S+> )+", "", part.strip()) for part in synopsis.split(";")]
    return {
        re.search(r"(\w+)\(", part).group(1): part
        for part in parts
        if re.search(r"\bvram_\w+\(", part) and not part.startswith("typedef")
    }


def program_of(page_text):
    lines = sections(page_text).get("EXAMPLE", "").splitlines()
    for i, line in enumerate(lines):
        if line.startswith("#include"):
            last = max(k for k in range(i, len(lines)) if lines[k] == "}")
            return "\n".join(lines[i : last + 1]) + "\n"
    return None


class Forms(unittest.TestCase):
    def test_there_are_pages(self):
        self.assertGreaterEqual(len(PAGES), 16)
        self.assertGreaterEqual(len(LIBRARY), 11)

    def test_lint(self):
        done = subprocess.run(
            ["mandoc", "-T", "lint", "-W", "warning", *PAGES],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual(done.stdout + done.stderr, "")

    def test_titles(self):
        """File name, title line and the names under NAME are the same thing."""
        for path in PAGES:
            name, section = os.path.basename(path).rsplit(".", 1)
            with open(path, encoding="utf-8") as f:
                title = re.search(r"^\.TH (\S+) (\d)", f.read(), re.M)
            self.assertEqual((title.group(1).lower(), title.group(2)), (name, section), path)
            names = re.split(r",\s*", sections(rendered(path))["NAME"].split(" - ")[0])
            self.assertIn(name, [n.strip() for n in names], path)

    def test_references(self):
        """Whatever looks like one of our pages is one, and SEE ALSO has none twice."""
        ours = {os.path.basename(path) for path in PAGES}
        for path in LIBRARY:
            names = sections(rendered(path))["NAME"].split(" - ")[0]
            ours |= {f"{name.strip()}.3" for name in names.split(",")}
        for path in PAGES:
            text = rendered(path)
            for name, section in re.findall(r"\b((?:lib)?vram[\w.]*)\((\d)\)", text):
                self.assertIn(f"{name}.{section}", ours, path)
            also = re.findall(r"[\w.-]+\(\d\)", sections(text)["SEE ALSO"])
            self.assertEqual(len(also), len(set(also)), path)
            self.assertNotIn(re.sub(r"\.(\d)$", r"(\1)", os.path.basename(path)), also)
            self.assertGreaterEqual(len(also), 1, path)


class Library(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.headers = prototypes()
        cls.pages = {os.path.basename(path): rendered(path) for path in LIBRARY}

    def test_exported(self):
        """The headers are the library's interface: no more, no less."""
        done = subprocess.run(
            ["nm", "-D", "--defined-only", os.path.join(BUILD, "libvram.so.0")],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        exported = {line.split()[2].split("@")[0] for line in done.stdout.splitlines()}
        self.assertEqual({e for e in exported if e.startswith("vram_")}, set(self.headers))

    def test_prototypes(self):
        """Each function has one page, which has its prototype as the header has it, and its name on top."""
        seen = {}
        for page, text in self.pages.items():
            names = {n.strip() for n in sections(text)["NAME"].split(" - ")[0].split(",")}
            for name, prototype in functions_of(text).items():
                self.assertNotIn(name, seen, f"{page} and {seen.get(name)}")
                seen[name] = page
                self.assertEqual(prototype, self.headers.get(name), page)
                self.assertIn(name, names, page)
            extra = names - set(functions_of(text)) - {page.removesuffix(".3")}
            self.assertEqual(extra, set(), f"{page}: under NAME, not in SYNOPSIS")
        self.assertEqual(set(self.headers) - set(seen), set(), "without a page")

    def test_names(self):
        """No page speaks of a function, type, field prefix or constant that is nowhere in the sources."""
        code = "".join(
            source(os.path.relpath(path, SRC))
            for pattern in ("libclient/*.[chm]*", "libclient/*/*.[ch]", "kmod/uapi/*.h", "common/*.h")
            for path in glob.glob(os.path.join(SRC, pattern))
        )
        known = set(re.findall(r"\b(?:vram|VRAM)_\w+", code))
        for page, text in self.pages.items():
            named = set(re.findall(r"\b(?:vram|VRAM)_\w+", text)) - {page.removesuffix(".3").upper()}
            self.assertEqual({n for n in named if n.removesuffix(".h") not in known} - self.names_of_pages(), set(), page)
            for name in re.findall(r"\b(vram_\w+)\(\)", text):
                if not name.startswith("vram_torch"):
                    self.assertIn(name, self.headers, page)

    def names_of_pages(self):
        """Pages may be called after a subject; vram_cuda is a header's name as well."""
        return {page.removesuffix(".3") for page in self.pages}

    def test_sections(self):
        for page, text in self.pages.items():
            if page == "libvram.3":
                continue
            have = list(sections(text))
            wanted = ["NAME", "LIBRARY", "SYNOPSIS", "DESCRIPTION", "OWNERSHIP", "RETURN VALUE", "ERRORS",
                      "THREADS", "EXAMPLE", "SEE ALSO"]
            self.assertEqual([s for s in have if s in wanted], wanted, page)

    def test_errors(self):
        """The errors of a page are those that the headers give its functions; the overview has the closed set."""
        told, closed = errors_of_headers()
        self.assertGreaterEqual(len(closed), 18)
        self.assertEqual(set(told), set(self.headers))
        for page, text in self.pages.items():
            part = sections(text)["RETURN VALUE" if page == "libvram.3" else "ERRORS"]
            tags = set()
            for line in part.splitlines():
                if re.match(r"-E[A-Z0-9]", line):
                    tags |= set(re.findall(r"-E[A-Z0-9]+", line))
            wanted = set().union(*(told[name] for name in functions_of(text))) if page != "libvram.3" else closed
            self.assertEqual(tags, wanted, page)

    def test_structures(self):
        """A structure or field that is shown is the header's."""
        def shape(text):
            text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
            return [flat(line) for line in text.split(";") if line.strip()]

        code = "".join(source(h) for h in HEADERS)
        shown = 0
        for page, text in self.pages.items():
            for name, body in re.findall(r"struct (vram_\w+) \{\n(.*?)\n\s*\};", text, re.S):
                real = re.search(rf"^struct {name} \{{\n(.*?)\n\}};", code, re.M | re.S)
                self.assertIsNotNone(real, f"{page}: {name}")
                self.assertEqual(shape(body), shape(real.group(1)), f"{page}: {name}")
                shown += 1
        self.assertGreaterEqual(shown, 4)


class Examples(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="vram-pages-")
        for header in HEADERS:
            os.symlink(os.path.join(SRC, header), os.path.join(cls.folder, os.path.basename(header)))
        cls.model = os.path.join(cls.folder, "tiny.gguf")
        subprocess.run(
            [sys.executable, os.path.join(SRC, "tests/support/gen_gguf.py"), cls.model, "tiny"],
            stdout=subprocess.DEVNULL,
            timeout=120,
            check=True,
        )

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder, ignore_errors=True)

    def compiled(self, page, program):
        sanitizer = {"address": ["-fsanitize=address,undefined"], "thread": ["-fsanitize=thread"]}
        path = os.path.join(self.folder, page.replace(".", "-"))
        done = subprocess.run(
            [
                os.environ.get("CC", "cc"), "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I", self.folder,
                *sanitizer.get(os.environ.get("SAN", ""), []), "-xc", "-", "-o", path,
                "-L", BUILD, "-lvram", f"-Wl,-rpath,{BUILD}",
            ],
            input=program,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""), page)
        return path

    def test_programs(self):
        """They compile without a warning, and run: with a daemon whose budget is half of the model."""
        programs = {os.path.basename(path): program_of(rendered(path)) for path in LIBRARY}
        self.assertEqual([page for page, program in programs.items() if not program], [])
        with vram_daemon.Daemon("8M", settings={"limits": {"wait_timeout": "20s"}}) as daemon:
            for page, program in programs.items():
                path = self.compiled(page, program)
                args = [path, self.model] if "argv[1]" in program else [path]
                done = subprocess.run(
                    args,
                    env=dict(os.environ, VRAM_SOCKET=daemon.socket),
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    timeout=120,
                    check=False,
                )
                wanted = 1 if page in NEEDS_CARD and not vram_daemon.wants_card() else 0
                self.assertEqual(done.returncode, wanted, f"{page}: {done}")
                if wanted:
                    self.assertIn("card", done.stderr, page)
                daemon.check()


if __name__ == "__main__":
    if not shutil.which("mandoc"):
        print("no mandoc: apt install mandoc")
        sys.exit(77)
    unittest.main(verbosity=2)
