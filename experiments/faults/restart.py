# How long it takes from the kill of a rank to the next step, and what of it the start of MPI and LibTorch takes.
import random
import shutil
import signal
import statistics
import time

from experiments.faults.attempts import send
from experiments.faults.training import CASES, Training
from experiments.machines import CommandFailed

FIRST_STEPS = 20  # the kill falls on one of them
ENDLESS = 1_000_000
# Of the seconds: until mpirun has ended the other ranks, until rank 0 says its first word, until a step is done.
PARTS = ("seconds", "until_ended", "start", "to_step")


class Restart:
    def __init__(self, lshdp, out, seed, limit, every, cases, more=()):
        self.out, self.limit, self.seed, self.every = out, limit, seed, every
        self.rng = random.Random(seed)
        self.training = Training(lshdp, out, ENDLESS, every, more=more)
        self.cases = [CASES[name] for name in cases]
        self.rows = []

    def run(self, count):
        """Cases in turn."""
        runs = {case.name: self.out / f"run-{case.name}" for case in self.cases}
        for run in runs.values():
            shutil.rmtree(run, ignore_errors=True)
        for number in range(1, count + 1):
            for case in self.cases:
                self.rows.append({"case": case.name, **self.kill_and_go_on(case, runs[case.name], f"{case.name}-{number}")})
                print(f"restart: {case.name} {number}: {self.rows[-1]['seconds']:.2f} s from the kill to the next step", flush=True)
        for run in runs.values():
            shutil.rmtree(run)

    def kill_and_go_on(self, case, run, name):
        way = case.ways[0]
        with self.training.start(case, way, run, self.out / f"{name}-killed.log") as attempt:
            step = attempt.wait_for_step(self.limit) and attempt.step() + self.every + self.rng.randrange(FIRST_STEPS)
            if not step or not attempt.wait_for_step(self.limit, step):
                raise CommandFailed(f"{case.name}: no step to kill at: {attempt.message()}", 1)
            ranks = attempt.ranks()
            killed = time.monotonic()
            send(ranks[self.rng.choice(sorted(ranks))], signal.SIGKILL)
            if attempt.wait_without_ranks(self.limit) is None:
                raise CommandFailed(f"{case.name}: no end within {self.limit:g} s of a kill; see {attempt.log}", 1)
        with self.training.start(case, way, run, self.out / f"{name}-resumed.log") as resumed:
            spoke = resumed.wait_for_words(self.limit)
            if not resumed.wait_for_step(self.limit):
                raise CommandFailed(f"{case.name}: no step after a kill: {resumed.message()}", 1)
            now = time.monotonic()
        for log in (attempt.log, resumed.log):
            log.unlink()
        return {"seconds": now - killed, "until_ended": attempt.ended - killed, "start": spoke - resumed.begun,
                "to_step": now - spoke}

    def result(self):
        cases = {}
        for case in self.cases:
            rows = [row for row in self.rows if row["case"] == case.name]
            if rows:
                cases[case.name] = {key: statistics.median(row[key] for row in rows) for key in PARTS}
                cases[case.name] |= {"worst_seconds": max(row["seconds"] for row in rows), "kills": len(rows),
                                     "start_share": statistics.median(row["start"] / row["seconds"] for row in rows)}
        return {"cases": cases, "rows": self.rows, "seed": self.seed, "failures": []}


def sentence(result):
    return "; ".join(f"{name}: {case['seconds']:.2f} s from a kill to the next step (median of {case['kills']}, worst "
                     f"{case['worst_seconds']:.2f} s): {case['until_ended']:.2f} s until the run has ended, {case['start']:.2f} s for the start of "
                     f"MPI and LibTorch ({100 * case['start_share']:.0f} %), {case['to_step']:.2f} s for data, checkpoint and the step"
                     for name, case in result["cases"].items()) or "nothing was measured"
