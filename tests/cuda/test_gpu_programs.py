#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 600
"""What is kept ready for a real card works: the questions, their failures, the scripts, the benchmark.

Runs them on the stand-in driver. What they measure there means nothing; that every question is answered, that one that
fails or hangs says so and takes no other along, and that no figure is printed, is what is held here.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
import standin  # noqa: E402
import vram_daemon  # noqa: E402

MIB = 1 << 20
QUESTIONS = os.path.join(vram_daemon.build_dir(), "tests", "gpu", "questions")
SKIP = 77
NOT_SUPPORTED, INVALID_VALUE = 801, 1


def run(card, command, timeout=240, **more):
    env = dict(os.environ, **more)
    for name in ("GPU_STANDIN", "GPU_VRAM", "GPU_WHOLE"):
        if name not in more:
            env.pop(name, None)
    env.update(card.environ(vram_daemon.build_dir()) if card else {})
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=timeout, check=False)


class Programs(unittest.TestCase):
    def setUp(self):
        # Of other users, too, which a test's own folder is not.
        self.folder = tempfile.mkdtemp(prefix="vram-gpu-", dir="/var/tmp")
        os.chmod(self.folder, 0o755)
        self.addCleanup(shutil.rmtree, self.folder)
        self.card = standin.Card(512 * MIB, folder=self.folder, linger_ns=30_000_000)
        self.addCleanup(self.card.close)

    def ask(self, *options, names=()):
        """Return: the exit status, and the answers by question."""
        done = run(self.card, [QUESTIONS, "-j", "-q", "-m", "128", *options, *names])
        self.assertNotEqual(done.returncode, SKIP, done.stdout)
        answers = {}
        for line in done.stdout.splitlines():
            a = json.loads(line)
            answers.setdefault(a["question"], []).append(a)
        return done.returncode, answers

    def names(self):
        done = run(None, [QUESTIONS, "-L"])
        return {line.split()[0] for line in done.stdout.splitlines()}

    def failed(self, answers):
        return {q for q, rows in answers.items() for a in rows if a["kind"] == "failed"}

    def find(self, answers, question, what):
        found = [a for a in answers[question] if what in a["what"]]
        self.assertTrue(found, f"{question}: nothing about {what!r}")
        return found[0]

    def test_every_question_is_answered(self):
        status, answers = self.ask()
        self.assertEqual(self.failed(answers), set())
        self.assertEqual(status, 0)
        self.assertEqual(set(answers), self.names())
        self.assertGreater(sum(len(rows) for rows in answers.values()), 150)
        for rows in answers.values():
            self.assertTrue(any(a["kind"] in ("text", "number") for a in rows), rows)
        self.assertEqual(self.card.used_bytes(), 0, "something stayed on the card")

    def test_answers_are_the_drivers(self):
        """What the stand-in is known to do is found, the bad as well as the good."""
        self.card.linger_ns = 400_000_000
        status, answers = self.ask("-w", names=("device", "readonly", "zero", "kill", "mapping"))
        self.assertEqual((status, self.failed(answers)), (0, set()))
        self.assertEqual(self.find(answers, "device", "granularity of chunks, least")["value"], 2)
        self.assertEqual(self.find(answers, "readonly", "a hostile importer")["text"], "changed")
        self.assertIn("ILLEGAL_ADDRESS", self.find(answers, "readonly", "the kernel")["text"])
        # It does not clean memory, which vramd must not rely on.
        self.assertFalse(self.find(answers, "zero", "words of what was there before")["holds"])
        self.assertGreater(self.find(answers, "kill", "the same memory can be created")["value"], 350)
        self.assertGreater(self.find(answers, "kill", "words of the client's")["value"], 0)
        self.assertTrue(self.find(answers, "mapping", "a mapping from inside a chunk")["holds"])
        self.assertIn("waits", self.find(answers, "mapping", "cuMemFree beside a kernel of this context")["text"])

    def test_a_failure_is_told_and_stays_alone(self):
        # (the call, the error, who needs it)
        for call, error, needs in (("cuStreamWriteValue64", NOT_SUPPORTED, {"signal"}),
                                   ("cuMemHostAlloc", INVALID_VALUE, {"overlap", "pinned"}),
                                   ("cuMemAlloc", INVALID_VALUE, {"readonly", "mapping", "pointers"})):
            with self.subTest(call=call):
                self.card.clear_faults()
                self.card.fault(call, error, times=-1)
                others = {"device", "costs", "accounting"}
                status, answers = self.ask(names=sorted(needs | others))
                self.assertEqual(status, 1)
                self.assertEqual(self.failed(answers), needs)
                self.assertEqual(set(answers), needs | others)
                for question in needs:
                    told = " ".join(a["text"] for a in answers[question] if a["kind"] == "failed")
                    self.assertIn("NOT_SUPPORTED" if error == NOT_SUPPORTED else "INVALID_VALUE", told)

    def test_a_dead_context_stays_alone(self):
        """An error that is sticky, met by work that was submitted long before."""
        self.card.fault("cuMemsetD8Async", 700, flags=standin.ASYNC)
        status, answers = self.ask(names=("overlap", "costs"))
        self.assertEqual(status, 1)
        self.assertEqual(self.failed(answers), {"overlap"})

    def test_one_that_hangs_is_ended(self):
        self.card.h2d_bytes_per_s = 1000
        seconds = "20" if os.environ.get("SAN") else "4"
        status, answers = self.ask("-t", seconds, names=("overlap", "costs"))
        self.assertEqual(status, 1)
        self.assertEqual(self.failed(answers), {"overlap"})
        self.assertIn(f"no end within {seconds} s", answers["overlap"][-1]["text"])
        self.assertGreater(len(answers["costs"]), 10)

    def test_without_a_card_they_skip(self):
        for script in (["gpu", "walk.py"], ["gpu", "cudart.py"], ["gpu", "torch_check.py"], ["bench", "gpu.py"],
                       ["gpu", "check_gpu.sh"]):
            command = [os.path.join(HERE, "..", *script)]
            if script[1] == "check_gpu.sh":
                command += ["-b", vram_daemon.build_dir()]
            done = run(self.card, command)
            self.assertEqual(done.returncode, SKIP, f"{script}: {done.stdout}{done.stderr}")
            self.assertIn("stand-in", done.stdout, script)
        self.card.init_error = 100
        done = run(self.card, [QUESTIONS])
        self.assertEqual(done.returncode, SKIP)
        self.assertIn("no NVIDIA device", done.stdout)

    def test_models_are_walked(self):
        done = run(self.card, [os.path.join(HERE, "..", "gpu", "walk.py")], GPU_STANDIN="1", GPU_VRAM="64",
                   BENCH_DIR=self.folder)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(done.stdout.count("wrong=0"), 3 if "not tried" in done.stdout else 6)

    def test_the_benchmark_prints_no_figure_here(self):
        done = run(self.card, [os.path.join(HERE, "..", "bench", "gpu.py")], GPU_STANDIN="1", BENCH_DIR=self.folder)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(done.stdout, "")
        for figure in ("swap_in", "swap_out", "both_directions", "switch", "acquire_release", "overhead",
                       "overlap_compute", "overlap_swap_in"):
            self.assertIn(f"{figure} was measured on the stand-in driver", done.stderr)


if __name__ == "__main__":
    if not os.access(QUESTIONS, os.X_OK):
        print(f"{QUESTIONS} is not built")
        sys.exit(SKIP)
    unittest.main(verbosity=2)
