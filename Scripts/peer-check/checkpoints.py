"""Load a model for a peer: a Hugging Face folder, or a GGUF file dequantised to 32-bit floats."""

import json
import os
import sys
import warnings

import numpy as np

# GGUF's name of a block's tensor and the checkpoint's.
BLOCK_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
TOP_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def checkpoint_name(name):
    """The Hugging Face name of a Llama tensor of a GGUF file: 'blk.0.attn_q.weight' is layer 0's q_proj."""
    stem, _, kind = name.rpartition(".")
    if stem in TOP_NAMES:
        return f"{TOP_NAMES[stem]}.{kind}"
    block, number, part = stem.split(".", 2)
    if block != "blk" or part not in BLOCK_NAMES:
        sys.exit(f"tensor '{name}' has no counterpart in a Llama checkpoint")
    return f"model.layers.{number}.{BLOCK_NAMES[part]}.{kind}"


def checkpoint_rows(values, heads):
    """Rows in the checkpoint's order.

    GGUF stores the two halves of each query and key head interleaved, because llama.cpp rotates neighbouring pairs
    where Hugging Face rotates pairs half a head apart.
    """
    pairs = values.reshape(heads, values.shape[0] // heads // 2, 2, *values.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(values.shape)


class GGUFModel:
    """A Llama model in a GGUF file."""

    def __init__(self, path):
        import gguf

        self.path = path
        self.reader = gguf.GGUFReader(path)
        self.dequantize = gguf.quants.dequantize
        if self.value("general.architecture") != "llama":
            sys.exit(f"{path}: architecture is '{self.value('general.architecture')}'; these checks know 'llama'")
        self.heads = self.value("llama.attention.head_count")
        self.key_heads = self.value("llama.attention.head_count_kv", self.heads)
        self.tensors = {checkpoint_name(t.name): t for t in self.reader.tensors if t.name != "rope_freqs.weight"}
        if len(self.tensors) != len(self.reader.tensors):
            sys.exit(f"{path}: scaled rotary frequencies are not supported here")

    def value(self, key, default=None):
        field = self.reader.get_field(key)
        return default if field is None else field.contents()

    def floats(self, name):
        """A tensor in the checkpoint's name, shape and row order."""
        tensor = self.tensors[name]
        values = self.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if ".q_proj." in name:
            return checkpoint_rows(values, self.heads)
        if ".k_proj." in name:
            return checkpoint_rows(values, self.key_heads)
        return values

    def configuration(self):
        from transformers import LlamaConfig

        embedding = self.tensors["model.embed_tokens.weight"].shape
        width = self.value("llama.embedding_length")
        return LlamaConfig(
            vocab_size=int(embedding[1]),
            hidden_size=width,
            intermediate_size=self.value("llama.feed_forward_length"),
            num_hidden_layers=self.value("llama.block_count"),
            num_attention_heads=self.heads,
            num_key_value_heads=self.key_heads,
            head_dim=self.value("llama.rope.dimension_count", width // self.heads),
            max_position_embeddings=self.value("llama.context_length"),
            rms_norm_eps=self.value("llama.attention.layer_norm_rms_epsilon"),
            rope_parameters={"rope_type": "default", "rope_theta": self.value("llama.rope.freq_base", 10000.0)},
            tie_word_embeddings="lm_head.weight" not in self.tensors,
            attention_bias="model.layers.0.self_attn.q_proj.bias" in self.tensors,
            attn_implementation="eager",
        )

    def model(self):
        import torch
        from transformers import LlamaForCausalLM

        model = LlamaForCausalLM(self.configuration())
        state = {name: torch.from_numpy(self.floats(name)) for name in self.tensors}
        missing, unexpected = model.load_state_dict(state, strict=False)
        if unexpected or set(missing) - ({"lm_head.weight"} if model.config.tie_word_embeddings else set()):
            sys.exit(f"{self.path}: missing {missing}, unexpected {unexpected}")
        model.tie_weights()
        return model.eval()


def load(path):
    """A torch model in 32-bit floats with plain attention, and the GGUF it came from if it did."""
    import torch
    import transformers

    warnings.filterwarnings("ignore", category=FutureWarning)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if os.path.isdir(path):
        model = transformers.AutoModelForCausalLM.from_pretrained(
            path, dtype=torch.float32, attn_implementation="eager", local_files_only=True)
        return model.eval(), None
    source = GGUFModel(path)
    return source.model(), source


def token_ids(arguments):
    """The ids of --ids 1,2,3 or of --ids-file, a JSON list."""
    if arguments.ids:
        return [int(part) for part in arguments.ids.split(",")]
    with open(arguments.ids_file, encoding="utf-8") as file:
        return json.load(file)


def add_id_options(parser):
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--ids", help="token ids, separated by commas")
    group.add_argument("--ids-file", help="a JSON file holding a list of token ids")


def add_comparison_options(parser, tolerance):
    parser.add_argument("--ours", help="the file 'graft logits' wrote")
    parser.add_argument("--write", help="write the peer's logits here, in the same form")
    parser.add_argument("--tolerance", type=float, default=tolerance, help="largest difference allowed (%(default)s)")


def report(arguments, peer, logits):
    """Print how far our logits are from the peer's; the exit code: 0 within the tolerance, 1 beyond it."""
    from safetensors.numpy import load_file, save_file

    if arguments.write:
        save_file({"logits": np.ascontiguousarray(logits, dtype=np.float32)}, arguments.write)
        print(f"{peer}: wrote {list(logits.shape)} to {arguments.write}")
    if not arguments.ours:
        return 0 if arguments.write else sys.exit("give --ours, --write or both")
    ours = load_file(arguments.ours)["logits"]
    ours = ours.reshape(ours.shape[-2:])
    if ours.shape != logits.shape:
        print(f"{peer}: its logits are {list(logits.shape)}, ours {list(ours.shape)}")
        return 1
    difference = np.abs(ours.astype(np.float64) - logits)
    largest = float(difference.max())
    close = largest <= arguments.tolerance        # false for NaN
    same = float((ours.argmax(-1) == logits.argmax(-1)).mean())
    print(f"{peer}: {list(logits.shape)} logits up to {np.abs(logits).max():.3g}; |d| max {largest:.3g}, "
          f"mean {difference.mean():.3g}; same first choice {100 * same:.1f} %; "
          f"{'within' if close else 'BEYOND'} {arguments.tolerance:g}")
    return 0 if close else 1
