# SPDX-License-Identifier: GPL-2.0-only
"""llama.cpp's own C interface, out of the shared object that the xllamacpp wheel carries, through ctypes.

The wheel's one shared object has all of llama.cpp in it and exports llama.h's and ggml.h's functions. Structures
go by value, so their layout has to be that of the pinned version (requirements-engine.txt): load() compares
the library's defaults with what the layout makes of them and refuses a library that does not fit.
"""

import ctypes as c
import glob
import os
import sysconfig

LOAD_MODE_AUTO = -1
POOLING_MEAN = 1
TYPE_F16 = 1


class ModelParams(c.Structure):
    _fields_ = [
        ("devices", c.c_void_p),
        ("tensor_buft_overrides", c.c_void_p),
        ("n_gpu_layers", c.c_int32),
        ("split_mode", c.c_int32),
        ("load_mode", c.c_int32),
        ("lazy_mode", c.c_int32),
        ("main_gpu", c.c_int32),
        ("tensor_split", c.c_void_p),
        ("progress_callback", c.c_void_p),
        ("progress_callback_user_data", c.c_void_p),
        ("kv_overrides", c.c_void_p),
        ("vocab_only", c.c_bool),
        ("check_tensors", c.c_bool),
        ("use_extra_bufts", c.c_bool),  # weight repacking; llama.cpp's programs clear it for --no-repack
        ("no_host", c.c_bool),
        ("no_alloc", c.c_bool),
        ("load_mtp", c.c_bool),
    ]


class ContextParams(c.Structure):
    _fields_ = [
        ("n_ctx", c.c_uint32),
        ("n_batch", c.c_uint32),
        ("n_ubatch", c.c_uint32),
        ("n_seq_max", c.c_uint32),
        ("n_rs_seq", c.c_uint32),
        ("n_outputs_max", c.c_uint32),
        ("n_outputs_max_per_seq", c.c_uint32),
        ("n_threads", c.c_int32),
        ("n_threads_batch", c.c_int32),
        ("ctx_type", c.c_int32),
        ("rope_scaling_type", c.c_int32),
        ("pooling_type", c.c_int32),
        ("attention_type", c.c_int32),
        ("flash_attn_type", c.c_int32),
        ("rope_freq_base", c.c_float),
        ("rope_freq_scale", c.c_float),
        ("yarn_ext_factor", c.c_float),
        ("yarn_attn_factor", c.c_float),
        ("yarn_beta_fast", c.c_float),
        ("yarn_beta_slow", c.c_float),
        ("yarn_orig_ctx", c.c_uint32),
        ("defrag_thold", c.c_float),
        ("cb_eval", c.c_void_p),
        ("cb_eval_user_data", c.c_void_p),
        ("type_k", c.c_int32),
        ("type_v", c.c_int32),
        ("moe_cache_size", c.c_size_t),
        ("abort_callback", c.c_void_p),
        ("abort_callback_data", c.c_void_p),
        ("embeddings", c.c_bool),
        ("offload_kqv", c.c_bool),
        ("no_perf", c.c_bool),
        ("op_offload", c.c_bool),
        ("swa_full", c.c_bool),
        ("kv_unified", c.c_bool),
        ("samplers", c.c_void_p),
        ("n_samplers", c.c_size_t),
        ("ctx_other", c.c_void_p),
    ]


class Batch(c.Structure):
    _fields_ = [
        ("n_tokens", c.c_int32),
        ("token", c.c_void_p),
        ("embd", c.c_void_p),
        ("pos", c.c_void_p),
        ("n_seq_id", c.c_void_p),
        ("seq_id", c.c_void_p),
        ("logits", c.c_void_p),
    ]


LOG_CALLBACK = c.CFUNCTYPE(None, c.c_int, c.c_char_p, c.c_void_p)
_silent = LOG_CALLBACK(lambda level, text, data: None)


def library_path():
    found = glob.glob(os.path.join(sysconfig.get_paths()["platlib"], "xllamacpp", "xllamacpp*.so"))
    if len(found) != 1:
        raise OSError("no xllamacpp in this Python: tests/support/fetch_models.sh installs it in build/venv")
    return found[0]


def _declare(lib, name, result, *arguments):
    function = getattr(lib, name)
    function.restype = result
    function.argtypes = list(arguments)


def load(verbose=False):
    """The library, with the functions declared that the harnesses use."""
    lib = c.CDLL(library_path())
    _declare(lib, "llama_log_set", None, c.c_void_p, c.c_void_p)
    if not verbose:
        lib.llama_log_set(c.cast(_silent, c.c_void_p), None)
    _declare(lib, "llama_print_system_info", c.c_char_p)
    _declare(lib, "llama_model_default_params", ModelParams)
    _declare(lib, "llama_context_default_params", ContextParams)
    _declare(lib, "llama_backend_init", None)
    _declare(lib, "llama_model_load_from_file", c.c_void_p, c.c_char_p, ModelParams)
    _declare(lib, "llama_init_from_model", c.c_void_p, c.c_void_p, ContextParams)
    _declare(lib, "llama_model_get_vocab", c.c_void_p, c.c_void_p)
    _declare(lib, "llama_vocab_n_tokens", c.c_int32, c.c_void_p)
    _declare(lib, "llama_batch_get_one", Batch, c.POINTER(c.c_int32), c.c_int32)
    _declare(lib, "llama_decode", c.c_int32, c.c_void_p, Batch)
    _declare(lib, "llama_get_logits_ith", c.c_void_p, c.c_void_p, c.c_int32)
    _declare(lib, "llama_free", None, c.c_void_p)
    _declare(lib, "llama_model_free", None, c.c_void_p)
    _declare(lib, "ggml_quantize_chunk", c.c_size_t, c.c_int, c.c_void_p, c.c_void_p, c.c_int64, c.c_int64,
             c.c_int64, c.c_void_p)
    _declare(lib, "dequantize_row_q4_1", None, c.c_void_p, c.c_void_p, c.c_int64)
    _declare(lib, "ggml_fp32_to_fp16_row", None, c.c_void_p, c.c_void_p, c.c_int64)

    model, context = lib.llama_model_default_params(), lib.llama_context_default_params()
    fits = (
        model.load_mode == LOAD_MODE_AUTO
        and model.use_extra_bufts
        and (context.n_ctx, context.n_batch, context.n_seq_max) == (512, 2048, 1)
        and (context.type_k, context.type_v) == (TYPE_F16, TYPE_F16)
        and (context.embeddings, context.offload_kqv, context.no_perf) == (False, True, True)
        and context.ctx_other is None
    )
    if not fits:
        raise OSError("this llama.cpp lays its parameters out in another way than the pinned version")
    return lib
