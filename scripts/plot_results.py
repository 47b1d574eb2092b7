#!/usr/bin/env python3
# Draws runs of `lshdp train` from their metrics.jsonl: loss, throughput, time per rank, prediction, rebalances.
"""
    plot_results.py --out report.png RUN           one run in four panels, or six if its split changed
    plot_results.py --out comparison.png RUN RUN   several runs beside each other

Called by `lshdp report`, which checks the run directories first. Exit code 3: matplotlib is missing.
"""
import argparse
import json
import math
import pathlib
import statistics
import sys
import warnings

try:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator
except ImportError as error:
    print(f"plot_results.py: {error}", file=sys.stderr)
    sys.exit(3)

# Told apart by people who see few colours, too (after Okabe and Ito).
COMPUTE, WAIT, REST, TRANSFER = "#0072B2", "#E69F00", "#C9CDD2", "#009E73"
PREDICTED = "#D55E00"
RUNS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#666666"]
INK = "#222222"

STYLE = {
    "figure.facecolor": "white",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E8EAED",
    "grid.linewidth": 0.8,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "legend.frameon": False,
    "legend.fontsize": 9,
}


def for_picture(name):
    """A name of any bytes as text to draw: what is no UTF-8 becomes U+FFFD, and a dollar begins no formula."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("$", r"\$")


class Run:
    """The records of one run directory. A last line that was cut off is passed over."""

    def __init__(self, folder):
        self.name = for_picture(pathlib.Path(folder).resolve().name)
        lines = (pathlib.Path(folder) / "metrics.jsonl").read_text(encoding="utf-8").split("\n")
        records = []
        if lines[-1] == "":
            lines.pop()
        for index, line in enumerate(lines):
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                if index + 1 < len(lines):
                    raise
        self.header, self.steps, launches = records[0], [], 0
        for record in records:
            if record["record"] == "run":
                latest, launches = record, launches + 1
            elif record["record"] == "step":
                self.header = latest
                self.steps.append(record | {"launch": launches})
        self.rebalances = [record for record in records if record["record"] == "rebalance"]
        self.evaluations = [record for record in records if record["record"] == "evaluation"]
        self.predicted = self.header["predicted"]
        self.ranks = self.header["ranks"]

    def last_launch(self):
        """The steps since the run was last resumed: it may have had other ranks before."""
        return [step for step in self.steps if step["launch"] == self.steps[-1]["launch"]]

    def timed(self):
        """The steps of the last launch after warm-up: without the first tenth, at most ten, as the program's tables have it."""
        steps = self.last_launch()
        return steps[min((len(steps) + 9) // 10, 10):] or steps

    def mean(self, key):
        """Mean of a figure over the steps after warm-up; a list for figures that are given by rank."""
        values = [step[key] for step in self.timed()]
        if isinstance(values[0], list):
            return [statistics.fmean(column) for column in zip(*values)]
        return statistics.fmean(values)

    def rate(self):
        """Samples per second over the steps after warm-up."""
        return self.mean("samples") / self.mean("step_seconds")

    def title(self):
        ranks = len(self.ranks)
        return (f"{for_picture(self.header['model'])}, {self.header['mode']}, {self.header['precision']}, "
                f"{self.header['total']} samples a step on {ranks} rank{'s' if ranks > 1 else ''}")


def unit_of(seconds):
    """Factor and name of the unit in which `seconds` reads well."""
    if seconds < 1e-3:
        return 1e6, "µs"
    return (1e3, "ms") if seconds < 1 else (1, "s")


def figure_text(value):
    """Three significant digits, thousands set apart."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def smoothed(values, width):
    """Running mean over `width` values; what is no number is left out."""
    result = []
    for index in range(len(values)):
        window = [v for v in values[max(0, index - width + 1):index + 1] if v is not None and math.isfinite(v)]
        result.append(statistics.fmean(window) if window else math.nan)
    return result


def draw_loss(axes, run, colour=COMPUTE, label=None, raw=True):
    steps = [step["step"] for step in run.steps]
    loss = [math.nan if step["loss"] is None else step["loss"] for step in run.steps]
    width = max(1, len(steps) // 40)
    if raw and width > 1:
        axes.plot(steps, loss, color=colour, alpha=0.25, linewidth=0.8)
    axes.plot(steps, smoothed(loss, width), color=colour, linewidth=1.8, label=label or "training",
              marker="o" if len(steps) == 1 else None)
    points = [(e["step"], e["loss"]) for e in run.evaluations if e["loss"] is not None]
    if points:
        axes.plot(*zip(*points), linestyle="none", marker="o", markersize=6, markerfacecolor="white", markeredgewidth=1.6,
                  color=colour if label else PREDICTED, label=None if label else "evaluation")
    axes.set(title="Loss", xlabel="step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))


def last_accuracy(run):
    values = [e["accuracy"] for e in run.evaluations if e["accuracy"] is not None]
    return values[-1] if values else None


def draw_throughput(axes, run):
    steps = [step["step"] for step in run.steps]
    rates = [step["samples_per_second"] for step in run.steps]
    width = max(1, len(steps) // 40)
    if width > 1:
        axes.plot(steps, rates, color=COMPUTE, alpha=0.25, linewidth=0.8)
    axes.plot(steps, smoothed(rates, width), color=COMPUTE, linewidth=1.8, label="actual",
              marker="o" if len(steps) == 1 else None)
    top = max(rates)
    if run.predicted:
        axes.axhline(run.predicted["samples_per_second"], color=PREDICTED, linewidth=1.6, linestyle="--",
                     label="predicted")
        top = max(top, run.predicted["samples_per_second"])
    axes.set(title="Throughput", xlabel="step", ylabel="samples per second", ylim=(0, 1.15 * top))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.legend(loc="lower right", ncols=2)


def rank_labels(run):
    if len(run.ranks) > 16:
        return None
    return [f"rank {rank['rank']}\n{rank['batch']} of {run.header['total']}" for rank in run.ranks]


def draw_rank_times(axes, run, factor, unit):
    """Each rank's step: computing and waiting fill it; transfers run beside them."""
    ranks = range(len(run.ranks))
    step = run.mean("step_seconds")
    compute, wait = run.mean("compute_seconds"), run.mean("wait_seconds")
    rest = [max(0.0, step - c - w) for c, w in zip(compute, wait)]
    left, right = [r - 0.1 for r in ranks], [r + 0.32 for r in ranks]
    bottom = [0.0] * len(run.ranks)
    for values, colour, label in ((compute, COMPUTE, "compute"), (wait, WAIT, "wait"), (rest, REST, "other")):
        axes.bar(left, [v * factor for v in values], 0.56, bottom=[b * factor for b in bottom], color=colour, label=label)
        bottom = [b + v for b, v in zip(bottom, values)]
    axes.bar(right, [v * factor for v in run.mean("communication_seconds")], 0.2, color=TRANSFER, label="transfers beside it")
    axes.set(title="A step of each rank (mean)", ylabel=unit)
    label_ranks(axes, run)
    give_room_for_legend(axes, 4)


def label_ranks(axes, run):
    labels = rank_labels(run)
    if labels:
        axes.set_xticks(range(len(labels)), labels)
        axes.tick_params(axis="x", length=0)
    else:
        axes.set_xlabel("rank")
    axes.grid(axis="x", visible=False)


def give_room_for_legend(axes, columns):
    """Puts the legend above the bars without covering them."""
    axes.set_ylim(0, axes.get_ylim()[1] * 1.16)
    axes.legend(loc="upper left", ncols=columns, columnspacing=1.2, handlelength=1.2)


def draw_prediction(axes, run, factor, unit):
    """Predicted beside actual: each rank's compute, and the step."""
    axes.set_title("Predicted against actual")
    if not run.predicted:
        axes.text(0.5, 0.5, "this run was not predicted\n(its batches were given)", ha="center", va="center",
                  transform=axes.transAxes, color="#777777")
        axes.set_axis_off()
        return
    many = len(run.ranks) > 16
    compute = [] if many else list(zip(run.predicted["compute_seconds"], run.mean("compute_seconds")))
    pairs = compute + [(run.predicted["step_seconds"], statistics.median(s["step_seconds"] for s in run.timed()))]
    labels = [f"rank {rank['rank']}\ncompute" for rank in run.ranks[:len(compute)]] + ["whole\nstep"]
    positions = range(len(pairs))
    for offset, colour, label, part in ((-0.2, PREDICTED, "predicted", 0), (0.2, COMPUTE, "actual", 1)):
        axes.bar([p + offset for p in positions], [pair[part] * factor for pair in pairs], 0.36, color=colour, label=label)
    for position, (predicted, actual) in zip(positions, pairs):
        if actual > 0:
            axes.annotate(f"{predicted / actual - 1:+.0%}", (position, max(predicted, actual) * factor), ha="center",
                          va="bottom", xytext=(0, 3), textcoords="offset points", color=INK, fontsize=9)
    axes.set_xticks(positions, labels)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="x", visible=False)
    axes.set_ylabel(unit)
    give_room_for_legend(axes, 2)


def mark_rebalances(axes, run):
    for index, change in enumerate(run.rebalances):
        axes.axvline(change["step"], color=INK, linewidth=1, linestyle=":", label=None if index else "rebalanced")


def draw_step_times(axes, run, factor, unit):
    """Time of every step, and what each rebalance expected of those that followed."""
    steps = [step["step"] for step in run.steps]
    times = [step["step_seconds"] * factor for step in run.steps]
    axes.plot(steps, times, color=COMPUTE, linewidth=1.2, label="actual")
    mark_rebalances(axes, run)
    ends = [change["step"] for change in run.rebalances[1:]] + [steps[-1]]
    for index, (change, end) in enumerate(zip(run.rebalances, ends)):
        axes.hlines(change["expected_step_seconds"] * factor, change["step"], end, color=PREDICTED, linewidth=1.6,
                    linestyle="--", label=None if index else "expected by rebalancing")
    # A first step that takes many times as long would press all others flat.
    top = sorted(times)[max(0, len(times) * 98 // 100 - 1)]
    axes.set(title="Time of each step", xlabel="step", ylabel=unit, ylim=(0, 1.3 * top))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.legend(loc="lower right", ncols=3, frameon=True, edgecolor="none")


def draw_batches(axes, run):
    """Each rank's share of the step."""
    given = [step for step in run.last_launch() if step.get("batches")]
    ranks = list(zip(*(step["batches"] for step in given)))
    for rank, batches in enumerate(ranks[:16]):
        axes.step([step["step"] for step in given], batches, where="mid", color=RUNS[rank % len(RUNS)], linewidth=1.8,
                  label=f"rank {rank}")
    mark_rebalances(axes, run)
    axes.set(title="Batch of each rank" if len(ranks) <= 16 else "Batch of the first 16 ranks", xlabel="step",
             ylabel="samples a step")
    axes.set_ylim(0, axes.get_ylim()[1] * 1.2)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.legend(loc="upper left", ncols=6, columnspacing=1.2, handlelength=1.2, frameon=True, edgecolor="none")


def panels_of(title, subtitle, rows=2):
    figure, panels = plt.subplots(rows, 2, figsize=(12, 4.1 * rows), layout="constrained")
    head = 0.2 / rows  # the titles' share of the height
    figure.get_layout_engine().set(rect=(0.012, 0.012, 0.976, 1 - head), w_pad=0.12, h_pad=0.1)
    figure.text(0.022, 1 - 0.28 * head, title, va="center", fontsize=15, fontweight="bold", color=INK)
    figure.text(0.022, 1 - 0.62 * head, subtitle, va="center", fontsize=11, color="#555555")
    return figure, panels


def draw_run(run):
    factor, unit = unit_of(run.mean("step_seconds"))
    step, rate = figure_text(run.mean("step_seconds") * factor), figure_text(run.rate())
    figure, panels = panels_of(run.name, f"{run.title()}: {step} {unit} a step, {rate} samples per second",
                               3 if run.rebalances else 2)
    draw_loss(panels[0][0], run)
    accuracy = last_accuracy(run)
    panels[0][0].legend(loc="upper right", title=None if accuracy is None else f"accuracy {accuracy:.2%}")
    draw_throughput(panels[0][1], run)
    draw_rank_times(panels[1][0], run, factor, unit)
    draw_prediction(panels[1][1], run, factor, unit)
    if run.rebalances:
        draw_step_times(panels[2][0], run, factor, unit)
        draw_batches(panels[2][1], run)
    return figure


def colour_of(index):
    return RUNS[index % len(RUNS)]


def draw_bars(axes, runs, value, title, unit, predicted=None):
    """One bar a run with its value on it, and a mark where it was predicted."""
    values = [value(run) for run in runs]
    axes.bar(range(len(runs)), values, 0.6, color=[colour_of(i) for i in range(len(runs))])
    marked = False
    for index, run in enumerate(runs):
        ratio = "" if index == 0 or values[0] == 0 else f"\n{values[index] / values[0]:.2f} x"
        top = values[index]
        if predicted and run.predicted:
            mark = predicted(run)
            axes.hlines(mark, index - 0.38, index + 0.38, color=INK, linewidth=1.6, linestyle=(0, (4, 2)),
                        label=None if marked else "predicted")
            marked, top = True, max(top, mark)
        axes.annotate(figure_text(values[index]) + ratio, (index, top), ha="center", va="bottom", xytext=(0, 4),
                      textcoords="offset points", color=INK, fontsize=9)
    axes.set(title=title, ylabel=unit)
    axes.set_xticks(range(len(runs)), [run.name for run in runs], rotation=0 if len(runs) < 6 else 30)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="x", visible=False)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.25)
    if marked:
        axes.legend(loc="upper right")


def draw_shares(axes, runs, factor, unit):
    """Every rank's compute and wait, run after run."""
    ticks, position = [], 0
    for index, run in enumerate(runs):
        compute, wait = run.mean("compute_seconds"), run.mean("wait_seconds")
        where = [position + i for i in range(len(compute))]
        axes.bar(where, [v * factor for v in compute], 0.8, color=COMPUTE, label=None if index else "compute")
        axes.bar(where, [v * factor for v in wait], 0.8, bottom=[v * factor for v in compute], color=WAIT,
                 label=None if index else "wait")
        for x, rank, height in zip(where, run.ranks, compute) if len(compute) * len(runs) <= 24 else []:
            inside = height * factor > 0.06 * axes.get_ylim()[1]
            if inside:
                axes.annotate(str(rank["batch"]), (x, 0), ha="center", va="bottom", xytext=(0, 3), color="white",
                              textcoords="offset points", fontsize=8)
        ticks.append((statistics.fmean(where), run.name))
        position += len(compute) + 1.2
    axes.set(title="A step of each rank, with its batch (mean)", ylabel=unit)
    axes.set_xticks([t[0] for t in ticks], [t[1] for t in ticks], rotation=0 if len(runs) < 6 else 30)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="x", visible=False)
    give_room_for_legend(axes, 2)


