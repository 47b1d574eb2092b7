#!/usr/bin/env python3
# Table and picture of experiments/rebalance.sh: a rebalanced run beside a fixed split and a fresh plan.
import argparse
import json
import pathlib
import statistics

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

REBALANCED, FIXED, FRESH, INK = "#0072B2", "#D55E00", "#009E73", "#222222"
RANKS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#666666"]
WITHIN = 20  # steps after a change of share in which the run must be as fast as a fresh plan
SOON = 10  # steps after a new split in which rounding has not grown yet


class Run:
    """The steps and rebalances of a run directory, and when node 0's share changed in it."""

    def __init__(self, folder):
        records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        self.description = next(record for record in records if record["record"] == "run")
        self.steps = [record for record in records if record["record"] == "step"]
        self.rebalances = [record for record in records if record["record"] == "rebalance"]
        self.first_layout = folder.parent / "full.layout.json"
        shares = folder / "shares.txt"
        lines = shares.read_text().split("\n") if shares.exists() else []
        told = [tuple(map(float, line.split())) for line in lines if line]
        # A step's figures are told two steps later: the share changed behind the second step after the last one told.
        self.changes = [(int(step) + 3, share) for step, share in told]

    def median(self, first, last):
        """Median step time over steps [first, last], which are counted from 1."""
        return statistics.median(step["step_seconds"] for step in self.steps[first - 1:last])

    def count(self):
        return len(self.steps)

    def is_pipeline(self):
        return self.first_layout.exists()

    def stages(self):
        """(stage with its rank, blocks that it has in each step)."""
        stages = json.loads(self.first_layout.read_text())["replicas"][0]["stages"]
        ends, blocks = [stage["end"] for stage in stages], []
        changes = {change["step"]: change["cuts"] for change in self.rebalances}
        for step in self.steps:
            ends = changes.get(step["step"], ends)
            blocks.append([end - start for start, end in zip([0, *ends], ends)])
        return [(f"stage {s}: rank {stage['rank']}", [of_step[s] for of_step in blocks]) for s, stage in enumerate(stages)]


def stays(run):
    return "fixed cuts" if run.is_pipeline() else "fixed split"


def loss_differences(a, b):
    return [abs(x["loss"] - y["loss"]) / abs(y["loss"]) for x, y in zip(a.steps, b.steps)]


def loss_comment(rebalanced, fixed):
    """How far losses are apart before the first new split, soon after it, and in all."""
    differences = loss_differences(rebalanced, fixed)
    if rebalanced.is_pipeline():
        return (f"- Losses of the rebalanced run and of the one whose cuts stay (fp32, {len(differences)} steps) differ by {max(differences):.1e} of their value at most. "
                "tests/train/test_stage_rebalancing.cpp compares every bit of the weights.")
    if not rebalanced.rebalances:
        return f"- No new split; losses of the two runs differ by {max(differences):.1e} of their value at most."
    first = rebalanced.rebalances[0]["step"] - 1
    after = differences[first:]
    return (f"- Losses of the rebalanced and the fixed-split run (fp32) differ by {max(differences[:first], default=0):.1e} of their value at most before the first "
            f"new split, by {max(after[:SOON]):.1e} in the {SOON} steps from it, and from it on by {statistics.median(after):.1e} (median), {max(after):.1e} (largest): "
            "sums are rounded in another order, and training lets that grow. In fp64 they agree to 1e-9 (tests/train/test_rebalancing.cpp).")


def phases(run):
    """(name, first step, last step): before the change, after it with WITHIN steps to settle, and back again."""
    (fell, _), (rose, _) = run.changes
    return [("full share", 3, fell - 1), ("halved", fell + WITHIN, rose - 1), ("full share again", rose + WITHIN, run.count())]


def settled_after(run, change, end, target):
    """Steps until the median of five steps is within 10 % of `target` for the first time; none: never."""
    for first in range(change, end - 3):
        if run.median(first, first + 4) <= 1.1 * target:
            return first - change
    return None


def table(rebalanced, fixed, fresh):
    fresh_step = fresh.median(4, fresh.count())
    lines = [f"| phase | steps | rebalanced | {stays(rebalanced)} | fresh plan | rebalanced / fresh |",
             "| --- | --- | --- | --- | --- | --- |"]
    full_step = rebalanced.median(*phases(rebalanced)[0][1:])
    for (name, first, last), (_, f, l) in zip(phases(rebalanced), phases(fixed)):
        best = fresh_step if name == "halved" else full_step
        of = "" if name == "halved" else " (the run's own first part)"
        ours = rebalanced.median(first, last)
        lines.append(f"| {name} | {first}-{last} | {ours:.3f} s | {fixed.median(f, l):.3f} s | {best:.3f} s{of} | {ours / best:.3f} |")
    return lines


