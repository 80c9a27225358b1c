#!/usr/bin/env python3
"""Compare our logits with llama.cpp's, for a GGUF file and, if given, a GGUF LoRA adapter.

    graft logits MODEL.gguf --adapter ADAPTER --ids 1,2,3 --out ours.safetensors
    python3 llamacpp_logits.py MODEL.gguf --lora ADAPTER.gguf --unpack --ids 1,2,3 --ours ours.safetensors

Keys and values are kept in 32-bit floats and flash attention is off; llama.cpp's defaults alone move logits by 0.03.
Over packed weights it also rounds activations to 8 bits, which moves them by up to 1. With --unpack, llama.cpp first
turns the packed file into a temporary one of 32-bit floats, which takes that away. Exits 1 beyond the tolerance.
"""

import argparse
import ctypes
import os
import sys
import tempfile

import numpy as np

import checkpoints


def unpack(library, source, target):
    settings = library.llama_model_quantize_default_params()
    settings.ftype = 0                    # every tensor in 32-bit floats
    settings.allow_requantize = True
    if library.llama_model_quantize(source.encode(), target.encode(), settings) != 0:
        sys.exit(f"{source}: llama.cpp could not unpack it")


def logits(library, path, lora, scale, ids, threads):
    """[tokens, vocabulary]"""
    settings = library.llama_model_default_params()
    settings.n_gpu_layers = 0
    model = library.llama_model_load_from_file(path.encode(), settings)
    if not model:
        sys.exit(f"{path}: llama.cpp could not load it")
    settings = library.llama_context_default_params()
    settings.n_ctx = settings.n_batch = settings.n_ubatch = max(64, len(ids))
    settings.n_threads = settings.n_threads_batch = threads
    settings.type_k = settings.type_v = 0
    settings.flash_attn_type = library.LLAMA_FLASH_ATTN_TYPE_DISABLED
    context = library.llama_init_from_model(model, settings)
    if lora:
        adapter = library.llama_adapter_lora_init(model, lora.encode())
        if not adapter:
            sys.exit(f"{lora}: llama.cpp could not load it")
        adapters = (library.llama_adapter_lora_p_ctypes * 1)(adapter)
        if library.llama_set_adapters_lora(context, adapters, 1, (ctypes.c_float * 1)(scale)) != 0:
            sys.exit(f"{lora}: llama.cpp could not apply it")
    size = library.llama_vocab_n_tokens(library.llama_model_get_vocab(model))
    batch = library.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for place, token in enumerate(ids):
        batch.token[place], batch.pos[place] = token, place
        batch.n_seq_id[place], batch.seq_id[place][0] = 1, 0
        batch.logits[place] = True
    if library.llama_decode(context, batch) != 0:
        sys.exit(f"{path}: llama.cpp could not run it")
    found = np.ctypeslib.as_array(library.llama_get_logits(context), shape=(len(ids), size)).copy()
    library.llama_batch_free(batch)
    library.llama_free(context)
    library.llama_model_free(model)
    return found


def main():
    parser = argparse.ArgumentParser(description="Compare our logits with llama.cpp's.")
    parser.add_argument("model", help="a GGUF file")
    parser.add_argument("--lora", help="a GGUF LoRA adapter")
    parser.add_argument("--scale", type=float, default=1, help="the adapter's strength (%(default)s)")
    parser.add_argument("--unpack", action="store_true", help="run on a temporary copy in 32-bit floats")
    parser.add_argument("--threads", type=int, default=2)
    checkpoints.add_id_options(parser)
    checkpoints.add_comparison_options(parser, tolerance=1e-3)
    arguments = parser.parse_args()

    from llama_cpp import llama_cpp as library

    silence = library.llama_log_callback(lambda level, text, data: None)
    library.llama_log_set(silence, ctypes.c_void_p(0))
    library.llama_backend_init()
    ids = checkpoints.token_ids(arguments)
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.model
        if arguments.unpack:
            path = os.path.join(folder, "unpacked.gguf")
            unpack(library, arguments.model, path)
        found = logits(library, path, arguments.lora, arguments.scale, ids, arguments.threads)
    sys.exit(checkpoints.report(arguments, "llama.cpp", found))


main()
