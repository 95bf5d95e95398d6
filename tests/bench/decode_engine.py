# SPDX-License-Identifier: GPL-2.0-only
"""The engine that the benchmarks run: unmodified llama.cpp, one token a decode, with the tokens timed.

  decode_engine.py MODEL.gguf THREADS WARM TOKENS [BLOCK]

Loads the model as llama.cpp does by default (mapped; repacking off, as with --no-repack), decodes WARM tokens,
says {"mark": "warm"} on stdout and waits for a line on stdin, decodes TOKENS more, and says {"mark": "done"} with
the time of each in ns, the SHA-256 of all logits since the first token, the bytes that this process read from
storage meanwhile, and the memory that is its own (not the file's). Then it waits for another line, so that its
memory can be looked at, and ends. With BLOCK it also says {"mark": "block"} and waits after every so many tokens, so
that several engines can be measured by turns. Each token is the most likely one, so a single wrong weight shows.
"""

import array
import hashlib
import json
import os
import sys
import time
import ctypes

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import llama_lib  # noqa: E402


def say(**what):
    print(json.dumps(what), flush=True)
    if not sys.stdin.readline():
        sys.exit(3)


def own(name, path="/proc/self/status", factor=1024):
    with open(path, encoding="utf-8") as f:
        for line in f:
            if line.startswith(name + ":"):
                return int(line.split()[1]) * factor
    return 0


def read_bytes():
    return own("read_bytes", "/proc/self/io", 1)


def open_model(lib, path, threads):
    params = lib.llama_model_default_params()
    params.use_extra_bufts = False
    model = lib.llama_model_load_from_file(path.encode(), params)
    if not model:
        sys.exit(f"decode_engine: {path}: llama.cpp cannot load it")
    params = lib.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch = 512, 64, 64
    params.n_threads = params.n_threads_batch = threads
    context = lib.llama_init_from_model(model, params)
    if not context:
        sys.exit("decode_engine: no context")
    return model, context


def main():
    if len(sys.argv) not in (5, 6):
        sys.exit(__doc__)
    path, threads, warm, tokens = sys.argv[1], *map(int, sys.argv[2:5])
    block = int(sys.argv[5]) if len(sys.argv) == 6 else tokens
    lib = llama_lib.load()
    lib.llama_backend_init()
    model, context = open_model(lib, path, threads)
    n_vocab = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
    token = (ctypes.c_int32 * 1)(1)
    digest = hashlib.sha256()
    times, start_bytes = [], 0

    for i in range(warm + tokens):
        if i == warm:
            say(mark="warm")
            start_bytes = read_bytes()
        elif i > warm and (i - warm) % block == 0:
            say(mark="block")
        start = time.monotonic_ns()
        if lib.llama_decode(context, lib.llama_batch_get_one(token, 1)):
            sys.exit("decode_engine: llama_decode failed")
        raw = ctypes.string_at(lib.llama_get_logits_ith(context, -1), 4 * n_vocab)
        spent = time.monotonic_ns() - start
        if i >= warm:
            times.append(spent)
        digest.update(raw)
        logits = array.array("f", raw)
        token[0] = logits.index(max(logits))

    say(mark="done", ns=times, logits=digest.hexdigest(), read_bytes=read_bytes() - start_bytes,
        anon_bytes=own("RssAnon"))
    lib.llama_free(context)
    lib.llama_model_free(model)


if __name__ == "__main__":
    main()
