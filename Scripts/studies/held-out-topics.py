#!/usr/bin/env python3
"""Does an inventory of routed skills adapt to new tasks better than one shared LoRA of as many numbers?

Trains each on 17 topics of Data/chatterbot with the small model that comes with Graft, then adapts it to four topics it
has not seen, from 24 rows each, and measures the loss on the rest of that topic's rows. Standard library only.

    python3 Scripts/studies/held-out-topics.py --graft .build/release/graft --output runs/held-out-topics
"""
import argparse
import json
import pathlib
import random
import statistics
import subprocess
import sys

HELD_OUT = ["emotion", "ai", "coding", "psychology"]
LORA = "{type: lora, rank: 16, alpha: 32}"
ROUTED = "{{type: mhr, rank: 4, alpha: 8, skills: 4, heads: {heads}}}"
ROUTER = ", role_rates: {router: 100}"
# How each starts on a topic: its name, the run it continues, the adapter section, and what else training is told.
MODES = [
    ("a fresh LoRA", None, LORA, ""),
    ("shared LoRA, tuned on", "lora", "{{type: lora, from: {folder}}}", ""),
    ("MHR, all learns", "mhr", "{{type: mhr, mode: full, from: {folder}}}", ROUTER),
    ("MHR, mean of the skills", "mhr", "{{type: mhr, mode: mean, from: {folder}}}", ""),
    ("Poly (one head), all learns", "poly", "{{type: mhr, mode: full, from: {folder}}}", ROUTER),
]


class Study:
    def __init__(self, graft, output, rate):
        self.graft, self.output, self.rate = graft, output.resolve(), rate
        self.output.mkdir(parents=True, exist_ok=True)
        data = pathlib.Path(__file__).resolve().parents[2] / "Data" / "chatterbot"
        rows = [json.loads(line) for name in ("train", "eval") for line in (data / f"{name}.jsonl").open()]
        self.write("others", [row for row in rows if row["topic"] not in HELD_OUT])
        for topic in HELD_OUT:
            own = [row for row in rows if row["topic"] == topic]
            random.Random(7).shuffle(own)
            self.write(topic + ".few", own[:24])
            self.write(topic + ".rest", own[24:])

    def write(self, name, rows):
        (self.output / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def run(self, name, seed, adapter, train, judge, length, rate, more=""):
        """Makes one run and returns its report."""
        folder = self.output / name
        judged = f"eval: {self.output}/{judge}.jsonl, " if judge else ""
        recipe = self.output / f"{name}.yaml"
        recipe.write_text(
            f"seed: {seed}\noutput_dir: {folder}\nmodel: {{path: embedded}}\nadapter: {adapter}\n"
            f"data: {{train: {self.output}/{train}.jsonl, {judged}task_field: topic, train_on: completion, "
            "max_seq_len: 512, too_long: truncate_right}\n"
            f"train: {{{length}, batch_size: 8, learning_rate: {rate}, lr_schedule: cosine, "
            f"warmup_ratio: 0.05{more}}}\nlog: {{plot: false}}\n")
        done = subprocess.run([self.graft, "train", recipe, "--overwrite"], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(done.stderr)
        report = json.loads((folder / "report.json").read_text())
        entries = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
        report["before"] = next((e["eval_loss"] for e in entries if e["step"] == 0 and "eval_loss" in e), None)
        return report

    def seed(self, seed):
        """Every mode on every topic: {(mode, topic): report}."""
        starts = [("lora", LORA, ""), ("mhr", ROUTED.format(heads=4), ROUTER), ("poly", ROUTED.format(heads=1), ROUTER)]
        for name, adapter, more in starts:
            report = self.run(f"{name}-{seed}", seed, adapter, "others", None, "epochs: 4", 3e-3, more)
            print(f"seed {seed}: {name} trained on 17 topics, {report['trainable']:,} numbers", flush=True)
        found = {}
        for topic in HELD_OUT:
            for mode, start, adapter, more in MODES:
                section = adapter.format(folder=self.output / f"{start}-{seed}" / "adapter") if start else adapter
                name = f"{topic}-{MODES.index((mode, start, adapter, more))}-{seed}"
                found[mode, topic] = self.run(
                    name, seed, section, topic + ".few", topic + ".rest", "max_steps: 30", self.rate, more)
        return found


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--graft", default=".build/release/graft")
    arguments.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/held-out-topics"))
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--rate", type=float, default=1e-3)
    options = arguments.parse_args()
    study = Study(str(pathlib.Path(options.graft).resolve()), options.output, options.rate)
    seeds = [study.seed(seed) for seed in range(1, options.seeds + 1)]
    print("\nloss on the rest of a topic: before the 24 rows → after 30 steps on them, mean over seeds\n")
    print("| start | " + " | ".join(HELD_OUT) + " | mean after |")
    print("|---|" + "--:|" * (len(HELD_OUT) + 1))
    for mode, *_ in MODES:
        cells = []
        for topic in HELD_OUT:
            before, after = ([s[mode, topic][key] for s in seeds] for key in ("before", "eval_loss"))
            cells.append(f"{statistics.mean(before):.3f} → {statistics.mean(after):.3f}")
        means = [statistics.mean(s[mode, topic]["eval_loss"] for topic in HELD_OUT) for s in seeds]
        spread = statistics.stdev(means) if len(means) > 1 else 0
        print(f"| {mode} | " + " | ".join(cells) + f" | {statistics.mean(means):.3f} ± {spread:.3f} |")


if __name__ == "__main__":
    main()
