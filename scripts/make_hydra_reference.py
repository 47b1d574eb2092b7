#!/usr/bin/env python3
# Writes what Hydra makes of overrides and defaults lists, for the tests of `lshdp explore`.
"""Writes tests/explore/data/hydra/reference.json: what hydra-core composes of each command line, or that it refuses it.

    python3 -m venv hydra && hydra/bin/pip install hydra-core==1.3.8 && hydra/bin/python scripts/make_hydra_reference.py
"""
import json
import math
import pathlib

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

DATA = pathlib.Path(__file__).resolve().parent.parent / "tests" / "explore" / "data" / "hydra"

# Each a command line: a configuration, and overrides.
OVERRIDES = [
    # numbers, booleans, null, text
    "model.seq_length=8192", "model.seq_length=8_192", "model.seq_length=-1", "model.seq_length=+5",
    "model.seq_length=007", "model.seq_length=0x10", "model.seq_length=1e3", "model.seq_length=1.", "model.seq_length=.5",
    "model.seq_length=-2.5E-3", "model.seq_length=1_0.5", "model.seq_length=1__0", "model.seq_length=inf",
    "model.seq_length=TrUe", "model.seq_length=yes", "model.seq_length=NULL", "model.seq_length=", "model.seq_length= 3",
    "model.seq_length =3", "model.name=llama3.1-405b", "model.name=a b", "model.name=a:b", "model.name=a/b.c*d?e|f%g@h$i",
    "model.name=1.2.3", "model.name=3x", "model.name=a=b", "model.name=a,b", "model.name=1,2", "model.name=a#b",
    "model.name=a;b", "model.name=ä", "model.name= a b ", "model.name=a\\,b", "model.name=a\\=b", "model.name=a\\\\b",
    "model.name=a\\nb", "model.name=\\ ", "model.name=-", "model.name=null-ish", "model.name=true1",
    # quotes
    "model.name='a,b'", 'model.name="a=b"', "model.name='it\\'s'", 'model.name="a\\\\"', 'model.name="a\\b"', "model.name=''",
    "model.name='1'", "model.name='a", "model.name=a'b'", "model.name='a' ", "model.name=\"it's\"", "model.name='a'b",
    # lists and dictionaries
    "ranges=[8,128,1024,10240]", "ranges=[]", "ranges=[ 1 , 2 ]", "ranges=[1,[2,3],{a:4}]", "ranges=[1,2", "ranges=[1,,2]",
    "ranges=[1,2,]", "ranges=['a b',c d]", "ranges=1", "ranges=[1.5,true,null,x]", "ranges=[1]]", "ranges.0=7", "ranges.9=7",
    "ranges=[a:b]", "ranges={a:1}", "model={name:other}", "model={name:other,new:1}", "model=3", "model.moe={k:4}",
    "model.moe={k: 4, num_experts: 16}", "model.moe={}", "model.moe={'k':4}", "model.moe={k:}", "model.moe={k}", "model=[1]",
    "+model.extra={a:{b:[1,2]}}", "+model.moe={k:5,extra:1}", "+extra={1:2,yes:x}", "+extra={a:b:c}",
    # kinds
    "+ngpus_range=[8,128,1024,10240]", "ngpus_range=[8]", "+model.seq_length=1", "++model.seq_length=1", "++model.new=1",
    "+a.b.c=1", "+note=1", "+ranges=[9]", "+ranges.0=1", "++ranges.0=9", "+model.seq_length.deeper=1", "model.name.deeper=1",
    "~note", "~model.moe", "~model.moe.k", "~model.moe.k=2", "~model.moe.k=3", "~model.none", "~ranges", "~model.moe.k=",
    "~ranges=[1,2,4]", "~ranges.1", "model.none=1", "seq_length=1", "-model.name=1", "+++a=1", "+~a=1", "model.seq_length", "+a", "=1", "",
    "model..name=1", "model.name.=1", ".model=1", "model/name=1", "$a=1", "+$a=1", "+a-b=1", "+a.0=1", "+1a=1", "+a b=1", "+a@b=1",
    # casts and functions
    "model.seq_length=int(3.7)", "model.seq_length=int('12')", "model.seq_length=float(3)", "model.seq_length=str(3)",
    "model.seq_length=str(true)", "model.seq_length=bool(0)", "model.seq_length=bool('TRUE')", "model.seq_length=bool(x)",
    "ranges=int([1.5,2.5])", "model.moe=str({k:1})", "model.seq_length=int(a)", "model.seq_length=int()", "model.seq_length=int (3)",
    "model.seq_length=choice(1,2)", "model.seq_length=range(1,4)", "model.seq_length=interval(0,1)", "model.name=glob(*)",
    "model.name=unknown(1)", "model.name=f(", "model.seq_length=str(1.5)",
    # interpolation
    "model.name=${model.seq_length}", "model.name=${.seq_length}", "model.name=x${note}y", "ranges=[${model.seq_length},2]",
    "model.name='${model.seq_length}'", "model.name=${none}", "model.name=${model.name}", "model.name=${", "+copy=${model.moe}",
    # groups
    "device=large", "device=none", "+device=large", "~device", "~device=small", "~device=large", "device=null", "++device=large",
    "cluster=two", "+cluster/link=fast", "cluster/link=fast", "device=[small,large]", "device@box=large", "+device@box=large",
    "device=everywhere", "device=3", "+device@model.box=large", "cluster={a:1}", "device=", "device.memory=5", "extra=nothing",
]
LINES = [["main", text] for text in OVERRIDES] + [
    ["main"], ["plain"], ["nested"], ["main.yaml"], ["none"], ["plain", "device=large"], ["plain", "device@spare=small"],
    ["nested", "cluster/link=fast"], ["nested", "cluster/link=fast", "cluster.link.rate=4"], ["nested", "~cluster"],
    ["nested", "device@cluster.box=large"], ["main", "cluster=two", "cluster/link=fast"],
    ["main", "model.seq_length=4", "model.seq_length=5"], ["main", "+a=1", "a=2"], ["main", "a=2", "+a=1"],
    ["main", "~note", "+note=2"], ["main", "device=large", "device=small"],
]


def plain(value):
    """`value` without what JSON has no word for."""
    if isinstance(value, dict):
        return {str(key).lower() if isinstance(key, bool) else str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [plain(entry) for entry in value]
    return "inf" if isinstance(value, float) and math.isinf(value) else value


def composed(config, overrides):
    try:
        tree = compose(config_name=config, overrides=overrides)
        return {"tree": plain(OmegaConf.to_container(tree, resolve=True))}
    except Exception as error:  # any: what Hydra and OmegaConf refuse has many types
        return {"refused": f"{type(error).__name__}: {error}".splitlines()[0]}


def main():
    with initialize_config_dir(config_dir=str(DATA / "configs"), version_base="1.3"):
        cases = [{"config": config, "overrides": overrides, **composed(config, overrides)} for config, *overrides in LINES]
    with open(DATA / "reference.json", "w", encoding="utf-8") as file:
        file.write("[\n" + ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases) + "\n]\n")


if __name__ == "__main__":
    main()
