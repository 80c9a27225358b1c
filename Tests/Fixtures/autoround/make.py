"""Layers as AutoRound 0.16.1 exports them for GPTQ's and AWQ's loaders, and what it took them for before it packed them.

    pip install auto-round accelerate datasets tokenizers torch transformers
    python make.py .
"""
import json
import pathlib
import sys
import tempfile

import torch
from auto_round import AutoRound
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

LAYER = "model.layers.0.mlp.down_proj"
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=Tokenizer(models.WordLevel({chr(32 + i): i for i in range(96)}, unk_token=" ")), unk_token=" ",
    pad_token=" ", eos_token=" ")
for name, form, symmetric in [("gptq", "auto_gptq", False), ("gptq-symmetric", "auto_gptq", True),
                              ("awq", "auto_awq", False)]:
    torch.manual_seed(1)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=96, hidden_size=64, intermediate_size=96, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64)).float()
    rounding = AutoRound(model, tokenizer, bits=4, group_size=32, sym=symmetric, iters=0, device_map="cpu",
                         disable_opt_rtn=True, amp=False)
    rounding.quantize()
    expected = rounding.model.state_dict()[LAYER + ".weight"].float().clone()
    with tempfile.TemporaryDirectory() as folder:
        rounding.save_quantized(folder, format=form, inplace=True)
        tensors = {key: value for key, value in load_file(folder + "/model.safetensors").items() if LAYER in key}
        section = json.loads(pathlib.Path(folder, "config.json").read_text())["quantization_config"]
    target = pathlib.Path(sys.argv[1], name)
    target.mkdir(parents=True, exist_ok=True)
    save_file(tensors | {"expected": expected.contiguous()}, target / "model.safetensors")
    (target / "config.json").write_text(json.dumps({"quantization_config": section}, indent=1) + "\n")
