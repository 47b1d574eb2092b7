#!/usr/bin/env python3
# Makes tests/model/data/quantized.reference.safetensors from bitsandbytes. usage: python scripts/make_quantized_references.py
"""Makes the quantised weights of tests/model/data with the functions that bitsandbytes has for CPUs.

Made with Python 3.11 and
    pip install torch==2.11.0 bitsandbytes==0.50.2 safetensors==0.8.0 numpy==2.4.6

For each CASE the file holds
    CASE.weight                          what is quantised
    CASE.nf4.codes, .scales              quantize_4bit, quant_type nf4, blocks of 64
    CASE.nf4.fp32, .bf16, .fp16          dequantize_4bit into these types
    CASE.double.codes, .scales, .mean    the scales quantised in turn (compress_statistics), blocks of 256
    CASE.double.fp32, .bf16              dequantize_4bit of that
    CASE.int8.codes, .scales, .fp32      int8_vectorwise_quant and int8_vectorwise_dequant
and `dynamic_levels`, what the codes of the scales stand for. `matrix` and `many_blocks` alone have doubly quantised scales, and of
`many_blocks`, which is there for them, no other values are kept.

The weights are bf16, so that the sum of all scales is exact in fp32 and their mean no matter of the order of adding.

bitsandbytes has two ways to quantise the scales on a CPU. Its compiled one does not find the nearest level where levels are dense: 0
becomes level 131, not 127. Its kernel for CUDA and its other way, which it takes for types that the compiled one lacks, find the
nearest; so does the definition (arXiv 1511.04561). The codes of the scales are made by that other way.
"""
import pathlib

import bitsandbytes.functional as bnb
import torch
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "model" / "data" / "quantized.reference.safetensors"
SCALE_BLOCK = 256


def special():
    """Blocks of 64: zeros; one huge value; every midpoint of two levels with its neighbours in fp32; one value; the largest negative.

    And as rows for int8: the largest is 127, so that the others stand as they are, with ties between two whole numbers.
    """
    zeros, huge, alone = torch.zeros(64), torch.full((64,), 1e-3), torch.zeros(64)
    huge[17], alone[63] = 1e4, -3e-5
    levels = bnb.get_4bit_type("nf4", device="cpu")
    middle = (levels[:-1] + levels[1:]) / 2
    up, down = (torch.nextafter(middle, torch.full_like(middle, end)) for end in (2.0, -2.0))
    ties = torch.cat([torch.ones(1), middle, up, down, torch.zeros(18)])
    negative = -torch.rand(64, generator=torch.Generator().manual_seed(3))
    halves = torch.arange(-31.5, 32.5)
    halves[0] = -127
    return torch.stack([zeros, huge, ties, alone, negative, halves])


def cases():
    generator = torch.Generator().manual_seed(1)

    def normal(*shape):
        return (0.02 * torch.randn(shape, generator=generator)).to(torch.bfloat16)

    return {"matrix": normal(20, 100), "odd": normal(7, 9), "conv": normal(5, 3, 4, 4), "vector": normal(64), "many_blocks": normal(96, 180),
            "special": special()}


def nf4_into(codes, state, dtype):
    state.dtype = dtype
    return bnb.dequantize_4bit(codes, state).view(state.shape)


def double(weight):
    """quantize_4bit with compress_statistics, the codes of the scales by the way that finds the nearest level."""
    codes, state = bnb.quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
    scales = bnb.quantize_4bit(weight, quant_type="nf4")[1].absmax
    nearest, largest = torch.ops.bitsandbytes.quantize_blockwise.default((scales - state.offset).double(), state.state2.code, SCALE_BLOCK)
    assert torch.equal(largest, state.state2.absmax)
    state.absmax = nearest
    return codes, state


def references(name, weight):
    found = {"weight": weight}
    codes, state = bnb.quantize_4bit(weight, quant_type="nf4")
    found |= {"nf4.codes": codes.flatten(), "nf4.scales": state.absmax}
    types = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if name == "many_blocks":  # for its scales; the file is to stay small
        types = {"bf16": torch.bfloat16}
    else:
        found |= {f"nf4.{key}": nf4_into(codes, state, dtype) for key, dtype in types.items()}
    if name in ("matrix", "many_blocks"):
        codes, state = double(weight)
        found |= {"double.codes": state.absmax, "double.scales": state.state2.absmax, "double.mean": state.offset.reshape(1)}
        found |= {f"double.{key}": nf4_into(codes, state, dtype) for key, dtype in types.items() if key != "fp16"}
    rows = weight.reshape(-1, weight.shape[-1])
    codes, scales, _ = bnb.int8_vectorwise_quant(rows.float())
    found |= {"int8.codes": codes.view(weight.shape), "int8.scales": scales}
    if name != "many_blocks":
        found["int8.fp32"] = torch.ops.bitsandbytes.int8_vectorwise_dequant.default(codes, scales).view(weight.shape)
    return {f"{name}.{key}": tensor.contiguous().clone() for key, tensor in found.items()}


def main():
    tensors = {"dynamic_levels": bnb.create_dynamic_map()}
    for name, weight in cases().items():
        tensors |= references(name, weight)
    save_file(tensors, OUT)
    print(f"{OUT}: {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
