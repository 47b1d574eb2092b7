# Fills the disk of a run at a random byte of all that it writes; with room again, it must go on from its last good checkpoint.
import random
import re
import shutil

from experiments.faults.disk import SmallDisk
from experiments.faults.kills import count_of
from experiments.faults.training import CASES, Training, checkpoint_folders, step_of, wrong_with
from experiments.machines import CommandFailed

KEEP = 1000  # every checkpoint stays, so that any part of the run can be the one that finds no room
FULL = re.compile(r"No space left on device|Disk quota exceeded")


class FullDisk:
    def __init__(self, lshdp, out, seed, limit, steps, every, cases, more=()):
        self.out, self.limit, self.seed = out, limit, seed
        self.rng = random.Random(seed)
        self.training = Training(lshdp, out, steps, every, more=more)
        self.cases = [CASES[name] for name in cases]
        self.trials, self.failures, self.references = [], [], {}

    def run(self, count):
        with SmallDisk(self.out / "disk") as disk:
            for number in range(1, count + 1):
                self.carry_out(disk, number, self.cases[(number - 1) % len(self.cases)])

    def reference(self, disk, case):
        """The undisturbed run, and the bytes and files that it needs."""
        if case.name not in self.references:
            run = disk.folder / case.name
            before = disk.used()
            with self.training.start(case, case.ways[0], run, self.out / "undisturbed.log", keep=KEEP) as attempt:
                if attempt.wait(self.limit) != 0:
                    raise CommandFailed(f"the undisturbed run of {case.name}: {attempt.message()}", 1)
            needed = tuple(now - then for now, then in zip(disk.used(), before))
            kept = self.out / "undisturbed" / case.name
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(run, kept)
            shutil.rmtree(run)
            self.references[case.name] = kept, needed
        return self.references[case.name]

    def carry_out(self, disk, number, case):
        reference, (needed_bytes, needed_files) = self.reference(disk, case)
        folder = self.out / f"trial-{number}-{case.name}"
        shutil.rmtree(folder, ignore_errors=True)
        run = disk.folder / folder.name
        used_bytes, used_files = disk.used()
        kind = self.rng.choices(("bytes", "files"), (4, 1))[0]
        if kind == "bytes":
            disk.limit(size=used_bytes + self.rng.randrange(needed_bytes))
        else:
            disk.limit(files=used_files + self.rng.randrange(1, needed_files))
        trial = {"case": case.name, "kind": kind}
        problems = self.fill(case, run, folder, trial)
        disk.limit()
        if not problems:
            problems += self.go_on(case, run, folder, trial, reference)
        self.trials.append(trial)
        said = "; ".join(problems) if problems else "as if undisturbed"
        print(f"full-disk: trial {number} ({case.name}, {kind}): full after step {trial['step']}: {trial['said']}; went on from "
              f"{trial['checkpoint'] or 'the beginning'}: {said}", flush=True)
        if problems:
            shutil.copytree(run, folder / "run", dirs_exist_ok=True)
            self.failures.append({**trial, "trial": number, "folder": str(folder), "problems": problems})
        else:
            shutil.rmtree(folder)
        shutil.rmtree(run)

    def fill(self, case, run, folder, trial):
        """The run that finds no room: it has to say so, and to end."""
        with self.training.start(case, case.ways[0], run, folder / "full.log", keep=KEEP) as attempt:
            code = attempt.wait(self.limit)
            trial |= {"step": attempt.step() or 0, "code": code, "checkpoint": None, "said": ""}
            if code is None:
                attempt.write_stacks(folder / "stacks.txt")
                return [f"no end within {self.limit:g} s"]
            left = attempt.left_behind()
        text = attempt.text()
        lines = [line for line in text.splitlines() if FULL.search(line)]
        trial["said"] = lines[0] if lines else attempt.message()
        problems = [f"{one} was left" for one in left]
        if code != 1:
            problems.append(f"exit code {code} where 1 was expected")
        if not any(str(run) in line for line in lines):
            problems.append("no line names a file of the run and the cause")
        return problems

    def go_on(self, case, run, folder, trial, reference):
        complete, _ = checkpoint_folders(run)
        if complete:
            trial["checkpoint"] = complete[-1].name
            try:
                self.training.check(["checkpoint", "verify", str(run)], self.limit)
            except CommandFailed as error:
                return [f"verify: {error}"]
        with self.training.start(case, case.ways[0], run, folder / "resumed.log", keep=KEEP) as attempt:
            code = attempt.wait(self.limit)
            if code != 0:
                return [f"resume: {attempt.message()}" if code is not None else f"resume: no end within {self.limit:g} s"]
        begun = int(step_of(complete[-1])) if complete else 0
        if f"resumed after step {begun} " not in attempt.text() and begun not in (0, self.training.steps):
            return [f"resume did not begin after step {begun}"]
        return wrong_with(run, reference, case, self.training.steps, KEEP)

    def result(self):
        return {"full_disks": len(self.trials), "by_kind": count_of(self.trials, "kind"), "by_case": count_of(self.trials, "case"),
                "without_checkpoint": sum(trial["checkpoint"] is None for trial in self.trials), "seed": self.seed,
                "said": sorted({re.sub(r"\S*/trial-\S+/", "RUN/", trial["said"]) for trial in self.trials}), "failures": self.failures}


def sentence(result):
    return f"{result['full_disks']} full disks, {len(result['failures'])} after which the run did not go on as if undisturbed"
