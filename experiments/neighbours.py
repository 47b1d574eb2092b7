# Trains the solved split and splits near it, in a mixed order on one emulated cluster: how far is it from the fastest?
import argparse
import itertools
import json
import random
import statistics
import sys
import time

from experiments import cells, command, definitions, disturbance, machines
from experiments.machines import ROOT, CommandFailed
from experiments.neighbours_report import EVERY, moved, rows_of, write_report
from experiments.runner import LSHDP, Runner, minutes

CASE = "lshdp-solved"


# --- which splits, in which order ----------------------------------------------------------------------------------------

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
                 *self.threads(), "--batches", plan, "--steps", self.definition.steps, "--results", results,
                 "--overwrite"]

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
