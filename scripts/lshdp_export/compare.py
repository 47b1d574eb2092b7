# Compares a traced block with the module in PyTorch: outputs at several batches, gradients, other types.
"""Compares a traced block with the module in PyTorch: outputs at several batches, gradients, other types."""
import copy

import torch

from .program import in_type
from .refusal import Refused

ALIKE = {torch.float32: 1e-5, torch.float64: 1e-10, torch.bfloat16: 3e-2, torch.float16: 5e-3}  # relative, by the norm


def difference(a, b):
    """The norm of the difference over the norm."""
    if a.shape != b.shape:
        return float("inf")
    a, b = a.double(), b.double()
    return (torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b).clamp_min(1e-30)).item()


def refuse_batches(block, function, batches, outputs):
    """Each batch as PyTorch computes it, and each sample as if it were alone."""
    for x, wanted in zip(batches, outputs):
        try:
            found = function(x, *block.parameters())
        except RuntimeError as error:
            raise Refused(
                f"{block.name} was traced with {batches[0].size(0)} samples and fails with {x.size(0)}: its code fixes the number of samples, as "
                "int(x.shape[0]) or a literal does; use x.shape[0] itself, or -1, in views"
            ) from error
        if difference(found, wanted) > ALIKE[torch.float32]:
            raise Refused(
                f"{block.name} gives other values with {x.size(0)} samples than its trace of {batches[0].size(0)}: its code depends on the number of samples "
                "or on values; write it with x.shape and torch.where"
            )
    alone = torch.cat([block.module(sample) for sample in batches[1].split(1)])
    if difference(alone, outputs[1]) > 10 * ALIKE[torch.float32]:
        raise Refused(f"{block.name} mixes the samples of a batch, which other ranks do not see; use group or layer norm in place of batch norm")


def gradients(function, inputs, wanted, weights):
    return torch.autograd.grad((function(*inputs) * weights).sum(), wanted, allow_unused=True)


def refuse_gradients(block, function, x):
    """Gradients by the parameters, and by the input where it is no data of integers."""
    parameters = [parameter.detach().clone().requires_grad_(True) for parameter in block.parameters()]
    of_input = [x.detach().clone().requires_grad_(True)] if x.is_floating_point() else []
    inputs, wanted = [*(of_input or [x]), *parameters], [*of_input, *parameters]
    weights = torch.linspace(-1, 1, function(*inputs).numel()).view_as(function(*inputs))
    names = ["its input"] * len(of_input) + [name for name, _ in block.owned + block.borrowed]
    eager = gradients(block.function, inputs, wanted, weights)
    for name, ours, theirs in zip(names, gradients(function, inputs, wanted, weights), eager):
        if theirs is None:
            raise Refused(f"{block.name}: no output depends on {name}; take it out of the model, or set its requires_grad to False")
        if ours is None or difference(ours, theirs) > 10 * ALIKE[torch.float32] and torch.linalg.vector_norm(ours - theirs) > 1e-5:
            raise Refused(f"{block.name}: the gradient of {name} differs from PyTorch's; torch.no_grad() and detach() within forward() are not traced")


def supports(block, graph, dtype, x):
    """Whether the program computes in this type what the module does when it is converted."""
    try:
        with torch.no_grad():
            x = x.to(dtype) if x.is_floating_point() else x
            found = in_type(graph, dtype)(x, *(parameter.to(dtype) for parameter in block.parameters()))
            wanted = copy.deepcopy(block.module).to(dtype)(x)
    except (RuntimeError, TypeError):
        return False
    return found.dtype == dtype and difference(found, wanted) <= ALIKE[dtype]
