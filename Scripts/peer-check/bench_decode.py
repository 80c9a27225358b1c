#!/usr/bin/env python3
"""Time writing tokens with Graft and with llama.cpp on the same GGUF file, in turn, and print the ratio.

    python3 bench_decode.py MODEL.gguf --graft .build/release/graft --rounds 5

Each round runs `graft bench decode` and then llama.cpp, both with the same number of threads, prompt tokens and written
tokens; whatever else the machine does falls on both. Graft multiplies with activations as they are; llama.cpp rounds them
to 8 bits first when weights are packed, which is cheaper and moves logits (see README.md). Its cache of keys and values is
in 32-bit floats here, as Graft's is. Prints one JSON object.
"""

import argparse
import ctypes
import json
import statistics
import subprocess
import time


class Llama:
    def __init__(self, path, threads, context):
        from llama_cpp import llama_cpp as library

        self.library = library
        self.silence = library.llama_log_callback(lambda level, text, data: None)
        library.llama_log_set(self.silence, ctypes.c_void_p(0))
        library.llama_backend_init()
        settings = library.llama_model_default_params()
        settings.n_gpu_layers = 0
        self.model = library.llama_model_load_from_file(path.encode(), settings)
        settings = library.llama_context_default_params()
        settings.n_ctx = settings.n_batch = settings.n_ubatch = context
        settings.n_threads = settings.n_threads_batch = threads
        settings.type_k = settings.type_v = 0
        self.context = library.llama_init_from_model(self.model, settings)
        self.vocabulary = library.llama_vocab_n_tokens(library.llama_model_get_vocab(self.model))
        self.batch = library.llama_batch_init(context, 0, 1)

    def read(self, ids, start):
        """Puts `ids` through the model and returns the likeliest next one."""
        batch = self.batch
        batch.n_tokens = len(ids)
        for place, token in enumerate(ids):
            batch.token[place], batch.pos[place] = token, start + place
            batch.n_seq_id[place], batch.seq_id[place][0] = 1, 0
            batch.logits[place] = place == len(ids) - 1
        if self.library.llama_decode(self.context, batch) != 0:
            raise SystemExit("llama.cpp could not run the model")
        import numpy as np

        logits = self.library.llama_get_logits_ith(self.context, -1)
        return int(np.ctypeslib.as_array(logits, shape=(self.vocabulary,)).argmax())

    def measure(self, prompt, tokens):
        """Tokens a second, reading and writing."""
        self.library.llama_memory_clear(self.library.llama_get_memory(self.context), True)
        ids = [1 + (i * 7919) % (self.vocabulary - 1) for i in range(prompt)]
        started = time.perf_counter()
        token = self.read(ids, 0)
        reading = time.perf_counter() - started
        started = time.perf_counter()
        for place in range(tokens):
            token = self.read([token], prompt + place)
        return prompt / reading, tokens / (time.perf_counter() - started)


def graft(o):
    command = [o.graft, "bench", "decode", o.model, "--json", "--prompt", str(o.prompt), "--tokens", str(o.tokens),
               "--threads", str(o.threads)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found["prompt_tokens_per_s"], found["decode_tokens_per_s"]


def main():
    parser = argparse.ArgumentParser(description="Time writing tokens with Graft and llama.cpp in turn.")
    parser.add_argument("model", help="a GGUF file")
    parser.add_argument("--graft", default="graft", help="the program (%(default)s)")
    parser.add_argument("--prompt", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    o = parser.parse_args()
    peer = Llama(o.model, o.threads, o.prompt + o.tokens + 8)
    peer.measure(o.prompt, 8)
    ours, theirs = [], []
    for _ in range(o.rounds):
        ours.append(graft(o))
        theirs.append(peer.measure(o.prompt, o.tokens))

    def summary(pairs, place):
        rates = [p[place] for p in pairs]
        return dict(median=round(statistics.median(rates), 1), best=round(max(rates), 1))

    def ratio(place):
        return round(statistics.median(a[place] / b[place] for a, b in zip(ours, theirs)), 3)

    print(json.dumps(dict(
        model=o.model, threads=o.threads, prompt=o.prompt, tokens=o.tokens, rounds=o.rounds,
        writing_tokens_per_s=dict(graft=summary(ours, 1), llama_cpp=summary(theirs, 1)), writing_ratio=ratio(1),
        reading_tokens_per_s=dict(graft=summary(ours, 0), llama_cpp=summary(theirs, 0)), reading_ratio=ratio(0)),
        indent=2))


main()
