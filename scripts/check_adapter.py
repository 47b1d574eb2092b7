#!/usr/bin/env python3
# Loads an adapter that lshdp trained by PEFT, warnings being errors, and writes the logits that it gives. usage: see --help
"""Loads an adapter that lshdp trained by PEFT, warnings being errors, and writes the logits that it gives.

    python scripts/check_adapter.py --base BASE --adapter RUN --out reference.safetensors
    lshdp merge-lora --base BASE --adapter RUN --out merged --dtype fp64
    build/tests/model/compare_logits BASE/config.json merged/model.safetensors reference.safetensors

BASE is a Hugging Face folder of a causal language model. With torch, transformers, peft and safetensors as
scripts/make_peft_references.py has them. All in float64, of 3 sequences of random tokens.
"""
import argparse
import json
import pathlib
import warnings

import peft
import torch
import transformers
from safetensors.torch import save_file


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--base", "--adapter", "--out"):
        parser.add_argument(name, required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    base = transformers.AutoModelForCausalLM.from_pretrained(arguments.base, dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", FutureWarning)  # PEFT's calls of transformers, whatever the adapter
        model = peft.PeftModel.from_pretrained(base, arguments.adapter).eval()
    torch.manual_seed(3)
    config = json.loads((arguments.base / "config.json").read_text())
    length = min(16, config.get("n_positions") or config["max_position_embeddings"])
    tokens = torch.randint(0, config["vocab_size"], (3, length))
    with torch.no_grad():
        logits = model(tokens).logits
        plain = model.get_base_model()
        with model.disable_adapter():
            change = (logits - model(tokens).logits).norm() / logits.norm()
    if change < 1e-6:
        raise SystemExit(f"the adapter changes nothing: {change:.1e}")
    trained = sum(p.numel() for name, p in plain.named_parameters() if "lora_" in name)
    save_file({"input": tokens, "logits": logits.contiguous()}, arguments.out)
    print(f"{trained} parameters of adapters change the logits by {change:.3f}")


if __name__ == "__main__":
    main()
