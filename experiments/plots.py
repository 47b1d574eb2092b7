# The pictures of an experiment: parts of a step, throughput, predicted against actual, scatter of runs, a timeline of two steps.
import math
import re

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.patches import Patch  # noqa: E402

from experiments import collect, spread, tables  # noqa: E402
from experiments.cells import DONE  # noqa: E402

# Told apart by people who see few colours, too (after Okabe and Ito).
COMPUTE, WAIT, EXPOSED, WHOLE, LIMIT = "#0072B2", "#E69F00", "#009E73", "#B8BDC4", "#D55E00"
COLOURS = ["#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#CC79A7", "#999999", "#F0E442"]
INK = "#222222"
STYLE = {
    "figure.facecolor": "white", "font.size": 10, "axes.titlesize": 11, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#888888",
    "axes.labelcolor": INK, "axes.grid": True, "axes.axisbelow": True, "grid.color": "#E8EAED", "grid.linewidth": 0.8,
    "xtick.color": "#555555", "ytick.color": "#555555", "legend.frameon": False, "legend.fontsize": 9,
}


def timed_pairs(rows):
    """MODEL-CLUSTER -> rows with a step time; plain steps are no steps of a cluster."""
    pairs = collect.pairs_of([row for row in rows if row.status == DONE and row.mode != "plain"])
    return {pair: list(cases.values()) for pair, cases in pairs.items()}


def label_of(row):
    name = row.case if row.program == "lshdp" else f"PyTorch {row.case}"
    return ", ".join(filter(None, (name, tables.variant_text(row))))


def grid_of_panels(count, width, height):
    columns = 1 if count == 1 else 2
    lines = math.ceil(count / columns)
    figure, panels = plt.subplots(lines, columns, figsize=(width * columns, height * lines), squeeze=False, layout="constrained")
    flat = list(panels.flat)
    for panel in flat[count:]:
        panel.set_axis_off()
    return figure, flat


# --- parts of a step ---------------------------------------------------------------------------------------------------

def draw_step(axes, y, row):
    parts = collect.parts_of_step(row)
    if parts is None:
        axes.barh(y, row.step, 0.62, color=WHOLE)
    else:
        left = 0.0
        for part, colour in zip(parts, (COMPUTE, WAIT, EXPOSED)):
            axes.barh(y, part, 0.62, left=left, color=colour)
            left += part
    if row.limit is not None:
        axes.vlines(row.limit, y - 0.42, y + 0.42, color=LIMIT, linewidth=2)
    axes.annotate(f"{row.step:.2f} s", (max(row.step, row.limit or 0), y), xytext=(5, 0), textcoords="offset points", va="center",
                  color=INK, fontsize=9)


def draw_steps(title, pairs):
    most = max(map(len, pairs.values()))
    figure, panels = grid_of_panels(len(pairs), 7.2, 1.3 + 0.42 * most)
    for axes, (pair, rows) in zip(panels, pairs.items()):
        for y, row in enumerate(rows):
            draw_step(axes, y, row)
        axes.set_yticks(range(len(rows)), [label_of(row) for row in rows])
        axes.set(title=pair, xlabel="seconds a step")
        axes.set_xlim(0, 1.14 * max(max(row.step, row.limit or 0) for row in rows))
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
    shown = [row for rows in pairs.values() for row in rows]
    handles = [Patch(color=COMPUTE, label="computing (mean of ranks)"), Patch(color=WAIT, label="waiting for slower ranks"),
               Patch(color=EXPOSED, label="exposed communication")]
    if any(collect.parts_of_step(row) is None for row in shown):
        handles.append(Patch(color=WHOLE, label="whole step (PyTorch)"))
    if any(row.limit is not None for row in shown):
        handles.append(plt.Line2D([], [], color=LIMIT, linewidth=2, label="limit"))
    figure.suptitle(f"{title}: where a step goes", x=0.01, ha="left", fontsize=13, fontweight="bold", color=INK)
    figure.legend(handles=handles, loc="outside lower left", ncols=len(handles) if len(pairs) > 1 else 2)
    return figure


# --- throughput --------------------------------------------------------------------------------------------------------

