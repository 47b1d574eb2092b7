# How runs of one case scatter, and whether a difference between two cases is larger than that.
import csv
import dataclasses
import math
import statistics

from experiments import cells, collect

# Student's t: between minus and plus this lie 95 %, with 1 to 10 degrees of freedom. Beyond that it falls slowly.
T_95 = [12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23]
COLUMNS = ["model", "cluster", "case", "runs", "mean", "deviation", "least", "largest"]


@dataclasses.dataclass(frozen=True)
class Spread:
    """Seconds a step over the runs of a case."""

    seconds: tuple

    @property
    def runs(self):
        return len(self.seconds)

    @property
    def mean(self):
        return statistics.fmean(self.seconds)

    @property
    def deviation(self):
        """None of a single run."""
        return statistics.stdev(self.seconds) if self.runs > 1 else None

    @property
    def least(self):
        return min(self.seconds)

    @property
    def largest(self):
        return max(self.seconds)


def noise(a, b):
    """What two means may differ by with 95 % probability where the cases do not (Welch's t test); None if one has a single run."""
    if a.runs < 2 or b.runs < 2:
        return None
    parts = [each.deviation ** 2 / each.runs for each in (a, b)]
    if not sum(parts):
        return 0.0
    freedom = sum(parts) ** 2 / sum(part ** 2 / (each.runs - 1) for part, each in zip(parts, (a, b)))
    return T_95[min(max(int(freedom), 1), len(T_95)) - 1] * math.sqrt(sum(parts))


def spreads(rows):
    """[(row, Spread)] of each case that ran; of variants the fastest; steps without communication are no steps of a cluster."""
    best = [row for row in collect.best_variants(rows) if row.steps_of_repetitions and row.mode != "plain"]
    return [(row, Spread(tuple(row.steps_of_repetitions))) for row in best]


def compared(rows, beside):
    """[(row, Spread, the Spread it is compared with)] of each case but that one."""
    found = spreads(rows)
    others = {row.pair: spread for row, spread in found if row.case == beside}
    return [(row, spread, others[row.pair]) for row, spread in found if row.case != beside and row.pair in others]


def judgement(spread, other):
    allowed = noise(spread, other)
    if allowed is None:
        return "with a single run of one of them, whether that is noise is not known"
    difference = abs(spread.mean - other.mean)
    larger = "larger" if difference > allowed else "**not** larger"
    return f"the difference of {difference:.3f} s is {larger} than the noise of {allowed:.3f} s"


def sentences(definition, rows):
    if not definition.beside:
        return []
    return [f"{row.pair}: {row.case} takes {spread.mean:.3f} s a step, {spread.mean / other.mean:.2f} times as long as {definition.beside}; "
            f"{judgement(spread, other)}." for row, spread, other in compared(rows, definition.beside)]


def entry_of(row, spread):
    return {"model": row.model, "cluster": row.cluster, "case": row.case, "runs": spread.runs, "mean": spread.mean,
            "deviation": spread.deviation, "least": spread.least, "largest": spread.largest}


def write(definition, rows, folder):
    """spread.json and spread.csv."""
    comparisons = [{"model": row.model, "cluster": row.cluster, "case": row.case, "beside": definition.beside,
                    "ratio": spread.mean / other.mean, "difference": spread.mean - other.mean, "noise": noise(spread, other)}
                   for row, spread, other in compared(rows, definition.beside)]
    cases = [{**entry_of(row, spread), "seconds": spread.seconds} for row, spread in spreads(rows)]
    cells.write_json(folder / "spread.json", {"version": 1, "name": definition.name, "cases": cases, "comparisons": comparisons})
    with open(folder / "spread.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row, spread in spreads(rows):
            values = entry_of(row, spread).values()
            writer.writerow(["" if value is None else f"{value:.6g}" if isinstance(value, float) else value for value in values])
