"""Makes the fixtures of packed blocks beside this file, but for those of make_llamacpp.py.

    pip install gguf==0.19.0 numpy && python make.py

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
MORE = {  # the same of types that came later, from a generator of their own
    T.Q2_K: [80, 82], T.Q3_K: [108], T.IQ4_NL: [0], T.IQ4_XS: [0], T.MXFP4: [], T.NVFP4: [],
    T.F16: [0], T.BF16: [],
}
random = np.random.default_rng(20)


def write_blocks(kind, offsets, random):
    width, size = GGML_QUANT_SIZES[kind]
    count = 1024 // width
    blocks = random.integers(0, 256, (count, size), dtype=np.uint8)
    for offset in offsets:
        scales = (random.standard_normal(count) * 10.0 ** random.integers(-7, 2, count)).astype(np.float16)
        blocks[:, offset : offset + 2] = scales.view(np.uint8).reshape(count, 2)
    if kind == T.MXFP4:
        # Every exponent that keeps the values finite, 0 and 1 (below the normal numbers) among them.
        blocks[:, 0] = np.concatenate([[0, 1, 2, 252], random.integers(0, 253, count - 4)])
    if kind == T.NVFP4:
        # Zero, subnormal numbers, not a number (0x7f, which counts as 0), and bytes with their unused bit set.
        blocks[0, :4], blocks[1, :4] = [0, 1, 7, 8], [0x7F, 0x7E, 0xFF, 0x80]
    values = dequantize(blocks, kind).astype(np.float32)
    if kind == T.BF16:
        blocks[~np.isfinite(values[:, 0])] = 0
        values = dequantize(blocks, kind)
    assert np.isfinite(values).all()
    with open(f"{kind.name}.blocks", "wb") as file:
        file.write(blocks.tobytes() + values.tobytes())


for kind, offsets in SCALES.items():
    write_blocks(kind, offsets, random)

for kind in [T.F16, T.BF16, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0]:
    values = (random.standard_normal((4, 256)) * [[1.0], [0.02], [30.0], [1e-3]]).astype(np.float32)
    values[0, :32] = 0
    with open(f"{kind.name}.values", "wb") as file:
        file.write(values.tobytes() + quantize(values, kind).tobytes())

for kind, offsets in MORE.items():
    write_blocks(kind, offsets, np.random.default_rng([20, int(kind)]))
