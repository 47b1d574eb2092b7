#!/usr/bin/env python3
# Makes the adapters and reference tensors of tests/model/data/lora_* with PEFT. usage: see --help
"""Makes the adapters and reference tensors of tests/model/data/lora_* with PEFT.

Made with Python 3.11 and
    pip install torch==2.11.0 torchvision==0.26.0 transformers==5.24.0 peft==0.21.2 safetensors==0.8.0
To make them again:  python scripts/make_peft_references.py

Each case is a folder: base.json (the model's description), base/model.safetensors, adapter_config.json and
adapter_model.safetensors as PEFT saves them, and reference.safetensors: input, target, logits, grad.NAME (of the summed
cross-entropy by the adapter's tensors, under PEFT's names in the file), and losses: the mean cross-entropy before each of
20 steps of torch.optim.AdamW on this one batch, rate 1e-2. All in float64.
"""
import argparse
import json
import pathlib
import shutil

import peft
import torch
import torchvision
import transformers
from safetensors.torch import load_file, save_file

DATA = pathlib.Path(__file__).resolve().parent.parent / "tests" / "model" / "data"
STEPS, RATE = 20, 1e-2


def redraw(parameters, deviation):
    """Freshly initialised biases, heads and B are zero and would hide errors."""
    with torch.no_grad():
        for name, parameter in parameters:
            is_norm_weight = parameter.dim() == 1 and name.endswith("weight")
            parameter.normal_(1.0 if is_norm_weight else 0.0, deviation)


def gpt2():
    description = {"n_layer": 2, "n_head": 4, "n_embd": 32, "n_positions": 12, "vocab_size": 48}
    config = transformers.GPT2Config(**description, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)
    settings = peft.LoraConfig(r=4, lora_alpha=12, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True,
                               task_type="CAUSAL_LM")
    return transformers.GPT2LMHeadModel(config), {"type": "gpt2", **description}, settings, tokens(3, 12, 48)


def llama():
    config = transformers.LlamaConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                                      num_key_value_heads=2, vocab_size=40, max_position_embeddings=16,
                                      tie_word_embeddings=False)
    settings = peft.LoraConfig(r=3, lora_alpha=6, use_rslora=True, task_type="CAUSAL_LM",
                               target_modules=["q_proj", "v_proj", "down_proj"])
    return transformers.LlamaForCausalLM(config), json.loads(config.to_json_string()), settings, tokens(2, 16, 40)


def vit():
    arguments = {"image_size": 8, "patch_size": 4, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 24,
                 "num_classes": 5}
    settings = peft.LoraConfig(r=2, lora_alpha=4, target_modules=["mlp.0", "mlp.3"])
    batch = torch.randn(4, 3, 8, 8, dtype=torch.float64), torch.randint(0, 5, (4,))
    return torchvision.models.VisionTransformer(**arguments), {"type": "vit", **arguments}, settings, batch


def tokens(batch, length, vocabulary):
    drawn = torch.randint(0, vocabulary, (batch, length + 1))
    return drawn[:, :-1].contiguous(), drawn[:, 1:].contiguous()


def logits_of(model, batch):
    output = model(batch)
    return output.logits if hasattr(output, "logits") else output


def summed_loss(model, batch, target):
    logits = logits_of(model, batch)
    return torch.nn.functional.cross_entropy(logits.flatten(0, -2), target.flatten(), reduction="sum")


def saved_name(name):
    return name.replace(".default.", ".")


def train(model, batch, target):
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE)
    losses = []
    for _ in range(STEPS):
        loss = summed_loss(model, batch, target) / target.numel()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return torch.tensor(losses, dtype=torch.float64)


def make(name, build):
    torch.manual_seed(7)
    base, description, settings, (batch, target) = build()
    base = base.double().eval()
    redraw(base.named_parameters(), 0.2)
    folder = DATA / f"lora_{name}"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "base").mkdir(parents=True)
    tied = {"lm_head.weight"} if name == "gpt2" else set()
    save_file({key: value.contiguous() for key, value in base.state_dict().items() if key not in tied},
              folder / "base" / "model.safetensors")
    (folder / "base.json").write_text(json.dumps(description, indent=1) + "\n")
    model = peft.get_peft_model(base, settings)
    redraw([(key, value) for key, value in model.named_parameters() if "lora_" in key], 0.2)
    model.eval()
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    summed_loss(model, batch, target).backward()
    reference = {"input": batch, "target": target, "logits": logits_of(model, batch).detach().contiguous()}
    for key, value in model.named_parameters():
        if value.requires_grad:
            reference["grad." + saved_name(key)] = value.grad.clone()
    model.zero_grad()
    reference["losses"] = train(model, batch, target)
    assert set(load_file(folder / "adapter_model.safetensors")) == {
        key[len("grad."):] for key in reference if key.startswith("grad.")}
    save_file(reference, folder / "reference.safetensors")


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for name, build in {"gpt2": gpt2, "llama": llama, "vit": vit}.items():
        make(name, build)


if __name__ == "__main__":
    main()
