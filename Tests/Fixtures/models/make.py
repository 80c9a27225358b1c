"""Makes the fixtures llama3-rope and qwen3: tiny random models and what transformers computes with them.

    python3 -m pip install torch==2.13.0 transformers==5.23.0 safetensors==0.8.0
    python3 make.py

The other models here were made likewise. The tokenizer is that of `llama-tied`.
"""

import json
import pathlib
import shutil

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen3Config

here = pathlib.Path(__file__).parent
common = dict(
    vocab_size=320, hidden_size=64, intermediate_size=176, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=128, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    tie_word_embeddings=False)
models = {
    # Wavelengths from 6 to 60,000 positions against an original context of 32: kept, blended and divided ones.
    "llama3-rope": LlamaConfig(
        **common, rope_theta=500000.0,
        rope_scaling=dict(
            rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
            original_max_position_embeddings=32)),
    # Heads wider than width / heads, and a norm on each.
    "qwen3": Qwen3Config(**common, head_dim=32, rope_theta=10000.0),
}

torch.set_num_threads(1)
for name, config in models.items():
    torch.manual_seed(11)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.08 if parameter.ndim > 1 else 0.2)
                            + (0.0 if parameter.ndim > 1 else 1.0))
    folder = here / name
    model.save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(here / "llama-tied" / file, folder / file)
    ids = torch.randint(3, 320, (2, 40), generator=torch.Generator().manual_seed(5))
    labels = ids.clone()
    labels[:, :9] = -100
    with torch.no_grad():
        out = model(ids, labels=labels)
        greedy = model.generate(ids[:1, :8], max_new_tokens=16, do_sample=False, eos_token_id=None)
    save_file(
        dict(input_ids=ids, labels=labels, logits=out.logits.contiguous(), loss=out.loss.reshape(1),
             greedy_ids=greedy[0].contiguous()), folder / "reference.safetensors")
    print(name, out.logits.abs().max().item(), out.loss.item(), json.loads((folder / "config.json").read_text()))
