"""Makes this folder: a WordPiece tokenizer of single characters and a few longer tokens, and what `tokenizers` makes of
hard texts with it. Almost every character is a token, so ids show what became of each.

    python3 -m pip install tokenizers==0.23.3
    python3 Tests/Fixtures/wordpiece/make.py
"""

import json
import os

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

HERE = os.path.dirname(os.path.abspath(__file__))
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

# Each text is here for a reason: what a tokenizer that is not exact gets wrong.
TEXTS = [
    # Case and accents: dotted and dotless i, final sigma, ligatures, titlecase digraphs, letters that become two.
    "Hello World", "İstanbul ISTANBUL ıstanbul", "i̇I\u0307", "ΣΊΣΥΦΟΣ Σας ΟΔΟΣ", "straße STRASSE ẞ", "ﬁnance ﬃ ﬅ", "ǅ Ǆ ǆ ŉ ǰ",
    "résumé naïve façade", "re\u0301sume\u0301", "Ångström A\u030angstro\u0308m \u212bngstrom", "\u2126 \u212a \u2167 ½ ²",
    "e\u0323\u0301 e\u0301\u0323", "q\u0307\u0323", "\u0344 \u0340 \u0958 \u0f73", "ё й ї Й", "\u1e9b\u0323",
    # Marks that changed their category, or came, after the tables of the reference.
    "a\u1734b a\u1885b a\u1886b", "a\ua9bdb a\U000111c9b a\U0001171eb", "a\U00011938b a\u0898b a\U0001e944b",
    "a\u20ddb a\u0488b a\u0903b", "e\u1df6\u0301 e\u0301\u1df6", "\u3099 か\u3099 が ｶﾞ",
    # Control, format, private and unassigned characters.
    "a\0b a\x01b a\x7fb a\x85b", "a\tb\nc\rd\r\ne\x0bf\x0cg", "a\u00adb a\u200bb a\u200cb a\u200db", "\ufeffa\ufeffb \u2060c",
    "\u200eabc \u202eabc\u202c \u2066x\u2069", "a\ufffdb a\ufffcb a\ufffeb", "a\ue000b a\uf8ffb a\U000f0000b a\U0010ffffb",
    "a\U000e0001b a\U000e0041b", "a\u061cb a\u08e2b a\U000110cdb a\U00013430b", "a\u0378b a\U0001fffeb",
    # White space.
    "", " ", "   a   b   ", "a\u00a0b\u2003c\u3000d\u2028e\u2029f\u1680g", "a\u180eb a\u3164b a\u115fb",
    # Chinese characters and their neighbours.
    "東京tower中a文", "a㐀b\U00020000c\U0002b820d\U0002b81fe\U0002ceb0f", "豈a\U0002f800b", "ひらがなカタカナ한국어", "\u3007\u2e80\u31c0", "각\u1100\u1161\u11a8",
    # Punctuation, old and new.
    "don't stop!! (ok)", "a-b_c$d^e`f|g~h+i=j<k>l", "¿qué? ¡ay! «a» “b” ‘c’ …", "a§b¶c°d©e€f", "a—b–c‐d・e、f。", "a\u166db a\u2e5db a\U00011f43b",
    "\u0609a\u066ab\u2056c", "x.y,z;:!?",
    # Symbols and sequences.
    "😀a 👩\u200d👩\u200d👧 🏳\ufe0f\u200d🌈 🇨🇭", "\U0001d400\U0001d504 ａｂｃ！", "नमस्ते हिन्दी", "ภาษาไทย นํ้า", "עִבְרִית العَرَبِيَّة", "Ⴀ ᲀ Ა Ꭰ ꭰ",
    # Words: greedy cuts that cannot go on ("xyyz" is xy + yz, but xyy comes first), the longest word there may be, and one longer.
    "unaffable unaffing hello", "xyyz xyz xyy z az za", "x" * 100 + " " + "x" * 101, "é" * 101, "##ing # ##", "abc##d",
    # Special tokens in the text.
    "[MASK]", "a[SEP]b [CLS] [mask] [ MASK ]", "[MASK[MASK]] [PAD]a", " [UNK] ", "a\u0301[MASK]\u0301b",
]

LONGER = ["xy", "xyy", "##yz", "un", "##aff", "##able", "##ing", "hel", "##lo", "is", "##tan", "##bul", "the"]
# Without these no word may hold the character anywhere but at its start.
MISSING = {"##z"}

