# From records to figures: one row per case with its repetitions together, and the limit of a step.
import dataclasses
import math
import statistics

from experiments import layouts
from experiments.cells import DONE, cells_of

WIRE_BYTES = {"exact": 4, "bf16": 2}
ALIKE_LINKS = 0.5  # of the fastest: as plan/link_shares.cpp tells classes of links apart from noise


def middle(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def ratio(a, b):
    return a / b if a is not None and b else None


def link_floor(nodes, gradient_bytes, bytes_per_second, links=()):
    """Seconds in which the gradients go round at the least: every link carries 2 (N - 1) / N of them.

    Where links differ (by node, bytes per second), the nodes may own unequal parts of the gradients V: a node with the part s sends and
    receives V (1 + (N - 2) s). So the slowest link carries V at the least, and all of them together 2 (N - 1) V.
    """
    if links and min(links) < ALIKE_LINKS * max(links):
        return gradient_bytes * max(1 / min(links), 2 * (nodes - 1) / math.fsum(links))
    return 2 * (nodes - 1) / nodes * gradient_bytes / bytes_per_second


def limit_of(floor, compute_cpu_seconds, communication_cpu_seconds, cpus):
    """The limit of a step: the link, or all CPU time on the sum of the shares (percent of a core), had no node to wait."""
    return max(floor, (compute_cpu_seconds + communication_cpu_seconds) / (sum(cpus) / 100))


@dataclasses.dataclass
class Row:
    """One case of one model on one cluster: medians over the repetitions, of each repetition's median step."""

    model: str
    cluster: str
    case: str
    program: str
    mode: str
    wire: str
    policy: str
    bucket_mb: float | None
    micro_batches: int | None
    status: str
    message: str = ""
    steps_of_repetitions: list = dataclasses.field(default_factory=list)
    stolen: list = dataclasses.field(default_factory=list)  # by repetition: of the CPU time that the machine wanted; [] if not known
    batches: list = dataclasses.field(default_factory=list)
    total: int = 0
    step: float | None = None
    predicted: float | None = None
    compute: list | None = None  # seconds, by rank
    communication: list | None = None
    wait: list | None = None
    compute_cpu: float | None = None  # CPU-seconds of all ranks
    communication_cpu: float | None = None
    cpu: float | None = None  # both, or where they are not told apart, all of it
    cpu_by_rank: list | None = None
    update_cpu: list | None = None  # by rank; what of compute_cpu is the optimizer's (PyTorch)
    floor: float | None = None
    limit: float | None = None
    split_limit: float | None = None  # of this very split: no rank can be done before its CPU time is
    layout: dict | None = None  # layout.json, of the first repetition
    context: int | None = None  # tokens of a sample

    @property
    def is_pipeline(self):
        return self.layout is not None and not layouts.is_data_parallel(self.layout)

    @property
    def pair(self):
        return f"{self.model}-{self.cluster}"

    @property
    def samples_per_second(self):
        return ratio(self.total, self.step)

    @property
    def tokens_per_second(self):
        return self.samples_per_second * self.context if self.step and self.context else None

    @property
    def over_limit(self):
        return ratio(self.step, self.limit)

    @property
    def over_split_limit(self):
        return ratio(self.step, self.split_limit)

    @property
    def prediction_error(self):
        return None if self.predicted is None or not self.step else self.predicted / self.step - 1


def by_rank(results, key):
    """Medians over repetitions; None where a run does not tell."""
    lists = [result[key] for result in results if result.get(key)]
    return [statistics.median(column) for column in zip(*lists)] if lists else None


def total_of(values):
    return None if values is None else math.fsum(values)


def add_figures(row, results):
    row.steps_of_repetitions = [result["step_seconds"]["median"] for result in results]
    row.step = middle(row.steps_of_repetitions)
    row.batches, row.total = results[0]["batches"], results[0]["total"]
    row.layout = results[0].get("layout")
    row.predicted = middle([result.get("predicted_step_seconds") for result in results])
    row.compute, row.communication = by_rank(results, "compute_seconds"), by_rank(results, "communication_seconds")
    row.wait, row.update_cpu = by_rank(results, "wait_seconds"), by_rank(results, "update_cpu_seconds_per_step")
    row.cpu_by_rank, transfers = by_rank(results, "cpu_seconds_per_step"), by_rank(results, "communication_cpu_seconds_per_step")
    row.cpu, row.communication_cpu = total_of(row.cpu_by_rank), total_of(transfers)
    if row.cpu is not None and transfers is not None:
        row.compute_cpu = row.cpu - row.communication_cpu
    elif row.mode == "plain":
        row.compute_cpu = row.cpu


def add_limit(row, setup, cpus):
    if row.program != "lshdp" or setup is None:
        return
    profile = setup["profile"]
    if row.is_pipeline:
        row.floor = layouts.link_seconds(row.layout, profile)
        row.limit = layouts.bound_of(row.layout, row.compute, profile) if row.compute else None
        return
    size = profile["parameter_count"] * WIRE_BYTES[row.wire]
    if row.mode == "fsdp":
        size *= 1.5  # parameters are gathered twice
    links = [rank.get("link_bytes_per_second", 0) for rank in profile.get("ranks", [])]
    row.floor = link_floor(setup["nodes"], size, profile["network"]["bytes_per_second"], links if all(links) else ())
    if cpus and row.compute_cpu is not None:
        row.limit = limit_of(row.floor, row.compute_cpu, row.communication_cpu, cpus)
        row.split_limit = max(row.floor, *(100 * seconds / share for seconds, share in zip(row.cpu_by_rank, cpus)))


def row_of(case_cells, records):
    found = [record for record in (records.read(cell.name) for cell in case_cells) if record]
    finished = [record for record in found if record["status"] == DONE]
    done = [record["result"] for record in finished]
    first = case_cells[0]
    status = DONE if done else (found[0]["status"] if found else "not run")
    message = "" if done else (found[0]["message"] if found else "")
    row = Row(first.model.name, first.cluster.name, first.case.name, first.case.program, first.case.mode, first.case.wire,
              first.case.batches, first.bucket_mb, first.micro_batches, status, message, context=first.model.context)
    if done:
        row.stolen = [record["stolen"] for record in finished if "stolen" in record]
        add_figures(row, done)
        add_limit(row, records.read(first.setup_name), first.cluster.cpus)
    return row


def rows_of(definition, records):
    """One row per model, cluster, case, bucket size and number of micro-batches, in the definition's order."""
    groups = {}
    for cell in cells_of(definition):
        groups.setdefault((cell.model.name, cell.cluster.name, cell.case.name, cell.bucket_mb, cell.micro_batches), []).append(cell)
    return [row_of(case_cells, records) for case_cells in groups.values()]


def best_variants(rows):
    """Of rows that differ in the bucket size or the number of micro-batches alone, the fastest."""
    best = {}
    for row in rows:
        key = (row.model, row.cluster, row.case)
        if key not in best or (row.step or math.inf) < (best[key].step or math.inf):
            best[key] = row
    return list(best.values())


def pairs_of(rows):
    """Rows by MODEL-CLUSTER, and in it by case, with the best variant of each."""
    pairs = {}
    for row in best_variants(rows):
        pairs.setdefault(row.pair, {})[row.case] = row
    return pairs


def plain_cpu_seconds(plain):
    """CPU-seconds of plain PyTorch for the same batches: (every rank updates everything, the update counted once in all)."""
    if plain is None or plain.compute_cpu is None:
        return None, None
    if not plain.update_cpu:
        return plain.compute_cpu, None
    once = plain.compute_cpu - math.fsum(plain.update_cpu) + statistics.fmean(plain.update_cpu)
    return plain.compute_cpu, once


def parts_of_step(row):
    """(compute, waiting for slower ranks, exposed communication): what an average rank does; the three fill the step.

    Exposed is what even the busiest rank does not compute; the others wait for that rank in the time it computes longer.
    """
    if not row.compute or row.step is None:
        return None
    busiest, average = min(max(row.compute), row.step), statistics.fmean(row.compute)
    return average, max(0.0, busiest - average), row.step - busiest
