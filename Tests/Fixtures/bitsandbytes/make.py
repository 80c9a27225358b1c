"""Layers as bitsandbytes 0.50.2 stores them, and what it unpacks them to: python make.py layers.safetensors"""
import sys

import bitsandbytes
import torch
from bitsandbytes.functional import dequantize_4bit, int8_vectorwise_dequant, int8_vectorwise_quant
from safetensors.torch import save_file


def values(rows, columns):
    number = torch.arange(rows * columns)
    return ((number * 37 % 101 - 50).float() / 64 * (1 + (number * 7 % 13).float() / 13)).reshape(rows, columns)


def packed(matrix, kind, nested):
    layer = bitsandbytes.nn.Linear4bit(
        matrix.shape[1], matrix.shape[0], bias=False, quant_type=kind, compress_statistics=nested,
        compute_dtype=torch.float32)
    layer.weight = bitsandbytes.nn.Params4bit(
        matrix.clone(), requires_grad=False, quant_type=kind, compress_statistics=nested, blocksize=64)
    return layer.to("cpu")


tensors = {}
for name, kind, nested in [("nf4", "nf4", False), ("nf4_nested", "nf4", True), ("fp4_nested", "fp4", True)]:
    layer = packed(values(24, 128), kind, nested)
    tensors |= {f"{name}.{key}": value.contiguous() for key, value in layer.state_dict().items()}
    tensors[f"{name}.expected"] = dequantize_4bit(layer.weight.data, layer.weight.quant_state).float().contiguous()
# Rows of 96 are no whole number of blocks of 64. There bitsandbytes' own unpacking on a CPU takes the wrong block's
# scale: it is off by up to 0.42 where its codes are off by 0.20. What is expected is its codes times its scales.
layer = packed(values(32, 96), "nf4", False)
tensors |= {f"odd.{key}": value.contiguous() for key, value in layer.state_dict().items()}
state, codes = layer.weight.quant_state, layer.weight.data.flatten().long()
levels = state.code[torch.stack([codes >> 4, codes & 15], 1).flatten()]
tensors["odd.expected"] = (levels * state.absmax.repeat_interleave(64)).reshape(32, 96)
codes, scales, _ = int8_vectorwise_quant(values(24, 128).half())
tensors |= {"int8.weight": codes.contiguous(), "int8.SCB": scales.float().contiguous()}
tensors["int8.expected"] = int8_vectorwise_dequant(codes, scales).float().contiguous()
save_file(tensors, sys.argv[1])
