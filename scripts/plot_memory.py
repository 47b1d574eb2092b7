#!/usr/bin/env python3
# Draws what `lshdp describe --json` tells: the memory of each block, and of each rank of a layout by block.
"""
    plot_memory.py --out memory.png model.json

Exit code 3: matplotlib is missing.
"""
import argparse
import json
import pathlib
import sys

try:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
except ImportError as error:
    print(f"plot_memory.py: {error}", file=sys.stderr)
    sys.exit(3)

UNITS = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10, "bytes": 1}
# In training a parameter of fp32 has its gradient and AdamW's two moments beside it.
PARTS = {"parameters": 0.25, "gradients": 0.25, "moments": 0.5}
COLOURS = ["#0072B2", "#E69F00", "#C9CDD2"]
NAMED_BLOCKS = 40  # more would not be legible


def unit_for(most):
    return next(name for name, size in UNITS.items() if most >= size or size == 1)


def draw_bars(axes, names, bytes_of):
    """A bar for each name, of its parameters, their gradients and moments."""
    unit = unit_for(max(bytes_of))
    bottom = [0.0] * len(names)
    places = list(range(len(names)))
    for colour, (part, share) in zip(COLOURS, PARTS.items()):
        heights = [share * size / UNITS[unit] for size in bytes_of]
        axes.bar(places, heights, bottom=bottom, color=colour, label=part)
        bottom = [below + height for below, height in zip(bottom, heights)]
    axes.set(ylabel=f"in training, fp32 ({unit})")
    if len(names) <= NAMED_BLOCKS:
        axes.set_xticks(places, names, rotation=90 if len(names) > 8 else 0)
    axes.legend(fontsize=8)


def blocks_text(rank):
    ranges = [f"{start}" if end - start == 1 else f"{start}..{end - 1}" for start, end in rank["blocks"]]
    one = len(ranges) == 1 and ".." not in ranges[0]
    return f"rank {rank['rank']}\n{'block' if one else 'blocks'} {', '.join(ranges)}"


def draw(described):
    ranks = described.get("ranks", [])
    figure, panels = plt.subplots(1, 2 if ranks else 1, figsize=(14 if ranks else 9, 5), layout="constrained", squeeze=False)
    figure.suptitle(f"{described['model']}: {described['parameters']:,} parameters")
    blocks = described["blocks"]
    draw_bars(panels[0][0], [f"{index} {block['name']}" for index, block in enumerate(blocks)],
              [block["training_bytes"] for block in blocks])
    panels[0][0].set(title="Blocks")
    if ranks:
        draw_bars(panels[0][1], [blocks_text(rank) for rank in ranks], [rank["training_bytes"] for rank in ranks])
        panels[0][1].set(title="What each rank holds")
    return figure


def main():
    parser = argparse.ArgumentParser(description="Draws what `lshdp describe --json` tells.")
    parser.add_argument("described", type=pathlib.Path, metavar="FILE", help="that --json wrote")
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="PICTURE")
    arguments = parser.parse_args()
    try:
        draw(json.loads(arguments.described.read_text())).savefig(arguments.out, dpi=120)
    except (OSError, ValueError, KeyError) as error:
        print(f"plot_memory.py: {arguments.described}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