def draw_throughput(title, pairs):
    cases = list(dict.fromkeys(row.case for rows in pairs.values() for row in rows))
    programs = {row.case: row.program for rows in pairs.values() for row in rows}
    width = 0.84 / len(cases)
    figure, axes = plt.subplots(figsize=(max(7.0, 1.2 + 0.36 * len(cases) * len(pairs)), 4.6), layout="constrained")
    for index, case in enumerate(cases):
        found = [(x, row) for x, rows in enumerate(pairs.values()) for row in rows if row.case == case]
        positions = [x + (index - (len(cases) - 1) / 2) * width for x, _ in found]
        values = [row.samples_per_second for _, row in found]
        axes.bar(positions, values, 0.9 * width, color=COLOURS[index % len(COLOURS)],
                 label=case if programs[case] == "lshdp" else f"PyTorch {case}")
        for x, value in zip(positions, values):
            axes.annotate(f"{value:.0f}" if value >= 10 else f"{value:.1f}", (x, value), ha="center", va="bottom", xytext=(0, 2),
                          textcoords="offset points", fontsize=8, color=INK)
    axes.set_xticks(range(len(pairs)), list(pairs))
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="x", visible=False)
    axes.set(ylabel="samples per second")
    figure.suptitle(f"{title}: throughput", x=0.01, ha="left", fontsize=13, fontweight="bold", color=INK)
    figure.legend(loc="outside lower left", ncols=4)
    return figure


# --- predicted against actual ------------------------------------------------------------------------------------------

def draw_prediction(rows):
    figure, axes = plt.subplots(figsize=(6.6, 6.0), layout="constrained")
    top = 1.12 * max(max(row.predicted, row.step) for row in rows)
    bottom = 0.85 * min(min(row.predicted, row.step) for row in rows)
    ends = [bottom, top]
    axes.fill_between(ends, [0.9 * e for e in ends], [1.1 * e for e in ends], color="#EEF1F4", label="within 10 %")
    axes.fill_between(ends, [0.95 * e for e in ends], [1.05 * e for e in ends], color="#D9DFE5", label="within 5 %")
    axes.plot(ends, ends, color="#888888", linewidth=1)
    for index, case in enumerate(dict.fromkeys(row.case for row in rows)):
        mine = [row for row in rows if row.case == case]
        axes.plot([row.step for row in mine], [row.predicted for row in mine], "o", markersize=7, label=case,
                  color=COLOURS[index % len(COLOURS)])
    for row in (row for row in rows if abs(row.prediction_error) > 0.05):
        axes.annotate(f"{row.pair} {row.prediction_error:+.0%}", (row.step, row.predicted), xytext=(7, -3),
                      textcoords="offset points", fontsize=8, color="#555555")
    axes.set(xlabel="actual seconds a step", ylabel="predicted seconds a step", xlim=ends, ylim=ends)
    axes.legend(loc="upper left")
    figure.suptitle("Predicted against actual step times", x=0.01, ha="left", fontsize=13, fontweight="bold", color=INK)
    return figure


# --- scatter of runs ---------------------------------------------------------------------------------------------------

def draw_spread(title, found):
    """A bar for the mean of each case's runs, its error bar the standard deviation, a dot for each run."""
    pairs = {}
    for row, spread_of_row in found:
        pairs.setdefault(row.pair, []).append((row, spread_of_row))
    cases = list(dict.fromkeys(row.case for row, _ in found))
    figure, panels = grid_of_panels(len(pairs), 6.4, 1.3 + 0.42 * max(map(len, pairs.values())))
    for axes, (pair, rows) in zip(panels, pairs.items()):
        for y, (row, runs) in enumerate(rows):
            axes.barh(y, runs.mean, 0.62, xerr=runs.deviation or 0, color=COLOURS[cases.index(row.case) % len(COLOURS)],
                      error_kw={"ecolor": INK, "elinewidth": 1.4, "capsize": 4})
            axes.plot(runs.seconds, [y] * runs.runs, "o", color="white", markeredgecolor=INK, markersize=4)
            axes.annotate(f"{runs.mean:.2f} s", (max(runs.largest, runs.mean + (runs.deviation or 0)), y), xytext=(7, 0),
                          textcoords="offset points", va="center", color=INK, fontsize=9)
        axes.set_yticks(range(len(rows)), [label_of(row) for row, _ in rows])
        axes.set(title=pair, xlabel="seconds a step", xlim=(0, 1.16 * max(runs.largest for _, runs in rows)), ylim=(len(rows) - 0.4, -0.6))
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
    figure.suptitle(f"{title}: mean, standard deviation and single runs", x=0.01, ha="left", fontsize=13, fontweight="bold", color=INK)
    return figure


