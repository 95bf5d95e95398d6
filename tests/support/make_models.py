#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Make the demo's other models out of the ones that packages carry.

  make_models.py requantise IN.gguf OUT.gguf     Q4_1 tensors become Q8_0: the same network, other weights
  make_models.py minilm MODEL.zip OUT.gguf       the sentence transformer all-MiniLM-L6-v2 as GGUF, F16

Converting numbers is llama.cpp's own work: its quantisers are called in the xllamacpp wheel's library.
"""

import ctypes
import json
import os
import struct
import sys
import zipfile

import ggufio
import llama_lib


def requantise(lib, source, target):
    info = ggufio.read(source)
    kinds = ["q8_0" if t.kind == "q4_1" else t.kind for t in info.tensors]
    pairs = dict(info.kv_raw)
    pairs["general.file_type"] = ggufio.kv_u32("general.file_type", 7)
    out = ggufio.Writer(target, list(pairs.values()),
                        [(t.name, t.dims, k) for t, k in zip(info.tensors, kinds)])
    with open(source, "rb") as f:
        for t, kind in zip(info.tensors, kinds):
            f.seek(t.offset)
            data = f.read(t.n_bytes)
            if kind != t.kind:
                row = t.dims[0]
                rows = t.n_bytes // ggufio.tensor_bytes((row,), t.kind)
                floats = (ctypes.c_float * (row * rows))()
                blocks = ctypes.create_string_buffer(ggufio.tensor_bytes(t.dims, kind))
                lib.dequantize_row_q4_1(data, floats, row * rows)
                lib.ggml_quantize_chunk(ggufio.TYPES[kind][0], floats, blocks, 0, rows, row, None)
                data = blocks.raw
            out.tensor([data])
    out.close()


# What the GGUF format calls the tensors of a BERT encoder. The pooler is not part of an embedding model.
MINILM_GLOBAL = {
    "embeddings.word_embeddings.weight": "token_embd.weight",
    "embeddings.position_embeddings.weight": "position_embd.weight",
    "embeddings.token_type_embeddings.weight": "token_types.weight",
    "embeddings.LayerNorm.weight": "token_embd_norm.weight",
    "embeddings.LayerNorm.bias": "token_embd_norm.bias",
}
MINILM_LAYER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
CONTROL, NORMAL = 3, 1  # token types


def minilm_names(n_layers):
    names = dict(MINILM_GLOBAL)
    for i in range(n_layers):
        for theirs, ours in MINILM_LAYER.items():
            for part in ("weight", "bias"):
                names[f"encoder.layer.{i}.{theirs}.{part}"] = f"blk.{i}.{ours}.{part}"
    return names


def minilm_pairs(config, tokenizer):
    vocab = sorted(tokenizer["model"]["vocab"].items(), key=lambda item: item[1])
    special = {t["content"] for t in tokenizer["added_tokens"] if t["special"]}
    # llama.cpp marks where a word begins; BERT marks where one goes on.
    tokens = [t if t in special else t[2:] if t.startswith("##") else "\u2581" + t for t, _ in vocab]
    ids = {t: i for t, i in vocab}
    return [
        ggufio.kv_str("general.architecture", "bert"),
        ggufio.kv_str("general.name", "all-MiniLM-L6-v2"),
        ggufio.kv_str("general.license", "apache-2.0"),
        ggufio.kv_u32("general.file_type", 1),
        ggufio.kv_u32("bert.block_count", config["num_hidden_layers"]),
        ggufio.kv_u32("bert.context_length", config["max_position_embeddings"]),
        ggufio.kv_u32("bert.embedding_length", config["hidden_size"]),
        ggufio.kv_u32("bert.feed_forward_length", config["intermediate_size"]),
        ggufio.kv_u32("bert.attention.head_count", config["num_attention_heads"]),
        ggufio.kv_f32("bert.attention.layer_norm_epsilon", config["layer_norm_eps"]),
        ggufio.kv_bool("bert.attention.causal", False),
        ggufio.kv_u32("bert.pooling_type", llama_lib.POOLING_MEAN),
        ggufio.kv_u32("tokenizer.ggml.token_type_count", config["type_vocab_size"]),
        ggufio.kv_str("tokenizer.ggml.model", "bert"),
        ggufio.kv_strings("tokenizer.ggml.tokens", tokens),
        ggufio.kv_ints("tokenizer.ggml.token_type", [CONTROL if t in special else NORMAL for t, _ in vocab]),
        ggufio.kv_u32("tokenizer.ggml.bos_token_id", ids["[CLS]"]),
        ggufio.kv_u32("tokenizer.ggml.seperator_token_id", ids["[SEP]"]),
        ggufio.kv_u32("tokenizer.ggml.unknown_token_id", ids["[UNK]"]),
        ggufio.kv_u32("tokenizer.ggml.padding_token_id", ids["[PAD]"]),
        ggufio.kv_u32("tokenizer.ggml.mask_token_id", ids["[MASK]"]),
    ]


def minilm(lib, source, target):
    with zipfile.ZipFile(source) as z:
        config = json.loads(z.read("config.json"))
        tokenizer = json.loads(z.read("tokenizer.json"))
        weights = z.read("model.safetensors")
    (n,) = struct.unpack("<Q", weights[:8])
    header = json.loads(weights[8:8 + n])
    tensors, data = [], []
    for theirs, ours in minilm_names(config["num_hidden_layers"]).items():
        entry = header[theirs]
        if entry["dtype"] != "F32":
            raise ValueError(f"{theirs} is {entry['dtype']}, not F32")
        # Matrices are halved; what is added or scales stays whole, as in llama.cpp's own converter.
        half = len(entry["shape"]) == 2 and "position" not in ours and "token_types" not in ours
        begin, end = (8 + n + x for x in entry["data_offsets"])
        raw = weights[begin:end]
        if half:
            narrow = ctypes.create_string_buffer(len(raw) // 2)
            lib.ggml_fp32_to_fp16_row(raw, narrow, len(raw) // 4)
            raw = narrow.raw
        tensors.append((ours, tuple(reversed(entry["shape"])), "f16" if half else "f32"))
        data.append(raw)
    out = ggufio.Writer(target, minilm_pairs(config, tokenizer), tensors)
    for raw in data:
        out.tensor([raw])
    out.close()


def main():
    makers = {"requantise": requantise, "minilm": minilm}
    if len(sys.argv) != 4 or sys.argv[1] not in makers:
        sys.exit(__doc__)
    maker, source, target = makers[sys.argv[1]], sys.argv[2], sys.argv[3]
    maker(llama_lib.load(), source, target)
    print(f"{target}: {os.path.getsize(target)} bytes")


if __name__ == "__main__":
    main()
