#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The events and fields of the log: in daemon/log.h and in use, in vramd(8), in the journal's catalog."""

import glob
import os
import re
import unittest

SRC = os.environ["VRAM_SRC"]


def read(*path):
    with open(os.path.join(SRC, *path), encoding="utf-8") as f:
        return f.read()


def section():
    return re.search(r"^\.SH LOGGING\n(.*?)^\.SH ", read("docs", "man", "vramd.8"), re.M | re.S)[1]


class Log(unittest.TestCase):
    def setUp(self):
        found = re.findall(r'#define LOG_ID_(\w+)\s+"(.*)"', read("daemon", "log.h"))
        self.ids = dict(found)
        self.assertEqual(len(self.ids), len(found))
        paths = glob.glob(os.path.join(SRC, "daemon", "*.[ch]"))
        self.code = "\n".join(read(path) for path in paths if not path.endswith("/log.h"))

    def test_ids(self):
        self.assertGreater(len(self.ids), 10)
        for number in self.ids.values():
            self.assertRegex(number, "^[0-9a-f]{32}$")
        self.assertEqual(len(set(self.ids.values())), len(self.ids))

    def test_each_is_used(self):
        for name in self.ids:
            self.assertRegex(self.code, rf"LOG_ID\({name}\)|LOG_ID_{name}\b", name)

    def test_manual(self):
        listed = re.findall(r"^\.B ([0-9a-f]{32})$", section(), re.M)
        self.assertEqual(sorted(listed), sorted(self.ids.values()))

    def test_catalog(self):
        catalog = read("packaging", "vram.catalog")
        self.assertEqual(
            sorted(re.findall(r"^-- (\w+)$", catalog, re.M)), sorted(self.ids.values())
        )
        used = set(re.findall(r'"(VRAM_[A-Z_]+)"', self.code))
        self.assertLessEqual(set(re.findall(r"@(\w+)@", catalog)), used)

    def test_fields(self):
        fields = re.findall(r'LOG_(?:TEXT|NUMBER)\("(VRAM_[A-Z_]+)"', self.code)
        listed = re.findall(r"^\.B (VRAM_[A-Z_]+)$", section(), re.M)
        self.assertEqual(sorted(listed), sorted(set(fields)))


if __name__ == "__main__":
    unittest.main(verbosity=2)