# --- timeline ----------------------------------------------------------------------------------------------------------

LANES = ["copy in", "compute", "copy out", "reduce-scatter", "update", "all-gather", "wait"]
SPANS = {"forward": "#56B4E9", "backward": COMPUTE, "copy in": "#F0C929", "copy out": "#A6761D", "update": "#CC79A7", "reduce-scatter": EXPOSED,
         "all-gather": "#8BC34A", "wait": WAIT}


def kind_of(event):
    first = re.split(r"[ :]", event["name"], maxsplit=1)[0]
    return first if event["cat"] == "compute" else event["cat"]


def draw_timeline(spans, begins, pair):
    begin, middle, end = begins
    ranks = sorted({e["pid"] for e in spans})
    lanes = [lane for lane in LANES if any(e["cat"] == lane for e in spans)]
    figure, axes = plt.subplots(figsize=(13, 1.4 + 0.27 * len(lanes) * len(ranks)), layout="constrained")
    ticks, used = [], []
    for rank in ranks:
        for index, lane in enumerate(lanes):
            y = rank * (len(lanes) + 0.8) + index
            ticks.append((y, f"rank {rank}  {lane}" if index == 0 else lane))
            for event in (e for e in spans if e["pid"] == rank and e["cat"] == lane):
                left, right = max(event["ts"], begin), min(event["ts"] + event["dur"], end)
                kind = kind_of(event)
                used.append(kind)
                # A short span would vanish behind its white edge.
                colour, wide = SPANS.get(kind, WHOLE), right - left > (end - begin) / 300
                axes.barh(y, (right - left) / 1e6, 0.8, left=(left - begin) / 1e6, color=colour, edgecolor="white" if wide else colour,
                          linewidth=0.3 if wide else 0.8)
    axes.axvline((middle - begin) / 1e6, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_yticks([y for y, _ in ticks], [text for _, text in ticks])
    axes.tick_params(axis="y", length=0, labelsize=8)
    axes.set(xlabel="seconds", xlim=(0, (end - begin) / 1e6))
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    figure.suptitle(f"{pair}: two steps of all ranks, traced", x=0.01, ha="left", fontsize=13, fontweight="bold", color=INK)
    kinds = [kind for kind in SPANS if kind in used]
    figure.legend(handles=[Patch(color=SPANS[kind], label=kind) for kind in kinds], loc="outside lower left", ncols=len(kinds))
    return figure


# --- all ---------------------------------------------------------------------------------------------------------------

def figures(definition, rows, records):
    """(file, caption, figure) of each picture that there are figures for."""
    pairs = timed_pairs(rows)
    if pairs:
        yield "steps.png", "Where a step goes: computing, waiting, exposed communication", draw_steps(definition.title, pairs)
        yield "throughput.png", "Samples per second by case", draw_throughput(definition.title, pairs)
    if pairs and definition.beside:
        yield "spread.png", "Mean, standard deviation and single runs of each case", draw_spread(definition.title, spread.spreads(rows))
    predicted = [row for row in collect.best_variants(rows) if row.predicted is not None and row.step]
    if predicted:
        yield "prediction.png", "Predicted against actual step times", draw_prediction(predicted)
    for pair in definition.timeline:
        record = records.read(definition.timeline_name(pair))
        if record and record["status"] == DONE:
            case = f", {definition.timeline_case}" if definition.timeline_case else ""
            yield (f"timeline-{pair}.png", f"Two steps of {pair}{case}",
                   draw_timeline(record["events"], record["begins"], pair + case))


def draw_all(definition, rows, records, folder):
    """Draws; returns (file, caption) of each picture."""
    pictures = []
    with plt.rc_context(STYLE):
        for name, caption, figure in figures(definition, rows, records):
            figure.savefig(folder / name, dpi=120)
            plt.close(figure)
            pictures.append((name, caption))
    return pictures
