"""Makes the fixture llama-untied/poly: a Poly adapter of PEFT with random numbers, and what PEFT computes with it.

    python3 -m pip install torch==2.13.0 transformers==5.23.0 peft==0.21.2 safetensors==0.8.0
    python3 make.py

The other adapters here were made likewise.
"""

import json
import pathlib

import torch
from peft import PolyConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

here = pathlib.Path(__file__).parent
torch.set_num_threads(1)
torch.manual_seed(21)
base = AutoModelForCausalLM.from_pretrained(
    here.parent / "models/llama-untied", dtype=torch.float32, attn_implementation="eager", local_files_only=True)
model = get_peft_model(base, PolyConfig(
    task_type="CAUSAL_LM", r=3, n_tasks=2, n_skills=3, n_splits=2, target_modules=["q_proj", "v_proj", "down_proj"]))
# Not in training: there PEFT draws the mixtures.
model.eval()
with torch.no_grad():
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.copy_(torch.randn_like(parameter) * (1.5 if "module_logits" in name else 0.3))
folder = here / "llama-untied/poly"
model.save_pretrained(folder)
(folder / "README.md").unlink(missing_ok=True)
# The path of this machine is nobody's business.
path = folder / "adapter_config.json"
config = json.loads(path.read_text())
config["base_model_name_or_path"] = "llama-untied"
path.write_text(json.dumps(config, indent=2, sort_keys=True))

ids = torch.randint(3, 320, (2, 16), generator=torch.Generator().manual_seed(6))
labels = ids.clone()
labels[:, :5] = -100
reference = dict(input_ids=ids, labels=labels)
for task in range(2):
    with torch.no_grad():
        reference[f"logits.task{task}"] = model(ids, task_ids=torch.tensor([task, task])).logits.contiguous()
# One sequence of each task in one batch.
out = model(ids, labels=labels, task_ids=torch.tensor([1, 0]))
out.loss.backward()
reference["loss"] = out.loss.detach().reshape(1)
for name, parameter in model.named_parameters():
    if parameter.requires_grad:
        reference["grad." + name] = parameter.grad.contiguous()
save_file(reference, folder / "reference.safetensors")
print(sorted(config.items()), out.loss.item(),
      *(reference[f"logits.task{task}"].abs().max().item() for task in range(2)), sep="\n")
