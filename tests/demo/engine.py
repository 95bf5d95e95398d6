#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""One client of the demo: llama.cpp, unmodified, asked by this process itself through the xllamacpp wheel.

  engine.py chat MODEL.gguf ROUNDS TOKENS       answers the questions of prompts.py
  engine.py story MODEL.gguf ROUNDS TOKENS      goes on with its beginnings
  engine.py search MODEL.gguf ROUNDS TOKENS     embeds its sentences and ranks them against its queries

It knows nothing of vram. Each answer is one line of JSON on stdout: round, prompt, answer, seconds, and for
a language model the number of tokens. Everything that could make two runs differ is fixed: greedy sampling,
one thread, one request at a time, nothing reused from an earlier prompt.
"""

import hashlib
import json
import struct
import sys
import time

import xllamacpp

import prompts


def server(model, embedding):
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx = 1024
    params.n_parallel = 1
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.n_threads_http = 1
    params.verbosity = -1
    # llama.cpp's --no-repack: use the weights where they are mapped instead of copying them.
    params.no_extra_bufts = True
    if embedding:
        params.embedding = True
    else:
        params.sampling.temp = 0.0
    return xllamacpp.Server(params)


def emit(line):
    print(json.dumps(line, ensure_ascii=False), flush=True)


def checked(reply):
    if "error" in reply:
        sys.exit(f"engine.py: {reply['error']}")
    return reply


def generate(engine, role, rounds, tokens):
    options = {"temperature": 0, "seed": 1, "cache_prompt": False, "max_tokens": tokens}
    for number in range(rounds):
        for prompt in prompts.CHAT if role == "chat" else prompts.STORY:
            start = time.monotonic()
            if role == "chat":
                messages = [{"role": "user", "content": prompt}]
                reply = checked(engine.handle_chat_completions(options | {"messages": messages}))
                answer = reply["choices"][0]["message"]["content"]
            else:
                reply = checked(engine.handle_completions(options | {"prompt": prompt}))
                answer = reply["choices"][0]["text"]
            emit({"round": number, "prompt": prompt, "answer": answer,
                  "tokens": reply["usage"]["completion_tokens"], "seconds": time.monotonic() - start})


def embed(engine, texts):
    reply = checked(engine.handle_embeddings({"input": texts, "model": "any"}))
    return [entry["embedding"] for entry in reply["data"]]


def search(engine, rounds):
    for number in range(rounds):
        for query in prompts.QUERIES:
            start = time.monotonic()
            wanted, *vectors = embed(engine, [query] + prompts.SENTENCES)
            scores = [sum(a * b for a, b in zip(wanted, v)) for v in vectors]
            best = max(range(len(scores)), key=scores.__getitem__)
            # The answer has to be equal in every bit of every embedding, not only in the ranking.
            digest = hashlib.sha256()
            for v in [wanted] + vectors:
                digest.update(struct.pack(f"<{len(v)}d", *v))
            emit({"round": number, "prompt": query, "answer": prompts.SENTENCES[best], "score": scores[best],
                  "digest": digest.hexdigest(), "seconds": time.monotonic() - start})


def main():
    if len(sys.argv) != 5 or sys.argv[1] not in ("chat", "story", "search"):
        sys.exit(__doc__)
    role, model, rounds, tokens = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    engine = server(model, role == "search")
    if role == "search":
        search(engine, rounds)
    else:
        generate(engine, role, rounds, tokens)


if __name__ == "__main__":
    main()
