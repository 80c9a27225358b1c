"""Makes the checkpoints of FilesTests with the programs whose files Graft reads.

    pip install numpy==2.4.6 safetensors==0.8.0 torch==2.13.0 h5py==3.16.0 onnx==1.23.2 transformers==5.23.0
    python make_checkpoints.py

Writes beside this script: `torch*.pth`, `keras*.h5`, `model*.onnx`, and for each a `.safetensors` file with the arrays
as NumPy sees them.
"""

import collections
import json
from pathlib import Path

import h5py
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch
from transformers import BertConfig, BertModel, Dinov2Config, Dinov2Model

here = Path(__file__).parent
ordered = collections.OrderedDict


# PyTorch: every type, views, a parameter, a scalar, nothing, two tensors of one storage, lists and numbers as keys.
ramp = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4) / 8 - 1
state = ordered(
    [
        ("f64", ramp.double() / 3),
        ("f32", torch.nn.Parameter(ramp)),
        ("f16", ramp.half()),
        ("bf16", ramp.bfloat16()),
        ("i64", (torch.arange(4) - 2) * 10**12),
        ("i32", (torch.arange(4) - 2).int() * 10**9),
        ("i16", (torch.arange(4) - 2).short() * 10**4),
        ("i8", (torch.arange(4) - 2).char() * 64),
        ("u8", torch.arange(250, 255).byte()),
        ("bool", torch.tensor([True, False, True])),
        ("scalar", torch.tensor(1.5)),
        ("none", torch.zeros(0, 4)),
        ("transposed", ramp.permute(2, 0, 1)),
        ("rows", ramp[:, 1:, ::2]),
        ("expanded", torch.tensor([1.5, -2.5]).half()[:, None].expand(2, 3)),
    ]
)
state["shared"] = state["transposed"].permute(2, 1, 0)[1]
state._metadata = ordered([("", {"version": 1})])
checkpoint = {
    "state_dict": state,
    "epoch": 3,
    "loss": 0.25,
    "note": "nothing",
    "size": torch.Size([2, 3]),
    "type": torch.float16,
    "optimizer": {"state": {0: {"step": torch.tensor(7.0)}}},
}
nested = {"model": {"w": ramp[0]}, "list": [torch.tensor([1, 2]), (torch.tensor(3),)], 5: torch.tensor([0.5])}
unsigned = {"u16": torch.tensor([1, 65535], dtype=torch.uint16), "u32": torch.tensor([4 * 10**9], dtype=torch.uint32)}
for name, what in {"torch": checkpoint, "torch-nested": nested}.items():
    torch.save(what, here / f"{name}.pth")
    torch.save(what, here / f"{name}-stream.pth", _use_new_zipfile_serialization=False)
torch.save(unsigned, here / "torch-unsigned.pth")
torch.save({"w": ramp}, here / "torch-protocol4.pth", pickle_protocol=4)
save_torch({k: v.detach().clone().contiguous() for k, v in state.items()}, here / "torch.safetensors")


# Keras: what its own writer leaves, with h5py, which it writes through.
rng = np.random.default_rng(5)


def numbers(*shape, dtype=np.float32):
    return (rng.integers(-64, 64, shape) / 16).astype(dtype)


def keras(name, layers, version, encode, separate, config=None, pieces=False):
    """A file of the older layout: `layers` maps a layer's name to its weights' names and arrays."""
    expected = {}
    with h5py.File(here / name, "w") as file:
        text = json.dumps(config)
        if pieces:
            file.attrs["model_config0"], file.attrs["model_config1"] = text[:7], text[7:]
        elif config is not None:
            file.attrs["model_config"] = encode(text)
        file.attrs["keras_version"] = encode(version)
        root = file.create_group("model_weights") if separate else file
        root.attrs["keras_version"] = encode(version)
        listed = [encode(layer) for layer in layers]
        if pieces:
            root.attrs["layer_names0"], root.attrs["layer_names1"] = listed[:1], listed[1:]
        else:
            root.attrs["layer_names"] = listed
        for layer, weights in layers.items():
            group = root.create_group(layer)
            group.attrs["weight_names"] = [encode(weight) for weight in weights]
            for weight, array in weights.items():
                group.create_dataset(weight, data=array)
                expected[f"{layer}/{weight}"] = array
        root.create_group("top_level_model_weights").attrs["weight_names"] = []
        file.create_group("optimizer_weights").create_dataset("Adam/m:0", data=numbers(3))
    save_file({key: np.asarray(array) for key, array in expected.items()}, here / (name[:-3] + ".safetensors"))


