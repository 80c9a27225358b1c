#!/usr/bin/env python3
"""What each way of packing a model costs it: perplexity and divergence from the original, bytes, time, memory.

Packs the model that `graft fetch smollm2` brings, taken as floats, by every method at the bits it has, corrects the
coarsest, and measures each on a text no method has seen. Rows that are there already are kept, so an ended run goes on.
Standard library only.

    python3 Scripts/studies/quantisers.py --graft .build/release/graft --output runs/quantisers
"""
import argparse
import json
import pathlib
import re
import resource
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
CALIBRATED = ["--calibration", str(ROOT / "Data/jargon/train.jsonl"), "--sequences", "48"]
# name: what `graft quantize` is told
ROWS = {
    "rtn, 8 bits": ["--packing", "int8-g64"],
    "gptq, 8 bits": ["--packing", "int8-g64", "--method", "gptq"],
    "awq, 8 bits": ["--packing", "int8-g64", "--method", "awq"],
    "adadim, 8 bits": ["--packing", "int8-g64", "--method", "adadim"],
    "rtn, 4 bits": ["--packing", "int4-g64"],
    "gptq, 4 bits": ["--packing", "int4-g64", "--method", "gptq"],
    "awq, 4 bits": ["--packing", "int4-g64", "--method", "awq"],
    "adadim, 4 bits": ["--packing", "int4-g64", "--method", "adadim"],
    "os+, 4 bits": ["--packing", "int4-g64", "--method", "os+"],
    "block floating point, 4 bits": ["--packing", "bfp4-g32"],
    "nf4": ["--packing", "nf4"],
    "fp4": ["--packing", "fp4-g64", "--method", "fp4"],
    "rtn, 3 bits": ["--packing", "int3-g64"],
    "rtn with searched ranges, 3 bits": ["--packing", "int3-g64", "--clip", "weights"],
    "gptq, 3 bits": ["--packing", "int3-g64", "--method", "gptq"],
    "awq, 3 bits": ["--packing", "int3-g64", "--method", "awq"],
    "awq, then gptq, 3 bits": ["--packing", "int3-g64", "--scale", "awq", "--round", "gptq"],
    "adadim, 3 bits": ["--packing", "int3-g64", "--method", "adadim"],
    "os+, 3 bits": ["--packing", "int3-g64", "--method", "os+"],
    "pb, a tenth in 8 bits": ["--packing", "pb10", "--round", "gptq"],
    "rtn, 2 bits": ["--packing", "int2-g64"],
    "rtn with searched ranges, 2 bits": ["--packing", "int2-g64", "--clip", "weights"],
    "gptq, 2 bits": ["--packing", "int2-g64", "--method", "gptq"],
    "awq, 2 bits": ["--packing", "int2-g64", "--method", "awq"],
    "awq, then gptq, 2 bits": ["--packing", "int2-g64", "--scale", "awq", "--round", "gptq"],
    "adadim, 2 bits": ["--packing", "int2-g64", "--method", "adadim"],
    "os+, 2 bits": ["--packing", "int2-g64", "--method", "os+"],
}
CORRECTED = ["rtn, 2 bits", "gptq, 2 bits", "gptq, 3 bits"]
FOLLOWING = "{type: distillation, teacher: {original}, divergence: 1, cross_entropy: 0.0586}"
BLOCKWISE = "{type: blocks, teacher: {original}, blocks: {blocks}}"
# name: the adapter, what it follows, steps, learning rate. LoftQ of one iteration, the default of PEFT, is svd.
CORRECTIONS = {
    "svd": ("{type: int2.1, rank: 32, alpha: 32, correction: svd}", FOLLOWING, 0, 1e-4),
    "lqer": ("{type: int2.1, rank: 32, alpha: 32, correction: lqer}", FOLLOWING, 0, 1e-4),
    "eora": ("{type: int2.1, rank: 32, alpha: 32, correction: eora}", FOLLOWING, 0, 1e-4),
    "qllm": ("{type: qllm, rank: 32, alpha: 32, activation_bits: 16, "
             "modules_to_save: [input_layernorm, post_attention_layernorm]}", BLOCKWISE.replace("{blocks}", "2"),
             300, 1e-3),
    "apiq": ("{type: int2.1, rank: 32, alpha: 32, correction: eora}", BLOCKWISE.replace("{blocks}", "1"), 300, 1e-3),
    "lrec": ("{type: int2.1, rank: 32, alpha: 32, correction: eora}", FOLLOWING, 60, 5e-4),
}
RECIPE = """\
seed: 42
output_dir: {folder}
model: {{path: {base}}}
adapter: {adapter}
objective: {objective}
{measured}
data: {{train: {calibration}, max_seq_len: 256, too_long: truncate_right}}
train: {{max_steps: {steps}, batch_size: {batch}, learning_rate: {rate}, lr_schedule: cosine}}
log: {{plot: false}}
"""


