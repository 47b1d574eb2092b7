# Figures and report of neighbours.py: how long the solved split takes beside those near it.
import csv
import dataclasses
import math
import statistics
import sys

from experiments import cells, commentary, disturbance, tables

ALLOWED = 1.02  # times the best neighbour's step: what the solver's split may take at the most
WANTED = 20  # neighbours that are to run at the least
EVERY = 4  # neighbours between two runs of the solved split


# --- figures -------------------------------------------------------------------------------------------------------------

def moved(split, solved):
    """Samples that are with another rank than in the solved split."""
    return sum(abs(a - b) for a, b in zip(split, solved)) // 2


@dataclasses.dataclass
class Row:
    """One neighbour: its steps beside those of the solved split that ran before and after it."""

    batches: list
    moved: int
    steps: list
    ratios: list  # of the same runs: its step over the solved split's
    predicted: float
    predicted_ratio: float

    @property
    def step(self):
        return statistics.fmean(self.steps)

    @property
    def ratio(self):
        return statistics.fmean(self.ratios)

    @property
    def uncertainty(self):
        """Standard error of the ratio, relative to it."""
        return statistics.stdev(self.ratios) / math.sqrt(len(self.ratios)) / self.ratio


def solved_runs(records, round_number=None):
    return [r for r in records.all() if r["status"] == cells.DONE and r.get("solved") and round_number in (None, r["round"])]


def solved_beside(record, solved):
    """The solved split's step, mean of the nearest run before and the nearest after the record's."""
    before = [r for r in solved if r["round"] == record["round"] and r["index"] < record["index"]]
    after = [r for r in solved if r["round"] == record["round"] and r["index"] > record["index"]]
    nearest = ([max(before, key=lambda r: r["index"])] if before else []) + ([min(after, key=lambda r: r["index"])] if after else [])
    return statistics.fmean(r["step_seconds"] for r in nearest) if nearest else None


def rows_of(records, round_number=None):
    """A row for each neighbour that ran (in this round; none: in any), with those rounds together."""
    solved, rows = solved_runs(records), {}
    for record in records.all():
        if record["status"] != cells.DONE or record.get("solved") is not False or round_number not in (None, record["round"]):
            continue
        beside = solved_beside(record, solved)
        if beside is None:
            continue
        first = solved[0]
        row = rows.setdefault(tuple(record["batches"]), Row(record["batches"], moved(record["batches"], first["batches"]), [], [],
                                                            record["predicted_step_seconds"],
                                                            record["predicted_step_seconds"] / first["predicted_step_seconds"]))
        row.steps.append(record["step_seconds"])
        row.ratios.append(record["step_seconds"] / beside)
    return list(rows.values())


def again_rows(records):
    """The neighbours that ran again, by their further runs alone: the first ones chose them, so luck is in those."""
    rounds = sorted({r["round"] for r in records.all() if r["status"] == cells.DONE and "round" in r} - {1})
    joined = {}
    for row in (row for number in rounds for row in rows_of(records, number)):
        into = joined.setdefault(tuple(row.batches), dataclasses.replace(row, steps=[], ratios=[]))
        into.steps += row.steps
        into.ratios += row.ratios
    return list(joined.values())


# --- report --------------------------------------------------------------------------------------------------------------

def verdict(times_best):
    return f"{times_best:.3f} times as long{commentary.verdict(times_best, ALLOWED, False)}"


def beside_fastest(records):
    """Judged by the runs that the first ones did not choose, once there are any: the fastest of many runs is the luckiest, too."""
    again, first = again_rows(records), rows_of(records, 1)
    best = min(again or first, key=lambda row: row.ratio)
    name, takes = " ".join(map(str, best.batches)), f"the solved split takes {verdict(1 / best.ratio)}"
    if not again:
        return f"Beside the fastest in its one run, {name}, {takes}. That is the luckiest of {len(first)} runs; none ran again yet."
    said = f"The {len(again)} fastest ran again, {len(best.ratios)} times each: beside the fastest of these, {name}, {takes}."
    return said + (f" The standard error of that ratio is {100 * best.uncertainty:.1f} %." if len(best.ratios) > 1 else "")


