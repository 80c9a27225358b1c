#!/usr/bin/env python3
"""Compare our logits with those of Hugging Face transformers and PEFT.

    graft logits MODEL --adapter ADAPTER --ids 1,2,3 --out ours.safetensors
    python3 peft_logits.py MODEL --adapter ADAPTER --ids 1,2,3 --ours ours.safetensors

MODEL is a Hugging Face folder or a Llama GGUF file, which is dequantised to 32-bit floats. ADAPTER is a PEFT folder.
With --merged, PEFT folds the adapter into the weights first. With --task N, an adapter of type POLY serves its task of
that number; give 'graft logits' the same. Exits 1 when a logit differs by more than the tolerance.
"""

import argparse
import sys

import checkpoints


def main():
    parser = argparse.ArgumentParser(description="Compare our logits with those of transformers and PEFT.")
    parser.add_argument("model")
    parser.add_argument("--adapter")
    parser.add_argument("--merged", action="store_true", help="let PEFT merge the adapter first")
    parser.add_argument("--task", type=int, help="the number of the task, for a POLY adapter")
    parser.add_argument("--threads", type=int, default=2)
    checkpoints.add_id_options(parser)
    checkpoints.add_comparison_options(parser, tolerance=2e-4)
    arguments = parser.parse_args()

    import torch

    torch.set_num_threads(arguments.threads)
    model, _ = checkpoints.load(arguments.model)
    peer = "transformers"
    if arguments.adapter:
        import peft

        model = peft.PeftModel.from_pretrained(model, arguments.adapter).eval()
        peer = "PEFT"
        if arguments.merged:
            model = model.merge_and_unload().eval()
            peer = "PEFT, merged"
    routing = {} if arguments.task is None else {"task_ids": torch.tensor([arguments.task])}
    with torch.no_grad():
        logits = model(torch.tensor([checkpoints.token_ids(arguments)]), **routing).logits[0].float().numpy()
    sys.exit(checkpoints.report(arguments, peer, logits))


main()
