# Damages copies of a checkpoint in many ways: `lshdp checkpoint verify` must find each, and a resume must not take it.
import random
import shutil
import subprocess

from experiments.faults.kills import count_of
from experiments.faults.training import Case, Training, checkpoint_folders, data_way, wrong_with
from experiments.machines import ROOT, CommandFailed

CASE = Case("damage", (data_way("ddp", "10,6"),))
EVERY, STEPS = 10, 30
BATCH = 50  # copies that one call of verify reads


# --- ways to damage; each changes files of `target`, given `other`, the checkpoint before it, and returns the files' names ---

def one_of(rng, target):
    return rng.choice(sorted(target.iterdir()))


def rewrite(path, content):
    path.write_bytes(content)
    return [path.name]


def flip_bit(rng, target, _):
    path = one_of(rng, target)
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return rewrite(path, content)


def cut(rng, target, _):
    path = one_of(rng, target)
    return rewrite(path, path.read_bytes()[:rng.randrange(path.stat().st_size)])


def zero(rng, target, _):
    path = one_of(rng, target)
    content = bytearray(path.read_bytes())
    begin = rng.randrange(len(content))
    length = min(len(content) - begin, 1 << rng.randrange(17))
    content[begin:begin + length] = bytes(length)
    return rewrite(path, content)


def append(rng, target, _):
    path = one_of(rng, target)
    return rewrite(path, path.read_bytes() + rng.choice((b"\n", b"\0", rng.randbytes(rng.randint(1, 4096)))))


def empty(rng, target, _):
    return rewrite(one_of(rng, target), b"")


def remove(rng, target, _):
    """Of a rank's file: without its manifest it is no checkpoint."""
    path = rng.choice(sorted(target.glob("rank-*.h5")))
    path.unlink()
    return [path.name]


def swap(_, target, __):
    a, b = (target / f"rank-{rank}.h5" for rank in range(2))
    first = a.read_bytes()
    rewrite(a, b.read_bytes())
    rewrite(b, first)
    return [a.name, b.name]


def other_step(rng, target, other):
    """With the manifest of another step, its own rank files are the wrong ones."""
    path = one_of(rng, target)
    shutil.copyfile(other / path.name, path)
    return [path.name] if path.name != "manifest.json" else sorted(file.name for file in target.iterdir())


KINDS = {"bit": flip_bit, "cut": cut, "zero": zero, "append": append, "empty": empty, "remove": remove, "swap": swap, "step": other_step}
WEIGHTS = {"bit": 6, "cut": 5, "zero": 5, "append": 1, "empty": 1, "remove": 1, "swap": 1, "step": 1}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def damage(rng, target, other):
    """Damages `target` for certain: a range that was zero already is no damage. Returns the kind and the files' names."""
    kind = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    before = contents(target)
    while True:
        names = KINDS[kind](rng, target, other)
        if contents(target) != before:
            return kind, names


# --- the trial ----------------------------------------------------------------------------------------------------------

def names_file(message, names):
    return any(name in message for name in names)


