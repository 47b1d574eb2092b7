# Writes results.csv, results.md, the scatter of runs and the plots of one definition from its records.
import csv
import sys

from experiments import collect, commentary, spread, tables
from experiments.cells import Records, cells_of

COLUMNS = ["model", "cluster", "case", "program", "mode", "wire", "batches_policy", "bucket_mb", "repetition", "status",
           "layout_policy", "stages_policy", "schedule", "cut", "micro_batches", "batches", "total", "step_seconds", "samples_per_second", "predicted_step_seconds", "compute_seconds",
           "communication_seconds", "wait_seconds", "cpu_seconds_per_step", "communication_cpu_seconds_per_step", "stolen", "message"]


def text_of(value):
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return " ".join(map(text_of, value))
    return str(value)


def csv_line(record):
    figures = {**record, **record.get("result", {})}
    figures["mode"], figures["wire"] = record["mode"], record["wire"]
    if "result" in record:
        figures["step_seconds"] = record["result"]["step_seconds"]["median"]
    return [text_of(figures.get(column)) for column in COLUMNS]


def write_csv(definition, records, path):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for cell in cells_of(definition):
            record = records.read(cell.name)
            if record:
                writer.writerow(csv_line(record))


def measured_at(records):
    """The machines and revisions that the records name."""
    made = [record["made"] for record in records.all() if record.get("made")]
    return (" and ".join(dict.fromkeys(entry["machine"] for entry in made)) or "no machine",
            " and ".join(dict.fromkeys(entry["revision"] for entry in made)) or "no revision")


def write(definition, folder):
    records = Records(folder / "raw")
    rows = collect.rows_of(definition, records)
    write_csv(definition, records, folder / "results.csv")
    if definition.beside:
        spread.write(definition, rows, folder)
    pictures = draw(definition, rows, records, folder)
    machine, revision = measured_at(records)
    parts = [f"# {definition.title}",
             f"Made by `scripts/run_experiments.sh {definition.name}` at {revision} on {machine}. One rank and one thread a node; "
             f"each figure is the median over {definition.repetitions} repetition{'s' if definition.repetitions > 1 else ''} of the median "
             f"step. Seconds drift between machines; ratios within one run hold better.",
             "## What the numbers say", commentary.text(definition, rows, records),
             tables.text(definition, rows, records),
             *(f"![{caption}]({name})" for name, caption in pictures)]
    (folder / "results.md").write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")


def draw(definition, rows, records, folder):
    """The plots that there are figures for; without matplotlib none."""
    try:
        from experiments import plots
    except ImportError as error:
        print(f"run_experiments: no plots: {error}", file=sys.stderr)
        return []
    return plots.draw_all(definition, rows, records, folder)
