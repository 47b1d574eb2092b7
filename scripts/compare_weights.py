#!/usr/bin/env python3
# Compares two safetensors files: the norm of the difference over the norm, per tensor and over all parameters together.
"""Compares two safetensors files.

usage: scripts/compare_weights.py A.safetensors B.safetensors [--per-tensor LIMIT] [--together LIMIT]
Prints the worst tensor and the figure over all; exits with 1 if a given limit is exceeded or the files hold other tensors.
"""
import argparse
import json
import struct
import sys

import numpy

TYPES = {"F32": numpy.float32, "F64": numpy.float64}


def read(path):
    """The tensors of a file by name, flat, in double precision."""
    with open(path, "rb") as file:
        content = file.read()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        tensors[name] = numpy.frombuffer(content[begin:end], dtype=TYPES[entry["dtype"]]).astype(numpy.float64)
    return tensors


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("a")
    parser.add_argument("b")
    parser.add_argument("--per-tensor", type=float, help="largest relative difference allowed for a tensor")
    parser.add_argument("--together", type=float, help="largest relative difference allowed over all parameters")
    arguments = parser.parse_args()
    a, b = read(arguments.a), read(arguments.b)
    if a.keys() != b.keys():
        sys.exit(f"different tensors: {sorted(a.keys() ^ b.keys())[:5]}")
    norm = numpy.linalg.norm
    differences = {name: norm(a[name] - b[name]) / max(norm(b[name]), 1e-300) for name in a}
    worst = max(differences, key=differences.get)
    together = norm([norm(a[name] - b[name]) for name in a]) / norm([norm(b[name]) for name in b])
    print(f"{len(a)} tensors; largest relative difference of a tensor {differences[worst]:.3g} ({worst}); over all parameters {together:.3g}")
    if arguments.per_tensor is not None and differences[worst] > arguments.per_tensor:
        sys.exit(1)
    if arguments.together is not None and together > arguments.together:
        sys.exit(1)


if __name__ == "__main__":
    main()
