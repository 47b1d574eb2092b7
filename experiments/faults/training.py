# What is trained in trials, on which ranks and in which ways; what a run has left, and whether it is what it must be.
import contextlib
import dataclasses
import json
import shutil
import struct
import subprocess

import numpy

from experiments.faults.attempts import Attempt, local_launch, session_folder
from experiments.machines import ROOT, CommandFailed

GROWN = 10  # how much larger than at the end rounding may be on the way: in fp64 it grows smoothly from 1e-16 to 1e-9 in 200 steps of a high rate
TOTAL = 16
VIT = {"type": "vit", "image_size": 16, "channels": 1, "patch_size": 4, "num_layers": 4, "num_heads": 4, "hidden_dim": 64,
       "mlp_dim": 256, "num_classes": 10}
BLOCKS = 10
# The order of samples, augmentation, clipping and the length of the schedule all have to survive.
OPTIONS = ["--threads", "1", "--seed", "1", "--schedule", "cosine", "--warmup", "10", "--clip", "0.5", "--flip", "--crop-padding", "2"]
THREE_STAGES = {"version": 1, "replicas": [{"batch": TOTAL, "micro_batches": [5, 5, 6], "stages": [
    {"rank": 2, "start": 0, "end": 3}, {"rank": 0, "start": 3, "end": 7}, {"rank": 1, "start": 7, "end": BLOCKS}]}]}
MIXED = {"version": 1, "schedule": "gpipe", "replicas": [
    {"batch": 5, "stages": [{"rank": 1, "start": 0, "end": BLOCKS}]},
    {"batch": 11, "micro_batches": [4, 7], "stages": [{"rank": 2, "start": 0, "end": 4}, {"rank": 0, "start": 4, "end": BLOCKS}]}]}


@dataclasses.dataclass(frozen=True)
class Way:
    """Ranks and how the model lies over them."""
    name: str
    ranks: int
    options: tuple
    layout: dict | None = None


def data_way(mode, batches):
    return Way(f"{mode}-{batches}", len(batches.split(",")), ("--mode", mode, "--batches", batches))


DDP, FSDP = (data_way(mode, "9,5,2") for mode in ("ddp", "fsdp"))
# Three ranks of one node add gradients in the order of arrival, which shows in the last bit; on nodes of their own they do not.
LSDP, LSDP_ON_NODES = data_way("lsdp", "10,6"), data_way("lsdp", "9,5,2")
PIPELINE = Way("pipeline", 3, (), THREE_STAGES)
REPLICAS = Way("replicas", 3, (), MIXED)


@dataclasses.dataclass(frozen=True)
class Case:
    """The ways that the starts of a run take, and the largest relative difference from the undisturbed one; 0: no bit."""
    name: str
    ways: tuple
    options: tuple = ()
    tolerance: float = 0.0


CASES = {case.name: case for case in (
    Case("ddp", (DDP,)),
    Case("lsdp", (LSDP,)),
    Case("pipeline", (PIPELINE,)),
    Case("changing", (DDP, data_way("lsdp", "4,12"), data_way("ddp", "3,3,5,5"), PIPELINE, data_way("fsdp", "10,6"),
                      LSDP_ON_NODES, REPLICAS, data_way("lsdp", "16"), data_way("fsdp", "1,7,8")),
         ("--precision", "fp64"), 1e-9),
    Case("fsdp", (FSDP,)),
    Case("replicas", (REPLICAS,)))}


