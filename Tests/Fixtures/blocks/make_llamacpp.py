"""Makes the fixtures beside this file that gguf-py cannot make, by llama.cpp's own functions.

    pip download --no-deps --no-binary :all: llama-cpp-python==0.3.36   # or any llama.cpp of July 2026 or later
    tar xf llama_cpp_python-0.3.36.tar.gz && cd llama_cpp_python-0.3.36/vendor/llama.cpp/ggml
    touch src/ggml-version.h
    cc -O2 -ffp-contract=off -DGGML_VERSION='"0"' -DGGML_COMMIT='"0"' -Iinclude -Isrc -c -fPIC src/ggml.c \
        src/ggml-quants.c && c++ -O2 -Iinclude -Isrc -c -fPIC src/ggml-threading.cpp
    c++ -shared -o libggml.so ggml.o ggml-quants.o ggml-threading.o
    pip install numpy && python make_llamacpp.py libggml.so

Without -ffp-contract=off the fits take sums in another precision, and some bytes differ.

<type>.values: 1024 single-precision values, then the blocks `llama-quantize` packs them into.
<type>.blocks: random packed blocks, then the single-precision values they unpack to (types gguf-py does not know).
"""

import ctypes
import sys

import numpy as np

# GGML's numbers.
PACKED = {
    "Q2_K": 10, "Q3_K": 11, "Q4_K": 12, "Q5_K": 13, "Q6_K": 14, "IQ4_NL": 20, "IQ4_XS": 23, "MXFP4": 39, "NVFP4": 40,
    "Q1_0": 41, "Q2_0": 42,
}


class Traits(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p), ("width", ctypes.c_int64), ("interleaved", ctypes.c_int64),
        ("size", ctypes.c_size_t), ("quantized", ctypes.c_bool), ("to_float", ctypes.c_void_p),
        ("from_float", ctypes.c_void_p),
    ]


# Lazily bound: the rest of ggml is not there.
ggml = ctypes.CDLL(sys.argv[1], mode=1)
ggml.ggml_get_type_traits.restype = ctypes.POINTER(Traits)
ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int] + 2 * [ctypes.c_void_p] + 3 * [ctypes.c_int64] + [ctypes.c_void_p]


def pack(number, values):
    traits = ggml.ggml_get_type_traits(number).contents
    blocks = np.zeros(values.size // traits.width * traits.size, np.uint8)
    rows, columns = values.shape
    assert ggml.ggml_quantize_chunk(number, values.ctypes.data, blocks.ctypes.data, 0, rows, columns, None) == blocks.size
    return blocks


def unpack(number, blocks):
    traits = ggml.ggml_get_type_traits(number).contents
    values = np.zeros(blocks.size // traits.size * traits.width, np.float32)
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(traits.to_float)
    function(blocks.ctypes.data, values.ctypes.data, values.size)
    return values


for name, number in PACKED.items():
    random = np.random.default_rng([21, number])
    values = (random.standard_normal((4, 256)) * [[1.0], [0.02], [30.0], [1e-3]]).astype(np.float32)
    values[0, :32] = 0
    with open(f"{name}.values", "wb") as file:
        file.write(values.tobytes() + pack(number, values).tobytes())

for name in ["Q1_0", "Q2_0"]:
    traits = ggml.ggml_get_type_traits(PACKED[name]).contents
    count = 1024 // traits.width
    random = np.random.default_rng([22, PACKED[name]])
    blocks = random.integers(0, 256, (count, traits.size), dtype=np.uint8)
    scales = (random.standard_normal(count) * 10.0 ** random.integers(-7, 2, count)).astype(np.float16)
    blocks[:, :2] = scales.view(np.uint8).reshape(count, 2)
    with open(f"{name}.blocks", "wb") as file:
        file.write(blocks.tobytes() + unpack(PACKED[name], blocks).tobytes())
