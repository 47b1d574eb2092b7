#!/usr/bin/env python3
# Compares tokens of 10,000 texts with those of the `tokenizers` library, for GPT-2's vocabulary and four kinds of tokenizer.
"""Compares tokens of 10,000 texts with those of the `tokenizers` library.

    pip install tokenizers==0.23.3 && cmake --build build --target tokenize_lines
    scripts/compare_tokenizers.py --encoder encoder.json --vocab-bpe vocab.bpe [--text FILE]...

The tokenizers are GPT-2's two files, and tokenizer.json files with their vocabulary and the splits of GPT-2, Llama 3 and
Qwen 2.5, and the small ones of the tests. The texts are lines of FILEs and of this repository's sources, sentences of many scripts that are cut and
joined at random, and random characters. Exits with 1 if any token differs.
"""
import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import unicodedata

from tokenizers import ByteLevelBPETokenizer, Tokenizer

from make_tokenizer_reference import random_texts
from make_tokenizer_references import BLANK, MORE, SPLIT

ROOT = pathlib.Path(__file__).resolve().parent.parent
BLOCKS = [(0x20, 0x7F), (0x80, 0x250), (0x300, 0x370), (0x370, 0x530), (0x590, 0x700), (0x900, 0xE00), (0x1100, 0x1200),
          (0x1DC0, 0x2070), (0x2100, 0x2200), (0x2460, 0x2500), (0x3000, 0x3100), (0x4E00, 0x4E80), (0xAC00, 0xAC80),
          (0xF900, 0xFB50), (0x11300, 0x11380), (0x1D15E, 0x1D1C0), (0x1F300, 0x1F650), (0x2F800, 0x2F880), (0x0, 0x10FFFF)]


def random_characters(draw: random.Random) -> str:
    text = ""
    for _ in range(draw.randint(1, 30)):
        code = draw.randrange(*draw.choice(BLOCKS))
        text += "\ufffd" if 0xD800 <= code < 0xE000 else chr(code)
    return text


def pieces(text: str, draw: random.Random) -> list[str]:
    """One to five lines each."""
    lines, at, result = text.splitlines(keepends=True), 0, []
    while at < len(lines):
        count = draw.randint(1, 5)
        result.append("".join(lines[at : at + count]))
        at += count
    return result


def texts(files: list[pathlib.Path], count: int) -> list[str]:
    draw = random.Random(41)
    sources = sorted(ROOT.glob("src/**/*.cpp")) + sorted(ROOT.glob("docs/*.md")) + files
    written = [piece for path in sources for piece in pieces(path.read_text(encoding="utf-8"), draw)]
    draw.shuffle(written)
    result = MORE + written[: count // 2] + random_texts(count // 4)
    while len(result) < count:
        text = random_characters(draw)
        result.append(unicodedata.normalize("NFD", text) if draw.random() < 0.3 else text)
    return result[:count]


def tokenizer_json(encoder: dict, merges: list[str], kind: str) -> dict:
    vocabulary = {token: number for token, number in encoder.items() if number < 50256}
    names = {"gpt2": ["<|endoftext|>"], "llama3": ["<|end_of_text|>", "<|begin_of_text|>", "<|eot_id|>"],
             "qwen": ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>"]}[kind]
    added = [{"id": 50256 + i, "content": name, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": "tool" not in name} for i, name in enumerate(names)]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": kind == "gpt2"}
    digits = r"\p{N}{1,3}" if kind == "llama3" else r"\p{N}"
    split = {"type": "Split", "pattern": {"Regex": SPLIT.format(digits=digits)}, "behavior": "Isolated", "invert": False}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
            "normalizer": {"type": "NFC"} if kind == "qwen" else None,
            "pre_tokenizer": level if kind == "gpt2" else {"type": "Sequence", "pretokenizers": [split, level]},
            "post_processor": None, "decoder": level | {"use_regex": True},
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": kind == "llama3",
                      "vocab": vocabulary, "merges": [merge.split(" ") for merge in merges]}}


def compare(name: str, program: str, files: list[str], reference: Tokenizer, cases: list[str]) -> int:
    lines = "".join(json.dumps(text) + "\n" for text in cases)
    output = subprocess.run([program, *files], input=lines, stdout=subprocess.PIPE, encoding="utf-8", check=True).stdout
    ours = [json.loads(line) for line in output.split("\n")[:-1]]
    assert len(ours) == len(cases)
    different, tokens = 0, 0
    for text, own in zip(cases, ours):
        reference.encode_special_tokens = True
        ids = reference.encode(text, add_special_tokens=False).ids
        reference.encode_special_tokens = False
        special = reference.encode(text, add_special_tokens=False).ids
        back = reference.normalizer.normalize_str(text) if reference.normalizer else text
        if name.endswith("llama2"):
            back = back.replace(BLANK, " ")
        tokens += len(ids)
        if own["ids"] != ids or own["special_ids"] != special or own["text"] != back:
            different += 1
            print(f"{name}: {text!r}\n  {own['ids']}\n  {ids}", file=sys.stderr)
    print(f"{name}: {len(cases)} texts, {tokens} tokens, {different} texts differ")
    return different


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", required=True, type=pathlib.Path)
    parser.add_argument("--vocab-bpe", required=True, type=pathlib.Path)
    parser.add_argument("--text", action="append", default=[], type=pathlib.Path)
    parser.add_argument("--count", default=10_000, type=int)
    parser.add_argument("--program", default=str(ROOT / "build" / "tests" / "data" / "tokenize_lines"))
    options = parser.parse_args()
    cases = texts(options.text, options.count)
    encoder = json.loads(options.encoder.read_text(encoding="utf-8"))
    merges = [line for line in options.vocab_bpe.read_text(encoding="utf-8").split("\n")[1:] if line]
    plain = ByteLevelBPETokenizer(str(options.encoder), str(options.vocab_bpe))
    plain.add_special_tokens(["<|endoftext|>"])
    different = compare("GPT-2's files", options.program, [str(options.encoder), str(options.vocab_bpe)], plain._tokenizer, cases)
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("gpt2", "llama3", "qwen"):
            path = pathlib.Path(folder) / f"{kind}.json"
            path.write_text(json.dumps(tokenizer_json(encoder, merges, kind)), encoding="utf-8")
            different += compare(kind, options.program, [str(path)], Tokenizer.from_file(str(path)), cases)
    for kind in ("llama3", "qwen", "llama2"):
        path = ROOT / "tests" / "data" / "data" / "tokenizers" / kind / "tokenizer.json"
        different += compare(f"small {kind}", options.program, [str(path)], Tokenizer.from_file(str(path)), cases)
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
