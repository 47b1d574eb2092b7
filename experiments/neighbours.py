# Trains the solved split and splits near it, in a mixed order on one emulated cluster: how far is it from the fastest?
import argparse
import csv
import dataclasses
import itertools
import json
import math
import random
import statistics
import sys
import time

from experiments import cells, command, commentary, definitions, disturbance, machines, tables
from experiments.machines import ROOT, CommandFailed
from experiments.runner import LSHDP, Runner, minutes

ALLOWED = 1.02  # times the best neighbour's step: what the solver's split may take at the most
WANTED = 20  # neighbours that are to run at the least
EVERY = 4  # neighbours between two runs of the solved split
CASE = "lshdp-solved"


# --- which splits, in which order ----------------------------------------------------------------------------------------

def moved(split, solved):
    """Samples that are with another rank than in the solved split."""
    return sum(abs(a - b) for a, b in zip(split, solved)) // 2


def one_move_away(splits):
    """All splits that come from one of these by giving one sample to another rank."""
    found = set()
    for split in splits:
        for giver, taker in itertools.permutations(range(len(split)), 2):
            if split[giver] > 0:
                further = list(split)
                further[giver] -= 1
                further[taker] += 1
                found.add(tuple(further))
    return found


def neighbours(solved, count):
    """`count` splits of the same total: all that are one sample away, then two, .. Of those equally far, the ones first that
    change fewer ranks."""
    found, edge, distance = [], {tuple(solved)}, 0
    while len(found) < count and edge:
        distance += 1
        edge = {split for split in one_move_away(edge) if moved(split, solved) == distance}
        found += sorted(edge, key=lambda split: (sum(a != b for a, b in zip(split, solved)), split))
    return found[:count]


def with_solved_between(names, prefix):
    """Names in runs of EVERY, the solved split before, between and after them."""
    order = [f"{prefix}-0"]
    for index in range(0, len(names), EVERY):
        order += [*names[index:index + EVERY], f"{prefix}-{index // EVERY + 1}"]
    return order


def name_of(split, round_number):
    return "split-" + "-".join(map(str, split)) + f"-r{round_number}"


def first_round(splits):
    """Names in the order of running: mixed, the same each time, so that drift of the machine falls on near and far alike."""
    mixed = list(splits)
    random.Random(1).shuffle(mixed)
    return with_solved_between([name_of(split, 1) for split in mixed], "solved-r1")


def further_round(splits, round_number):
    return with_solved_between([name_of(split, round_number) for split in splits], f"solved-r{round_number}")


# --- running -------------------------------------------------------------------------------------------------------------

class Neighbours(Runner):
    """The pair MODEL-CLUSTER of the definition's; a record for each run of a split."""

    def __init__(self, definition, folder, options):
        super().__init__(definition, folder, options.cluster)
        self.options, self.cell = options, self.cells[0]

    def run(self):
        self.keep_settings()
        with self.open(self.cell.cluster) as self.machine:
            solved = self.solved()
            splits = neighbours(solved, self.options.splits)
            order = first_round(splits)
            self.run_all(order, self.options.again * (self.options.fastest + 2))
            for round_number in range(2, 2 + self.options.again):
                self.run_all(further_round(self.fastest(), round_number), 0)

    def solved(self):
        return [rank["batch"] for rank in self.setup(self.cell)["plans"]["solved"]["ranks"]]

    def fastest(self):
        """The neighbours that the first round found fastest."""
        rows = rows_of(self.records, 1)
        return [tuple(row.batches) for row in sorted(rows, key=lambda row: row.ratio)[:self.options.fastest]]

    def run_all(self, order, later):
        for index, name in enumerate(order):
            if self.records.is_done(name):
                continue
            left = sum(not self.records.is_done(other) for other in order[index:]) + later
            self.say_left(name, left)
            self.run_split(name, index)

    def say(self, text):
        print(text, flush=True)

    def say_left(self, name, left):
        seconds = [record["seconds"] for record in self.records.all() if "batches" in record]
        each = statistics.fmean(seconds) if seconds else cells.FIRST_GUESS_SECONDS
        self.say(f"{left} runs left, {minutes(left * each)}: {name}")

    def run_split(self, name, index):
        setup = self.setup(self.cell)
        solved = name.startswith("solved")
        batches = self.solved() if solved else [int(part) for part in name.split("-")[1:-1]]
        plan, results, begun = self.work / f"{name}.batches.json", self.work / "runs" / name, time.monotonic()
        profile = self.work / f"{self.cell.setup_name}.profile.json"
        cells.write_json(profile, setup["profile"])
        train = [LSHDP, "train", "--model", self.model_argument(self.cell.model), "--data", self.data_file(self.cell.model),
                 *self.threads(), "--batches", plan, "--steps", self.definition.steps, "--results", results]

        def measure():
            self.command(name, train, True)
            return json.loads((results / "summary.json").read_text())

        try:
            self.command(f"{name}-plan", [LSHDP, "optimize", profile, "--batches", ",".join(map(str, batches)), "--out", plan], False)
            summary, stolen = disturbance.least_disturbed(measure, self.tell_disturbed(name))
        except CommandFailed as error:
            # Does not fit a rank, say: then it is no neighbour that could be faster.
            self.records.write(name, cells.REFUSED if error.code == 2 else cells.FAILED, message=str(error), batches=batches)
            if error.code != 2:
                raise
            return
        self.records.write(name, cells.DONE, time.monotonic() - begun, batches=batches, index=index, solved=solved, stolen=stolen,
                           round=int(name.split("-r")[-1].split("-")[0]), step_seconds=summary["step_seconds"]["median"],
                           predicted_step_seconds=summary["predicted"]["step_seconds"])


