"""Makes the fixtures of FilesTests with the formats' own Python packages.

    pip install numpy==2.4.6 safetensors==0.8.0 gguf==0.19.0
    python make.py

Writes types.safetensors and every.gguf beside this script.
"""

from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import save_file

here = Path(__file__).parent

small = [-2, -1, 0, 1, 2, 3]
save_file(
    {
        "f64": np.array(small, np.float64).reshape(2, 3) / 4,
        "f32": np.array(small, np.float32).reshape(2, 3) / 4,
        "f16": np.array(small, np.float16).reshape(2, 3) / 4,
        "i64": np.array(small, np.int64),
        "i32": np.array(small, np.int32),
        "i16": np.array(small, np.int16),
        "i8": np.array(small, np.int8),
        "u64": np.arange(3, dtype=np.uint64),
        "u32": np.arange(3, dtype=np.uint32),
        "u16": np.arange(3, dtype=np.uint16),
        "u8": np.arange(3, dtype=np.uint8),
        "bool": np.array([True, False, True]),
        "scalar": np.array(1.5, np.float32),
        "none": np.zeros((0, 4), np.float32),
    },
    here / "types.safetensors",
    metadata={"format": "np", "note": "Ångström"},
)
writer = gguf.GGUFWriter(here / "every.gguf", "llama")
writer.add_uint8("k.u8", 200)
writer.add_int8("k.i8", -100)
writer.add_uint16("k.u16", 60000)
writer.add_int16("k.i16", -30000)
writer.add_uint32("k.u32", 4000000000)
writer.add_int32("k.i32", -2000000000)
writer.add_float32("k.f32", 0.25)
writer.add_uint64("k.u64", 2**63)
writer.add_int64("k.i64", -(2**62))
writer.add_float64("k.f64", 0.1)
writer.add_bool("k.bool", True)
writer.add_string("k.string", "grüße")
writer.add_array("k.strings", ["a", "", "Ġb", "日本"])
writer.add_array("k.ints", [1, -2, 3])
writer.add_array("k.floats", [0.5, -0.5])
writer.add_array("k.bools", [True, False])
ramp = (np.arange(64, dtype=np.float32).reshape(2, 32) - 20) / 16
writer.add_tensor("plain", ramp)
writer.add_tensor("half", ramp.astype(np.float16))
for kind in (gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q4_1):
    packed = gguf.quants.quantize(ramp, kind)
    writer.add_tensor(kind.name.lower(), packed, raw_dtype=kind)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
