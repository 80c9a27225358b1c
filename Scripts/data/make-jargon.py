#!/usr/bin/env python3
"""Make Data/jargon/{train,eval}.jsonl from the Jargon File 4.4.7 as Debian packages it.

    apt-get download jargon-text
    python3 Scripts/data/make-jargon.py jargon-text_4.4.7-4.1_all.deb [--output Data/jargon]

One text a line: {"text"}. Each glossary entry and chapter is cut at paragraph ends into texts of at most 900
characters; only a paragraph of more than 800 is cut inside, at the ends of its sentences. The lines of a paragraph are
joined, typographic quotes and dashes become ASCII, and the braces of cross-references go. Tables, listings, drawings,
lists of headwords and the sections of SKIPPED are left out, and counted. One text in 33, chosen by its hash, goes to
the evaluation file.
"""

import argparse
import collections
import gzip
import hashlib
import io
import json
import re
import sys
import tarfile
from pathlib import Path

PACKAGE_SHA256 = "17d05997e30eb3d5d6713929b8e2f81b63a5f50073858ad2a06701c71f54dcdb"
MEMBER = "./usr/share/doc/jargon-text/jargon.txt.gz"
LONGEST = 900
HEADING = 100
EVALUATED = 33
SKIPPED = {"Front matter", "Revision History", "A Portrait of J. Random Hacker", "Helping Hacker Culture Grow",
           "Bibliography"}
ASCII = str.maketrans({"‘": "'", "’": "'", "´": "'", "“": '"', "”": '"', "—": "--", "–": "-", "−": "-", "…": "...",
                       "•": "*", "\u00a0": " "})
HEADWORD = re.compile(r"   :(\S[^:]*(?::[^:\s][^:]*)*):(?: (.*))?$")


def packaged_text(package):
    """The Jargon File inside a Debian package, which is an ar archive of compressed tar archives."""
    place = 8
    while place + 60 <= len(package):
        name, size = package[place:place + 16].decode().strip(" /"), int(package[place + 48:place + 58])
        if name.startswith("data.tar"):
            with tarfile.open(fileobj=io.BytesIO(package[place + 60:place + 60 + size])) as archive:
                return gzip.decompress(archive.extractfile(MEMBER).read()).decode()
        place += 60 + size + size % 2
    sys.exit("the package holds no data archive")


def sections(text):
    """(heading, paragraphs) of each chapter, glossary and appendix; a paragraph is its lines."""
    heading, paragraphs, paragraph = "Front matter", [], []
    for line in text.replace("\u00a0", " ").split("\n") + [""]:
        start = re.match(r"(?:(?:Chapter|Appendix) \w+\. +(.*\S)|(Glossary|Bibliography))\s*$", line)
        if start:
            yield heading, paragraphs
            heading, paragraphs, paragraph = start.group(1) or start.group(2), [], []
        elif line.strip():
            paragraph.append(line.rstrip())
        elif paragraph:
            paragraphs.append(paragraph)
            paragraph = []
    yield heading, paragraphs


def is_prose(paragraph):
    """Whether these lines are running text, a quotation or a list item, not a table, listing or drawing."""
    text = " ".join(" ".join(paragraph).split())
    wordlike = sum(c.isalpha() or c in " .,;:'\"()[]{}-‘’“”" for c in text)
    indent = min(len(line) - len(line.lstrip()) for line in paragraph)
    return indent in (3, 5) and not re.search(r"[\u2500-\u257f]", text) and wordlike > 0.85 * len(text)


def is_title(paragraph):
    """Whether this is a heading or a line of a contents list."""
    return len(paragraph) == 1 and len(paragraph[0]) < 60 and not re.search(r"[.!?:;,)\"'”’\]]$", paragraph[0])


def tidy(text):
    return re.sub(r"\{([^{}]*)\}", r"\1", " ".join(text.split()).translate(ASCII))


def entries(paragraphs, left_out):
    """The glossary's entries: lists of paragraphs, the first of which starts with the headword."""
    heads = [HEADWORD.match(paragraph[0]) for paragraph in paragraphs]
    headwords = {head.group(1) for head in heads if head}
    found = []
    for paragraph, head in zip(paragraphs, heads):
        if head:
            rest = " ".join([head.group(2) or ""] + paragraph[1:])
            found.append([tidy(f"{head.group(1)}: {rest}")])
        elif not found or len(paragraph) == 1 and (paragraph[0].strip() in headwords or len(paragraph[0].strip()) == 1):
            left_out["lines of headword lists"] += 1
        elif is_prose(paragraph):
            found[-1].append(tidy(" ".join(paragraph)))
        else:
            left_out["paragraphs of tables, listings and drawings"] += 1
    return found


def chapter(paragraphs, left_out):
    """A chapter as a list of one list of paragraphs."""
    found = []
    for paragraph in paragraphs:
        if is_title(paragraph):
            left_out["headings and lines of contents lists"] += 1
        elif is_prose(paragraph):
            found.append(tidy(" ".join(paragraph)))
        else:
            left_out["paragraphs of tables, listings and drawings"] += 1
    return [found]


def texts(paragraphs):
    """The paragraphs gathered into texts of at most LONGEST characters."""
    gathered = []
    for paragraph in paragraphs:
        parts, separator = [paragraph], "\n\n"
        # A headword must not be left alone because the paragraph after it just fits by itself.
        if len(paragraph) > LONGEST - HEADING:
            parts = re.split(r"(?<=[.!?]) (?=[A-Z(\"])", paragraph)
        for part in parts:
            if gathered and len(gathered[-1]) + len(separator) + len(part) <= LONGEST:
                gathered[-1] += separator + part
            else:
                gathered.append(part)
            separator = " "
    return gathered


def write(path, rows):
    data = "".join(json.dumps({"text": row}, ensure_ascii=False) + "\n" for row in rows).encode()
    path.write_bytes(data)
    longest = max(map(len, rows))
    print(f"{path}: {len(rows)} rows, longest {longest} characters, {len(data)} bytes, "
          f"sha256 {hashlib.sha256(data).hexdigest()}")


def main():
    parser = argparse.ArgumentParser(description="Make Data/jargon from Debian's jargon-text 4.4.7-4.1.")
    parser.add_argument("package", type=Path)
    parser.add_argument("--output", type=Path, default=Path("Data/jargon"))
    arguments = parser.parse_args()
    package = arguments.package.read_bytes()
    found = hashlib.sha256(package).hexdigest()
    if found != PACKAGE_SHA256:
        sys.exit(f"{arguments.package}: sha256 is {found}, expected {PACKAGE_SHA256}")
    rows, left_out = [], collections.Counter()
    for heading, paragraphs in sections(packaged_text(package)):
        if heading in SKIPPED:
            left_out["paragraphs of skipped sections"] += len(paragraphs)
            continue
        make = entries if heading == "Glossary" else chapter
        made = [text for part in make(paragraphs, left_out) for text in texts(part)]
        print(f"{heading}: {len(made)} texts, {sum(map(len, made))} characters")
        rows += made
    unique = list(dict.fromkeys(rows))
    left_out["repeated texts"] = len(rows) - len(unique)
    order = sorted(unique, key=lambda row: hashlib.sha256(row.encode()).digest())
    held_out = set(order[:len(order) // EVALUATED])
    arguments.output.mkdir(parents=True, exist_ok=True)
    write(arguments.output / "train.jsonl", [row for row in unique if row not in held_out])
    write(arguments.output / "eval.jsonl", [row for row in unique if row in held_out])
    for reason, count in sorted(left_out.items()):
        print(f"left out: {count} {reason}")


main()
