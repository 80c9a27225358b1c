"""Compares a merged classifier's probabilities with transformers', and its adapter's with PEFT's.

    python3 check_classifier.py --graft GRAFT --merged FOLDER --texts rows.jsonl [--base FOLDER --adapter FOLDER]

`merged` is what `graft merge` or a recipe's merge.output wrote; `texts` are rows with a key `text`, the first 200 of which
are read. Exits with 1 when a probability differs by more than 1e-4.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
for name in ("graft", "merged", "texts"):
    arguments.add_argument("--" + name, required=True)
arguments.add_argument("--base")
arguments.add_argument("--adapter")
options = arguments.parse_args()
torch.set_num_threads(1)

tokenizer = AutoTokenizer.from_pretrained(options.merged)
merged = AutoModelForSequenceClassification.from_pretrained(options.merged).eval()
texts = [json.loads(line)["text"] for line in open(options.texts)][:200]
labels = merged.config.id2label


def probabilities(model):
    with torch.no_grad():
        limit = model.config.max_position_embeddings
        batches = (tokenizer(text, truncation=True, max_length=limit, return_tensors="pt") for text in texts)
        return [torch.softmax(model(**batch).logits, -1)[0].tolist() for batch in batches]


with tempfile.TemporaryDirectory() as folder:
    rows, told = pathlib.Path(folder, "rows.jsonl"), pathlib.Path(folder, "told.jsonl")
    rows.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    subprocess.run([options.graft, "classify", options.merged, "--file", rows, "--output", told], check=True)
    ours = [json.loads(line)["probabilities"] for line in told.open()]

theirs = probabilities(merged)
difference = max(abs(a[labels[i]] - b[i]) for a, b in zip(ours, theirs) for i in labels)
print(f"{len(texts)} texts: graft's probabilities within {difference:.2e} of transformers'")
fails = difference > 1e-4
if options.base and options.adapter:
    from peft import PeftModel

    base = AutoModelForSequenceClassification.from_pretrained(options.base, num_labels=len(labels))
    adapted = probabilities(PeftModel.from_pretrained(base, options.adapter).eval())
    difference = max(abs(a - b) for x, y in zip(adapted, theirs) for a, b in zip(x, y))
    print(f"PEFT's with the adapter over the base within {difference:.2e} of the merged model's")
    fails = fails or difference > 1e-4
sys.exit(1 if fails else 0)
