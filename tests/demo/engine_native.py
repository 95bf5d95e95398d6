#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The demo's client with llama.cpp's own programs (tests/support/build_llama.sh): the roles, the arguments and the
output of engine.py, but each answer is one run of llama-completion or llama-embedding, a child of this process."""

import hashlib
import json
import os
import subprocess
import sys
import time

import prompts

COMMON = ["-t", "1", "--no-repack", "--seed", "1"]


def run(program, arguments):
    folder = os.environ["LLAMA_PROGRAMS"]
    done = subprocess.run([os.path.join(folder, program), *arguments, *COMMON], stdin=subprocess.DEVNULL,
                          capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"{program}: exit status {done.returncode}\n{done.stderr.decode(errors='replace')[-2000:]}")
    sys.stderr.write("".join(line + "\n" for line in done.stderr.decode(errors="replace").splitlines()
                             if line.startswith(("vram:", "vramrun"))))
    return done.stdout.decode(errors="replace")


def emit(**line):
    print(json.dumps(line, ensure_ascii=False), flush=True)


def generate(role, model, rounds, tokens):
    for number in range(rounds):
        for prompt in prompts.CHAT if role == "chat" else prompts.STORY:
            start = time.monotonic()
            text = prompt if role == "story" else \
                f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
            answer = run("llama-completion", ["-m", model, "-p", text, "-n", str(tokens), "--temp", "0", "-c", "1024",
                                              "-no-cnv", "--no-display-prompt"])
            emit(round=number, prompt=prompt, answer=answer, seconds=time.monotonic() - start)


def search(model, rounds):
    for number in range(rounds):
        for query in prompts.QUERIES:
            start = time.monotonic()
            told = run("llama-embedding", ["-m", model, "-p", "\n".join([query] + prompts.SENTENCES),
                                           "--embd-output-format", "array"])
            wanted, *vectors = json.loads(told)
            scores = [sum(a * b for a, b in zip(wanted, v)) for v in vectors]
            best = max(range(len(scores)), key=scores.__getitem__)
            emit(round=number, prompt=query, answer=prompts.SENTENCES[best], score=scores[best],
                 digest=hashlib.sha256(told.encode()).hexdigest(), seconds=time.monotonic() - start)


def main():
    role, model, rounds, tokens = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    if role == "search":
        search(model, rounds)
    else:
        generate(role, model, rounds, tokens)


if __name__ == "__main__":
    main()
