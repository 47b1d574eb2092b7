#!/usr/bin/env python3
# Writes the references of GPT-2's tokenizer: a small vocabulary, texts, and their tokens by the `tokenizers` library.
"""Writes tests/data/data/bpe: a small byte-pair vocabulary, texts, and their tokens by the `tokenizers` library.

    pip install tokenizers==0.23.3 && scripts/make_tokenizer_reference.py

The vocabulary is trained on texts made here, so that it is small and has merges of many scripts.
"""
import json
import pathlib
import random
import sys
import tempfile

from tokenizers import ByteLevelBPETokenizer

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "data" / "data" / "bpe"

SENTENCES = [
    "The nodes train together, and the slowest one isn't late; they've all done what they'd said they'll do.",
    "It's 3.14159 or 2,718 or 0x1F600; we're at 100% and I'm done, aren't you? He'd say 'yes'.",
    "for (int i = 0; i < n; ++i) {\n\t\tsum += a[i] * b[i];  // fused\n}\n\nreturn sum / n;",
    "def f(x):\n    return {k: v for k, v in x.items() if v is not None}\n",
    "Τα γράμματα της αλφαβήτου είναι είκοσι τέσσερα.",
    "Каждый узел получает столько примеров, сколько успевает.",
    "每个节点得到它能处理的样本数。训练很快。",
    "それぞれのノードは、速さに応じてサンプルを受け取ります。",
    "كل عقدة تأخذ ما تستطيع من العينات ١٢٣.",
    "हर नोड उतने नमूने लेता है जितने वह कर सकता है १२३।",
    "각 노드는 처리할 수 있는 만큼의 표본을 받습니다.",
    "Größe, façade, naïve, señor, Ångström, žluťoučký kůň",
    "odd\u00a0blanks\u2003and\u3000more \u180ehere\u200b, \u180e\u180e twice\u2028line\u2029end",
    "½ cup, x² + y³ = Ⅷ, №5, ①②③, ٣٤٥, 𝟙𝟚𝟛",
    "👩‍👩‍👧‍👦 family, 🏳️‍🌈 flag, 👍🏽 thumb, é and e\u0301",
    "new letters: \U00031350\U000323af \U0002ebf0 \U0001e4d0\U0001e4eb \U0001e5d0 \U00010d4a \U00016100 \u1c89 \ua7cb "
    "\ua7da \U000105c0 \U00011f12 and digits \U00011f50\U0001e4f0 \U0001ccf0\U00010d40",
    "<|endoftext|> is text here, <|endoftext|>",
    "   leading, trailing   \n\n\n  \t mixed \r\n\r\nlines\v\f\x1c\x1d\x85",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa hahahahahahahahaha -------------- ============= ....",
]


def random_texts(count: int) -> list[str]:
    draw = random.Random(17)
    pieces = sorted(set("".join(SENTENCES)) | set("\x00\x7f\u0085\u00ad\ufeff\ufffd\U0010ffff"))
    words = sorted({word for sentence in SENTENCES for word in sentence.split()})
    blanks = [" ", " ", " ", "", "", "  ", "\n", "\t", " \n", "\u00a0", "\u180e", " \u180e"]
    texts = []
    for _ in range(count):
        parts = [draw.choice(words if draw.random() < 0.6 else pieces) + draw.choice(blanks) for _ in range(draw.randint(1, 9))]
        texts.append("".join(parts))
    return texts


def long_word(length: int) -> str:
    """The same word as in the test."""
    state, letters = 1, []
    for _ in range(length):
        state = (state * 1103515245 + 12345) % 2**31
        letters.append(chr(ord("a") + (state >> 16) % 26))
    return "".join(letters)


def main() -> None:
    texts = SENTENCES + random_texts(400)
    with tempfile.TemporaryDirectory() as folder:
        corpus = pathlib.Path(folder) / "corpus"
        corpus.write_text("\n".join(SENTENCES * 3 + texts) + long_word(3000), encoding="utf-8", newline="")
        trained = ByteLevelBPETokenizer()
        trained.train([str(corpus)], vocab_size=900, min_frequency=2, special_tokens=["<|endoftext|>"], show_progress=False)
        OUT.mkdir(parents=True, exist_ok=True)
        trained.save_model(str(OUT))
    tokenizer = ByteLevelBPETokenizer(str(OUT / "vocab.json"), str(OUT / "merges.txt"))
    cases = [{"text": text, "ids": tokenizer.encode(text).ids} for text in texts]
    tokenizer.add_special_tokens(["<|endoftext|>"])
    for case in cases:
        if "<|endoftext|>" in case["text"]:
            case["special_ids"] = tokenizer.encode(case["text"]).ids
    (OUT / "cases.json").write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
    ids = tokenizer.encode(long_word(1_000_000)).ids
    print(f"the word of 1,000,000 letters: {len(ids)} tokens, sum {sum(ids)}, last {ids[-3:]}", file=sys.stderr)


if __name__ == "__main__":
    main()
