#!/usr/bin/env python3
# Writes the references of tokenizer.json: small tokenizers of three kinds, texts, and their tokens by `tokenizers`.
"""Writes tests/data/data/tokenizers: tokenizers as Llama 3, Qwen 2.5, GPT-2 and Llama 2 have them, but small, with texts
and their tokens by the `tokenizers` library.

    pip install tokenizers==0.23.3 && scripts/make_tokenizer_references.py

Vocabularies are trained on texts of make_tokenizer_reference.py and on this repository's documents, so a later run may
give others; their tests need only that files and tokens belong together. GPT-2's kind has the vocabulary of
tests/data/data/bpe.
"""
import json
import pathlib
import random
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from make_tokenizer_reference import SENTENCES, random_texts

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "tests" / "data" / "data" / "tokenizers"

SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|"
         r"\s*[\r\n]+|\s+(?!\S)|\s+")
MORE = [
    "I'M HERE, YOU'LL SEE; IT'S 'twas O'Neil'S, we'\u017f don't'T 'LLama 'ſ 'D'd",
    "1234567890 12 345 6789 1,234,567.89 ١٢٣٤٥٦٧ ১২৩৪ x1y22z333w4444",
    "togetherness and slowestness, a togetherness togetherness\ntogetherness",
    "\r\n\r\n  \r\n\t\n x \n\n\n y\r\r z \u00a0\n\u2003\u2028\u2029 !!!\n\n???\r\n \n...",
    "<|begin_of_text|>one<|end_of_text|> two <|endoftext|><|im_start|>user\nhi<|im_end|>\n<|eot_id|>",
    "<tool_call>\n{\"name\": \"f\"}\n</tool_call><tool_call><|fim_prefix|>x <|fim|><<tool_call>>",
    "e\u0301 o\u0308 A\u030a \u212b \u2126 \u1e9b\u0323 q\u0307\u0323 \u0958 \u0344 \u0f73 \u0f75 \u2adc \ufb1f \uf900 \U0002f800",
    "\u1112\u1161\u11ab\u1100\u1173\u11af \uac00\u11a8 \uac01\u11a8 \u1100\u1161\u1161",
    "a\u0300\u0315\u0316\u0301\u05ae\u0334b \u0301\u0301 \u0327\u0301c\u0327\u0301 \u0cc6\u0cc2\u0cd5 \u0dd9\u0dcf\u0dca \U0001109b\U000110ba",
    "new marks: a\u08d3\u0316 a\u0898\u0301 a\u1ac1\u0334 \U00011935\U00011930 x\u0301\U0001e130\u0316 \u0301\u1df6\u0316",
    "// code\n#include <a.h>\nint\tmain(){return 0x7fFF>>2^~1;}\n    if(!x){y=\"\\n\";}\n\n\n        z+=1;",
]


def texts() -> list[str]:
    draw = random.Random(23)
    blanks = [" ", "", "\n", "  ", "\r\n", "\t", "\u00a0", " \n "]
    pieces = sorted({piece for text in MORE for piece in text.split(" ")})
    mixed = ["".join(draw.choice(pieces) + draw.choice(blanks) for _ in range(draw.randint(1, 8))) for _ in range(120)]
    apart = [unicodedata.normalize("NFD", text) for text in SENTENCES]
    return SENTENCES + MORE + apart + mixed + random_texts(150)


def added(content: str, *, special: bool, normalized: bool = False) -> AddedToken:
    return AddedToken(content, special=special, normalized=normalized)


def trained(size: int, digits: str, corpus: list[str], normalizer) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(SPLIT.format(digits=digits)), "isolated"),
         pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size, min_frequency=2, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def llama3(corpus: list[str]) -> dict:
    tokenizer = trained(1500, r"\p{N}{1,3}", corpus, None)
    names = ["<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|eot_id|>"]
    tokenizer.add_special_tokens([added(name, special=True) for name in names])
    template = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1",
        special_tokens=[("<|begin_of_text|>", tokenizer.token_to_id("<|begin_of_text|>"))])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    content = json.loads(tokenizer.to_str())
    model = content["model"]
    model["ignore_merges"] = True
    # A word that no merges lead to: only ignore_merges gives its token.
    model["vocab"]["\u0120togetherness"] = len(model["vocab"])
    for token in content["added_tokens"]:
        token["id"] += 1
    special = content["post_processor"]["processors"][1]["special_tokens"]["<|begin_of_text|>"]
    special["ids"] = [content["added_tokens"][0]["id"]]
    return content


