#!/usr/bin/env python3
# What scripts/gpu_check.sh computes: models and data, comparisons of weights and losses, steps, MFU and memory. Standard library only.
"""
    gpu_figures.py models DIR [--small]           writes DIR/vit.json and DIR/gpt.json
    gpu_figures.py data-of DIR                    what data they need, as shell variables
    gpu_figures.py same-weights A B LIMIT         exit code 1 where |A - B| / |A| over all tensors is more
    gpu_figures.py same-loss A B LIMIT            the same of what two evaluations printed
    gpu_figures.py learns METRICS                 exit code 1 where the last losses are not below the first
    gpu_figures.py seconds DIR NAME               of a step, by the median; nothing where it was not measured
    gpu_figures.py memory-ratio DIR A B           peak memory of A over that of B
    gpu_figures.py table DIR MODELS VIT GPT       all of it beside each other, for these samples a step
"""
import array
import json
import math
import pathlib
import re
import sys

VIT_L_16 = {"type": "vit", "image_size": 224, "channels": 3, "patch_size": 16, "num_layers": 24, "num_heads": 16, "hidden_dim": 1024,
            "mlp_dim": 4096, "num_classes": 1000}
GPT2_XL = {"type": "gpt2", "n_layer": 48, "n_head": 25, "n_embd": 1600, "n_positions": 1024, "vocab_size": 50257}
SMALL_VIT = {"type": "vit", "image_size": 32, "channels": 3, "patch_size": 8, "num_layers": 2, "num_heads": 4, "hidden_dim": 128,
             "mlp_dim": 512, "num_classes": 10}
SMALL_GPT = {"type": "gpt2", "n_layer": 3, "n_head": 4, "n_embd": 128, "n_positions": 64, "vocab_size": 512}

# bf16 without sparsity, of NVIDIA's data sheets. The first whose words are all in the card's name.
PEAK_FLOPS = [("H200", 989e12), ("H100 PCIe", 756e12), ("H100 NVL", 835e12), ("H100", 989e12), ("A100", 312e12), ("L40S", 362e12)]
ORDER = ["ddp", "lsdp", "lsdp-auto", "eager", "compile", "fsdp2"]
NAMES = {"ddp": "lshdp ddp", "lsdp": "lshdp lsdp, none resident", "lsdp-auto": "lshdp lsdp auto", "eager": "PyTorch eager",
         "compile": "PyTorch torch.compile", "fsdp2": "PyTorch FSDP2, CPU offload"}