class Training:
    """The model and the data in a folder, and the command lines that train on them."""

    def __init__(self, lshdp, folder, steps, every, launch=local_launch, more=()):
        self.lshdp, self.folder, self.steps, self.every = lshdp, folder, steps, every
        self.launch, self.more = launch, tuple(more)
        folder.mkdir(parents=True, exist_ok=True)
        # Emulated nodes have temporary folders of their own.
        self.environment = session_folder(folder / "ompi") if launch is local_launch else {}
        (folder / "vit.json").write_text(json.dumps(VIT))
        if not (folder / "data.h5").exists():
            self.check(["data", "synthetic-images", "--count", "512", "--channels", "1", "--size", "16", "--classes", "10", "--seed", "1",
                        "--out", str(folder / "data.h5")])

    def check(self, arguments, limit=120):
        """Runs lshdp by itself, to the end; returns what it printed."""
        done = subprocess.run([str(self.lshdp), *arguments], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=limit, check=False)
        if done.returncode != 0:
            raise CommandFailed((done.stderr.strip() or done.stdout.strip()).splitlines()[-1], done.returncode)
        return done.stdout

    def command(self, case, way, run, keep=2, steps=None):
        """Begins a run, or goes on from the newest good checkpoint in it."""
        layout = []
        if way.layout:
            path = self.folder / f"{way.name}.json"
            path.write_text(json.dumps(way.layout))
            layout = ["--layout", str(path)]
        return [str(self.lshdp), "train", "--model", str(self.folder / "vit.json"), "--data", str(self.folder / "data.h5"), *OPTIONS,
                *case.options, *way.options, *layout, "--steps", str(steps or self.steps), "--checkpoint-every", str(self.every),
                "--keep-checkpoints", str(keep), "--results", str(run), *RESUME, *self.more]

    def start(self, case, way, run, log, **options):
        return Attempt(self.launch(way.ranks), self.command(case, way, run, **options), run, log, self.environment)

    def undisturbed(self, case, limit, **options):
        """The folder of a run from begin to end, made anew."""
        run = self.folder / "undisturbed" / case.name
        shutil.rmtree(run, ignore_errors=True)
        with self.start(case, case.ways[0], run, run.with_suffix(".log"), **options) as attempt:
            code = attempt.wait(limit)
            if code != 0:
                raise CommandFailed(f"the undisturbed run of {case.name}: {attempt.message() if code else f'no end within {limit:g} s'}", 1)
        return run


RESUME = ["--resume", "auto"]


# --- what a run has left ------------------------------------------------------------------------------------------------

def step_of(folder):
    return int(folder.name.removeprefix("step-"))


def checkpoint_folders(run):
    """Those of complete checkpoints and those of others, each by step."""
    complete, unfinished = [], []
    with contextlib.suppress(FileNotFoundError):
        for folder in (run / "checkpoints").iterdir():
            if folder.name.startswith("step-"):
                (complete if (folder / "manifest.json").exists() else unfinished).append(folder)
    return sorted(complete, key=step_of), sorted(unfinished, key=step_of)


def records_of(run, kind):
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [record for record in map(json.loads, lines) if record["record"] == kind]


def read_weights(path):
    """name -> (type, shape, bytes) of a safetensors file."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8:8 + length])
    begin = 8 + length
    return {name: (entry["dtype"], tuple(entry["shape"]), content[begin + entry["data_offsets"][0]:begin + entry["data_offsets"][1]])
            for name, entry in header.items() if name != "__metadata__"}


def worst_difference(a, b):
    """The largest of the tensors' norm of the difference over the norm; 0 only where all bits are the same."""
    if a == b:
        return 0.0
    if {name: tensor[:2] for name, tensor in a.items()} != {name: tensor[:2] for name, tensor in b.items()}:
        return float("inf")
    types = {"F32": numpy.float32, "F64": numpy.float64}
    worst = 5e-324
    for name, (dtype, _, content) in a.items():
        x, y = (numpy.frombuffer(bytes_, dtype=types[dtype]).astype(numpy.float64) for bytes_ in (content, b[name][2]))
        difference = numpy.linalg.norm(x - y) / max(numpy.linalg.norm(y), 1e-300)
        worst = max(worst, float(difference) if numpy.isfinite(difference) else float("inf"))
    return worst


def wrong_with(run, reference, case, steps, keep):
    """What of a run that came to its end is not as if nothing had happened; a list of sentences."""
    problems = []
    difference = worst_difference(read_weights(run / "model.safetensors"), read_weights(reference / "model.safetensors"))
    if difference > case.tolerance:
        problems.append(f"final weights differ from the undisturbed run's by {difference:.3g}, allowed {case.tolerance:g}")
    done, expected = records_of(run, "step"), records_of(reference, "step")
    if [record["step"] for record in done] != list(range(1, steps + 1)):
        problems.append(f"metrics.jsonl does not hold steps 1 to {steps} once each")
    else:
        wrong = [x["step"] for x, y in zip(done, expected) if abs(x["loss"] - y["loss"]) > GROWN * case.tolerance * abs(y["loss"])]
        if wrong:
            problems.append(f"the loss of step {wrong[0]} is not the undisturbed run's, nor are {len(wrong) - 1} more")
    if not (run / "summary.json").exists():
        problems.append("there is no summary.json")
    complete, unfinished = checkpoint_folders(run)
    if unfinished:
        problems.append(f"{unfinished[0].name} without a manifest is still there")
    if not complete or step_of(complete[-1]) != steps or len(complete) > keep:
        problems.append(f"{len(complete)} checkpoints are there, {keep} wanted: {', '.join(folder.name for folder in complete)}")
    return problems
