# Kills random ranks of a run at random instants, resuming it each time; its end must be that of an undisturbed run.
import dataclasses
import os
import random
import shutil
import signal
import time

from experiments.faults.attempts import send
from experiments.faults.training import CASES, Training, checkpoint_folders, records_of, step_of, wrong_with
from experiments.machines import CommandFailed

KEEP = 2
START_SECONDS = 3.0  # about what a start takes
WINDOW_STEPS = 50  # a kill falls within so many steps of a start
VAIN_RUNS = 5  # runs without a kill in a row before the trial is given up
AIMS = (("start", 0.1), ("step", 0.4), ("save", 0.5))
VICTIMS = (("rank", 0.85), ("all ranks", 0.1), ("mpirun", 0.05))


def drawn(rng, weighted):
    return rng.choices([name for name, _ in weighted], [weight for _, weight in weighted])[0]


def sees_save(run):
    """Whether a checkpoint is being written: a folder without a manifest."""
    try:
        with os.scandir(run / "checkpoints") as entries:
            return any(entry.name.startswith("step-") and not os.path.exists(os.path.join(entry.path, "manifest.json")) for entry in entries)
    except OSError:
        return False


def wait_for_save(attempt, skip, limit):
    """Until the save after `skip` others has begun; False if the run ends before."""
    end, inside = time.monotonic() + limit, False
    while time.monotonic() < end and not attempt.has_ended():
        seen = sees_save(attempt.run)
        if seen and not inside:
            if skip == 0:
                return True
            skip -= 1
        inside = seen
        time.sleep(0.0005)
    return False


def wait_for_instant(rng, attempt, aim, step_seconds, limit):
    """The moment of a kill; False if the run ends before it."""
    if aim == "start":
        attempt.wait(rng.uniform(0, START_SECONDS))
        return bool(attempt.wait_for_ranks(1, limit))
    if not attempt.wait_for_step(limit):
        return False
    if aim == "save":
        skip, delay = rng.randrange(3), rng.choice((0.0, rng.uniform(0, 0.06)))
        if not wait_for_save(attempt, skip, limit):
            return False
        time.sleep(delay)
    else:
        attempt.wait(rng.uniform(0, WINDOW_STEPS * step_seconds))
    return not attempt.has_ended()


def strike(rng, attempt, victim):
    """Returns whom it hit, in words; empty if nobody was there."""
    ranks = attempt.ranks()
    if victim == "mpirun":
        send(attempt.process.pid, signal.SIGKILL)
        return victim
    chosen = sorted(ranks) if victim == "all ranks" else [rng.choice(sorted(ranks))] if ranks else []
    for rank in chosen:
        send(ranks[rank], signal.SIGKILL)
    return victim if len(chosen) > 1 else f"rank {chosen[0]}" if chosen else ""


def left_in_a_save(run, attempt):
    """Whether this start has left a checkpoint without a manifest; those of earlier ones stay until one is complete."""
    return any(folder.stat().st_mtime >= attempt.begun_time for folder in checkpoint_folders(run)[1])


@dataclasses.dataclass
class Chain:
    """One run with its kills, from begin to end."""
    case: object
    folder: object
    kills: list = dataclasses.field(default_factory=list)
    problems: list = dataclasses.field(default_factory=list)
    attempts: int = 0

    @property
    def run(self):
        return self.folder / "run"


