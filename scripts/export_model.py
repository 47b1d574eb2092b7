#!/usr/bin/env python3
# Writes a model that a Python file describes as one file for `lshdp --model`. usage: see --help, docs/own-models.md
"""Writes a model that a Python file describes as one file for `lshdp --model` (docs/own-models.md).

The file has a function that returns the keyword arguments of lshdp_export.export() but for the path:

    def model():
        return {"blocks": nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), "example": torch.rand(2, 1, 28, 28)}
"""
import argparse
import importlib.util
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import lshdp_export  # noqa: E402


def load(path):
    sys.path.insert(0, str(path.resolve().parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="FILE.py[:FUNCTION]", help="where the model is made; FUNCTION is model if left out")
    parser.add_argument("--out", required=True, help="the file to write, NAME.lshdp")
    arguments = parser.parse_args()
    path, _, function = arguments.source.partition(":")
    try:
        description = lshdp_export.export(**getattr(load(pathlib.Path(path)), function or "model")(), path=arguments.out)
    except lshdp_export.Refused as refused:
        print(f"export_model: {refused}", file=sys.stderr)
        sys.exit(2)
    count = sum(len(block["parameters"]) for block in description["blocks"])
    print(f"{arguments.out}: {len(description['blocks'])} blocks, {count} parameters, computes in {', '.join(description['types'])}")


if __name__ == "__main__":
    main()
