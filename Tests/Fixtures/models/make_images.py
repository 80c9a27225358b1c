"""Tiny networks of images with random weights, and what PyTorch 2.13 and transformers 5 compute with them.

    python make_images.py            (numpy, torch, transformers, safetensors)

Writes efficientnet-lite-tiny, mobilenet-tiny, cifar-tiny, dinov2-tiny and clip-tiny, and resnet/training.safetensors.
"""
import json
import os

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

HERE = os.path.dirname(os.path.abspath(__file__))
torch.set_num_threads(1)


def write(name, config, weights, images):
    folder = os.path.join(HERE, name)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(config, file, indent=1)
    save_file({k: v.contiguous() for k, v in weights.items()}, os.path.join(folder, "model.safetensors"))
    save_file({k: v.contiguous() for k, v in images.items()}, os.path.join(folder, "reference.safetensors"))


def same(x, kernel, stride):
    pads = []
    for size in (x.shape[3], x.shape[2]):
        total = max(0, ((size + stride - 1) // stride - 1) * stride + kernel - size)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)


class Unit:
    def __init__(self, weights, name, inputs, outputs, kernel, stride=1, groups=1, clamps=True):
        w = torch.randn(outputs, inputs // groups, kernel, kernel) * (2 / (inputs // groups * kernel**2)) ** 0.5
        self.w, self.stride, self.groups, self.clamps, self.kernel = w, stride, groups, clamps, kernel
        self.norm = [1 + 0.2 * torch.randn(outputs), 0.3 * torch.randn(outputs) + (0.5 if clamps else 0),
                     0.2 * torch.randn(outputs), 0.5 + torch.rand(outputs)]
        weights[name + ".convolution.weight"] = w
        for key, value in zip(("weight", "bias", "running_mean", "running_var"), self.norm):
            weights[f"{name}.normalization.{key}"] = value

    def __call__(self, x):
        y = F.conv2d(same(x, self.kernel, self.stride), self.w, stride=self.stride, groups=self.groups)
        g, b, m, v = self.norm
        y = F.batch_norm(y, m, v, g, b, eps=1e-3)
        return F.relu6(y) if self.clamps else y


def mobilenet(name, family, rows, height, width, classes):
    weights, inputs, blocks = {}, 8, []
    stem = Unit(weights, "stem", 3, 8, 3, 2)
    for repeats, channels, kernel, stride, expansion in rows:
        for index in range(repeats):
            step, inner, prefix = stride if index == 0 else 1, inputs * expansion, f"blocks.{len(blocks)}"
            parts = [Unit(weights, prefix + ".expand", inputs, inner, 1)] if expansion != 1 else []
            parts += [Unit(weights, prefix + ".depthwise", inner, inner, kernel, step, inner),
                      Unit(weights, prefix + ".project", inner, channels, 1, clamps=False)]
            blocks.append((parts, step == 1 and inputs == channels))
            inputs = channels
    top = Unit(weights, "top", inputs, 24, 1)
    weights["classifier.weight"], weights["classifier.bias"] = torch.randn(classes, 24), torch.randn(classes)
    x = torch.randn(3, 3, height, width)
    h = stem(x)
    for parts, adds in blocks:
        y = h
        for part in parts:
            y = part(y)
        h = h + y if adds else y
    logits = top(h).mean((2, 3)) @ weights["classifier.weight"].T + weights["classifier.bias"]
    config = {"model_type": family, "image_size": [height, width], "stem_channels": 8, "top_channels": 24,
              "blocks": rows, "num_labels": classes}
    labels = torch.tensor([1, 0, 2])
    write(name, config, weights,
          {"pixel_values": x, "logits": logits, "labels": labels, "loss": F.cross_entropy(logits, labels)})


def plain(name):
    weights, channels, dense = {}, [8, 8, 12, 12], [16, 10]
    x = torch.randn(3, 3, 20, 20)
    h, inputs = x, 3
    for i, outputs in enumerate(channels):
        w, b = torch.randn(outputs, inputs, 3, 3) * (2 / (9 * inputs)) ** 0.5, 0.1 * torch.randn(outputs)
        norm = [1 + 0.2 * torch.randn(outputs), 0.3 * torch.randn(outputs), torch.rand(outputs),
                0.5 + torch.rand(outputs)]
        weights[f"layers.{i}.convolution.weight"], weights[f"layers.{i}.convolution.bias"] = w, b
        for key, value in zip(("weight", "bias", "running_mean", "running_var"), norm):
            weights[f"layers.{i}.normalization.{key}"] = value
        h = F.batch_norm(F.relu(F.conv2d(h, w, b)), norm[2], norm[3], norm[0], norm[1], eps=1e-3)
        if i in (1, 3):
            h = F.max_pool2d(h, 2)
        if i == 1:
            trunk = h.flatten(1)
        inputs = outputs
    h = h.flatten(1)
    for i, outputs in enumerate(dense + [4]):
        w, b = torch.randn(outputs, h.shape[1]) * h.shape[1] ** -0.5, 0.1 * torch.randn(outputs)
        prefix = "classifier" if i == 2 else f"dense.{i}"
        weights[prefix + ".weight"], weights[prefix + ".bias"] = w, b
        h = h @ w.T + b
        if i < 2:
            h = F.relu(h)
    config = {"model_type": "cifar-cnn", "image_size": 20, "channels": channels, "pools": [2, 4], "dense": dense,
              "num_labels": 4}
    labels = torch.tensor([3, 0, 2])
    write(name, config, weights, {"pixel_values": x, "logits": h, "labels": labels, "trunk": trunk,
                                  "loss": F.cross_entropy(h, labels)})


def dino(name):
    from transformers import Dinov2Config, Dinov2ForImageClassification
    config = Dinov2Config(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, mlp_ratio=2, image_size=28,
                          patch_size=7, num_labels=4)
    model = Dinov2ForImageClassification(config).eval()
    for key, value in model.named_parameters():
        value.data = torch.randn_like(value) * (0.3 if value.ndim < 2 or "embeddings" in key else 0.2)
    folder = os.path.join(HERE, name)
    model.save_pretrained(folder)
    small, wide = torch.randn(3, 3, 28, 28), torch.randn(2, 3, 21, 49)
    with torch.no_grad():
        logits, other = model(small).logits, model(wide).logits
    labels = torch.tensor([3, 0, 2])
    save_file({"pixel_values": small, "logits": logits, "labels": labels, "loss": F.cross_entropy(logits, labels),
               "wide.pixel_values": wide, "wide.logits": other}, os.path.join(folder, "reference.safetensors"))


def clip(name):
    from transformers import CLIPConfig, CLIPForImageClassification, CLIPVisionModel
    sizes = dict(hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=3, image_size=28,
                 patch_size=7)
    model = CLIPForImageClassification(CLIPConfig(vision_config=sizes, num_labels=4)).eval()
    for key, value in model.named_parameters():
        value.data = torch.randn_like(value) * (0.3 if value.ndim < 2 or "embedding" in key else 0.2)
    folder = os.path.join(HERE, name)
    model.save_pretrained(folder)
    tower = CLIPVisionModel(model.config.vision_config).eval()
    whole = {k.removeprefix("vision_model."): v for k, v in model.state_dict().items()}
    tower.load_state_dict({k: whole[k.removeprefix("vision_model.")] for k in tower.state_dict()})
    small, wide = torch.randn(3, 3, 28, 28), torch.randn(2, 3, 21, 49)
    with torch.no_grad():
        logits, pooled = model(small).logits, tower(small).pooler_output
        other = tower(wide, interpolate_pos_encoding=True).pooler_output
    labels = torch.tensor([3, 0, 2])
    save_file({"pixel_values": small, "logits": logits, "labels": labels, "loss": F.cross_entropy(logits, labels),
               "pooled": pooled, "wide.pixel_values": wide, "wide.pooled": other},
              os.path.join(folder, "reference.safetensors"))


def training():
    from transformers import AutoModelForImageClassification
    folder = os.path.join(HERE, "resnet")
    model = AutoModelForImageClassification.from_pretrained(folder).train()
    x = load_file(os.path.join(folder, "reference.safetensors"))["pixel_values"]
    out = {}
    with torch.no_grad():
        out["logits"] = model(x).logits
        out["second"] = model(x.flip(0) * 2).logits
    out.update({k: v.clone() for k, v in model.state_dict().items() if "running" in k})
    save_file({k: v.contiguous() for k, v in out.items()}, os.path.join(folder, "training.safetensors"))


torch.manual_seed(11)
mobilenet("efficientnet-lite-tiny", "efficientnet-lite",
          [[1, 8, 3, 1, 1], [2, 12, 5, 2, 3], [2, 16, 3, 2, 2]], 30, 37, 4)
mobilenet("mobilenet-tiny", "mobilenet_v2", [[1, 8, 3, 1, 1], [2, 12, 3, 2, 4]], 24, 24, 3)
plain("cifar-tiny")
dino("dinov2-tiny")
training()
torch.manual_seed(12)
clip("clip-tiny")
