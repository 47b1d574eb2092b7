#!/usr/bin/env python3
# Fine-tunes torchvision's vit_b_16 on Fashion-MNIST with lshdp and with PyTorch, and compares. usage: see --help
"""Fine-tunes torchvision's vit_b_16 on Fashion-MNIST with lshdp and with PyTorch, and compares.

usage: python scripts/check_fine_tuning.py [--size 96] [--steps 20] [--precision fp32] [--batches 3,9,4]

Needs torchvision beside what scripts/setup.sh --baselines installs, and Pillow. The weights are those that torchvision draws,
with 1000 classes for images of 224 x 224; the images are of --size, RGB, with ImageNet's mean and deviation. lshdp trains on
the ranks of --batches, PyTorch in one process; both with a fresh head, the patch embedding frozen and layer-wise rates.
Prints the largest difference of any tensor (norm of the difference over norm) and of any step's loss.
"""
import argparse
import gzip
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file, save_file
from torchvision.models.vision_transformer import interpolate_embeddings

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from experiments.own_models import eager  # noqa: E402
from make_fine_tuning_references import layer_of, without_key_bias  # noqa: E402

FASHION_MNIST = pathlib.Path("/usr/share/datasets/fashion-mnist")
CLASSES, LAYERS, RATE, DECAY, LAYER_DECAY, FROZEN = 10, 12, 1e-4, 0.05, 0.75, "conv_proj.*"


def write_photos(folder, count):
    """A folder of PNG files per class: the first image of each, then the second of each, ..."""
    images = numpy.frombuffer(gzip.decompress((FASHION_MNIST / "t10k-images-idx3-ubyte.gz").read_bytes()), numpy.uint8, offset=16)
    labels = numpy.frombuffer(gzip.decompress((FASHION_MNIST / "t10k-labels-idx1-ubyte.gz").read_bytes()), numpy.uint8, offset=8)
    for number in range(count):
        label = number % CLASSES
        place = numpy.flatnonzero(labels == label)[number // CLASSES]
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[place * 784 : (place + 1) * 784].reshape(28, 28)).save(folder / str(label) / f"{number}.png")


def tune_in_pytorch(weights, size, data, steps, dtype):
    model = torchvision.models.vit_b_16(weights=None, image_size=size, num_classes=CLASSES).to(dtype)
    state = interpolate_embeddings(size, 16, load_file(weights), reset_heads=True)
    model.load_state_dict(state, strict=False)
    groups = []
    for name, parameter in model.named_parameters():
        parameter.requires_grad = not name.startswith("conv_proj.")
        rate = RATE * LAYER_DECAY ** (LAYERS + 1 - layer_of(name, LAYERS))
        if parameter.requires_grad:
            groups.append({"params": [parameter], "lr": rate, "weight_decay": DECAY if parameter.dim() >= 2 else 0.0})
    optimizer = torch.optim.AdamW(groups)
    without_key_bias(model)
    inputs, targets = eager.read_images(data)
    inputs = inputs.view(-1, 3, size, size).to(dtype)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(inputs), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return dict(model.named_parameters()), losses


def tune_in_lshdp(lshdp, work, options):
    batches = options.batches.split(",")
    model = {"type": "vit", "image_size": options.size, "patch_size": 16, "num_layers": LAYERS, "num_heads": 12, "hidden_dim": 768}
    (work / "vit.json").write_text(json.dumps(model | {"mlp_dim": 3072, "num_classes": CLASSES}))
    ranks = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-np", str(len(batches))]
    train = [lshdp, "train", "--model", work / "vit.json", "--data", work / "data.h5", "--init", work / "vit_b_16.safetensors", "--new-head"]
    train += ["--freeze", FROZEN, "--layer-decay", LAYER_DECAY, "--lr", RATE, "--weight-decay", DECAY, "--steps", options.steps]
    train += ["--batches", options.batches, "--precision", options.precision, "--results", work / "run", "--threads", 1]
    subprocess.run([*ranks, *map(str, train)], check=True, timeout=3600)
    lines = [json.loads(line) for line in (work / "run/metrics.jsonl").read_text().splitlines()]
    return load_file(work / "run/model.safetensors"), [line["loss"] for line in lines if "loss" in line and "step" in line]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lshdp", default=str(ROOT / "build/lshdp"))
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--precision", choices=["fp32", "fp64"], default="fp32")
    parser.add_argument("--batches", default="3,9,4")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        write_photos(work / "photos", sum(map(int, options.batches.split(","))))
        convert = [options.lshdp, "data", "images", work / "photos", "--size", options.size, "--statistics", "imagenet", "--out", work / "data.h5"]
        subprocess.run(list(map(str, convert)), check=True, timeout=60)
        save_file(torchvision.models.vit_b_16(weights=None).state_dict(), work / "vit_b_16.safetensors")
        dtype = torch.float64 if options.precision == "fp64" else torch.float32
        theirs, their_losses = tune_in_pytorch(work / "vit_b_16.safetensors", options.size, work / "data.h5", options.steps, dtype)
        ours, our_losses = tune_in_lshdp(options.lshdp, work, options)
    assert ours.keys() == theirs.keys() and len(our_losses) == len(their_losses) == options.steps
    difference = {name: ((ours[name] - theirs[name]).norm() / theirs[name].norm()).item() for name in ours}
    worst = max(difference, key=difference.get)
    losses = max(abs(a - b) for a, b in zip(our_losses, their_losses))
    print(f"loss {their_losses[0]:.4f} -> {their_losses[-1]:.4f}; largest difference of a loss {losses:.2g}, of a tensor {difference[worst]:.2g} ({worst})")


if __name__ == "__main__":
    main()
