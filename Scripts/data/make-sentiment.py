#!/usr/bin/env python3
"""Make Data/sentiment/*.jsonl from the ground truth of VADER (Hutto and Gilbert 2014), in vaderSentiment 3.3.2.

    python3 Scripts/data/make-sentiment.py [SDIST] [--output Data/sentiment]

Without SDIST, pip's own finder and session download it; `pip download` would run the package's setup.py, and nothing of
the package is run here. One example a line: {"text", "label", "domain"}.

A sentence is positive when its mean rating, from -4 to 4, is at least 0.5, negative when it is at most -0.5, and is left
out in between. Sentences that differ only in case and punctuation count as one. A review or an article is wholly in the
test file or in the training file, chosen by the hash of its number; tweets and film reviews, which have none, are chosen
by the hash of the text. Of each domain and label the sentences with the smallest hashes are taken, up to a number.
"""

import argparse
import collections
import hashlib
import html
import io
import json
import re
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "vaderSentiment==3.3.2"
SDIST_SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
INNER = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
DOMAINS = {
    "tweets": "tweets", "movies": "movieReviewSnippets", "amazon": "amazonReviewSnippets", "nyt": "nytEditorialSnippets",
}
NEUTRAL = 0.5
TESTED = 6
TAKEN = {"train": 450, "test": 100}
LONGEST = 600


def download(folder):
    """The source distribution, by pip's internals (tried with pip 23.2 and 26.3): there is no command for this."""
    from pip._internal.commands import create_command
    from pip._internal.network.download import Downloader
    from pip._vendor.packaging.requirements import Requirement

    command = create_command("download")
    options, _ = command.parse_args(["--no-deps", "--no-binary", ":all:", "--dest", folder, PACKAGE])
    with command.main_context():
        session = command.get_default_session(options)
        finder = command._build_package_finder(options=options, session=session, ignore_requires_python=True)
        wanted = Requirement(PACKAGE)
        best = finder.find_best_candidate(wanted.name, wanted.specifier).best_candidate
        if best is None:
            raise SystemExit(f"pip finds no source distribution of {PACKAGE}")
        return Path(Downloader(session, "off")(best.link, folder)[0])


def digest(*parts):
    return hashlib.sha256("\n".join(parts).encode()).digest()


def key(text):
    return re.sub(r"[\W_]+", " ", text.casefold()).strip()


def read(archive, name):
    """The rows of one domain: the number of its review or article, if any, the mean rating and the text."""
    text = archive.extractfile(f"hutto_ICWSM_2014/{name}_GroundTruth.txt").read().decode("utf-8")
    for line in text.split("\r\n"):
        if line:
            number, rating, sentence = line.split("\t")
            group = number.split("_")[0] if "_" in number else None
            yield group, float(rating), " ".join(html.unescape(sentence).split())


def examples(archive, left_out):
    """All sentences with a label, each once, with the file they belong to."""
    labels, found = collections.defaultdict(set), []
    for domain, name in DOMAINS.items():
        for group, rating, text in read(archive, name):
            label = "positive" if rating > 0 else "negative"
            if abs(rating) < NEUTRAL:
                left_out["near zero"][domain] += 1
            elif not key(text) or len(text) > LONGEST:
                left_out[f"without a word, or of more than {LONGEST} characters"][domain] += 1
            else:
                labels[key(text)].add(label)
                tested = digest(domain, group or key(text))[0] % TESTED == 0
                found.append(({"text": text, "label": label, "domain": domain}, "test" if tested else "train"))
    # Of the same sentence in a training and a test review the test's is kept.
    seen, kept = set(), []
    for example, file in sorted(found, key=lambda pair: pair[1]):
        same = key(example["text"])
        if len(labels[same]) > 1:
            left_out["with both labels"][example["domain"]] += 1
        elif same in seen:
            left_out["seen before"][example["domain"]] += 1
        else:
            seen.add(same)
            kept.append((example, file))
    return kept


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sdist", nargs="?", type=Path)
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[2] / "Data" / "sentiment")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = (arguments.sdist or download(folder)).read_bytes()
    if hashlib.sha256(data).hexdigest() != SDIST_SHA256:
        raise SystemExit("the source distribution has another SHA-256; do not use it")

    left_out = collections.defaultdict(collections.Counter)
    with tarfile.open(fileobj=io.BytesIO(data)) as outer:
        with tarfile.open(fileobj=outer.extractfile(INNER)) as archive:
            rows = examples(archive, left_out)
    for reason, counts in left_out.items():
        print(f"left out, {reason}: {dict(counts)}")

    arguments.output.mkdir(parents=True, exist_ok=True)
    for domain in DOMAINS:
        for file, number in TAKEN.items():
            taken = []
            for label in ["negative", "positive"]:
                of_label = [row for row, place in rows if (row["domain"], row["label"], place) == (domain, label, file)]
                of_label.sort(key=lambda row: digest(row["text"]))
                print(f"{domain} {file} {label}: {min(number, len(of_label))} of {len(of_label)}")
                taken += of_label[:number]
            taken.sort(key=lambda row: digest("order", row["text"]))
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in taken)
            (arguments.output / f"{domain}.{file}.jsonl").write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
