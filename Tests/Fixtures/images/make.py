"""Makes the fixtures of this folder with h5py, Pillow, NumPy and PyTorch.

Usage: python make.py
"""
import io
import json
import os

import h5py
import numpy as np
import torch
from PIL import Image
from safetensors.numpy import save_file

os.chdir(os.path.dirname(os.path.abspath(__file__)))
random = np.random.default_rng(7)

# A set of images: the value of image i at (y, x, c) is (7 i + 3 y + 5 x + 11 c) mod 256.
i, y, x, c = np.meshgrid(*map(np.arange, (5, 2, 3, 3)), indexing="ij")
with h5py.File("by-h5py.h5", "w", libver="v110") as file:
    file.create_dataset(
        "images", data=((7 * i + 3 * y + 5 * x + 11 * c) % 256).astype(np.uint8), chunks=(2, 2, 3, 3),
        compression="gzip", shuffle=True, fletcher32=True)
    file.create_dataset("labels", data=np.array([1, 0, 1, 0, 1], dtype="<i8"))
    file.create_dataset(
        "class_names", data=np.frombuffer(json.dumps(["cat", "dög"], ensure_ascii=False).encode(), np.uint8))
    for name, text in [("format", "graft-image-set"), ("name", "pair"), ("source", "h5py"), ("licence", "CC0")]:
        file.attrs[name] = np.bytes_(text)
    file.attrs["version"] = np.int64(1)

# Pictures, and what Pillow reads of them. Smooth ones, so that JPEG keeps them.
expected = {}


def smooth(height, width, channels):
    y, x = np.mgrid[0:height, 0:width]
    planes = [128 + 100 * np.sin(x / (3 + k) + k) * np.cos(y / (4 + k)) for k in range(channels)]
    return np.stack(planes, -1).round().astype(np.uint8)


def keep(name, mode):
    expected[name] = np.array(Image.open(name).convert(mode)).reshape(-1)


colours, grey = smooth(9, 13, 3), smooth(9, 13, 1)[..., 0]
Image.fromarray(grey).save("grey.png")
keep("grey.png", "L")
Image.fromarray(colours).save("rgb.png")
keep("rgb.png", "RGB")
alpha = np.concatenate([colours, random.integers(0, 256, (9, 13, 1), dtype=np.uint8)], -1)
Image.fromarray(alpha).save("rgba.png")
keep("rgba.png", "RGB")
Image.fromarray(colours).quantize(7).save("palette.png")
keep("palette.png", "RGB")
wide = random.integers(0, 1 << 16, (9, 13), dtype=np.uint16)
Image.fromarray(wide).save("grey16.png")
expected["grey16.png"] = (wide >> 8).astype(np.uint8).reshape(-1)
Image.fromarray(grey > 128).save("bits.png")
expected["bits.png"] = np.where(grey > 128, 255, 0).astype(np.uint8).reshape(-1)
Image.fromarray(grey).save("grey.jpg", quality=90)
keep("grey.jpg", "L")
Image.fromarray(colours).save("rgb.jpg", quality=90, subsampling=0)
keep("rgb.jpg", "RGB")
Image.fromarray(smooth(24, 40, 3)).save("subsampled.jpg", quality=85, subsampling=2)
keep("subsampled.jpg", "RGB")
Image.fromarray(colours).save("progressive.jpg", quality=90, subsampling=0, progressive=True)
keep("progressive.jpg", "RGB")
Image.fromarray(colours).convert("CMYK").save("cmyk.jpg")
expected["luma"] = np.array(Image.fromarray(colours).convert("L")).reshape(-1)

# Sizes, by Pillow's BILINEAR and by PyTorch's.
source = random.integers(0, 256, (23, 17, 3), dtype=np.uint8)
expected["resize"] = source.reshape(-1)
planes = torch.from_numpy(source).permute(2, 0, 1)[None].float()
for height, width in [(8, 8), (40, 31), (23, 5), (7, 17), (1, 1), (46, 34)]:
    name = f"{height}x{width}"
    pillow = Image.fromarray(source).resize((width, height), Image.Resampling.BILINEAR)
    expected["antialiased " + name] = np.array(pillow).reshape(-1)
    torchs = torch.nn.functional.interpolate(planes, (height, width), mode="bilinear", align_corners=False)
    expected["bilinear " + name] = torchs[0].permute(1, 2, 0).contiguous().numpy().reshape(-1)

# A batch as torchvision prepares it: antialiased to 8 × 8, then (v / 255 − mean) / deviation.
mean, deviation = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
small = np.array(Image.fromarray(source).resize((8, 8), Image.Resampling.BILINEAR)).astype(np.float32)
expected["prepared"] = ((small / 255 - mean) / deviation).transpose(2, 0, 1).reshape(-1)
save_file({k: np.ascontiguousarray(v) for k, v in expected.items()}, "expected.safetensors")

# NumPy's own files: the value of image i at (y, x) is (31 i + 7 y + x) mod 256, labels i mod 3.
i, y, x = np.meshgrid(np.arange(6), np.arange(4), np.arange(5), indexing="ij")
images, labels = ((31 * i + 7 * y + x) % 256).astype(np.uint8), np.arange(6) % 3
for name, array in [
    ("u1", images), ("i2", images.astype("<i2")), ("big-i4", images.astype(">i4")), ("u8", images.astype("<u8")),
    ("f2", (images / 255).astype("<f2")), ("f4", (images / 255).astype("<f4")), ("big-f8", (images / 255).astype(">f8")),
    ("four", images[..., None]), ("fortran", np.asfortranarray(images)), ("complex", images.astype("<c8")),
    ("labels", labels.astype("<i8")), ("labels-u1", labels.astype("u1")),
]:
    np.save(name + ".npy", array)
np.savez("stored.npz", x_train=images, y_train=labels)
np.savez_compressed("deflated.npz", x_train=images, y_train=labels)
np.savez_compressed("two.npz", x_train=images, y_train=labels, x_test=images[:3], y_test=labels[:3])