# --- figures -------------------------------------------------------------------------------------------------------------

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


def sentences(records, rows):
    solved = solved_runs(records)
    steps = [r["step_seconds"] for r in solved]
    first = rows_of(records, 1)
    best = min(first, key=lambda row: row.ratio)
    spread = max(abs(b / a - 1) for a, b in zip(steps, steps[1:])) if len(steps) > 1 else 0
    lines = [f"Solved split {' '.join(map(str, solved[0]['batches']))}: {statistics.fmean(steps):.3f} s a step, mean of {len(steps)} runs "
             f"({min(steps):.3f} to {max(steps):.3f}; one run and the next differ by up to {100 * spread:.1f} %); predicted "
             f"{solved[0]['predicted_step_seconds']:.3f} s.",
             f"{len(rows)} neighbouring splits ran{commentary.verdict(len(rows), WANTED, True)}; the fastest in its first run, "
             f"{' '.join(map(str, best.batches))}: the solved split takes {verdict(1 / best.ratio)}. That is the luckiest of {len(first)} runs."]
    again = again_rows(records)
    if again:
        best_again = min(again, key=lambda row: row.ratio)
        lines.append(f"The {len(again)} fastest ran again, {len(best_again.ratios)} times each: beside the fastest of these, "
                     f"{' '.join(map(str, best_again.batches))}, the solved split takes {verdict(1 / best_again.ratio)}."
                     + (f" The standard error of that ratio is {100 * best_again.uncertainty:.1f} %." if len(best_again.ratios) > 1 else ""))
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


# --- command -------------------------------------------------------------------------------------------------------------

def parse_arguments():
    parser = argparse.ArgumentParser(prog="experiments/neighbours.sh", description="Trains the solved split and its neighbours.",
                                     epilog="Finished runs are kept: interrupted and started again, it goes on where it was.")
    parser.add_argument("--definition", default="gigabit", help="in experiments/: where model and cluster are from (default: gigabit)")
    parser.add_argument("--pair", default="W2-A", metavar="MODEL-CLUSTER", help="default: W2-A")
    parser.add_argument("--splits", type=int, default=24, help="neighbours (default: 24)")
    parser.add_argument("--steps", type=int, default=8, help="of a run; the first two are not counted (default: 8)")
    parser.add_argument("--fastest", type=int, default=3, help="so many of the fastest neighbours run again (default: 3)")
    parser.add_argument("--again", type=int, default=8, help="so often (default: 8)")
    command.add_result_options(parser, "neighbours", "table and plot")
    return parser.parse_args()


def definition_of(options):
    """The pair alone, with the one case that is wanted."""
    whole = definitions.read_definition(ROOT / "experiments" / f"{options.definition}.yaml")
    pair = [(m, c) for m in whole.models for c in whole.clusters if f"{m.name}-{c.name}" == options.pair]
    if not pair:
        raise definitions.DefinitionError(f"--pair: {options.pair} is no MODEL-CLUSTER of {options.definition}")
    model, cluster = pair[0]
    case = definitions.Case(CASE, "lshdp", "ddp", "solved")
    return definitions.Definition("neighbours", f"Splits near the solved one, {options.pair}", (model,), (cluster,), (case,), steps=options.steps)


def measure_and_report(options):
    definition = definition_of(options)
    folder = command.folder_of(options, "neighbours")
    if not options.report_only:
        with machines.exclusive(options.cluster):
            Neighbours(definition, folder, options).run()
    write_report(definition, folder)


def main():
    options = parse_arguments()
    return command.exit_code_of("neighbours", lambda: measure_and_report(options))


if __name__ == "__main__":
    sys.exit(main())
