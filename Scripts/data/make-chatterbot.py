#!/usr/bin/env python3
"""Make Data/chatterbot/*.jsonl from the English part of chatterbot-corpus 1.3.3.

    python3 Scripts/data/make-chatterbot.py [WHEEL] [--output Data/chatterbot]

Without WHEEL, pip downloads it. Needs PyYAML. One example a line: {"prompt", "completion", "topic"}.

Every turn of a conversation is the prompt of the turn after it; in the topics of ANSWERS the later turns are other
answers to the first turn, which is then the prompt of each. Identical pairs are kept once. In each topic one prompt in
nine, chosen by the hash of the prompt, goes to the evaluation file. Prompts that differ only in case and punctuation
count as one prompt, and no prompt is in both files. The files trivia-*.jsonl hold the topic trivia alone.
"""

import argparse
import collections
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import yaml

PACKAGE = "chatterbot-corpus==1.3.3"
WHEEL_SHA256 = "86de5300afb9a80826386339d3bec79c0a72eb0358abb8327e2ecef5ae0ce154"
FOLDER = "chatterbot_corpus/data/english/"
ANSWERS = {"computers", "emotion"}
EVALUATED = 9
LONGEST = 2000


def download(folder):
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    subprocess.run(command + ["--dest", folder, PACKAGE], check=True)
    return next(Path(folder).glob("*.whl"))


def key(prompt):
    return re.sub(r"[\W_]+", " ", prompt.casefold()).strip() or prompt


def tidy(text):
    return " ".join(text.split())


def pairs(topic, turns):
    if topic in ANSWERS:
        return [(turns[0], answer) for answer in turns[1:]]
    return list(zip(turns, turns[1:]))


def read(wheel):
    """All examples in file order, and how many of each topic were left out, by reason."""
    examples, left_out, seen = [], collections.defaultdict(collections.Counter), set()
    with zipfile.ZipFile(wheel) as archive:
        names = sorted(n for n in archive.namelist() if n.startswith(FOLDER) and n.endswith(".yml"))
        for name in names:
            topic = name[len(FOLDER):-len(".yml")]
            for conversation in yaml.safe_load(archive.read(name))["conversations"]:
                if not isinstance(conversation, list) or len(conversation) < 2:
                    left_out["conversations that are not a list of turns"][topic] += 1
                    print(f"{topic}: not a list of turns: {conversation!r}")
                    continue
                for prompt, completion in pairs(topic, [tidy(str(turn)) for turn in conversation]):
                    if not prompt or not completion:
                        left_out["pairs with an empty turn"][topic] += 1
                    elif len((prompt + completion).encode()) > LONGEST:
                        left_out[f"pairs of more than {LONGEST} bytes"][topic] += 1
                    elif (prompt, completion) in seen:
                        left_out["pairs seen before"][topic] += 1
                    else:
                        seen.add((prompt, completion))
                        examples.append({"prompt": prompt, "completion": completion, "topic": topic})
    return examples, left_out


def split(examples):
    """The training and the evaluation examples, each in the order given."""
    topic_of = {}
    for example in examples:
        topic_of.setdefault(key(example["prompt"]), example["topic"])
    by_topic = collections.defaultdict(list)
    for prompt, topic in topic_of.items():
        by_topic[topic].append(prompt)
    held_out = set()
    for prompts in by_topic.values():
        prompts.sort(key=lambda prompt: hashlib.sha256(prompt.encode()).digest())
        held_out.update(prompts[:len(prompts) // EVALUATED])
    train = [example for example in examples if key(example["prompt"]) not in held_out]
    return train, [example for example in examples if key(example["prompt"]) in held_out]


def write(path, examples):
    data = "".join(json.dumps(example, ensure_ascii=False) + "\n" for example in examples).encode()
    path.write_bytes(data)
    print(f"{path}: {len(examples)} rows, {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")


def main():
    parser = argparse.ArgumentParser(description="Make Data/chatterbot from chatterbot-corpus 1.3.3.")
    parser.add_argument("wheel", nargs="?")
    parser.add_argument("--output", type=Path, default=Path("Data/chatterbot"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wheel = Path(arguments.wheel or download(folder))
        found = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if found != WHEEL_SHA256:
            sys.exit(f"{wheel}: sha256 is {found}, expected {WHEEL_SHA256}")
        examples, left_out = read(wheel)
    train, evaluation = split(examples)
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, part in ("train", train), ("eval", evaluation):
        write(arguments.output / f"{name}.jsonl", part)
        write(arguments.output / f"trivia-{name}.jsonl", [e for e in part if e["topic"] == "trivia"])
    for reason, counts in sorted(left_out.items()):
        print(f"left out: {counts.total()} {reason}:", ", ".join(f"{t} {n}" for t, n in counts.items()))
    trained, held = (collections.Counter(e["topic"] for e in part) for part in (train, evaluation))
    for topic in sorted(trained | held):
        print(f"{topic}: {trained[topic]} train, {held[topic]} eval")


main()
