# export(): from a chain of modules to one file of parameters and of what the blocks compute.
"""export(): from a chain of modules to one file of parameters and of what the blocks compute."""
import json
import math
import os
import struct
import warnings

import torch

from . import compare, program, watch
from .blocks import make_blocks
from .refusal import Refused

VERSION = 1
LOSSES = ("classification", "tokens")
TYPES = {"float64": torch.float64, "bfloat16": torch.bfloat16, "float16": torch.float16}


def require_example(example, loss):
    if loss == "regression":
        raise Refused('loss="regression": lshdp has the cross-entropy alone; classify, or predict tokens')
    if loss not in LOSSES:
        raise Refused(f'loss="{loss}": it is one of {", ".join(LOSSES)}')
    if not isinstance(example, torch.Tensor) or example.dim() < 2 or example.size(0) < 2:
        raise Refused("the example is one tensor of at least two samples, samples first")
    if loss == "tokens" and (example.dtype != torch.int64 or example.dim() != 2):
        raise Refused(f"the example of a model of tokens is int64 [samples, context], not {example.dtype} {list(example.shape)}")
    if loss == "classification" and example.dtype != torch.float32:
        raise Refused(f"the example of a classifier is float32, not {example.dtype}; data sets of lshdp have labels for images only")


def batches_of(example):
    """The example; one sample more, all with other values; one sample."""
    other = example.flip(0) if example.dtype == torch.int64 else -example.flip(0)
    return [example, torch.cat([other, example[:1]]), example[-1:]]


def input_of(example, output, loss):
    """What goes into the model and comes out, see InputSpec in lshdp/model/model.h."""
    shape = list(example.shape[1:])
    if loss == "tokens":
        if output.dim() != 3 or output.size(1) != example.size(1):
            raise Refused(f"the last block returns {list(output.shape)} for {list(example.shape)} tokens; it must be logits [samples, context, vocabulary]")
        return {"kind": "tokens", "context": shape[0], "vocabulary": output.size(2)}
    if output.dim() != 2:
        raise Refused(f"the last block returns {list(output.shape)}; a classifier returns logits [samples, classes]")
    if len(shape) == 3 and shape[1] == shape[2]:
        return {"kind": "image", "channels": shape[0], "image_size": shape[1], "classes": output.size(1)}
    return {"kind": "flat", "input_size": math.prod(shape), "classes": output.size(1)}


def describe(block, number, x):
    return {
        "name": block.name,
        "program": number,
        "input": list(x.shape[1:]),
        "parameters": [{"name": name, "shape": list(parameter.shape)} for name, parameter in block.owned],
        "borrowed": [name for name, _ in block.borrowed],
    }


def outputs_of(block, batches):
    try:
        with torch.no_grad():
            return [block.module(x) for x in batches]
    except (RuntimeError, ValueError) as error:
        raise Refused(f"{block.name} fails with another number of samples than {batches[0].size(0)}, of which a rank may train any: {error}") from error


def export_block(block, batches, types, programs):
    """(description, outputs of the batches). Takes out of `types` those that the block does not support."""
    watch.run_watched(block, batches[0])
    watch.refuse_values_in_control(block, batches[0])
    outputs = outputs_of(block, batches)
    graph = program.trace(block, batches[0])
    function = program.in_type(graph, torch.float32)
    with torch.no_grad():
        compare.refuse_batches(block, function, batches, outputs)
    compare.refuse_gradients(block, function, batches[0])
    types[:] = [name for name in types if compare.supports(block, graph, TYPES[name], batches[0])]
    return describe(block, programs.add(graph), batches[0]), outputs


def write(path, description, parameters):
    """A safetensors file (huggingface/safetensors): the length of a JSON header, the header, the values."""
    header, offset = {"__metadata__": {"lshdp_model": json.dumps(description)}}, 0
    for name, parameter in parameters:
        end = offset + 4 * parameter.numel()
        header[name] = {"dtype": "F32", "shape": list(parameter.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(f"{path}.part", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, parameter in parameters:
            file.write(parameter.detach().contiguous().numpy().tobytes())
    os.replace(f"{path}.part", path)


def export(blocks, example, path, loss="classification", model=None):
    """Writes `blocks`, a chain of modules that each take one tensor and return one, with their parameters' values to
    `path`. Returns the description.

    blocks: an nn.Sequential, a list, or a dict by name; each is one block of lshdp, the least that a pipeline's stage
    holds. example: at least two samples. loss: "classification" (logits [samples, classes]) or "tokens" (int64 [samples,
    context] in, logits [samples, context, vocabulary] out). model: names of parameters are those that they have in it.
    Raises Refused where training on several ranks would not be exact."""
    require_example(example, loss)
    made, programs, types = make_blocks(blocks, model), program.Programs(), list(TYPES)
    batches, described = batches_of(example), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that tracing is old, and of Python values: outputs are compared at other batches
        for block in made:
            entry, batches = export_block(block, batches, types, programs)
            described.append(entry)
    programs.require_small()
    description = {
        "type": "traced",
        "version": VERSION,
        "input": input_of(example, batches[0], loss),
        "types": ["float32", *types],
        "programs": programs.texts,
        "blocks": described,
    }
    write(path, description, [entry for block in made for entry in block.owned])
    return description
