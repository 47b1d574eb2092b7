# A cell is one run of one case; its record is one JSON file. Finished cells are kept, so an experiment can be interrupted.
import dataclasses
import json
import os
import pathlib
import statistics

DONE, REFUSED, FAILED, NOT_MEASURABLE = "done", "refused", "failed", "not measurable"
FIRST_GUESS_SECONDS = 60


@dataclasses.dataclass(frozen=True)
class Cell:
    model: object
    cluster: object
    case: object
    bucket_mb: float | None
    repetition: int
    micro_batches: int | None = None

    @property
    def pair(self):
        return f"{self.model.name}-{self.cluster.name}"

    @property
    def name(self):
        bucket = "" if self.bucket_mb is None else f"-bucket{self.bucket_mb:g}"
        micro = "" if self.micro_batches is None else f"-micro{self.micro_batches}"
        return f"{self.pair}-{self.case.name}{bucket}{micro}-r{self.repetition}"

    @property
    def setup_mode(self):
        """The mode of lshdp that is profiled for this cell: PyTorch runs lshdp's plan."""
        return self.case.mode if self.case.mode in ("fsdp", "lsdp") else "ddp"

    @property
    def setup_name(self):
        """Of the record that holds the profile and the plans."""
        parts = [self.pair, "setup", *([] if self.setup_mode == "ddp" else [self.setup_mode]),
                 *([] if self.case.wire == "exact" else [self.case.wire]),
                 *([f"resident{self.case.resident}"] if self.case.resident else [])]
        return "-".join(parts)

    @property
    def layout_name(self):
        """Of the record that holds the layout planned for the cell."""
        return "-".join(filter(None, (self.setup_name, "layout", self.case.layout, self.case.stages, self.case.schedule)))

    def identity(self):
        return {"model": self.model.name, "cluster": self.cluster.name, "case": self.case.name,
                "program": self.case.program, "mode": self.case.mode, "batches_policy": self.case.batches,
                "wire": self.case.wire, "resident": self.case.resident, "bucket_mb": self.bucket_mb, "repetition": self.repetition,
                "layout_policy": self.case.layout, "stages_policy": self.case.stages, "schedule": self.case.schedule,
                "cut": self.case.cut, "micro_batches": self.micro_batches,
                "nodes": self.cluster.nodes, "cpus": list(self.cluster.cpus)}


def cells_of(definition):
    """In the order of running: by cluster (it stays up), model, repetition, case. So the programs alternate."""
    return [Cell(model, cluster, case, bucket, repetition, micro_batches)
            for cluster in definition.clusters for model in definition.models
            for repetition in range(1, definition.repetitions + 1)
            for case in definition.cases if case.is_measured(model, cluster)
            for bucket in case.bucket_mb for micro_batches in case.micro_batches]


def write_json(path, value):
    """Whole or not at all."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with open(partial, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


class Records:
    """The folder of records, by name."""

    def __init__(self, folder, made=None):
        self.folder, self.made = pathlib.Path(folder), made or {}

    def path(self, name):
        return self.folder / f"{name}.json"

    def read(self, name):
        """The record, or None. What cannot be read counts as not there: it is measured again."""
        try:
            return json.loads(self.path(name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def is_done(self, name):
        record = self.read(name)
        return record is not None and record.get("status") == DONE

    def write(self, name, status, seconds=0.0, message="", **content):
        record = {"version": 1, "name": name, "status": status, "message": message, "seconds": seconds, "made": self.made, **content}
        write_json(self.path(name), record)

    def all(self):
        records = [self.read(path.stem) for path in sorted(self.folder.glob("*.json"))]
        return [record for record in records if record is not None]


def seconds_left(cells, records):
    """What the missing and failed cells will take, judged by those that are done: of the same case, or else of any."""
    by_case, pending = {}, []
    for cell in cells:
        record = records.read(cell.name)
        if record is None or record["status"] == FAILED:
            pending.append(cell)
        elif record["status"] == DONE:
            by_case.setdefault(cell.case.name, []).append(record["seconds"])
    every = [seconds for values in by_case.values() for seconds in values]
    guess = statistics.fmean(every) if every else FIRST_GUESS_SECONDS
    return sum(statistics.fmean(by_case.get(cell.case.name, [guess])) for cell in pending)