def draw_comparison(runs):
    names = " and ".join([", ".join(run.name for run in runs[:-1]), runs[-1].name])
    titles = {run.title() for run in runs}
    figure, panels = panels_of(names, titles.pop() if len(titles) == 1 else "different models or totals; see the tables")
    factor, unit = unit_of(max(run.mean("step_seconds") for run in runs))
    for index, run in enumerate(runs):
        accuracy = last_accuracy(run)
        label = run.name if accuracy is None else f"{run.name}, accuracy {accuracy:.2%}"
        draw_loss(panels[0][0], run, colour_of(index), label, raw=len(runs) < 4)
    panels[0][0].legend(loc="upper right")
    draw_bars(panels[0][1], runs, Run.rate, "Throughput", "samples per second",
              lambda run: run.predicted["samples_per_second"])
    draw_bars(panels[1][0], runs, lambda run: run.mean("step_seconds") * factor, "Time of a step (mean)", unit,
              lambda run: run.predicted["step_seconds"] * factor)
    draw_shares(panels[1][1], runs, factor, unit)
    return figure


def fail(message):
    print(f"plot_results.py: {message}", file=sys.stderr)
    return 1


def draw(folders, picture):
    with plt.rc_context(STYLE):
        runs = [Run(folder) for folder in folders]
        figure = draw_run(runs[0]) if len(runs) == 1 else draw_comparison(runs)
        endings = figure.canvas.get_supported_filetypes()
        if pathlib.Path(picture).suffix.lower().lstrip(".") not in endings:
            return fail(f"cannot write {picture}: its name must end in one of .{', .'.join(sorted(endings))}")
        try:
            figure.savefig(picture, dpi=130)
        except OSError as error:
            return fail(f"cannot write {picture}: {error.strerror or error}")
    return 0


def main():
    parser = argparse.ArgumentParser(description="Draws runs of lshdp train.")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directory")
    parser.add_argument("--out", required=True, metavar="FILE.png", help="the picture")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box stands for it
    try:
        return draw(options.runs, options.out)
    except Exception as error:  # a person at a command line has no use for a traceback
        return fail(f"cannot draw {options.runs[0]}: {type(error).__name__}: {error}")


if __name__ == "__main__":
    sys.exit(main())
