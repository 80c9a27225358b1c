"""Makes the fixtures of packed blocks beside this file.

    pip install gguf numpy && python make.py

<type>.blocks: random packed blocks, then the single-precision values gguf-py unpacks them to.
<type>.values: 1024 single-precision values, then the blocks gguf-py packs them into (types it can pack).
"""

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize, quantize

SCALES = {  # byte offsets of half-precision scales in a block
    T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0],
    T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208],
}
random = np.random.default_rng(20)

for kind, offsets in SCALES.items():
    width, size = GGML_QUANT_SIZES[kind]
    count = 1024 // width
    blocks = random.integers(0, 256, (count, size), dtype=np.uint8)
    for offset in offsets:
        scales = (random.standard_normal(count) * 10.0 ** random.integers(-7, 2, count)).astype(np.float16)
        blocks[:, offset : offset + 2] = scales.view(np.uint8).reshape(count, 2)
    values = dequantize(blocks, kind).astype(np.float32)
    with open(f"{kind.name}.blocks", "wb") as file:
        file.write(blocks.tobytes() + values.tobytes())

for kind in [T.F16, T.BF16, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0]:
    values = (random.standard_normal((4, 256)) * [[1.0], [0.02], [30.0], [1e-3]]).astype(np.float32)
    values[0, :32] = 0
    with open(f"{kind.name}.values", "wb") as file:
        file.write(values.tobytes() + quantize(values, kind).tobytes())