def processor_seconds():
    """What the programs run so far have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Study:
    def __init__(self, graft, output, text, windows):
        self.graft, self.output, self.text, self.windows = graft, output.resolve(), text, windows
        self.output.mkdir(parents=True, exist_ok=True)
        self.original = self.output / "original"
        if not self.original.exists():
            self.call("fetch", "smollm2")
            self.call("export", "smollm2", "--to", "hf", "--output", self.original)

    def call(self, *arguments):
        done = subprocess.run([self.graft, *map(str, arguments)], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"graft {' '.join(map(str, arguments))}\n{done.stderr}")
        return done.stdout

    def measure(self, folder, adapter=None):
        more = ["--adapter-b", adapter] if adapter else []
        return json.loads(
            self.call("kl", self.original, folder, *more, "--text", self.text, "--windows", self.windows, "--json"))

    def kept(self, name, make):
        """The row of that name, made unless it was."""
        file = self.output / (name.replace(",", "").replace(" ", "-") + ".json")
        if not file.exists():
            file.write_text(json.dumps(make(file.with_suffix("")), indent=1))
        print(name, flush=True)
        return json.loads(file.read_text())

    def packed(self, folder, options):
        measured = any(word in options for word in ("--method", "--scale", "--round"))
        # Written after the folder: an ended run left no half of both.
        report_file = folder.with_suffix(".report")
        if not report_file.exists():
            started = processor_seconds()
            report = json.loads(self.call(
                "quantize", self.original, "--output", folder, *options, *(CALIBRATED if measured else []), "--json"))
            report["processor_seconds"] = processor_seconds() - started
            report_file.write_text(json.dumps(report, indent=1))
        report = json.loads(report_file.read_text())
        return {"bytes": report["bytes"], "peak": report["peak_bytes"], "seconds": report["processor_seconds"],
                **self.measure(folder)}

    def corrected(self, folder, base, correction):
        recipe = folder.with_suffix(".yaml")
        adapter, objective, steps, rate = CORRECTIONS[correction]
        recipe.write_text(RECIPE.format(
            folder=folder, base=base, adapter=adapter, objective=objective.replace("{original}", str(self.original)),
            steps=steps, rate=rate, batch=2 if "blocks" in objective else 4, calibration=ROOT / "Data/jargon/train.jsonl",
            measured="calibration: {max_rows: 96}" if "lqer" in adapter or "eora" in adapter else ""))
        started = processor_seconds()
        self.call("train", recipe, "--overwrite")
        seconds = processor_seconds() - started
        adapter = folder / "adapter"
        size = sum(file.stat().st_size for file in adapter.glob("*.safetensors"))
        report = json.loads((folder / "report.json").read_text())
        packed = json.loads(pathlib.Path(base).with_suffix(".report").read_text())
        return {"bytes": packed["bytes"] + size, "peak": report["peak_rss_mb"] * 1e6, "seconds": seconds,
                **self.measure(base, adapter)}

    def table(self, wanted):
        rows = {}
        for name, options in ROWS.items():
            if wanted.search(name) or any(base == name and wanted.search(f"{base} + {correction}")
                                          for base in CORRECTED for correction in CORRECTIONS):
                rows[name] = self.kept(name, lambda folder: self.packed(folder, options))
        for correction in CORRECTIONS:
            for base in CORRECTED:
                name, folder = f"{base} + {correction}", self.output / base.replace(",", "").replace(" ", "-")
                if wanted.search(name):
                    rows[name] = self.kept(name, lambda out: self.corrected(out, folder, correction))
        original = next(iter(rows.values()))["perplexity_a"]
        lines = [
            "| how | perplexity | KL to float | same top token | MB of layers | processor minutes | peak MB |",
            "|---|--:|--:|--:|--:|--:|--:|", f"| float | {original:.2f} | | | 424.7 | | |",
        ]
        for name, row in rows.items():
            lines.append(
                f"| {name} | {row['perplexity_b']:.2f} | {row['kl']:.3f} | {100 * row['agreement']:.1f} % "
                f"| {row['bytes'] / 1e6:.1f} | {row['seconds'] / 60:.1f} | {row['peak'] / 1e6:.0f} |")
        return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graft", default=".build/release/graft")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/quantisers"))
    parser.add_argument("--text", default="/usr/share/common-licenses/GPL-3")
    parser.add_argument("--windows", default="8")
    parser.add_argument("--rows", type=re.compile, default=re.compile(""), help="a pattern the rows' names hold")
    arguments = parser.parse_args()
    study = Study(arguments.graft, arguments.output, arguments.text, arguments.windows)
    table = study.table(arguments.rows)
    (study.output / "table.md").write_text(table + "\n")
    print("\n" + table)


main()