keras(
    "keras-old.h5",
    {
        "conv2d": {"conv2d/kernel:0": numbers(3, 3, 2, 4), "conv2d/bias:0": numbers(4)},
        "activation": {},
        "depthwise": {"depthwise/depthwise_kernel:0": numbers(3, 2, 4, 1, dtype=np.float16)},
        "dense": {"dense_1/kernel:0": numbers(4, 5), "dense_1/count:0": np.int64(7)},
    },
    "2.0.5",
    np.bytes_,
    separate=True,
    config={"class_name": "Sequential", "config": {"name": "sequential"}},
)
keras(
    "keras-nested.h5",
    {"input_layer": {}, "trunk": {"Conv1/kernel": numbers(1, 1, 2, 3), "bn/gamma": numbers(3)}, "top": {"top/bias": numbers(2)}},
    "3.11.3",
    str,
    separate=True,
    config={"class_name": "Functional"},
)
keras("keras-pieces.h5", {"a": {"a/w:0": numbers(2)}, "b": {"b/w:0": numbers(1)}}, "2.9.0", str, False, {"k": "v"}, True)

expected = {}
with h5py.File(here / "keras.weights.h5", "w") as file:
    for layer, name, arrays in [
        ("conv2d", "stem", [numbers(3, 3, 1, 2), numbers(2)]),
        ("conv2d_10", "last", [numbers(2)]),
        ("conv2d_2", "middle", [numbers(3)]),
    ]:
        group = file.create_group(f"layers/{layer}/vars")
        group.attrs["name"] = name
        for number, array in enumerate(arrays):
            group.create_dataset(str(number), data=array)
            expected[f"layers/{layer}/vars/{number}"] = array
    file.create_group("layers/dropout/vars").attrs["name"] = "dropout"
    file.create_group("optimizer/vars").create_dataset("0", data=numbers(3))
save_file(expected, here / "keras.weights.safetensors")

small = [-2, -1, 0, 1, 2, 3]
arrays = {kind: np.array(small, kind).reshape(2, 3) for kind in ("i1", "i2", "i4", "i8", "f2", "f4", "f8")}
arrays |= {kind: np.arange(3, dtype=kind) for kind in ("u1", "u2", "u4", "u8")}
arrays |= {"bool": np.array([True, False, True]), "scalar": np.float32(1.5), "none": np.zeros((0, 4), np.float32)}
arrays["five"] = numbers(1, 2, 1, 2, 3)
with h5py.File(here / "every.h5", "w") as file:
    for name, array in arrays.items():
        file[f"little/{name}"] = array
        if array.dtype.itemsize > 1:
            file.create_dataset(f"big/{name}", data=array.astype(array.dtype.newbyteorder(">")))
    file.create_dataset("packed", data=np.arange(64, dtype=np.float32), chunks=(16,), compression="gzip", shuffle=True)
save_file(
    {f"little/{k}": np.asarray(v) for k, v in arrays.items()}
    | {f"big/{k}": np.asarray(v) for k, v in arrays.items() if v.dtype.itemsize > 1}
    | {"packed": np.arange(64, dtype=np.float32)},
    here / "every-hdf5.safetensors",
)