class Kills:
    def __init__(self, lshdp, out, seed, limit, steps, every, cases, more=()):
        self.out, self.limit, self.seed = out, limit, seed
        self.rng = random.Random(seed)
        self.training = Training(lshdp, out, steps, every, more=more)
        self.cases = [CASES[name] for name in cases]
        self.references, self.step_seconds = {}, {}
        self.kills, self.failures, self.chains = [], [], 0

    def reference(self, case):
        if case.name not in self.references:
            begun = time.monotonic()
            run = self.training.undisturbed(case, self.limit + self.training.steps)
            self.references[case.name] = run
            self.step_seconds[case.name] = (time.monotonic() - begun) / self.training.steps
        return self.references[case.name]

    def run(self, count):
        """Runs after runs until `count` kills have been made, the last of them to its end."""
        vain = 0
        while len(self.kills) < count:
            case = self.cases[self.chains % len(self.cases)]
            self.chains += 1
            chain = Chain(case, self.out / f"run-{self.chains}-{case.name}")
            shutil.rmtree(chain.folder, ignore_errors=True)
            try:
                self.carry_out(chain, count)
            finally:
                self.kills += chain.kills
            vain = 0 if chain.kills else vain + 1
            if vain == VAIN_RUNS:
                raise CommandFailed(f"{vain} runs in a row ended before a kill: give more --steps", 1)

    def carry_out(self, chain, count):
        reference = self.reference(chain.case)
        while not chain.problems:
            chain.attempts += 1
            if self.attempt(chain, may_kill=len(self.kills) + len(chain.kills) < count):
                chain.problems += wrong_with(chain.run, reference, chain.case, self.training.steps, KEEP)
                break
        self.say(chain)
        if chain.problems:
            self.failures.append({"folder": str(chain.folder), "case": chain.case.name, "attempt": chain.attempts,
                                  "kills": chain.kills, "problems": chain.problems})
        else:
            shutil.rmtree(chain.folder, ignore_errors=True)

    def attempt(self, chain, may_kill):
        """One start, which is killed or comes to its end: then True."""
        complete, _ = checkpoint_folders(chain.run)
        newest = step_of(complete[-1]) if complete else 0
        way = self.rng.choice(chain.case.ways)
        aim, victim = drawn(self.rng, AIMS), drawn(self.rng, VICTIMS)
        with self.training.start(chain.case, way, chain.run, chain.folder / f"attempt-{chain.attempts}.log", keep=KEEP) as attempt:
            kill = None
            if may_kill and wait_for_instant(self.rng, attempt, aim, self.step_seconds[chain.case.name], self.limit):
                kill = self.kill(attempt, way, aim, victim)
            code = attempt.wait_without_ranks(self.limit) if kill else attempt.wait(self.limit + self.training.steps)
            if code is None:
                attempt.write_stacks(chain.folder / f"stacks-{chain.attempts}.txt")
                chain.problems.append(f"attempt {chain.attempts} ({way.name}) hangs: no end within {self.limit:g} s"
                                      + (f" of the kill of {kill['victim']}" if kill else ""))
                return False
            left = attempt.left_behind()
            if left:
                chain.problems.append(f"attempt {chain.attempts} ended, but {', '.join(left)} did not")
            if kill:
                kill |= {"in_save": left_in_a_save(chain.run, attempt), "exit_code": code, "mpirun_hung": attempt.launcher_hung}
                chain.kills.append(kill)
            self.look_at_start(chain, attempt, newest)
            if code != 0 and not kill:
                chain.problems.append(f"attempt {chain.attempts} ({way.name}) was not killed and ended with exit code {code}: {attempt.message()}")
            # A kill that came too late hit nothing.
            return code == 0

    def kill(self, attempt, way, aim, victim):
        hit = strike(self.rng, attempt, victim)
        return {"victim": hit, "aim": aim, "way": way.name, "step": attempt.step()} if hit else None

    def look_at_start(self, chain, attempt, newest):
        """It must have gone on from the newest complete checkpoint, and nothing must have been wrong with it."""
        if attempt.step() is None:
            return
        begun = [record for record in records_of(chain.run, "run") if record["time"] >= attempt.begun_text]
        if begun and begun[-1]["resumed_after"] != newest:
            chain.problems.append(f"attempt {chain.attempts} went on after step {begun[-1]['resumed_after']}, but the newest checkpoint was "
                                  f"of step {newest}")

    def say(self, chain):
        what = "; ".join(chain.problems) if chain.problems else "as if undisturbed"
        print(f"kills: run {self.chains} ({chain.case.name}): {len(chain.kills)} kills, {sum(kill['in_save'] for kill in chain.kills)} of them "
              f"in a save, {chain.attempts} starts: {what}", flush=True)

    def result(self):
        return {"kills": len(self.kills), "in_save": sum(kill["in_save"] for kill in self.kills), "runs": self.chains, "seed": self.seed,
                "mpirun_hung": sum(kill["mpirun_hung"] for kill in self.kills), "by_aim": count_of(self.kills, "aim"),
                "by_victim": count_of(self.kills, "victim"), "by_way": count_of(self.kills, "way"), "failures": self.failures}


def count_of(records, key):
    counts = {}
    for record in records:
        counts[record[key]] = counts.get(record[key], 0) + 1
    return dict(sorted(counts.items()))


def sentence(result):
    return (f"{result['kills']} kills ({result['in_save']} in the middle of a save) in {result['runs']} runs, each resumed: "
            f"{len(result['failures'])} runs not as if undisturbed")
