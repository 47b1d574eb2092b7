# Trains models that were written in PyTorch on three unequal ranks in every mode, and sets weights and times beside PyTorch's own.
"""Trains models that were written in PyTorch on three unequal ranks in every mode and compares with PyTorch in one process.

usage: python -m experiments.own_models.compare [--models mlp,gpt,..] [--precision fp64] [--lshdp build/lshdp] [--time]
Prints for each model and mode the largest relative difference of a weight tensor and that of all weights together; with
--time, the fastest step of one rank and one thread in lshdp and in PyTorch, in turns.
"""
import argparse
import importlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "scripts"), str(ROOT)]

import compare_weights  # noqa: E402
import lshdp_export  # noqa: E402
from experiments.own_models import eager  # noqa: E402

MODELS = ("mlp", "gpt", "bert", "resnet", "timm_vit", "timm_convnext")
SAMPLES, BATCHES, RATE, LIMIT = 12, "7,2,3", 1e-3, 900  # LIMIT: seconds of a run
MODES = {"ddp": ["--mode", "ddp"], "lsdp": ["--mode", "lsdp"], "fsdp": ["--mode", "fsdp"], "pipeline": None}
MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-np"]


def run(command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=LIMIT, env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}")


def layout_of(blocks):
    """Three ranks of one replica; where the last block uses a parameter of the first, one of them has both ends."""
    count = len(blocks)
    cuts, ranks = [0, max(1, count // 3), max(2, 2 * count // 3), count], (2, 0, 1)
    if any(block["borrowed"] for block in blocks):
        cuts, ranks = [0, 1, count // 2, count - 1, count], (1, 0, 2, 1)
    stages = [{"rank": rank, "start": start, "end": end} for rank, start, end in zip(ranks, cuts, cuts[1:])]
    return {"version": 1, "replicas": [{"batch": SAMPLES, "micro_batches": [4, 3, 5], "stages": stages}]}


class Case:
    """One model with its file, its data and the weights that PyTorch arrives at."""

    def __init__(self, name, folder, options):
        self.name, self.folder, self.options = name, folder, options
        self.source = importlib.import_module(f"experiments.own_models.{name}").model()
        self.file, self.data = folder / f"{name}.lshdp", folder / f"{name}.h5"
        self.described = lshdp_export.export(path=self.file, **self.source)
        self.make_data()

    def make_data(self):
        spec, lshdp = self.described["input"], self.options.lshdp
        if spec["kind"] == "tokens":
            count = SAMPLES * spec["context"] + 1
            run([lshdp, "data", "synthetic-tokens", "--count", count, "--vocab", spec["vocabulary"], "--out", self.data])
        else:
            size = ["--channels", spec["channels"], "--size", spec["image_size"], "--classes", spec["classes"]]
            run([lshdp, "data", "synthetic-images", "--count", SAMPLES, *size, "--out", self.data])

    def fresh(self):
        return importlib.import_module(f"experiments.own_models.{self.name}").model()

    def train_in_pytorch(self, steps):
        """(seconds of each step, path of the weights under the names of the file)."""
        source = self.fresh()
        blocks = lshdp_export.blocks.make_blocks(source["blocks"], source.get("model"))
        net = torch.nn.Sequential(*(block.module for block in blocks))
        inputs, targets = eager.data_of(self.data, self.described)
        if self.options.precision == "fp64":
            net, inputs = net.double(), inputs.double() if inputs.is_floating_point() else inputs
        times = eager.train(net, inputs, targets, steps, RATE)
        owned = {name: parameter.detach().double().numpy().ravel() for block in blocks for name, parameter in block.owned}
        return times, owned

    def train(self, ranks, arguments, steps):
        """The run's folder."""
        out = self.folder / f"run-{self.name}"
        common = ["--precision", self.options.precision, "--steps", steps, "--lr", RATE, "--results", out, "--overwrite", "--log", "warn"]
        run([*MPIRUN, ranks, self.options.lshdp, "train", "--model", self.file, "--data", self.data, *arguments, *common])
        return out

    def arguments_of(self, mode):
        if MODES[mode] is not None:
            return ["--batches", BATCHES, *MODES[mode]]
        layout = self.folder / "layout.json"
        layout.write_text(json.dumps(layout_of(self.described["blocks"])))
        return ["--layout", layout]


def differences(found, wanted):
    """(largest relative difference of a tensor, its name, that over all). A tensor is taken to be at least as large as one
    step of AdamW makes it: the bias of keys, whose gradient is 0 but for rounding, may be rounding alone."""
    norm = compare_weights.numpy.linalg.norm
    each = {name: norm(found[name] - wanted[name]) for name in wanted}
    relative = {name: each[name] / max(norm(wanted[name]), RATE * wanted[name].size ** 0.5) for name in wanted}
    worst = max(relative, key=relative.get)
    return relative[worst], worst, norm(list(each.values())) / norm([norm(value) for value in wanted.values()])


def compare(case, steps):
    _, wanted = case.train_in_pytorch(steps)
    for mode in case.options.modes.split(","):
        found = compare_weights.read(case.train(3, case.arguments_of(mode), steps) / "model.safetensors")
        worst, name, together = differences(found, wanted)
        print(f"{case.name:14} {mode:9} {case.options.precision}  worst tensor {worst:.1e} ({name})  all weights {together:.1e}", flush=True)


def set_times(case, steps, rounds=3):
    ours, theirs = [], []
    torch.set_num_threads(1)
    for _ in range(rounds):
        theirs += case.train_in_pytorch(steps)[0][1:]
        records = (case.train(1, ["--batches", SAMPLES, "--threads", 1], steps) / "metrics.jsonl").read_text().splitlines()
        ours += [record["step_seconds"] for record in map(json.loads, records) if record.get("record") == "step"][1:]
    lshdp, pytorch = min(ours), min(theirs)  # others of a busy machine only add to a step
    print(f"{case.name:14} {SAMPLES} samples a step, one thread, the fastest of {len(ours)}: lshdp {lshdp * 1e3:.1f} ms, PyTorch {pytorch * 1e3:.1f} ms, ratio {lshdp / pytorch:.2f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--precision", default="fp64", choices=("fp32", "fp64"))
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--time", action="store_true", help="set the seconds of a step beside PyTorch's")
    parser.add_argument("--lshdp", default=str(ROOT / "build/lshdp"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.models.split(","):
            case = Case(name, pathlib.Path(scratch), options)
            set_times(case, options.steps) if options.time else compare(case, options.steps)


if __name__ == "__main__":
    main()