# ONNX: every type, raw and in the fields of its own, and a graph of two nodes.
kinds = {
    "f32": (TensorProto.FLOAT, torch.float32),
    "f64": (TensorProto.DOUBLE, torch.float64),
    "f16": (TensorProto.FLOAT16, torch.float16),
    "bf16": (TensorProto.BFLOAT16, torch.bfloat16),
    "i8": (TensorProto.INT8, torch.int8),
    "i16": (TensorProto.INT16, torch.int16),
    "i32": (TensorProto.INT32, torch.int32),
    "i64": (TensorProto.INT64, torch.int64),
    "u8": (TensorProto.UINT8, torch.uint8),
    "u32": (TensorProto.UINT32, torch.uint32),
    "u64": (TensorProto.UINT64, torch.uint64),
    "bool": (TensorProto.BOOL, torch.bool),
}
initializers, expected = [], {}
for name, (kind, dtype) in kinds.items():
    values = [0, 1, 1, 0] if name == "bool" else [0, 1, 2, 200 if name[0] == "u" else -100]
    tensor = torch.tensor(values, dtype=dtype).reshape(2, 2)
    expected[name], expected[name + "_raw"] = tensor, tensor.clone()
    if dtype in (torch.float16, torch.bfloat16):
        # The bits of halves are whole numbers there.
        typed = TensorProto(data_type=kind, name=name, dims=[2, 2], int32_data=tensor.view(torch.uint16).flatten().tolist())
    else:
        typed = helper.make_tensor(name, kind, [2, 2], values)
    initializers.append(typed)
    raw = bytes(tensor.view(torch.uint8).flatten().tolist())
    initializers.append(TensorProto(data_type=kind, name=name + "_raw", dims=[2, 2], raw_data=raw))
initializers.append(helper.make_tensor("scalar", TensorProto.FLOAT, [], [1.5]))
initializers.append(helper.make_tensor("none", TensorProto.FLOAT, [0, 4], []))
expected |= {"scalar": torch.tensor(1.5), "none": torch.zeros(0, 4)}
value = helper.make_tensor("", TensorProto.INT64, [2], [3, -1])
nodes = [
    helper.make_node(
        "Conv", ["x", "f32", ""], ["y"], name="/stem/Conv", pads=[1, 1], alpha=0.5, group=2, auto_pad="SAME_UPPER", scales=[0.25, 4.0]
    ),
    helper.make_node("Constant", [], ["c"], value=value),
    helper.make_node("Gelu", ["y"], ["z"], name="/act", domain="com.microsoft"),
]
info = helper.make_tensor_value_info
graph = helper.make_graph(
    nodes, "g", [info("x", TensorProto.FLOAT, [None, 3])], [info("z", TensorProto.FLOAT, None)], initializers
)
model = helper.make_model(graph, producer_name="fixtures", opset_imports=[helper.make_opsetid("com.microsoft", 1), helper.make_opsetid("", 17)])
onnx.save(model, here / "model.onnx")
save_torch(expected, here / "model-onnx.safetensors")


# What PyTorch's exporter makes of the names of two encoders. Only the nodes that have weights are kept, to be small.
class Wrapper(torch.nn.Module):
    def __init__(self, name, model):
        super().__init__()
        self.add_module(name, model)

    def forward(self, *inputs):
        return next(self.children())(*inputs).last_hidden_state


def export(file, name, model, inputs, axes):
    torch.manual_seed(3)
    for parameter in model.parameters():
        # Weights that are equal would become one.
        torch.nn.init.normal_(parameter)
    path = here / f"{file}.onnx"
    torch.onnx.export(Wrapper(name, model.eval()), inputs, path, dynamo=False, input_names=["x"], dynamic_axes=axes)
    whole = onnx.load(path)
    weights = {tensor.name for tensor in whole.graph.initializer}
    kept = [node for node in whole.graph.node if weights & set(node.input)]
    del whole.graph.node[:]
    whole.graph.node.extend(kept)
    onnx.save(whole, path)
    state = {key: value for key, value in model.state_dict().items() if not key.endswith("mask_token")}
    save_torch(state, here / f"{file}.safetensors")


shape = dict(hidden_size=4, num_hidden_layers=2, num_attention_heads=2, attn_implementation="eager")
export(
    "dinov2",
    "backbone",
    Dinov2Model(Dinov2Config(image_size=6, patch_size=2, mlp_ratio=2, **shape)),
    (torch.zeros(1, 3, 6, 6),),
    {"x": {2: "height", 3: "width"}},
)
export(
    "bert",
    "auto_model",
    BertModel(BertConfig(vocab_size=11, intermediate_size=6, max_position_embeddings=7, **shape), add_pooling_layer=False),
    (torch.zeros(1, 4, dtype=torch.long), torch.ones(1, 4, dtype=torch.long)),
    {"x": {1: "length"}},
)
