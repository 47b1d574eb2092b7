# Watches a block run in PyTorch: which module draws random numbers, changes a buffer or its input.
"""Watches a block run in PyTorch: which module draws random numbers, changes a buffer or its input."""
import contextlib

import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from .refusal import Refused

DROPOUT_REMEDY = "lshdp trains what is the same however samples are split: set its probability to 0, or call model.eval() before the export"
NORM_REMEDY = "its statistics depend on how samples are split: use group or layer norm, or freeze it with .eval() before the export"


class Watch:
    """Hooks on all modules of a block while it runs. `inside`: where it is, from the outermost module to the innermost;
    `random`: with `draws`, the innermost module that drew random numbers."""

    def __init__(self, block, draws):
        self.block, self.draws, self.random, self.inside, self.states = block, draws, None, [], []

    @contextlib.contextmanager
    def running(self):
        handles = []
        for name, module in self.block.module.named_modules():
            handles.append(module.register_forward_pre_hook(self.entering(name)))
            handles.append(module.register_forward_hook(self.leaving))
        try:
            yield self
        finally:
            for handle in handles:
                handle.remove()

    def entering(self, name):
        def hook(module, _):
            self.inside.append((name, module))
            self.states.append(torch.get_rng_state() if self.draws else None)

        return hook

    def leaving(self, *_):
        place, before = self.inside.pop(), self.states.pop()
        if self.draws and self.random is None and not torch.equal(before, torch.get_rng_state()):
            self.random = place


def described(block, name, module):
    return f"{block.place_of(name)} ({type(module).__name__})"


def buffers_of(block):
    """Versions of all buffers by their owner: PyTorch counts changes in place."""
    return {
        (name, key): (module, buffer, buffer._version)
        for name, module in block.module.named_modules()
        for key, buffer in module._buffers.items()
        if buffer is not None
    }


def refuse_changed_buffers(block, before):
    for (name, key), (module, buffer, version) in before.items():
        if module._buffers.get(key) is buffer and buffer._version == version:
            continue
        norm = isinstance(module, torch.nn.modules.batchnorm._NormBase)
        remedy = NORM_REMEDY if norm else "only parameters are trained: keep the buffer as it is in forward(), or call model.eval() before the export"
        raise Refused(f"{described(block, name, module)} changes its buffer {key} in training; {remedy}")


def run_watched(block, x):
    """The block's output in PyTorch. Refuses what training on other ranks could not repeat."""
    before, version, watch = buffers_of(block), x._version, Watch(block, draws=True)
    versions = [parameter._version for parameter in block.parameters()]
    with torch.no_grad(), watch.running():
        output = block.module(x)
    if watch.random is not None:
        raise Refused(f"{described(block, *watch.random)} draws random numbers; {DROPOUT_REMEDY}")
    refuse_changed_buffers(block, before)
    if x._version != version:
        raise Refused(f"{block.name} changes its input in place; use inplace=False in its first module")
    if versions != [parameter._version for parameter in block.parameters()]:
        raise Refused(f"{block.name} changes a parameter in forward(); only the optimizer may")
    if not isinstance(output, torch.Tensor):
        raise Refused(f"{block.name} returns {type(output).__name__}; a block returns one tensor: wrap it in a module that does")
    if not output.is_floating_point() or output.dim() < 1 or output.size(0) != x.size(0):
        raise Refused(
            f"{block.name} returns {output.dtype} {list(output.shape)} for {x.size(0)} samples; a block returns floating values, samples first"
        )
    return output


def refuse_values_in_control(block, x):
    """Runs the block with tensors that have shapes but no values: whoever asks for one decides by data."""
    watch = Watch(block, draws=False)
    try:
        with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.no_grad(), watch.running():
            block.module(mode.from_tensor(x))
    except DataDependentOutputException as error:
        place = described(block, *watch.inside[-1]) if watch.inside else block.name
        raise Refused(
            f"{place} decides in Python by the values of a tensor ({error.func}); a trace holds one way only: write it with torch.where or as a constant"
        ) from error
    except Exception:  # noqa: BLE001  what cannot run without values is judged by its outputs alone
        return
