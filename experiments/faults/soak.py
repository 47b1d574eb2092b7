# Hours of training on an emulated cluster, disturbed in every way and resumed each time, beside runs that are left alone.
import contextlib
import random
import shutil
import signal
import time

from experiments.faults import samples
from experiments.faults.attempts import send
from experiments.faults.disk import SmallDisk
from experiments.faults.disturbances import DISTURBED, SHARES, Cluster, Disturbances
from experiments.faults.kills import count_of
from experiments.faults.training import (CASES, LSDP_ON_NODES, Case, Training, checkpoint_folders, data_way, records_of, step_of,
                                        wrong_with)
from experiments.machines import CommandFailed

# name -> mode, nodes
ALONE = {"ddp, left alone": ("ddp", (3, 4)), "lsdp, left alone": ("lsdp", (5, 6))}
DISTURBED_CASES = (CASES["ddp"], Case("lsdp", (LSDP_ON_NODES,)), CASES["pipeline"], CASES["replicas"])
ENDLESS = 1_000_000_000
KEEP = 3
PAUSE_SECONDS = (5, 25)  # between disturbances
VAIN_STARTS = 3  # in a row without a step, before a run is given up
PERIOD = 5  # seconds between samples
JUDGED_HOURS = 0.5  # a shorter steady part says too little of a slope
MOST_MB_AN_HOUR = 1.0
INTERRUPTED_CODE = 75  # of a run that was told to end and has written a checkpoint


class Interrupted(Exception):
    """Ctrl-C, or SIGTERM."""


def interrupt(*_):
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # cleaning up is not interrupted
    raise Interrupted


