#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The metrics are what others take for metrics (the strict parser of prometheus_client, promtool), docs/metrics.md
and the dashboard name exactly what there is, and hostile names break nothing."""

import json
import os
import re
import shutil
import subprocess
import sys
import unittest

SRC, BUILD, TMP = os.environ["VRAM_SRC"], os.environ["VRAM_BUILD"], os.environ["TEST_TMP"]
sys.path.insert(0, os.path.join(SRC, "tests", "support"))
import metrics_world  # noqa: E402
import vram_daemon  # noqa: E402

HOSTILE = 'a "quoted"} 1\nvram_faults_total 9\\'


def promtool(text):
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


def documented():
    """{family: (type, unit, labels, meaning)} of docs/metrics.md"""
    with open(os.path.join(SRC, "docs/metrics.md"), encoding="utf-8") as f:
        rows = [line.strip().strip("|").split("|") for line in f if line.startswith("| `vram_")]
    found = {}
    for row in rows:
        name, kind, unit, labels, meaning = (cell.strip() for cell in row)
        found[name.strip("`")] = (kind, unit, set(re.findall(r"`(\w+)`", labels)), meaning)
    assert len(found) == len(rows), "a family is there twice"
    return found


class Metrics(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = metrics_world.World(TMP)
        cls.daemon = cls.world.daemon
        cls.world.client(HOSTILE.encode(), HOSTILE.encode())
        cls.world.client(b"\xff\xfe plain", "modèle".encode())
        cls.text = cls.print()
        cls.families = cls.world.parse(cls.text)

    @classmethod
    def tearDownClass(cls):
        cls.daemon.check()
        cls.world.close()

    @classmethod
    def print(cls, *args):
        done = subprocess.run(
            [os.path.join(BUILD, "vramctl"), "--socket", cls.daemon.socket, "metrics", *args],
            capture_output=True, text=True, timeout=60, check=True,
        )
        assert done.stderr == "", done.stderr
        return done.stdout

    def test_openmetrics(self):
        """It is strict: order, suffixes, units, escapes, duplicates, the end."""
        self.assertGreater(len(self.families), 40)
        for name, family in self.families.items():
            self.assertTrue(name.startswith("vram_"), name)
            self.assertTrue(family.documentation.endswith("."), name)
            if family.unit:
                self.assertTrue(name.endswith("_" + family.unit), name)

    def test_parser_is_strict(self):
        for broken in (
            self.text.replace("# EOF\n", ""),
            self.text.replace("vram_faults_total", "vram_faults"),
            self.text + "vram_late 1\n",
        ):
            with self.assertRaises(ValueError):
                self.world.parse(broken)

    def test_promtool(self):
        if not shutil.which("promtool"):
            self.skipTest("no promtool: apt install prometheus")
        status, said = promtool(self.print("--format", "prometheus"))
        self.assertEqual((status, said), (0, ""))
        status, said = promtool("# TYPE vram_x counter\nvram_x 1\n")
        self.assertNotEqual(status, 0)

    def test_formats_agree(self):
        def samples(text):
            lines = (line for line in text.splitlines() if not line.startswith("#"))
            return {line.rsplit(" ", 1)[0] for line in lines}

        self.assertEqual(samples(self.text), samples(self.print("--format", "prometheus")))

    def test_documented(self):
        """docs/metrics.md has every family with its type, unit, labels and meaning, and no other."""
        told = documented()
        self.assertEqual(set(told), set(self.families))
        for name, (kind, unit, labels, meaning) in told.items():
            family = self.families[name]
            self.assertEqual((kind, unit, meaning), (family.type, family.unit, family.documentation), name)
            for sample in family.samples:
                self.assertEqual(set(sample.labels), labels, name)
        without = {name for name, family in self.families.items() if not family.samples}
        # How fast they go may not be known yet.
        self.assertLessEqual(without, {"vram_session_pass_seconds", "vram_session_position_ratio"})

    def test_dashboard(self):
        with open(os.path.join(SRC, "docs/grafana-vram.json"), encoding="utf-8") as f:
            dashboard = json.load(f)
        suffix = {"counter": "_total", "info": "_info"}
        names = {name + suffix.get(family.type, ""): family for name, family in self.families.items()}
        queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
        queries += [v["query"]["query"] for v in dashboard["templating"]["list"] if isinstance(v["query"], dict)]
        used = set()
        for query in queries:
            for name, selector in re.findall(r"\b(vram_\w+)(\{[^}]*\})?", query):
                self.assertIn(name, names, query)
                used.add(name)
                known = set().union(*(sample.labels for sample in names[name].samples)) | {"instance"}
                for label in re.findall(r"(\w+)(?:=~|!~|=|!=)", selector):
                    self.assertIn(label, known, query)
        self.assertGreater(len(used), 15)
        self.assertEqual(len({panel["id"] for panel in dashboard["panels"]}), len(dashboard["panels"]))
        # A name that is not there is found.
        self.assertNotIn("vram_nonsense_total", names)

    def test_hostile_names(self):
        shown = {
            sample.labels["name"]
            for sample in self.families["vram_session"].samples
        }
        self.assertEqual(shown, {'a "quoted"} 1?vram_faults_total 9\\', "?? plain"})
        models = {sample.labels["model"] for sample in self.families["vram_model_size_bytes"].samples}
        self.assertEqual(models, {'a "quoted"} 1?vram_faults_total 9\\', "mod??le"})

    def test_wrong_format(self):
        done = subprocess.run(
            [os.path.join(BUILD, "vramctl"), "--socket", self.daemon.socket, "metrics", "--format", "xml"],
            capture_output=True, text=True, timeout=60, check=False,
        )
        self.assertEqual(done.returncode, 2)
        self.assertIn("either openmetrics or prometheus", done.stderr)


if __name__ == "__main__":
    if vram_daemon.missing(["vramd", "vramctl"]):
        print("no vramd is built")
        sys.exit(77)
    reason = metrics_world.no_parser(BUILD)
    if reason:
        print(reason)
        sys.exit(77)
    unittest.main(verbosity=2)
