"""Does gguf-py read from a GGUF file the weights that Graft reads from it?

    graft export MODEL --to gguf --type q3_k --output packed.gguf
    graft export packed.gguf --to gguf --type f32 --output floats.gguf
    check_types.py packed.gguf floats.gguf

Every tensor of packed.gguf, dequantised by gguf-py, must equal that of floats.gguf bit for bit. gguf-py 0.19 cannot
dequantise Q1_0 and does not know Q2_0.
"""

import argparse
import sys
from collections import Counter

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("packed")
parser.add_argument("floats")
arguments = parser.parse_args()

floats = {tensor.name: tensor.data for tensor in GGUFReader(arguments.floats).tensors}
count, wrong = Counter(), []
for tensor in GGUFReader(arguments.packed).tensors:
    values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
    count[tensor.tensor_type.name] += 1
    ours = floats.get(tensor.name)
    if ours is None or not np.array_equal(values.view(np.uint32).ravel(), ours.view(np.uint32).ravel()):
        wrong.append(tensor.name)
print(", ".join(f"{number} {name}" for name, number in count.items()), "tensors;", f"{len(wrong)} differ", *wrong[:5])
sys.exit(1 if wrong or not count else 0)