def comments(rebalanced, fixed, fresh):
    fresh_step = fresh.median(4, fresh.count())
    full_step = rebalanced.median(*phases(rebalanced)[0][1:])
    lines = []
    for (step, share), target, end in zip(rebalanced.changes, (fresh_step, full_step),
                                          (rebalanced.changes[1][0], rebalanced.count())):
        settled = settled_after(rebalanced, step, end, target)
        lines.append(f"- Node 0 at {share:g} % of a core from about step {step}: the median of five steps is within 10 % of "
                     f"{target:.3f} s " + ("never." if settled is None else f"from {settled} steps later on."))
    for change in rebalanced.rebalances:
        moved = (f"stages end before blocks {change['cuts_before']} -> {change['cuts']}, {change['moved_bytes'] / 1e6:.1f} MB moved in {change['move_seconds']:.2f} s"
                 if "cuts" in change else f"batches {change['batches_before']} -> {change['batches']}")
        lines.append(f"- Step {change['step']}: {moved}, "
                     f"{change['step_seconds']:.3f} s -> {change['expected_step_seconds']:.3f} s expected.")
    return [*lines, loss_comment(rebalanced, fixed)]


def draw_steps(axes, rebalanced, fixed, fresh):
    for run, colour, name in ((fixed, FIXED, stays(rebalanced)), (rebalanced, REBALANCED, "rebalanced")):
        axes.plot([s["step"] for s in run.steps], [s["step_seconds"] for s in run.steps], color=colour, linewidth=1.3, label=name)
    (fell, _), (rose, _) = rebalanced.changes
    axes.hlines(fresh.median(4, fresh.count()), fell, rose, color=FRESH, linewidth=2, linestyle="--",
                label="fresh plan for the halved share")
    for change in rebalanced.rebalances:
        axes.axvline(change["step"], color=REBALANCED, linewidth=1, linestyle=":")
    for step, share in rebalanced.changes:
        axes.axvline(step, color=INK, linewidth=1)
        axes.annotate(f"node 0 at {share:g} %", (step, 1), xycoords=("data", "axes fraction"), xytext=(3, -10),
                      textcoords="offset points", fontsize=9, color=INK)
    axes.set(ylabel="seconds a step", ylim=(0, None), title="Step time (dotted: a rebalance)")
    axes.legend(loc="lower right", ncols=3)


def draw_stages(axes, rebalanced):
    steps = [s["step"] for s in rebalanced.steps]
    for number, (name, blocks) in enumerate(rebalanced.stages()):
        axes.step(steps, blocks, where="mid", color=RANKS[number % len(RANKS)], linewidth=1.8, label=name)
    axes.set(ylabel="blocks", xlabel="step", ylim=(0, None), title="Blocks of each stage, rebalanced run")
    axes.legend(loc="lower right", ncols=4)


def draw_batches(axes, rebalanced):
    steps = [s["step"] for s in rebalanced.steps]
    for rank, batches in enumerate(zip(*(s["batches"] for s in rebalanced.steps))):
        axes.step(steps, batches, where="mid", color=RANKS[rank % len(RANKS)], linewidth=1.8, label=f"rank {rank}")
    axes.set(ylabel="samples a step", xlabel="step", ylim=(0, None), title="Batch of each rank, rebalanced run")
    axes.legend(loc="lower right", ncols=4)


def draw(path, rebalanced, fixed, fresh):
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(11, 7.5), sharex=True, layout="constrained")
    draw_steps(top, rebalanced, fixed, fresh)
    (draw_stages if rebalanced.is_pipeline() else draw_batches)(bottom, rebalanced)
    for axes in (top, bottom):
        axes.grid(color="#E8EAED")
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description="Table and picture of experiments/rebalance.sh.")
    parser.add_argument("--runs", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    options = parser.parse_args()
    rebalanced, fixed, fresh = (Run(options.runs / name) for name in ("rebalanced", "fixed", "fresh"))
    pipeline = rebalanced.is_pipeline()
    of_what = ", one pipeline" if pipeline else ""
    text = [f"# A node's share of its CPU halved and given back in mid-run{of_what}", "",
            f"{rebalanced.description['model']}, {rebalanced.description['total']} samples a step over",
            "4 nodes at 50, 50, 33 and 55 % of a core, 1 Gb/s; node 0 falls to 25 % and returns to 50 %. Median step times, from",
            f"{WITHIN} steps after a change on. Made by `experiments/rebalance.sh{' --layout pipeline' if pipeline else ''}`; the fresh plan was profiled and solved at the halved",
            "share and ran by itself.", ""]
    text += table(rebalanced, fixed, fresh) + [""] + comments(rebalanced, fixed, fresh)
    text += ["", f"![Step time and {'blocks of stages' if pipeline else 'batches'} over steps](rebalance.png)"]
    (options.out / "rebalance.md").write_text("\n".join(text) + "\n")
    draw(options.out / "rebalance.png", rebalanced, fixed, fresh)
    print("\n".join(text))


if __name__ == "__main__":
    main()
