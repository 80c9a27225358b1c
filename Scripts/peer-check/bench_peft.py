#!/usr/bin/env python3
"""Time training steps of Hugging Face transformers and PEFT on the processor, with random weights and random tokens.

    python3 bench_peft.py --config small --mode lora

Prints one JSON object: the configuration, the trained parameters, seconds a step (median, least, most) and how they
divide into forward, backward and optimizer, tokens a second, useful arithmetic in GFLOP a step and a second, and
resident memory in MB after loading and at its peak. Useful arithmetic counts only the causal half of attention, and
not what checkpointing computes again.
"""

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
import warnings

CONFIGURATIONS = {
    "tiny": dict(hidden=256, layers=4, heads=4, kv_heads=4, ffn=688, vocab=4096, tie=0, batch=4, seq=128),
    "small": dict(hidden=576, layers=30, heads=9, kv_heads=3, ffn=1536, vocab=49152, tie=1, batch=1, seq=256),
    "medium": dict(hidden=1024, layers=12, heads=16, kv_heads=16, ffn=2816, vocab=32000, tie=0, batch=2, seq=256),
}


def options():
    parser = argparse.ArgumentParser(description="Time training steps of transformers and PEFT on the processor.")
    parser.add_argument("--config", choices=CONFIGURATIONS, default="tiny")
    for key in CONFIGURATIONS["tiny"]:
        parser.add_argument("--" + key.replace("_", "-"), type=int, help="instead of the configuration's")
    parser.add_argument("--mode", choices=["lora", "dora", "ia3", "full", "fwd"], default="lora")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--targets", default="all-linear", help="module names, separated by commas (%(default)s)")
    parser.add_argument("--grad-ckpt", action="store_true", help="recompute activations")
    parser.add_argument("--quant", choices=["nf4", "int8"], help="pack the frozen base with bitsandbytes")
    parser.add_argument("--optim", choices=["adamw", "adamw-fused"], default="adamw")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--warmup", type=int, default=1, help="steps before those timed (%(default)s)")
    parser.add_argument("--steps", type=int, default=6, help="steps timed (%(default)s)")
    parser.add_argument("--json", help="append the object to this file as well")
    found = parser.parse_args()
    for key, value in CONFIGURATIONS[found.config].items():
        if getattr(found, key) is None:
            setattr(found, key, value)
    if found.quant and found.mode in ("full", "fwd"):
        parser.error("--quant needs an adapter mode")
    return found


def resident():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def base(o):
    import torch
    from transformers import BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(LlamaConfig(
        hidden_size=o.hidden, num_hidden_layers=o.layers, num_attention_heads=o.heads, num_key_value_heads=o.kv_heads,
        intermediate_size=o.ffn, vocab_size=o.vocab, tie_word_embeddings=bool(o.tie), use_cache=False))
    if not o.quant:
        return model
    if o.quant == "int8":
        packing = BitsAndBytesConfig(load_in_8bit=True)
    else:
        packing = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
    with tempfile.TemporaryDirectory() as folder:         # only from_pretrained packs
        model.save_pretrained(folder)
        del model
        model = LlamaForCausalLM.from_pretrained(
            folder, quantization_config=packing, dtype=torch.float32, device_map={"": "cpu"})
    import peft

    return peft.prepare_model_for_kbit_training(model, use_gradient_checkpointing=o.grad_ckpt)


def adapted(model, o):
    import peft

    if o.grad_ckpt:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if o.mode in ("lora", "dora", "ia3"):
            model.enable_input_require_grads()
    if o.mode in ("lora", "dora"):
        targets = o.targets if o.targets == "all-linear" else o.targets.split(",")
        return peft.get_peft_model(model, peft.LoraConfig(
            r=o.rank, lora_alpha=2 * o.rank, target_modules=targets, use_dora=o.mode == "dora", task_type="CAUSAL_LM"))
    if o.mode == "ia3":
        return peft.get_peft_model(model, peft.IA3Config(
            target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM"))
    return model.requires_grad_(o.mode == "full")


def useful(o, trained):
    """GFLOP a step: two for each weight going forward, two for its input's gradient, two for its own where trained."""
    keys = o.hidden // o.heads * o.kv_heads
    weights = o.layers * (2 * o.hidden * (o.hidden + keys) + 3 * o.hidden * o.ffn) + o.hidden * o.vocab
    attention = 2 * o.seq * o.hidden * o.layers           # the causal half, one token
    low_rank = trained if o.mode in ("lora", "dora") else 0
    forward = 2 * weights + attention + 2 * low_rank
    backward = {"full": 4 * weights + 2 * attention, "fwd": 0}.get(
        o.mode, 2 * weights + 2 * attention + 4 * low_rank)
    return o.batch * o.seq * (forward + backward) / 1e9


def main():
    o = options()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(o.threads)
    warnings.filterwarnings("ignore")
    import peft
    import torch
    import transformers

    torch.set_num_threads(o.threads)
    torch.manual_seed(0)
    model = adapted(base(o), o).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    trained = sum(p.numel() for p in parameters)
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=o.optim == "adamw-fused") if parameters else None
    loaded = resident()
    batches = torch.randint(0, o.vocab, (8, o.batch, o.seq))
    losses, times = [], []
    for step in range(o.warmup + o.steps):
        ids = batches[step % len(batches)]
        marks = [time.perf_counter()]
        with torch.set_grad_enabled(o.mode != "fwd"):
            loss = model(input_ids=ids, labels=ids).loss
        marks.append(time.perf_counter())
        if optimizer:
            loss.backward()
        marks.append(time.perf_counter())
        if optimizer:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        marks.append(time.perf_counter())
        losses.append(loss.item())
        times.append([later - earlier for earlier, later in zip(marks, marks[1:])])
    times = times[o.warmup:]
    steps = [sum(parts) for parts in times]
    median = statistics.median(steps)
    work = useful(o, trained)
    result = {key: value for key, value in vars(o).items() if key != "json"}
    result.update(
        parameters_trained=trained, seconds=median, seconds_least=min(steps), seconds_most=max(steps),
        **{name: statistics.median(parts) for name, parts in zip(("forward", "backward", "optimizer"), zip(*times))},
        tokens_per_second=o.batch * o.seq / median, gflop=work, gflop_per_second=work / median,
        resident_loaded=loaded, resident_peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        loss_first=losses[0], loss_last=losses[-1],
        versions=f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}")
    line = json.dumps({key: round(value, 4) if isinstance(value, float) else value for key, value in result.items()})
    print(line)
    if o.json:
        with open(o.json, "a", encoding="utf-8") as file:
            file.write(line + "\n")


main()