def read_json(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def write_models(folder, small):
    for name, model in (("vit", SMALL_VIT if small else VIT_L_16), ("gpt", SMALL_GPT if small else GPT2_XL)):
        (pathlib.Path(folder) / f"{name}.json").write_text(json.dumps(model) + "\n", encoding="utf-8")


def print_data(folder):
    vit, gpt = (read_json(pathlib.Path(folder) / f"{name}.json") for name in ("vit", "gpt"))
    print(f"size={vit['image_size']} classes={vit['num_classes']} vocabulary={gpt['vocab_size']}")


def tensors(path):
    """Name and values of each fp32 tensor of a safetensors file."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        begin = file.tell()
        for name in sorted(set(header) - {"__metadata__"}):
            if header[name]["dtype"] != "F32":
                raise SystemExit(f"{path}: {name} is not fp32")
            first, last = header[name]["data_offsets"]
            file.seek(begin + first)
            values = array.array("f")
            values.frombytes(file.read(last - first))
            yield name, values


def same_weights(one, other, limit):
    difference = size = 0.0
    for (name, a), (also, b) in zip(tensors(one), tensors(other), strict=True):
        if name != also or len(a) != len(b):
            raise SystemExit(f"{one} and {other} hold different tensors: {name}, {also}")
        difference += sum((x - y) ** 2 for x, y in zip(a, b))
        size += sum(x * x for x in a)
    relative = math.sqrt(difference / size)
    print(f"NOTE weights differ by {relative:.1e} (at most {limit:g})")
    return not relative <= limit


def same_loss(one, other, limit):
    losses = []
    for path in (one, other):
        match = re.search(r"^loss ([\d.]+)", pathlib.Path(path).read_text(encoding="utf-8"), re.MULTILINE)
        if not match:
            raise SystemExit(f"{path}: no loss")
        losses.append(float(match[1]))
    relative = abs(losses[0] / losses[1] - 1)
    print(f"NOTE losses {losses[0]} and {losses[1]}")
    return not relative <= limit


def learns(metrics):
    records = [json.loads(line) for line in pathlib.Path(metrics).read_text(encoding="utf-8").splitlines()]
    losses = [record["loss"] for record in records if record["record"] == "step"]
    if None in losses or len(losses) < 10:
        raise SystemExit(f"{metrics}: losses {losses}")
    first, last = sum(losses[:5]) / 5, sum(losses[-5:]) / 5
    print(f"NOTE loss from {first:.4f} to {last:.4f}")
    return not last < first


def step_of(folder, name):
    """Median seconds of a step: of a baseline's JSON, or of what `lshdp train` printed last. None: not measured."""
    folder = pathlib.Path(folder)
    if (folder / f"{name}.json").exists():
        return read_json(folder / f"{name}.json")["step_seconds"]["median"]
    log = folder / f"{name}.log"
    match = log.exists() and re.search(r"^step ([\d.e+-]+) (us|ms|s) \(median\)", log.read_text(encoding="utf-8"), re.MULTILINE)
    return float(match[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1}[match[2]] if match else None


def peak_memory(folder, name):
    """Bytes of the device in use at the most, by nvidia-smi."""
    path = pathlib.Path(folder) / f"{name}.memory"
    found = [int(word) for word in path.read_text().split() if word.isdigit()] if path.exists() else []
    return max(found) * 2**20 if found else None


def flops_of_sample(model):
    """Of forward and backward: 6 for each weight and token, 12 h T for each layer's attention and token."""
    if model["type"] == "vit":
        hidden, layers = model["hidden_dim"], model["num_layers"]
        patches = (model["image_size"] // model["patch_size"]) ** 2
        tokens, of_layer = patches + 1, 4 * hidden * hidden + 2 * hidden * model["mlp_dim"]
        others = patches * model["channels"] * model["patch_size"] ** 2 * hidden + hidden * model["num_classes"]
    else:
        hidden, layers, tokens = model["n_embd"], model["n_layer"], model["n_positions"]
        of_layer, others = 12 * hidden * hidden, tokens * hidden * model["vocab_size"]
    return 6 * (tokens * layers * of_layer + others) + 12 * layers * hidden * tokens * tokens


def peak_flops(folder):
    """(card, FLOP/s) by the summary's line of nvidia-smi."""
    text = (pathlib.Path(folder) / "summary.txt").read_text(encoding="utf-8")
    for name, flops in PEAK_FLOPS:
        if all(word in text for word in name.split()):
            return name, flops
    return None, None


def print_table(folder, models, batches):
    card, peak = peak_flops(folder)
    print(f"{'':4}{'':28}{'step':>10}{'samples/s':>12}{'MFU':>8}{'memory':>10}")
    for kind in ("vit", "gpt"):
        model = read_json(pathlib.Path(models) / f"{kind}.json")
        for name in ORDER:
            seconds = step_of(folder, f"{kind}-{name}")
            if seconds is None:
                print(f"{kind:4}{NAMES[name]:28}{'-':>10}")
                continue
            rate, memory = batches[kind] / seconds, peak_memory(folder, f"{kind}-{name}")
            mfu = f"{100 * rate * flops_of_sample(model) / peak:.1f} %" if peak else "-"
            print(f"{kind:4}{NAMES[name]:28}{seconds:8.4f} s{rate:12.2f}{mfu:>8}{f'{memory / 2**30:.1f} GiB' if memory else '-':>10}")
    if card:
        print(f"MFU of {peak / 1e12:.0f} TFLOP/s (bf16, {card}); memory: of the whole device, by nvidia-smi")
    link = pathlib.Path(folder) / "host-link.json"
    if link.exists():
        for result in read_json(link)["benchmarks"]:
            if "bytes_per_second" in result:
                print(f"host link, {result['name']}: {result['bytes_per_second'] / 1e9:.1f} GB/s")


def main():
    command, *arguments = sys.argv[1:]
    if command == "models":
        write_models(arguments[0], "--small" in arguments[1:])
    elif command == "data-of":
        print_data(*arguments)
    elif command == "same-weights":
        return same_weights(arguments[0], arguments[1], float(arguments[2]))
    elif command == "same-loss":
        return same_loss(arguments[0], arguments[1], float(arguments[2]))
    elif command == "learns":
        return learns(*arguments)
    elif command == "seconds":
        seconds = step_of(*arguments)
        print("" if seconds is None else seconds)
    elif command == "memory-ratio":
        one, other = (peak_memory(arguments[0], name) for name in arguments[1:])
        print("" if one is None or other is None else round(one / other, 3))
    elif command == "table":
        folder, models, vit_batch, gpt_batch = arguments
        print_table(folder, models, {"vit": int(vit_batch), "gpt": int(gpt_batch)})
    else:
        raise SystemExit(__doc__)
    return 0


if __name__ == "__main__":
    sys.exit(main())
