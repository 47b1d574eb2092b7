#!/usr/bin/env python3
# Makes the exported models of tests/model/data and what PyTorch makes of them. usage: see --help
"""Makes the exported models of tests/model/data and what PyTorch makes of them.

usage: .venv/bin/python scripts/make_traced_references.py [--lshdp build/lshdp]     (torch as in scripts/requirements.txt)

Each model gives NAME.json (its description), NAME.weights.safetensors (the file that export() wrote),
NAME.reference.safetensors as scripts/make_references.py has them (its gradients and losses in float64), and
NAME.trained.safetensors: the weights in float64 after STEPS steps of AdamW over all samples of the data set that
`lshdp data` makes with the arguments of DATA.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import save_file
from torch import nn

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import lshdp_export  # noqa: E402
from experiments.own_models import eager, gpt  # noqa: E402

OUT = ROOT / "tests/model/data"
STEPS, RATE = 4, 1e-2
DATA = {
    "traced_gpt": ["synthetic-tokens", "--count", "97", "--vocab", "13", "--seed", "1"],
    "traced_conv": ["synthetic-images", "--count", "12", "--channels", "2", "--size", "8", "--classes", "5", "--seed", "1"],
}


class Residual(nn.Module):
    """A convolution beside what it is added to, which it changes in place."""

    def __init__(self, channels):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(channels, channels, 3, padding=1), nn.GroupNorm(2, channels)
        self.register_buffer("share", torch.tensor(0.5))

    def forward(self, x):
        made = self.norm(self.conv(x))
        made += self.share * x
        return nn.functional.relu(made, inplace=True)


def convolutions():
    torch.manual_seed(0)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5))
    return {"blocks": {"stem": nn.Conv2d(2, 4, 3, stride=2), "a": Residual(4), "b": Residual(4), "head": head}, "example": torch.randn(3, 2, 8, 8)}


MODELS = {
    "traced_gpt": lambda: gpt.model(vocabulary=13, context=8, width=8, heads=2, layers=2),
    "traced_conv": convolutions,
}


def blocks_of(source):
    """(blocks in float64, the chain of them)."""
    blocks = lshdp_export.blocks.make_blocks(source["blocks"], None)
    return blocks, nn.Sequential(*(block.module for block in blocks)).double()


def values_of(blocks):
    return {name: parameter for block in blocks for name, parameter in block.owned}


def reference(source, classes):
    blocks, net = blocks_of(source)
    example = source["example"]
    inputs = example.double() if example.is_floating_point() else example
    logits = net(inputs)
    target = torch.randint(classes, logits.shape[:-1])
    made = {"input": inputs, "target": target, "logits": logits}
    for name, smoothing in (("loss", 0.0), ("loss_smoothed", 0.1)):
        made[name] = nn.functional.cross_entropy(logits.flatten(0, -2), target.flatten(), reduction="sum", label_smoothing=smoothing)
    values = values_of(blocks)
    for name, gradient in zip(values, torch.autograd.grad(made["loss"], list(values.values()))):
        made[f"grad.{name}"] = gradient
    return made


def trained(source, described, data):
    blocks, net = blocks_of(source)
    inputs, targets = eager.data_of(data, described)
    eager.train(net, inputs.double() if inputs.is_floating_point() else inputs, targets, STEPS, RATE)
    return values_of(blocks)


def save(tensors, path):
    save_file({name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lshdp", default=str(ROOT / "build/lshdp"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        for name, make in MODELS.items():
            described = lshdp_export.export(path=OUT / f"{name}.weights.safetensors", **make())
            (OUT / f"{name}.json").write_text(json.dumps(described, indent=1) + "\n")
            spec = described["input"]
            save(reference(make(), spec.get("classes", spec.get("vocabulary"))), OUT / f"{name}.reference.safetensors")
            data = f"{scratch}/{name}.h5"
            subprocess.run([options.lshdp, "data", *DATA[name], "--out", data], check=True, timeout=60)
            save(trained(make(), described, data), OUT / f"{name}.trained.safetensors")


if __name__ == "__main__":
    main()
