#!/usr/bin/env python3
"""Train the byte-level BPE tokenizer in Data/embedded on the training texts of Data/jargon and Data/chatterbot.

    python3 Scripts/data/make-tokenizer.py [--data Data]

Needs tokenizers 0.23. Single digits are tokens of their own; the rest is cut as GPT-2 cuts it. Of the 2048 ids the
first three are special, the next 256 are the bytes, and the others are merges. The chat template is ChatML.
"""

import argparse
import hashlib
import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

VOCABULARY = 2048
END_OF_TEXT, MESSAGE_START, MESSAGE_END = SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
CONFIGURATION = {
    "add_bos_token": False,
    "add_prefix_space": False,
    "added_tokens_decoder": {
        str(id): {"content": token, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
                  "special": True}
        for id, token in enumerate(SPECIAL)
    },
    "bos_token": END_OF_TEXT,
    "chat_template": CHAT_TEMPLATE,
    "clean_up_tokenization_spaces": False,
    "eos_token": MESSAGE_END,
    "model_max_length": 2048,
    "pad_token": END_OF_TEXT,
    "tokenizer_class": "PreTrainedTokenizerFast",
    "unk_token": END_OF_TEXT,
}


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def texts(data, part):
    """The texts of each set, under its name."""
    return {
        "jargon": [row["text"] for row in rows(data / "jargon" / f"{part}.jsonl")],
        "chatterbot": [row["prompt"] + "\n" + row["completion"] for row in rows(data / "chatterbot" / f"{part}.jsonl")],
    }


def train(corpus):
    tokenizer = Tokenizer(models.BPE(unk_token=END_OF_TEXT))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[AddedToken(token, normalized=False, special=True) for token in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    ))
    assert tokenizer.get_vocab_size() == VOCABULARY
    assert [tokenizer.token_to_id(token) for token in SPECIAL] == [0, 1, 2]
    return tokenizer


def write(path, text):
    path.write_text(text, encoding="utf-8", newline="\n")
    print(f"{path}: {len(text.encode())} bytes, sha256 {hashlib.sha256(text.encode()).hexdigest()}")


def main():
    parser = argparse.ArgumentParser(description="Train the tokenizer in Data/embedded.")
    parser.add_argument("--data", type=Path, default=Path("Data"))
    data = parser.parse_args().data
    tokenizer = train([text for part in texts(data, "train").values() for text in part])
    folder = data / "embedded"
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "tokenizer.json", tokenizer.to_str(pretty=True) + "\n")
    write(folder / "tokenizer_config.json", json.dumps(CONFIGURATION, indent=2, sort_keys=True) + "\n")
    for part in "train", "eval":
        for name, part_texts in texts(data, part).items():
            encodings = tokenizer.encode_batch(part_texts, add_special_tokens=False)
            assert tokenizer.decode_batch([encoding.ids for encoding in encodings]) == part_texts
            tokens, size = sum(len(e.ids) for e in encodings), sum(len(text.encode()) for text in part_texts)
            print(f"{name} {part}: {len(part_texts)} texts, {tokens / len(part_texts):.1f} tokens a text, "
                  f"{size / tokens:.2f} bytes a token, longest {max(len(e.ids) for e in encodings)} tokens")


main()