class Damage:
    def __init__(self, lshdp, out, seed, limit, more=()):
        self.out, self.limit, self.seed = out, limit, seed
        self.rng = random.Random(seed)
        self.training = Training(lshdp, out, STEPS, EVERY, more=more)
        self.found, self.resumes, self.failures = [], [], []

    def prepare(self):
        """An undisturbed run, of whose checkpoints those of steps 10 and 20 are what is damaged and what comes before it."""
        shutil.rmtree(self.out / "copies", ignore_errors=True)
        self.base = self.training.undisturbed(CASE, self.limit, keep=STEPS // EVERY)
        self.older, self.newest = checkpoint_folders(self.base)[0][:2]

    # --- verify ---

    def verify(self, run):
        """name of a checkpoint -> what is wrong with it; empty: good."""
        done = subprocess.run([str(self.training.lshdp), "checkpoint", "verify", str(run)], cwd=ROOT, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=self.limit, check=False)
        said = {}
        for line in done.stdout.splitlines():
            state, _, rest = line.partition(" ")
            name, _, message = rest.partition(": ")
            said[name] = f"{said.get(name, '')}{message}\n" if state == "damaged" else ""
        if done.returncode != (1 if any(said.values()) else 0):
            raise CommandFailed(f"checkpoint verify: exit code {done.returncode}: {done.stderr.strip()}", 1)
        return said

    def run_batch(self, count):
        """Damaged copies beside the undamaged ones: in folders abandoned-K, where a run keeps the checkpoints that it does
        not go on from, so that one call reads them all."""
        run = self.copy_run("verified", [self.older, self.newest])
        copies = {}
        for number in range(1, count + 1):
            folder = run / "checkpoints" / f"abandoned-{number}" / self.newest.name
            shutil.copytree(self.newest, folder)
            copies[f"abandoned-{number}/{self.newest.name}"] = (folder, *damage(self.rng, folder, self.older))
        said = self.verify(run)
        for good in (self.older.name, self.newest.name):
            if said.get(good) != "":
                raise CommandFailed(f"checkpoint verify finds fault with an undamaged checkpoint: {said.get(good)}", 1)
        for name, (folder, kind, files) in copies.items():
            self.found.append({"kind": kind})
            if not names_file(said.get(name, ""), files):
                self.fail("verify", folder, kind, files, said.get(name) or "good")
        shutil.rmtree(run)

    # --- resume ---

    def run_resume(self, number):
        """A run whose newest checkpoint is damaged: alone, it must be refused; with a good one before it, that may be taken."""
        alone = number % 2 == 0
        run = self.copy_run(f"resumed-{number}", [self.newest] if alone else [self.older, self.newest])
        target = run / "checkpoints" / self.newest.name
        kind, files = damage(self.rng, target, self.older)
        kept = self.out / "copies" / f"resumed-{number}-damaged"
        shutil.copytree(target, kept, dirs_exist_ok=True)
        with self.training.start(CASE, CASE.ways[0], run, run.with_suffix(".log"), keep=STEPS // EVERY) as attempt:
            code = attempt.wait(self.limit)
            problems = attempt.left_behind() if code is not None else [f"no end within {self.limit:g} s"]
        text = attempt.text()
        outcome = {0: "passed over", 2: "refused"}.get(code, f"exit code {code}")
        if code not in (0, 2) or (alone and code == 0):
            problems.append(f"exit code {code}")
        if not names_file(text, [f"{self.newest.name}/{name}" for name in files]):
            problems.append("the damaged file is not named")
        if code == 0:
            problems += wrong_with(run, self.base, CASE, STEPS, STEPS // EVERY)
        self.resumes.append({"kind": kind, "outcome": outcome})
        if problems:
            shutil.copyfile(attempt.log, kept / attempt.log.name)
            self.fail("resume", kept, kind, files, "; ".join(problems))
        for folder in (kept, run):
            shutil.rmtree(folder)
        attempt.log.unlink()

    # --- both ---

    def copy_run(self, name, checkpoints):
        """A run directory with some of the base's checkpoints, as a run that has not come to its end."""
        run = self.out / "copies" / name
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir(parents=True)
        for file in ("run.json", "metrics.jsonl", "batches.json"):
            shutil.copyfile(self.base / file, run / file)
        for checkpoint in checkpoints:
            shutil.copytree(checkpoint, run / "checkpoints" / checkpoint.name)
        return run

    def fail(self, by, folder, kind, files, said):
        kept = self.out / "failures" / f"{by}-{len(self.failures) + 1}"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(folder, kept)
        print(f"damage: {by} of a checkpoint with damage of kind {kind} in {', '.join(files)}: {said.strip()}; kept in {kept}", flush=True)
        self.failures.append({"by": by, "kind": kind, "files": files, "said": said.strip(), "folder": str(kept)})

    def run(self, count, resumes):
        self.prepare()
        while len(self.found) < count:
            self.run_batch(min(BATCH, count - len(self.found)))
        for number in range(resumes):
            self.run_resume(number)
        shutil.rmtree(self.out / "copies")

    def result(self):
        return {"damaged": len(self.found), "by_kind": count_of(self.found, "kind"), "resumes": len(self.resumes),
                "resumes_by_outcome": count_of(self.resumes, "outcome"), "seed": self.seed, "failures": self.failures}


def sentence(result):
    missed = {by: sum(failure["by"] == by for failure in result["failures"]) for by in ("verify", "resume")}
    return (f"{result['damaged']} damaged checkpoints, {missed['verify']} not found by verify; {result['resumes']} resumes from one, "
            f"{missed['resume']} not as they should be")