class Soak:
    def __init__(self, lshdp, out, seed, limit, hours, steps, every, name, more=()):
        self.out, self.limit, self.seed, self.hours = out, limit, seed, hours
        self.rng = random.Random(seed)
        self.cluster, self.disk = Cluster(name), SmallDisk(out / "disk")
        self.disturbances = Disturbances(self.rng, self.cluster, self.disk, limit)
        self.training = Training(lshdp, out, steps, every, launch=lambda _: self.cluster.launch(DISTURBED), more=more)
        self.begun, self.sampler, self.interrupted = time.monotonic(), None, False
        self.events, self.rounds, self.failures, self.references, self.alone = [], [], [], {}, {}

    def seconds(self):
        return time.monotonic() - self.begun

    def is_over(self):
        return self.seconds() > 3600 * self.hours

    def say(self, text):
        print(f"soak: {self.seconds() / 60:6.1f} min: {text}", flush=True)

    def run(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, interrupt)
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self.cluster)
                stack.enter_context(self.disk)
                self.sampler = stack.enter_context(samples.Sampler(self.out / "samples.csv", PERIOD))
                self.start_alone(stack)
                while not self.is_over():
                    case = DISTURBED_CASES[len(self.rounds) % len(DISTURBED_CASES)]
                    reference = self.reference(case)
                    if not self.is_over():
                        self.round(case, reference)
                self.end_alone()
            except Interrupted:
                self.interrupted = True
                self.say("interrupted; what is there is reported")

    # --- runs that are left alone -------------------------------------------------------------------------------------------

    def start_alone(self, stack):
        for name, (mode, nodes) in ALONE.items():
            case = Case(f"alone-{mode}", (data_way(mode, "10,6"),))
            run = self.out / case.name
            shutil.rmtree(run, ignore_errors=True)
            training = Training(self.training.lshdp, self.out, ENDLESS, "30s", launch=lambda _, nodes=nodes: self.cluster.launch(nodes),
                                more=self.training.more)
            self.alone[name] = stack.enter_context(training.start(case, case.ways[0], run, run.with_suffix(".log")))
            if not self.alone[name].wait_for_step(self.limit):
                raise CommandFailed(f"the run that is left alone does not begin: see {run.with_suffix('.log')}", 1)
            self.sampler.watch(name, 1, self.alone[name])

    def end_alone(self):
        """They have to be there still, and to end with a checkpoint when they are told to."""
        for name, attempt in self.alone.items():
            ended = attempt.has_ended()
            for pid in attempt.ranks().values():
                send(pid, signal.SIGTERM)
            code = attempt.wait(self.limit)
            if ended or code != INTERRUPTED_CODE:
                said = f"exit code {code}{'' if ended else f' at SIGTERM, {INTERRUPTED_CODE} expected'}; see {attempt.log}"
                self.failures.append({"run": name, "problems": [said]})
                self.say(f"{name}: {said}")

    # --- the disturbed runs -------------------------------------------------------------------------------------------------

    def reference(self, case):
        if case.name not in self.references:
            self.say(f"{case.name}: first a run without disturbances")
            self.references[case.name] = self.training.undisturbed(case, 20 * self.limit, keep=KEEP)
        return self.references[case.name]

    def round(self, case, reference):
        """A run from its begin to its end, with disturbances until time is up."""
        number, before = len(self.rounds) + 1, len(self.events)
        folder, run = self.out / f"round-{number}", self.disk.folder / f"round-{number}"
        shutil.rmtree(folder, ignore_errors=True)
        problems, starts, vain, done = [], 0, 0, False
        while not done and vain < VAIN_STARTS:
            starts += 1
            with self.training.start(case, case.ways[0], run, folder / f"start-{starts}.log", keep=KEEP) as attempt:
                self.sampler.watch("disturbed", starts, attempt)
                found = self.watch(attempt, number)
                stepped, done = attempt.step() is not None, attempt.has_ended() and attempt.code() == 0
                problems += [f"start {starts}: {problem}" for problem in found]
            vain = 0 if stepped else vain + 1
        problems += wrong_with(run, reference, case, self.training.steps, KEEP) if done else ["no end of the run could be reached"]
        for node in DISTURBED:
            self.cluster.set_share(node, SHARES[node])
        self.rounds.append({"case": case.name, "starts": starts, "disturbances": len(self.events) - before, "as_if_undisturbed": not problems})
        self.say(f"round {number} ({case.name}): {starts} starts, {len(self.events) - before} disturbances: "
                 + ("; ".join(problems) or "as if undisturbed"))
        if problems:
            shutil.copytree(run, folder / "run", dirs_exist_ok=True)
            self.failures.append({"round": number, "case": case.name, "folder": str(folder), "problems": problems})
        else:
            shutil.rmtree(folder)
        shutil.rmtree(run)

    def watch(self, attempt, number):
        """Disturbs one start until it ends; returns what was wrong."""
        complete, _ = checkpoint_folders(attempt.run)
        damaged, self.disturbances.damaged = self.disturbances.damaged, None
        if not attempt.wait_for_step(self.limit):
            return self.problems_of_end(attempt, disturbed=False)
        problems = self.problems_of_begin(attempt, complete, damaged)
        disturbed = False
        while not disturbed and attempt.wait(self.rng.uniform(*PAUSE_SECONDS)) is None:
            if self.is_over():
                attempt.wait(20 * self.limit)
                break
            disturbed = not self.goes_on_after_disturbance(attempt, number)
        problems += self.problems_of_end(attempt, disturbed)
        if disturbed:
            self.events[-1] |= {"outcome": f"exit code {attempt.code()}", "said": attempt.message() if attempt.has_ended() else "nothing"}
        return problems

    def goes_on_after_disturbance(self, attempt, number):
        killed = self.disturb(attempt, number)
        if killed:  # the last steps may still be written
            attempt.wait(self.limit)
        if killed or not attempt.wait_for_step(self.limit, beyond=attempt.step() or 0):
            return False
        self.events[-1]["outcome"] = "went on"
        return True

    def disturb(self, attempt, number):
        """Whether a rank was killed by it."""
        kind = self.rng.choice(sorted(self.disturbances.by_name))
        event = {"seconds": self.seconds(), "round": number, "kind": kind, "step": attempt.step()}
        self.events.append(event)
        self.disturbances.killed = False
        event["what"] = self.disturbances.by_name[kind](attempt)
        return self.disturbances.killed

    def problems_of_begin(self, attempt, complete, damaged):
        """It must go on from the newest checkpoint; if that is damaged, say so and take the one before."""
        problems = []
        if damaged and f"{damaged}/" not in attempt.text():
            problems.append(f"{damaged} is damaged, but not named")
        good = [step_of(folder) for folder in complete if folder.name != damaged]
        begun = [record["resumed_after"] for record in records_of(attempt.run, "run") if record["time"] >= attempt.begun_text]
        if begun and begun[-1] != (good[-1] if good else 0):
            problems.append(f"went on after step {begun[-1]}, but the newest good checkpoint was of step {good[-1] if good else 0}")
        return problems

    def problems_of_end(self, attempt, disturbed):
        if not attempt.has_ended() and not attempt.ranks():
            attempt.wait_without_ranks(self.limit)
        if not attempt.has_ended():
            stacks = attempt.log.with_suffix(".stacks")
            attempt.write_stacks(stacks)
            return [f"it hangs: no step and no end within {self.limit:g} s; see {stacks.name}"]
        problems = [f"{left} was left" for left in attempt.left_behind()]
        if attempt.code() != 0 and not disturbed:
            problems.append(f"ended without a disturbance: {attempt.message()}")
        return problems

    # --- the report ---------------------------------------------------------------------------------------------------------

    def result(self):
        found = samples.read_samples(self.out / "samples.csv")
        steady = [{"run": run, "rank": rank, **samples.steadiness(part)} for (run, rank, _), part in samples.by_process(found).items()
                  if run in ALONE]
        samples.draw(self.out / "soak.png", found, ALONE, [(event["seconds"], event["kind"]) for event in self.events])
        return {"hours": self.seconds() / 3600, "seed": self.seed, "complete": not self.interrupted, "rounds": self.rounds,
                "disturbances": len(self.events), "by_kind": count_of(self.events, "kind"), "events": self.events, "steady": steady,
                "failures": self.failures + [failure for process in steady for failure in failures_of(process)]}


def failures_of(process):
    """What in a run that was left alone is not steady, where it was watched for long enough to say."""
    if process["hours"] < JUDGED_HOURS:
        return []
    problems = []
    if process["rss_mb_an_hour"] > MOST_MB_AN_HOUR:
        problems.append(f"resident memory grows by {process['rss_mb_an_hour']:.2f} MB an hour")
    for key in ("threads", "descriptors"):
        first, last = process[key]
        if first != last:
            problems.append(f"{first} {key} in the first half, {last} in the second")
    return [{"run": process["run"], "rank": process["rank"], "problems": problems}] if problems else []


def sentence(result):
    steady = result["steady"]
    slopes = [process["rss_mb_an_hour"] for process in steady]
    memory = (f"resident memory of ranks left alone {min(slopes):+.2f} to {max(slopes):+.2f} MB an hour over {max(p['hours'] for p in steady):.2f} h"
              if steady else "no samples")
    return (f"{result['hours']:.2f} hours: {result['disturbances']} disturbances in "
            f"{len(result['rounds'])} runs, {sum(not one['as_if_undisturbed'] for one in result['rounds'])} of them not as if undisturbed; "
            f"{memory}; {len(result['failures'])} failures")
