#!/usr/bin/env python3
"""Check, tensor by tensor, a GGUF file into which we merged an adapter.

    graft merge ...                                          # BASE.gguf and ADAPTER give MERGED.gguf
    python3 check_merge_gguf.py BASE.gguf ADAPTER MERGED.gguf

PEFT merges the adapter into the base dequantised to 32-bit floats; that is what the file should say. A tensor the
adapter leaves alone must be unchanged. A changed one must be as near to PEFT's as its type allows: F32 within the
tolerance, F16 and BF16 within their rounding, a packed type with at most 1.1 times the root mean square error of
gguf-py's own packing of PEFT's values (gguf-py packs Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0).

An adapter's change is often smaller than the rounding of a packed type, and then the unmerged base is near enough too.
So the share of the change that arrived is measured as well: the merged weights less the base's, projected on the change
PEFT makes. 100 % is all of it, 0 % is the base. It may not be below 0.8 times the share that gguf-py's packing keeps,
nor above 1.2 times all of it, give or take four standard errors for a single tensor. Exits 1 on any failure.
"""

import argparse
import collections
import sys

import numpy as np

import checkpoints

ROUNDING = {"F16": 2.0**-11, "BF16": 2.0**-8}
SLACK = 1.1
LEAST_SHARE, MOST_SHARE, STANDARD_ERRORS = 0.8, 1.2, 4


def squares(values):
    return float(np.sum(np.square(values, dtype=np.float64)))


def packed(kind, values):
    """The values after gguf-py's packing as this type, or themselves where it is a type of plain floats."""
    import gguf

    if kind.name in ("F32", *ROUNDING):
        return values
    try:
        return gguf.quants.dequantize(gguf.quants.quantize(values, kind), kind)
    except NotImplementedError:
        sys.exit(f"gguf-py cannot pack {kind.name}, so it cannot tell how near a merged tensor of that type can be")


class Change:
    """What became of one changed tensor, or of all those of a type."""

    def __init__(self):
        self.tensors = self.size = 0
        self.largest = self.error = self.kept = self.kept_by_peer = self.change = 0.0

    @classmethod
    def measured(cls, before, expected, found, peer):
        change, self = expected - before, cls()
        self.tensors, self.size = 1, change.size
        self.largest = float(np.abs(found - expected).max())
        self.error = squares(found - expected)
        self.kept = float(np.sum((found - before) * change, dtype=np.float64))
        self.kept_by_peer = float(np.sum((peer - before) * change, dtype=np.float64))
        self.change = squares(change)
        return self

    def add(self, other):
        for name in ("tensors", "size", "error", "kept", "kept_by_peer", "change"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.largest = max(self.largest, other.largest)

    def arrived(self, errors):
        """Whether enough of the change is there, and not too much."""
        if self.change == 0:
            return True
        margin = errors * (self.error / self.size / self.change) ** 0.5
        share, by_peer = self.kept / self.change, self.kept_by_peer / self.change
        return LEAST_SHARE * min(by_peer, 1) - margin <= share <= MOST_SHARE * max(by_peer, 1) + margin

    def __str__(self):
        text = f"|d| max {self.largest:.3g}, root mean square {(self.error / self.size) ** 0.5:.3g}"
        if self.change:
            text += (f"; of the change {100 * self.kept / self.change:.1f} % arrived "
                     f"(gguf-py: {100 * self.kept_by_peer / self.change:.1f} %)")
        return text


def near(kind, change, expected, peer, tolerance):
    if kind.name == "F32":
        return change.largest <= tolerance
    if kind.name in ROUNDING:
        return change.largest <= tolerance + ROUNDING[kind.name] * float(np.abs(expected).max())
    return change.error ** 0.5 <= tolerance + SLACK * squares(peer - expected) ** 0.5


def main():
    parser = argparse.ArgumentParser(description="Check a GGUF file into which we merged an adapter.")
    parser.add_argument("base", help="the GGUF file the adapter was trained on")
    parser.add_argument("adapter", help="a PEFT adapter folder")
    parser.add_argument("merged", help="the GGUF file to check")
    parser.add_argument("--tolerance", type=float, default=2e-6, help="for F32 tensors (%(default)s)")
    arguments = parser.parse_args()

    import peft

    model, base = checkpoints.load(arguments.base)
    if base is None:
        sys.exit(f"{arguments.base}: not a GGUF file")
    merged = checkpoints.GGUFModel(arguments.merged)
    state = peft.PeftModel.from_pretrained(model, arguments.adapter).merge_and_unload().state_dict()
    problems, changes, unchanged = [], collections.defaultdict(Change), 0
    for name in sorted(base.tensors.keys() | merged.tensors.keys()):
        if name not in merged.tensors or name not in base.tensors:
            problems.append(f"{name}: only in the {'base' if name in base.tensors else 'merged file'}")
            continue
        kind = merged.tensors[name].tensor_type
        before, expected, found = base.floats(name), state[name].float().numpy(), merged.floats(name)
        if found.shape != expected.shape:
            problems.append(f"{name}: {list(found.shape)}, expected {list(expected.shape)}")
        elif np.array_equal(before, expected) and kind == base.tensors[name].tensor_type:
            unchanged += 1
            if not np.array_equal(found, before):
                problems.append(f"{name} ({kind.name}): changed, though the adapter leaves it alone")
        else:
            peer = packed(kind, expected)
            change = Change.measured(before, expected, found, peer)
            changes[kind.name].add(change)
            if not near(kind, change, expected, peer, arguments.tolerance):
                problems.append(f"{name} ({kind.name}): too far from PEFT's: {change}")
            elif not change.arrived(STANDARD_ERRORS):
                problems.append(f"{name} ({kind.name}): not PEFT's change: {change}")
    print(f"{unchanged} tensors that the adapter leaves alone")
    for label, change in sorted(changes.items()):
        print(f"{change.tensors} changed tensors of type {label}: {change}")
        if not change.arrived(0):
            problems.append(f"all changed tensors of type {label} together: not PEFT's change")
    for key in base.reader.fields:
        if key.startswith(("llama.", "tokenizer.")) and base.value(key) != merged.value(key):
            problems.append(f"key '{key}' differs from the base's")
    for problem in problems:
        print(problem)
    print(f"{len(problems)} problems" if problems else "agrees with PEFT")
    sys.exit(1 if problems else 0)


main()
