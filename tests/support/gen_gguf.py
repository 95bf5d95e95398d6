#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Generate a llama-architecture GGUF v3 model of random Q8_0 weights: real work for an engine, no meaning.

  gen_gguf.py OUT.gguf full|small|tiny      5.6 GB (24 layers of a 7B model), 0.6 GB, 13 MB
  gen_gguf.py OUT.gguf LAYERS N_EMBD N_FF N_HEAD N_KV N_VOCAB

The vocabulary has no text ("no_vocab"): decode token numbers. The same arguments give the same file.

The weights come from a ring of random blocks whose length is prime, so that no two multiples of a page or of
any power of two in the file hold the same bytes: whoever maps a wrong chunk computes wrong answers.
"""

import os
import random
import struct
import sys

import ggufio

SIZES = {
    "full": (24, 4096, 14336, 32, 8, 4096),
    "small": (18, 1536, 5376, 24, 8, 4096),
    "tiny": (4, 512, 1536, 8, 4, 512),
}
RING_BLOCKS = 1000003  # prime; 34 MB
SCALE = struct.pack("<e", 4.88e-4)  # of a block: keeps the variance of the layers' output near 1


def layout(n_layer, n_embd, n_ff, n_head, n_kv, n_vocab):
    head = n_embd // n_head
    pairs = [
        ggufio.kv_str("general.architecture", "llama"),
        ggufio.kv_str("general.name", "random weights"),
        ggufio.kv_u32("general.file_type", 7),
        ggufio.kv_u32("general.alignment", ggufio.ALIGN),
        ggufio.kv_u32("llama.context_length", 4096),
        ggufio.kv_u32("llama.embedding_length", n_embd),
        ggufio.kv_u32("llama.block_count", n_layer),
        ggufio.kv_u32("llama.feed_forward_length", n_ff),
        ggufio.kv_u32("llama.attention.head_count", n_head),
        ggufio.kv_u32("llama.attention.head_count_kv", n_kv),
        ggufio.kv_f32("llama.attention.layer_norm_rms_epsilon", 1e-5),
        ggufio.kv_u32("llama.rope.dimension_count", head),
        ggufio.kv_f32("llama.rope.freq_base", 500000.0),
        ggufio.kv_u32("llama.vocab_size", n_vocab),
        ggufio.kv_str("tokenizer.ggml.model", "no_vocab"),
    ]
    tensors = [("token_embd.weight", (n_embd, n_vocab), "q8_0")]
    for i in range(n_layer):
        for name, dims in (
            ("attn_norm", (n_embd,)),
            ("attn_q", (n_embd, n_embd)),
            ("attn_k", (n_embd, head * n_kv)),
            ("attn_v", (n_embd, head * n_kv)),
            ("attn_output", (n_embd, n_embd)),
            ("ffn_norm", (n_embd,)),
            ("ffn_gate", (n_embd, n_ff)),
            ("ffn_up", (n_embd, n_ff)),
            ("ffn_down", (n_ff, n_embd)),
        ):
            tensors.append((f"blk.{i}.{name}.weight", dims, "q8_0" if len(dims) == 2 else "f32"))
    tensors.append(("output_norm.weight", (n_embd,), "f32"))
    tensors.append(("output.weight", (n_embd, n_vocab), "q8_0"))
    return pairs, tensors


def ring():
    block = ggufio.TYPES["q8_0"][2]
    data = bytearray(random.Random(1).randbytes(RING_BLOCKS * block))
    data[0::block] = SCALE[:1] * RING_BLOCKS
    data[1::block] = SCALE[1:] * RING_BLOCKS
    return memoryview(bytes(data))


def pieces(data, at, n):
    """n bytes of the ring from position at on."""
    while n:
        part = data[at:at + n]
        yield part
        n -= len(part)
        at = 0


def generate(path, dims):
    pairs, tensors = layout(*dims)
    data, at = ring(), 0
    out = ggufio.Writer(path, pairs, tensors)
    for _, shape, kind in tensors:
        n = ggufio.tensor_bytes(shape, kind)
        if kind == "f32":
            out.tensor([struct.pack("<f", 1.0) * (n // 4)])
        else:
            out.tensor(pieces(data, at, n))
            at = (at + n) % len(data)
    out.close()


def main():
    if len(sys.argv) == 3 and sys.argv[2] in SIZES:
        dims = SIZES[sys.argv[2]]
    elif len(sys.argv) == 8:
        dims = tuple(int(a) for a in sys.argv[2:])
    else:
        sys.exit(__doc__)
    generate(sys.argv[1], dims)
    print(f"{sys.argv[1]}: {os.path.getsize(sys.argv[1])} bytes")


if __name__ == "__main__":
    main()
