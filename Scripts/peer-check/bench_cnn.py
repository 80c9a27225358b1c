#!/usr/bin/env python3
"""Time training steps of networks of images in PyTorch, for comparison with `graft bench cnn`.

    python3 bench_cnn.py --model efficientnet-lite0 --adapter clr --batch 32 --size 112

The same model with random weights, batch norms by their running moments, a frozen base, the adapter and the head
learned by AdamW. Adapters: `clr` puts a 3 x 3 filter on each channel behind every convolution that is larger than 1 x 1,
`lora` a low-rank change of rank 8 beside every convolution in one group. Prints one JSON object.
"""

import argparse
import json
import resource
import statistics
import time

import torch
from torch import nn
from torch.nn import functional

LITE0 = [(1, 16, 3, 1, 1), (2, 24, 3, 2, 6), (2, 40, 5, 2, 6), (3, 80, 3, 2, 6), (3, 112, 5, 1, 6), (4, 192, 5, 2, 6),
         (1, 320, 3, 1, 6)]
MOBILE = [(1, 16, 3, 1, 1), (2, 24, 3, 2, 6), (3, 32, 3, 2, 6), (4, 64, 3, 2, 6), (3, 96, 3, 1, 6), (3, 160, 3, 2, 6),
          (1, 320, 3, 1, 6)]


class Same(nn.Conv2d):
    """A convolution with as many zeros around as TensorFlow's SAME asks."""

    def forward(self, x):
        pads = []
        for size in (x.shape[3], x.shape[2]):
            kernel, stride = self.kernel_size[0], self.stride[0]
            total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
            pads += [total // 2, total - total // 2]
        if pads[0] == pads[1] and pads[2] == pads[3]:
            return functional.conv2d(x, self.weight, None, self.stride, (pads[2], pads[0]), 1, self.groups)
        return functional.conv2d(functional.pad(x, pads), self.weight, None, self.stride, 0, 1, self.groups)


def unit(inputs, outputs, kernel, stride=1, groups=1, clamps=True):
    layers = [Same(inputs, outputs, kernel, stride, groups=groups, bias=False), nn.BatchNorm2d(outputs, eps=1e-3)]
    return nn.Sequential(*layers, *([nn.ReLU6(inplace=True)] if clamps else []))


class Bottleneck(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride, expansion):
        super().__init__()
        inner = inputs * expansion
        self.body = nn.Sequential(*([unit(inputs, inner, 1)] if expansion > 1 else []),
                                  unit(inner, inner, kernel, stride, inner), unit(inner, outputs, 1, clamps=False))
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.body(x) if self.adds else self.body(x)


def mobile(rows):
    layers, inputs = [unit(3, 32, 3, 2)], 32
    for repeats, outputs, kernel, stride, expansion in rows:
        for index in range(repeats):
            layers.append(Bottleneck(inputs, outputs, kernel, stride if index == 0 else 1, expansion))
            inputs = outputs
    return nn.Sequential(*layers, unit(inputs, 1280, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 10))


def resnet(name):
    from transformers import ResNetConfig, ResNetForImageClassification
    sizes = dict(layer_type="basic", hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2]) if name == "resnet18" else {}
    model = ResNetForImageClassification(ResNetConfig(num_labels=10, **sizes))

    class Logits(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x):
            return self.model(x).logits

    return Logits()


class CLR(nn.Module):
    def __init__(self, base):
        super().__init__()
        self.base, channels = base, base.out_channels
        self.filters = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)

    def forward(self, x):
        return self.filters(self.base(x))


class LoRA(nn.Module):
    def __init__(self, base):
        super().__init__()
        self.base = base
        self.a = type(base)(base.in_channels, 8, base.kernel_size, base.stride, base.padding, bias=False)
        self.b = nn.Conv2d(8, base.out_channels, 1, bias=False)

    def forward(self, x):
        return self.base(x) + self.b(self.a(x))


def adapt(module, kind):
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Conv2d):
            if kind == "clr" and child.kernel_size != (1, 1):
                setattr(module, name, CLR(child))
            elif kind == "lora" and child.groups == 1:
                setattr(module, name, LoRA(child))
        else:
            adapt(child, kind)


def main():
    parser = argparse.ArgumentParser(description="Time training steps of networks of images in PyTorch.")
    parser.add_argument("--model", choices=["efficientnet-lite0", "mobilenet-v2", "resnet18", "resnet50"],
                        default="efficientnet-lite0")
    parser.add_argument("--adapter", choices=["clr", "lora"], default="clr")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--channels-last", action="store_true", help="lay images out channel by channel within a pixel")
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    torch.manual_seed(0)
    model = resnet(o.model) if "resnet" in o.model else mobile(LITE0 if o.model == "efficientnet-lite0" else MOBILE)
    for parameter in model.parameters():
        parameter.requires_grad = False
    adapt(model, o.adapter)
    head = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
    for parameter in head.parameters():
        parameter.requires_grad = True
    model.eval()
    x, labels = torch.randn(o.batch, 3, o.size, o.size), torch.arange(o.batch) % 10
    if o.channels_last:
        model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    learned = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-3)
    seconds = []
    for step in range(o.steps + 2):
        start = time.perf_counter()
        loss = functional.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step >= 2:
            seconds.append(time.perf_counter() - start)
    print(json.dumps(dict(
        name=o.model, adapter=o.adapter, batch=o.batch, size=o.size, threads=o.threads, torch=torch.__version__,
        channels_last=o.channels_last, trainable=sum(p.numel() for p in learned),
        median_s=statistics.median(seconds), min_s=min(seconds), max_s=max(seconds),
        peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)))


main()
