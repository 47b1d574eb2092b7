#!/usr/bin/env python3
# Checks that each file begins by saying what it is for, that includes point downwards only, and a few calls. Exit code 1 if not.
import re
import subprocess
import sys

# The floors from the ground up: what each may include beside itself, as CONTRIBUTING.md has it.
FLOORS = {
    "core": set(),
    "comm": {"core"},
    "data": {"core"},
    "model": {"core"},
    "plan": {"core"},
    "explore": {"core", "plan"},
    "parallel": {"core", "comm", "model", "plan"},
    "measure": {"core", "comm", "data", "model", "plan", "parallel"},
    "train": {"core", "comm", "data", "model", "plan", "parallel", "measure"},
    "cli": {"core", "comm", "data", "model", "plan", "parallel", "measure", "train", "explore"},
}
COMMENTS = {"cpp": "//", "h": "//", "py": "#", "sh": "#", "cmake": "#", "txt": "#", "clang-tidy": "#"}
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)
NO_TENSORS = {"comm", "plan", "explore"}


def tracked_files():
    names = subprocess.run(["git", "ls-files", "-z"], check=True, capture_output=True, text=True).stdout
    return [name for name in names.split("\0") if name and "/data/" not in name]


def check_first_line(name, text):
    suffix = name.rsplit("/", 1)[-1].rsplit(".", 1)[-1]
    if suffix not in COMMENTS:
        return []
    lines = (text.splitlines() + ["", ""])[:2]
    first = lines[1] if lines[0].startswith("#!") else lines[0]
    return [] if re.match(re.escape(COMMENTS[suffix]) + r" \S", first) else [f"{name}: the first line must be a comment with its purpose"]


def floor_of(name):
    match = re.match(r"(?:include/lshdp|src)/(\w+)/", name)
    return match.group(1) if match else None


def check_includes(name, text):
    floor = floor_of(name)
    if floor not in FLOORS or not name.endswith((".cpp", ".h")):
        return []
    problems = []
    for included in INCLUDE.findall(text):
        other = included.split("/")[1] if included.startswith("lshdp/") else None
        if other and other != floor and other not in FLOORS[floor]:
            problems.append(f"{name}: {floor} must not include {included}")
        if floor in NO_TENSORS and included.startswith(("ATen/", "torch/")):
            problems.append(f"{name}: {floor} knows no tensors, but includes {included}")
    return problems


# What goes wrong without a word, and what stands for it.
FORBIDDEN = [(re.compile(r"\.dump\("), "use json_text: dump throws where a name is no UTF-8"),
             (re.compile(r"std::cout|\bfmt::print\(|fputs\([^;]*, stdout\)"), "use print_output: it fails where nothing can be written")]
MAY_DUMP = {"src/core/json.cpp", "src/model/description.cpp", "src/model/safetensors_header.cpp"}


def check_calls(name, text):
    if not re.match(r"(src|include)/.*\.(cpp|h)$", name) or name in MAY_DUMP:
        return []
    return [f"{name}: {remedy}" for pattern, remedy in FORBIDDEN if pattern.search(text)]


def main():
    problems = []
    for name in tracked_files():
        with open(name, encoding="utf-8", errors="replace") as file:
            text = file.read()
        problems += check_first_line(name, text) + check_includes(name, text) + check_calls(name, text)
    print("\n".join(problems), end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
