#!/usr/bin/env python3
# Prints the closing table of scripts/demo.sh from the summaries of its two runs. usage: demo_table.py FOLDER PICTURE
import json
import pathlib
import sys


def read_summary(folder):
    return json.loads((folder / "summary.json").read_text())


def milliseconds(seconds):
    return f"{1000 * seconds:.1f} ms"


def print_ranks(ranks):
    rows = [["rank", "host", "speed", "largest batch", "batch", "compute", "waiting"]]
    for rank in ranks:
        rows.append([str(rank["rank"]), rank["host"], f"{rank['speed']:.3f}", str(rank["max_batch"] or "-"), str(rank["batch"]),
                     milliseconds(rank["compute_seconds"]), milliseconds(rank["wait_seconds"])])
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths)))


def print_figures(auto, equal, picture):
    actual, before = auto["step_seconds"]["median"], equal["step_seconds"]["median"]
    predicted = auto["predicted"]["step_seconds"]
    print(f"step time    predicted {milliseconds(predicted)}, actual {milliseconds(actual)}: "
          f"actual / predicted {actual / predicted:.3f}")
    print(f"equal split  {milliseconds(before)} a step: the solved split is {before / actual:.2f} times as fast")
    print(f"accuracy     {100 * auto['evaluation']['accuracy']:.1f} % of the test images after {auto['steps']} steps "
          f"of {auto['total']} samples, {auto['seconds']:.0f} s")
    print(f"picture      {picture}")


def main():
    folder, picture = pathlib.Path(sys.argv[1]), sys.argv[2]
    auto, equal = read_summary(folder / "auto"), read_summary(folder / "equal")
    print("\nSolved split, per step:")
    print_ranks(auto["ranks"])
    print("\nEqual split, per step:")
    print_ranks(equal["ranks"])
    print()
    print_figures(auto, equal, picture)


if __name__ == "__main__":
    main()
