# Trains a chain of modules in one process with PyTorch alone: whole batches, torch.optim.AdamW.
"""Trains a chain of modules in one process with PyTorch alone: whole batches, torch.optim.AdamW."""
import time

import torch


def read_images(path):
    """(inputs, targets) as lshdp prepares them."""
    import h5py

    with h5py.File(path) as file:
        mean, deviation = (torch.tensor(file.attrs[name], dtype=torch.float32).view(1, -1, 1, 1) for name in ("mean", "deviation"))
        images = torch.from_numpy(file["images"][:]).float()
        return images.div_(255).sub_(mean).div_(deviation), torch.from_numpy(file["labels"][:]).long()


def read_tokens(path, context):
    """(inputs, targets) of all windows that follow each other."""
    import h5py

    with h5py.File(path) as file:
        tokens = torch.from_numpy(file["tokens"][:].astype("int64"))
    count = (len(tokens) - 1) // context
    return tokens[: count * context].view(count, context), tokens[1 : count * context + 1].view(count, context)


def data_of(path, described):
    if described["input"]["kind"] == "tokens":
        return read_tokens(path, described["input"]["context"])
    inputs, targets = read_images(path)
    return inputs.view(-1, *described["blocks"][0]["input"]), targets


def make_optimizer(parameters, rate, decay=0.01):
    """As lshdp train does it: what has one dimension does not decay."""
    groups = [{"params": [p for p in parameters if p.dim() >= 2], "weight_decay": decay}, {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=rate)


def train(net, inputs, targets, steps, rate):
    """Trains on all samples in each step. Returns the seconds of each."""
    optimizer, times = make_optimizer([p for p in net.parameters() if p.requires_grad], rate), []
    for _ in range(steps):
        begun = time.perf_counter()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(inputs).flatten(0, -2), targets.flatten()).backward()
        optimizer.step()
        times.append(time.perf_counter() - begun)
    return times
