# Memory, threads and descriptors of ranks over time: samples in a CSV file, their slope, and a picture.
import csv
import os
import pathlib
import re
import statistics
import threading
import time

import matplotlib
import numpy

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

from experiments.plots import COLOURS, INK, STYLE  # noqa: E402

FIELDS = ("seconds", "run", "attempt", "rank", "pid", "rss_mb", "anonymous_mb", "shared_mb", "threads", "descriptors")
STEADY_FROM = 0.25  # of the time that was watched, at most
SETTLED_SECONDS = 900  # after which a run is taken to be steady


def sample_of(pid):
    """Of a process, in MB (1e6 bytes); None if it is gone."""
    try:
        status = dict(re.findall(r"^(\w+):\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.MULTILINE))
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))
        megabytes = [int(status[key]) * 1024 / 1e6 for key in ("VmRSS", "RssAnon", "RssShmem")]
    except (OSError, KeyError):
        return None
    return dict(zip(FIELDS[5:], (*megabytes, int(status["Threads"]), descriptors)))


class Sampler:
    """Writes the samples of all watched starts every `period` seconds, behind the caller."""

    def __init__(self, path, period):
        self.path, self.period, self.begun = path, period, time.monotonic()
        self.lock, self.stop, self.watched = threading.Lock(), threading.Event(), {}
        self.thread = threading.Thread(target=self.write, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()

    def watch(self, run, number, attempt):
        """In place of the start of `run` that was watched before."""
        with self.lock:
            self.watched[run] = number, attempt

    def write(self):
        with open(self.path, "w", newline="") as file:
            rows = csv.DictWriter(file, FIELDS)
            rows.writeheader()
            while not self.stop.wait(self.period):
                with self.lock:
                    watched = dict(self.watched)
                for run, (number, attempt) in watched.items():
                    for rank, pid in sorted(attempt.ranks().items()):
                        if sample := sample_of(pid):
                            rows.writerow({"seconds": round(time.monotonic() - self.begun, 1), "run": run, "attempt": number, "rank": rank,
                                           "pid": pid, **sample})
                file.flush()


def read_samples(path):
    with open(path, newline="") as file:
        return [{key: row[key] if key == "run" else float(row[key]) for key in FIELDS} for row in csv.DictReader(file)]


def by_process(samples):
    """(run, rank, pid) -> its samples in order."""
    found = {}
    for sample in samples:
        found.setdefault((sample["run"], int(sample["rank"]), int(sample["pid"])), []).append(sample)
    return found


def slope_of(seconds, values):
    """(units an hour, its standard error) of the line through the values."""
    x, y = numpy.asarray(seconds) / 3600, numpy.asarray(values)
    if len(x) < 3 or numpy.ptp(x) == 0:
        return 0.0, float("inf")
    slope, begin = numpy.polyfit(x, y, 1)
    residuals = y - (slope * x + begin)
    spread = numpy.sqrt(residuals @ residuals / (len(x) - 2) / ((x - x.mean()) @ (x - x.mean())))
    return float(slope), float(spread)


def steady_part(samples):
    """Of one process, behind what it allocates in its first minutes."""
    begin, end = samples[0]["seconds"], samples[-1]["seconds"]
    first = begin + min(SETTLED_SECONDS, STEADY_FROM * (end - begin))
    return [sample for sample in samples if sample["seconds"] >= first]


def steadiness(samples):
    """What of a process changed in its steady part."""
    part = steady_part(samples)
    seconds = [sample["seconds"] for sample in part]
    found = {"hours": (seconds[-1] - seconds[0]) / 3600, "samples": len(part)}
    for key in ("rss_mb", "anonymous_mb"):
        found[f"{key}_an_hour"], found[f"{key}_an_hour_error"] = slope_of(seconds, [sample[key] for sample in part])
        found[key] = statistics.median(sample[key] for sample in part)
    # A file is open while a checkpoint is written: what stays open shows in the least.
    middle = len(part) // 2
    for key in ("threads", "descriptors"):
        found[key] = [int(min(sample[key] for sample in half)) for half in (part[:middle] or part, part[middle:])]
    return found


PANELS = (("rss_mb", "resident memory, MB"), ("threads", "threads"), ("descriptors", "file descriptors"))


def draw(path, samples, steady_runs, events):
    """`events`: [(seconds, kind)]. Processes of steady runs are lines, those of the disturbed run points."""
    steady = {key: part for key, part in by_process(samples).items() if key[0] in steady_runs}
    disturbed = [sample for sample in samples if sample["run"] not in steady_runs]
    kinds = sorted({kind for _, kind in events})
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(4, 1, figsize=(11, 10), sharex=True, layout="constrained", height_ratios=(3, 1.4, 1.4, 0.25 + 0.22 * max(1, len(kinds))))
        for axes, (field, name) in zip(panels, PANELS):
            axes.plot([sample["seconds"] / 60 for sample in disturbed], [sample[field] for sample in disturbed], ".", markersize=2,
                      color="#B8BDC4", label="ranks of the disturbed run")
            for colour, ((run, rank, _), part) in zip(COLOURS * len(steady), steady.items()):
                label = f"{run}, rank {rank}"
                if field == "rss_mb":
                    slope, error = slope_of(*zip(*[(s["seconds"], s[field]) for s in steady_part(part)]))
                    label += f": {slope:+.2f} ± {error:.2f} MB an hour"
                axes.plot([sample["seconds"] / 60 for sample in part], [sample[field] for sample in part], color=colour, linewidth=1.3, label=label)
            # A rank that has just begun is of no interest.
            shown = [sample[field] for part in steady.values() for sample in part] or [0, 1]
            axes.set(ylabel=name, ylim=(0.9 * min(shown), 1.1 * max(shown)))
        panels[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
        for seconds, kind in events:
            panels[3].plot(seconds / 60, kinds.index(kind), "|", markersize=9, color=INK)
        panels[3].set_yticks(range(len(kinds)), kinds)
        panels[3].set(xlabel="minutes", ylim=(-0.6, len(kinds) - 0.4))
        figure.savefig(path, dpi=110)
        plt.close(figure)
