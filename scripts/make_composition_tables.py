#!/usr/bin/env python3
# Writes src/data/composition_tables.cpp: Unicode's decompositions and classes of marks, as `tokenizers` has them.
"""Writes src/data/composition_tables.cpp, and texts with their NFC by the library for its test.

    pip install tokenizers==0.23.3 && scripts/make_composition_tables.py

The tables are Python's, without what the library's older version of Unicode does not know.
"""
import json
import pathlib
import random
import unicodedata

from tokenizers import normalizers

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "src" / "data" / "composition_tables.cpp"
CASES = ROOT / "tests" / "data" / "data" / "tokenizers" / "nfc.json"
NFC, NFD = normalizers.NFC(), normalizers.NFD()
CODES = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]


def mark_class(code: int) -> int:
    """0 where the library has no mark: it leaves such a character where it stands."""
    value = unicodedata.combining(chr(code))
    if value == 0:
        return 0
    # A mark changes places with one of a later class before it, or of an earlier one behind it.
    before, after = "q\u0345" + chr(code), "q" + chr(code) + "\u0334"
    moves = NFD.normalize_str(before) != before or NFD.normalize_str(after) != after
    return value if moves else 0


def ranges() -> list[tuple[int, int, int]]:
    result: list[tuple[int, int, int]] = []
    for code in CODES:
        value = mark_class(code)
        if value == 0:
            continue
        if result and result[-1][1] == code - 1 and result[-1][2] == value:
            result[-1] = (result[-1][0], code, value)
        else:
            result.append((code, code, value))
    return result


def decompositions() -> list[tuple[int, int, int, bool]]:
    result = []
    for code in CODES:
        text = unicodedata.decomposition(chr(code))
        if not text or text.startswith("<") or NFD.normalize_str(chr(code)) == chr(code):
            continue
        parts = [int(part, 16) for part in text.split()] + [0]
        first, second = parts[:2]
        joins = second != 0 and NFC.normalize_str(chr(first) + chr(second)) == chr(code)
        result.append((code, first, second, joins))
    return result


def cases() -> list[tuple[str, str]]:
    """Strings of characters that are made of others, their parts, marks of all classes, and Korean letters."""
    draw = random.Random(5)
    made = [code for code, *_ in decompositions()]
    parts = sorted({part for _, first, second, _ in decompositions() for part in (first, second) if part})
    marks = [code for code in CODES if unicodedata.combining(chr(code))]
    korean = list(range(0x1100, 0x1200)) + [0xAC00, 0xAC01, 0xD7A3, 0xA960, 0xD7B0]
    newer = [0x11935, 0x11930, 0x11938, 0x8D3, 0x1ABF, 0x1E130, 0x1133B]
    result = []
    for _ in range(900):
        kinds = [draw.choice([made, parts, marks, marks, korean, newer, [0x61, 0x20]]) for _ in range(draw.randint(2, 7))]
        text = "".join(chr(draw.choice(kind)) for kind in kinds)
        result.append((text, NFC.normalize_str(text)))
    return result


def filled(entries: list[str]) -> str:
    lines, line = [], "   "
    for entry in entries:
        if len(line) + len(entry) + 2 > 120:
            lines.append(line)
            line = "   "
        line += f" {entry},"
    return "\n".join(lines + [line])


def main() -> None:
    pairs = [f"{{{code:#x}, {first:#x}, {second:#x}, {str(joins).lower()}}}" for code, first, second, joins in decompositions()]
    marks = [f"{{{first:#x}, {last:#x}, {value}}}" for first, last, value in ranges()]
    OUT.write_text(f"""\
// Made by scripts/make_composition_tables.py of Unicode's tables (Unicode 9, which the `tokenizers` library has).
#include "composition_tables.h"

namespace lshdp::data {{
namespace {{

// clang-format off
constexpr Decomposition kDecompositions[] = {{
{filled(pairs)}
}};

constexpr MarkClass kMarkClasses[] = {{
{filled(marks)}
}};
// clang-format on

}}  // namespace

std::span<const Decomposition> decompositions() {{ return kDecompositions; }}
std::span<const MarkClass> mark_classes() {{ return kMarkClasses; }}

}}  // namespace lshdp::data
""")
    CASES.write_text("[\n" + ",\n".join(json.dumps(case) for case in cases()) + "\n]\n")
    print(f"{len(pairs)} characters made of others, {len(marks)} ranges of marks")


if __name__ == "__main__":
    main()
