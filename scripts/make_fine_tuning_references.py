#!/usr/bin/env python3
# Makes what PyTorch and torchvision make of fine-tuning, for tests/model/data. usage: see --help
"""Makes what PyTorch and torchvision make of fine-tuning, for tests/model/data.

usage: python scripts/make_fine_tuning_references.py [--lshdp build/lshdp]
Made with Python 3.11 and
    pip install torch==2.11.0 torchvision==0.26.0 transformers==5.24.0 safetensors==0.8.0 h5py==3.16.0

positions.reference.safetensors: position embeddings of a ViT, and NAME.SIDE, what torchvision's interpolate_embeddings()
makes of them for SIDE x SIDE patches.
NAME.tuned.safetensors: the weights after STEPS steps of AdamW over all samples of the data set that `lshdp data` makes with
the arguments of DATA, begun with NAME.weights.safetensors: of `vit` with a fresh head of other classes, at another image
size. What is frozen has requires_grad=False; the rates of layers are those of BEiT. vit.ema.safetensors: their moving
average, which begins with the first weights. All in float64.
"""
import argparse
import copy
import fnmatch
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import torch
import torchvision
import transformers
from safetensors.torch import load_file, save_file
from torchvision.models.vision_transformer import interpolate_embeddings

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from experiments.own_models import eager  # noqa: E402

OUT = ROOT / "tests/model/data"
STEPS, RATE, DECAY, LAYER_DECAY, EMA = 20, 1e-2, 0.05, 0.7, 0.9
FREEZE = {
    "vit": ["conv_proj.*", "class_token", "encoder.layers.encoder_layer_0.mlp.*"],
    "gpt2": ["transformer.wpe.*", "transformer.h.0.attn.*"],
}
DATA = {
    "vit": ["synthetic-images", "--count", "12", "--channels", "3", "--size", "12", "--classes", "7", "--seed", "1"],
    "gpt2": ["synthetic-tokens", "--count", "85", "--vocab", "19", "--seed", "1"],
}


def make_positions():
    torch.manual_seed(3)
    tensors = {}
    positions = torch.randn(1, 1 + 3 * 3, 4, dtype=torch.float64)
    tensors["positions"] = positions
    for side in (2, 7):
        state = {"encoder.pos_embedding": positions.clone()}
        made = interpolate_embeddings(image_size=16 * side, patch_size=16, model_state=state)
        tensors[f"positions.{side}"] = made["encoder.pos_embedding"].contiguous()
    save_file(tensors, OUT / "positions.reference.safetensors")


def make_vit():
    """The model of vit.weights.safetensors with 7 classes for images of 12 x 12, its head as torchvision begins one."""
    sizes = json.loads((OUT / "vit.json").read_text())
    del sizes["type"]
    sizes |= {"image_size": 12, "num_classes": 7}
    model = torchvision.models.VisionTransformer(**sizes).double()
    state = load_file(OUT / "vit.weights.safetensors")
    state = interpolate_embeddings(sizes["image_size"], sizes["patch_size"], state, reset_heads=True)
    missing = model.load_state_dict(state, strict=False)
    assert sorted(missing.missing_keys) == ["heads.head.bias", "heads.head.weight"]
    return model


def make_gpt2():
    config = transformers.GPT2Config.from_json_file(OUT / "gpt2.json")
    config._attn_implementation = "eager"
    model = transformers.GPT2LMHeadModel(config).double()
    state = load_file(OUT / "gpt2.weights.safetensors")
    state["lm_head.weight"] = state["transformer.wte.weight"]
    model.load_state_dict(state)
    return model


def layer_of(name, layers):
    number = re.search(r"(?:encoder_layer_|\.h\.)(\d+)\.", name)
    if number:
        return int(number[1]) + 1
    return layers + 1 if re.search(r"ln_f|encoder\.ln|heads", name) else 0


def groups_of(model, patterns, layers):
    groups = []
    for name, parameter in model.named_parameters():
        parameter.requires_grad = not any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
        if not parameter.requires_grad:
            continue
        rate = RATE * LAYER_DECAY ** (layers + 1 - layer_of(name, layers))
        groups.append({"params": [parameter], "lr": rate, "weight_decay": DECAY if parameter.dim() >= 2 else 0.0})
    return groups


def without_key_bias(model):
    """The gradient of a key's bias is 0 in exact arithmetic; AdamW would turn what rounding leaves of it into steps."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and name.endswith(("in_proj_bias", "c_attn.bias")):
            mask = torch.ones(3, len(parameter) // 3, dtype=parameter.dtype)
            mask[1] = 0
            parameter.register_hook(lambda gradient, mask=mask.flatten(): gradient * mask)


def tuned(name, model, inputs, targets):
    optimizer = torch.optim.AdamW(groups_of(model, FREEZE[name], layers=2))
    average = copy.deepcopy(model)
    without_key_bias(model)
    for _ in range(STEPS):
        optimizer.zero_grad()
        output = model(inputs)
        logits = output.logits if hasattr(output, "logits") else output
        torch.nn.functional.cross_entropy(logits.flatten(0, -2), targets.flatten()).backward()
        optimizer.step()
        with torch.no_grad():
            for mean, parameter in zip(average.parameters(), model.parameters()):
                mean.mul_(EMA).add_(parameter, alpha=1 - EMA)
    return [{name: parameter.detach().contiguous() for name, parameter in made.named_parameters()} for made in (model, average)]


def data_of(name, path):
    if name == "gpt2":
        return eager.read_tokens(path, 7)
    images, labels = eager.read_images(path)
    return images.view(-1, 3, 12, 12).double(), labels


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lshdp", default=str(ROOT / "build/lshdp"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    make_positions()
    with tempfile.TemporaryDirectory() as scratch:
        for name, make in (("vit", make_vit), ("gpt2", make_gpt2)):
            data = f"{scratch}/{name}.h5"
            subprocess.run([options.lshdp, "data", *DATA[name], "--out", data], check=True, timeout=60)
            weights, average = tuned(name, make(), *data_of(name, data))
            save_file(weights, OUT / f"{name}.tuned.safetensors")
            if name == "vit":
                save_file(average, OUT / "vit.ema.safetensors")


if __name__ == "__main__":
    main()