PAIRS = [
    ("hello", "world"), ("hello world", ""), ("", "hello"), ("", ""), ("ab cd", None), ("", None), ("東京", "a\u0301 [SEP] b"),
]
LONG = [("a b c d e f g h", "i j k"), ("i j k", "a b c d e f g h"), ("a b c d e f", "g h i j k l"), ("a b c d e f g", None)]
LIMITS = [3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15]

CLS, SEP = ["[CLS]", 12], ["[SEP]", 13]
POST_PROCESSORS = [
    None,
    {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    {"type": "BertProcessing", "cls": CLS, "sep": SEP},
    {"type": "RobertaProcessing", "cls": CLS, "sep": SEP, "trim_offsets": True, "add_prefix_space": False},
    processors.TemplateProcessing(
        single="$A:2 [SEP]:3", pair="[CLS]:4 $B:5 [SEP] $A:1", special_tokens=[tuple(CLS), tuple(SEP)]),
]


def tokenizer(vocabulary, lowercase):
    made = Tokenizer(models.WordPiece({token: id for id, token in enumerate(vocabulary)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    made.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(token, made.token_to_id(token)) for token in ["[CLS]", "[SEP]"]])
    return made


def pair(made, first, second, limit):
    if limit is not None:
        made.enable_truncation(limit)
    encoding = made.encode(first) if second is None else made.encode(first, second)
    made.no_truncation()
    return {"first": first, "second": second, "limit": limit, "ids": encoding.ids, "segments": encoding.type_ids}


def main():
    characters = set("abcdefghijklmnopqrstuvwxyz0123456789#")
    for lowercase in [True, False]:
        normalizer = normalizers.BertNormalizer(lowercase=lowercase)
        for text in TEXTS:
            characters |= {c for c in normalizer.normalize_str(text) if not c.isspace()}
    # A space would be no line of a vocabulary; the special tokens lie in the middle.
    ordered = sorted(characters)
    inside = ["##" + c for c in ordered if "##" + c not in MISSING]
    vocabulary = ordered[:10] + SPECIAL + ordered[10:] + inside + LONGER
    with open(os.path.join(HERE, "vocab.txt"), "w", encoding="utf-8", newline="\n") as file:
        file.writelines(token + "\n" for token in vocabulary)

    uncased, cased = tokenizer(vocabulary, True), tokenizer(vocabulary, False)
    cases = []
    for text in TEXTS:
        ids = uncased.encode(text).ids
        cases.append({
            "text": text, "ids": ids, "cased_ids": cased.encode(text).ids,
            "decoded": uncased.decode(ids, skip_special_tokens=False), "decoded_skip_special": uncased.decode(ids),
        })
    pairs = [pair(uncased, first, second, None) for first, second in PAIRS + LONG]
    pairs += [pair(uncased, first, second, limit) for limit in LIMITS for first, second in LONG]
    arranged = []
    for processor in POST_PROCESSORS:
        description = json.loads(uncased.to_str())
        if isinstance(processor, processors.TemplateProcessing):
            processor = json.loads(processor.__getstate__())
        description["post_processor"] = processor
        made = Tokenizer.from_str(json.dumps(description))
        arranged.append({
            "post_processor": processor, "single": pair(made, "a b c", None, None), "pair": pair(made, "a b c", "d e", None),
            "cut": pair(made, "a b c", "d e", 6),
        })
    lines = ",\n".join(json.dumps(case) for case in cases), ",\n".join(json.dumps(case) for case in pairs), \
        ",\n".join(json.dumps(case) for case in arranged)
    with open(os.path.join(HERE, "cases.json"), "w", encoding="ascii") as file:
        file.write('{"texts": [\n%s\n], "pairs": [\n%s\n], "post_processors": [\n%s\n]}\n' % lines)
    description = json.loads(uncased.to_str())
    with open(os.path.join(HERE, "tokenizer.json"), "w", encoding="ascii") as file:
        json.dump(description, file)
        file.write("\n")
    names = zip(["pad_token", "unk_token", "cls_token", "sep_token", "mask_token"], SPECIAL)
    with open(os.path.join(HERE, "tokenizer_config.json"), "w", encoding="ascii") as file:
        json.dump({"do_lower_case": True, "tokenizer_class": "BertTokenizer", **dict(names)}, file, indent=2)
        file.write("\n")


if __name__ == "__main__":
    main()
