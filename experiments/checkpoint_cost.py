# What a step costs with checkpoints and without, by the times at which steps ended, in runs that take turns.
import argparse
import datetime
import json
import pathlib
import re
import statistics
import sys

from experiments import cells, command, machines, tables
from experiments.commentary import verdict
from experiments.definitions import Cluster
from experiments.interface_bytes import MODEL
from experiments.runner import LSHDP

MODES = ("ddp", "lsdp")
BATCHES = "12,12,8,32"
EVERY = 20
FIRST, LAST = 5, 65  # steps whose ends are compared: three checkpoints lie between them
STEPS = LAST + 1
MOST_MORE = 0.02
TIMEOUT = 1200
WRITTEN = re.compile(r"checkpoint of step (\d+) written(?: in ([\d.]+) (ms|s|min))?")


# --- running -------------------------------------------------------------------------------------------------------------

def ends_of_steps(run):
    """Seconds since the epoch at which each step had ended on rank 0."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {record["step"]: datetime.datetime.fromisoformat(record["time"].replace("Z", "+00:00")).timestamp()
            for record in records if record["record"] == "step"}


def seconds_of_saves(log):
    """From the step on, as the run said; a program that trains nothing meanwhile does not say."""
    unit = {"ms": 1e-3, "s": 1, "min": 60}
    return [float(found[2]) * unit[found[3]] for found in WRITTEN.finditer(log.read_text()) if found[2]]


def train(machine, work, options, mode, every, name):
    run, log = work / f"runs/{name}", work / f"logs/{name}.log"
    machines.run([*machine.base, "run", str(options.lshdp), "train", "--model", str(work / "model.json"), "--mode", mode, "--data",
                  str(work / "data.h5"), "--batches", BATCHES, "--steps", str(STEPS), "--threads", "1", "--checkpoint-every", str(every),
                  "--results", str(run), "--overwrite"], log, TIMEOUT)
    ends = ends_of_steps(run)
    return {"step_seconds": (ends[LAST] - ends[FIRST]) / (LAST - FIRST), "save_seconds": seconds_of_saves(log)}


def run(options, cluster, folder):
    records, work = cells.Records(folder / "raw", machines.made()), folder / "work"
    cells.write_json(work / "model.json", MODEL)
    if not (work / "data.h5").exists():
        machines.run([str(LSHDP), "data", "synthetic-images", "--count", "4096", "--size", "32", "--channels", "3", "--classes", "10",
                      "--out", str(work / "data.h5")], work / "logs/data.log", TIMEOUT)
    with machines.exclusive(options.cluster), machines.EmulatedCluster(options.cluster, cluster, work / "logs") as machine:
        for mode in options.modes:
            for turn in range(options.repeats):
                for every in (0, EVERY):
                    name = f"{mode}-{every}-{turn}"
                    if records.is_done(name):
                        continue
                    print(name, flush=True)
                    records.write(name, cells.DONE, mode=mode, every=every, turn=turn, **train(machine, work, options, mode, every, name))


# --- report --------------------------------------------------------------------------------------------------------------

def row_of(records, mode, repeats):
    pairs = [(records.read(f"{mode}-0-{turn}"), records.read(f"{mode}-{EVERY}-{turn}")) for turn in range(repeats)]
    pairs = [(without, with_them) for without, with_them in pairs if without and with_them]
    if not pairs:
        return None
    more = [b["step_seconds"] / a["step_seconds"] - 1 for a, b in pairs]
    saves = [seconds for _, b in pairs for seconds in b["save_seconds"]]
    return {"mode": mode, "without": statistics.median(a["step_seconds"] for a, _ in pairs),
            "with": statistics.median(b["step_seconds"] for _, b in pairs), "more": statistics.median(more), "all": more,
            "saves": statistics.median(saves) if saves else None, "made": pairs[0][0]["made"]}


def write_report(options, folder):
    records = cells.Records(folder / "raw")
    rows = [row for row in (row_of(records, mode, options.repeats) for mode in options.modes) if row]
    if not rows:
        print(f"checkpoint_cost: {folder}: no figures are there yet", file=sys.stderr)
        return
    made = rows[0]["made"]
    lines = [f"{row['mode']}: a step takes {100 * row['more']:+.1f} %{verdict(row['more'], MOST_MORE, False)} (pairs: "
             + ", ".join(f"{100 * more:+.1f}" for more in row["all"]) + ")." for row in rows]
    table = tables.markdown(["mode", "step without, s", f"step with one every {EVERY}, s", "save, s from its step on"],
                            [[row["mode"], f"{row['without']:.3f}", f"{row['with']:.3f}", "-" if row["saves"] is None else f"{row['saves']:.2f}"]
                             for row in rows])
    parts = ["# What checkpoints add to a step",
             f"Made by `experiments/checkpoint_cost.sh` at {made['revision']} on {made['machine']}. A ViT of 21 M parameters in fp32, batches "
             f"{BATCHES}, cluster {','.join(map(str, options.cpus))} % of a core at 1 Gb/s. Seconds from the end of step {FIRST} to that of step {LAST}, "
             "divided by their number; runs with and without checkpoints take turns.",
             "\n".join(f"- {line}" for line in lines), table]
    (folder / "checkpoint_cost.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    print(folder / "checkpoint_cost.md", flush=True)


def parse_arguments():
    parser = argparse.ArgumentParser(prog="experiments/checkpoint_cost.sh", description="Measures what checkpoints add to a step.",
                                     epilog="Finished runs are kept: started again, it goes on where it was.")
    parser.add_argument("--cpus", type=lambda text: tuple(map(int, text.split(","))), default=(35, 35, 25, 95),
                        help="percent of a core, by node (default: 35,35,25,95)")
    parser.add_argument("--modes", type=lambda text: tuple(text.split(",")), default=MODES, help="default: ddp,lsdp")
    parser.add_argument("--repeats", type=int, default=2, help="pairs of runs of each mode (default: 2)")
    parser.add_argument("--lshdp", type=pathlib.Path, default=LSHDP, help="the program (default: build/lshdp)")
    command.add_result_options(parser, "checkpoint_cost")
    return parser.parse_args()


def measure_and_report(options):
    folder = command.folder_of(options, "checkpoint_cost")
    if not options.report_only:
        command.require_built(LSHDP)
        run(options, Cluster("checkpoint_cost", options.cpus, nodes=len(options.cpus)), folder)
    write_report(options, folder)


def main():
    options = parse_arguments()
    return command.exit_code_of("checkpoint_cost", lambda: measure_and_report(options))


if __name__ == "__main__":
    sys.exit(main())