def qwen(corpus: list[str]) -> dict:
    tokenizer = trained(1200, r"\p{N}", corpus, normalizers.NFC())
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tokenizer.add_special_tokens([added(name, special=True) for name in ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]])
    tokenizer.add_tokens([added(name, special=False) for name in ["<tool_call>", "</tool_call>", "<|fim_prefix|>"]])
    content = json.loads(tokenizer.to_str())
    # As its published file has it.
    content["model"].update(continuing_subword_prefix="", end_of_word_suffix="")
    content["model"]["merges"] = [" ".join(merge) for merge in content["model"]["merges"]]
    return content


def gpt2() -> dict:
    folder = OUT.parent / "bpe"
    merges = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")[1:-1]
    level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}
    # The published file has no "type" of the model, and its token is normalized.
    return {"version": "1.0", "truncation": None, "padding": None,
            "added_tokens": [{"id": 0, "special": True, "content": "<|endoftext|>", "single_word": False, "lstrip": False,
                              "rstrip": False, "normalized": True}],
            "normalizer": None, "pre_tokenizer": level, "post_processor": level | {"trim_offsets": False}, "decoder": level,
            "model": {"dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "",
                      "fuse_unk": False, "vocab": json.loads((folder / "vocab.json").read_text(encoding="utf-8")),
                      "merges": merges}}


BLANK = "\u2581"
METASPACES = [{"prepend_scheme": scheme, "split": split} for scheme in ("always", "first", "never") for split in (False, True)]


def llama2(corpus: list[str]) -> dict:
    """Characters, and bytes of those that are no tokens; blanks are marked by a normalizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    names = ["<unk>", "<s>", "</s>"]
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=1000, min_frequency=2, show_progress=False, special_tokens=names + fallback)
    tokenizer.train_from_iterator([text.replace("\n", " ") for text in corpus], trainer)
    content = json.loads(tokenizer.to_str())
    model = content["model"]
    model.update(byte_fallback=True, fuse_unk=True, unk_token="<unk>")
    # SentencePiece merges blanks, and over the borders of words.
    for left, right in ((BLANK, BLANK), (BLANK * 2, BLANK * 2), (BLANK, "."), ("e", BLANK), ("e" + BLANK, "t")):
        if left + right not in model["vocab"]:
            model["vocab"][left + right] = len(model["vocab"])
        if [left, right] not in model["merges"]:
            model["merges"].insert(40, [left, right])
    first = content["added_tokens"][:3]
    begin = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    content.update(
        added_tokens=first,
        normalizer={"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": BLANK},
                                                        {"type": "Replace", "pattern": {"String": " "}, "content": BLANK}]},
        pre_tokenizer=None,
        post_processor={"type": "TemplateProcessing", "single": [begin, {"Sequence": {"id": "A", "type_id": 0}}],
                        "pair": [begin, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        decoder={"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": BLANK}, "content": " "},
                                                  {"type": "ByteFallback"}, {"type": "Fuse"},
                                                  {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})
    return content


def write_metaspaces(content: dict, cases: list[str]) -> None:
    """The same vocabulary in the form of newer files."""
    lines = []
    for metaspace in METASPACES:
        changed = content | {"normalizer": None, "pre_tokenizer": {"type": "Metaspace", "replacement": BLANK} | metaspace}
        tokenizer = Tokenizer.from_str(json.dumps(changed))
        for text in cases:
            lines.append(json.dumps(metaspace | {"text": text, "special_ids": tokenizer.encode(text, add_special_tokens=False).ids}))
    (OUT / "llama2" / "metaspaces.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")


def write(name: str, content: dict, cases: list[str]) -> None:
    folder = OUT / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert all(tokenizer.token_to_id(token["content"]) == token["id"] for token in content["added_tokens"])
    lines = []
    for text in cases:
        tokenizer.encode_special_tokens = True
        case = {"text": text, "ids": tokenizer.encode(text, add_special_tokens=False).ids}
        tokenizer.encode_special_tokens = False
        special = tokenizer.encode(text, add_special_tokens=False).ids
        if special != case["ids"]:
            case["special_ids"] = special
        lines.append(json.dumps(case))
    (folder / "cases.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
    print(f"{name}: {tokenizer.get_vocab_size()} tokens, {len(cases)} texts")


def main() -> None:
    documents = [path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("docs/*.md")) + [ROOT / "README.md"]]
    corpus = documents + SENTENCES * 3 + MORE * 2
    cases = texts()
    write("llama3", llama3(corpus), cases)
    write("qwen", qwen(corpus), cases)
    write("gpt2", gpt2(), cases)
    cases += ["<s>one</s> two<s> three", " <s>", "<s>", f"{BLANK}a {BLANK} b", "a  b   c     d", "one. .two", "the the\nthe"]
    write("llama2", content := llama2(corpus), cases)
    write_metaspaces(content, cases[-40:])


if __name__ == "__main__":
    main()
