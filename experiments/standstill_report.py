# Table and CSV of experiments/standstill.py from its records.
import csv
import statistics
import sys

from experiments import cells, standstill_kinds

COLUMNS = ("kind", "rank", "step", "named_seconds", "told_work_seconds", "named_by_ranks", "rank_end_seconds", "mpirun_end_seconds", "exit_code", "said")


def median_and_worst(values):
    """Of seconds; None: it did not happen."""
    missing = sum(value is None for value in values)
    known = [value for value in values if value is not None]
    text = f"{statistics.median(known):.1f} / {max(known):.1f}" if known else "-"
    return f"{text} ({missing} of {len(values)} never)" if missing and known else text


def ranks_that_named(record):
    return [who for who in record["named_by"] if who != "mpirun"]


def what_was_said(record):
    return record["said"][0][2] if record["said"] else "nothing"


def rows(records):
    """A row of the table for each kind that has records."""
    found = []
    for kind in standstill_kinds.KINDS:
        mine = [record for record in records if record["kind"] == kind.name]
        if not mine:
            continue
        found.append([kind.title, str(len(mine)), *(median_and_worst([record[key] for record in mine]) for key in
                      ("named_seconds", "told_work_seconds", "rank_end_seconds", "mpirun_end_seconds")),
                      f"{statistics.median(len(ranks_that_named(record)) for record in mine):g}",
                      "`" + what_was_said(mine[0]).replace("|", "/") + "`"])
    return found


def table(records):
    header = ["fault", "trials", "named, s", "with its work, s", "all ranks ended, s", "mpirun ended, s", "ranks that named it", "said first"]
    lines = ["| " + " | ".join(header) + " |", "| --- " + "| ---: " * 6 + "| --- |"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows(records)])


def write_csv(records, path):
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for record in records:
            seen = {**record, "named_by_ranks": len(ranks_that_named(record)), "said": what_was_said(record)}
            writer.writerow([seen[column] for column in COLUMNS])


def write_report(folder):
    records = [record for record in cells.Records(folder / "raw").all() if record["status"] == cells.DONE]
    if not records:
        print(f"standstill: {folder}: no trials are there yet", file=sys.stderr)
        return
    settings, made = records[0]["settings"], records[0]["made"]
    parts = ["# Faults of one rank: seconds until it is named, and until the run has ended",
             f"Made by `experiments/standstill.sh` at {made['revision']} on {made['machine']}: {len(settings['cpus'])} nodes at "
             f"{', '.join(f'{cpu:g}' for cpu in settings['cpus'])} % of a core, one rank each, training a small ViT with a checkpoint every 10 steps, "
             f"`--standstill {settings['standstill']:g} --operation-limit {settings['operation_limit']:g}`. A random rank is broken at a random instant. "
             "Median / worst over the trials, counted from the fault (at the start: from mpirun's): until a line names the rank; until one says also what it "
             "was doing; until the last rank's process is gone; until mpirun is. Lines are seen within 0.05 s.",
             table(records)]
    (folder / "standstill.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    write_csv(records, folder / "standstill.csv")
    print(folder / "standstill.md", flush=True)
    print(table(records), flush=True)