def sentences(records, rows):
    solved = solved_runs(records)
    steps = [r["step_seconds"] for r in solved]
    spread = max(abs(b / a - 1) for a, b in zip(steps, steps[1:])) if len(steps) > 1 else 0
    lines = [f"Solved split {' '.join(map(str, solved[0]['batches']))}: {statistics.fmean(steps):.3f} s a step, mean of {len(steps)} runs "
             f"({min(steps):.3f} to {max(steps):.3f}; one run and the next differ by up to {100 * spread:.1f} %); predicted "
             f"{solved[0]['predicted_step_seconds']:.3f} s.",
             f"{len(rows)} neighbouring splits ran{commentary.verdict(len(rows), WANTED, True)}.", beside_fastest(records)]
    errors = [row.predicted / row.step - 1 for row in rows]
    lines.append(f"Predicted step times of all these splits are off by {100 * statistics.fmean(map(abs, errors)):.1f} % on average and "
                 f"{100 * max(errors, key=abs):+.1f} % at worst.")
    return lines


def table(rows):
    lines = [[" ".join(map(str, row.batches)), row.moved, tables.number(row.step), len(row.steps), tables.number(row.ratio),
              tables.number(row.predicted), tables.number(row.predicted_ratio), tables.percent(row.predicted / row.step - 1)]
             for row in sorted(rows, key=lambda row: row.ratio)]
    return tables.markdown(["batches", "samples moved", "step s", "runs", "step / solved", "predicted s", "predicted / solved", "error"], lines)


def write_csv(records, path):
    columns = ["name", "round", "index", "batches", "step_seconds", "predicted_step_seconds"]
    done = [r for r in records.all() if r["status"] == cells.DONE and "batches" in r]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for record in sorted(done, key=lambda r: (r["round"], r["index"])):
            writer.writerow([*(record[column] for column in columns[:3]), " ".join(map(str, record["batches"])),
                             f"{record['step_seconds']:.6g}", f"{record['predicted_step_seconds']:.6g}"])


def draw(path, rows):
    from experiments import plots
    plt = plots.plt
    with plt.rc_context(plots.STYLE):
        figure, axes = plt.subplots(figsize=(7.5, 4.8), layout="constrained")
        axes.plot([row.moved for row in rows], [row.predicted_ratio for row in rows], "_", markersize=16, color=plots.WHOLE, label="predicted")
        axes.plot([row.moved for row in rows], [row.ratio for row in rows], "o", color=plots.COMPUTE, label="measured")
        axes.axhline(1, color=plots.INK, linewidth=1)
        axes.axhline(1 / ALLOWED, color=plots.LIMIT, linewidth=1.5, linestyle="--", label=f"solved split {ALLOWED:g} times as long")
        axes.set(xlabel="samples that another rank has than in the solved split", ylabel="step time / solved split's",
                 xticks=sorted({row.moved for row in rows}))
        axes.set_title("Splits near the solved one")
        axes.legend()
        figure.savefig(path, dpi=120)
        plt.close(figure)


def write_report(definition, folder):
    records = cells.Records(folder / "raw")
    rows = rows_of(records)
    if not rows:
        print(f"neighbours: {folder}: no run is there yet", file=sys.stderr)
        return
    machine = next((r["made"] for r in records.all() if r.get("made")), {"machine": "no machine", "revision": "no revision"})
    cluster = definition.clusters[0]
    stolen = [r["stolen"] for r in records.all() if "batches" in r and "stolen" in r]
    parts = [f"# {definition.title}",
             f"Made by `experiments/neighbours.sh` at {machine['revision']} on {machine['machine']}: {len(cluster.cpus)} nodes at "
             f"{', '.join(f'{cpu:g}' for cpu in cluster.cpus)} % of a core, links of {', '.join(cluster.rates)}. Each run has {definition.steps} steps; "
             f"its figure is the median without the first two. After every {EVERY} neighbours the solved split runs again, and each neighbour's "
             "ratio is to the mean of the solved split's runs before and after it, since a shared machine drifts.",
             "\n".join(f"- {line}" for line in sentences(records, rows) + disturbance.sentences(stolen)), table(rows), "![Ratio by samples moved](neighbours.png)"]
    (folder / "neighbours.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    write_csv(records, folder / "neighbours.csv")
    draw(folder / "neighbours.png", rows)
    print(folder / "neighbours.md", flush=True)
