#!/usr/bin/env python3
# Makes the reference tensors of tests/model/data from torchvision, Hugging Face and torch.nn. usage: see --help
"""Makes the reference tensors of tests/model/data from torchvision, Hugging Face and torch.nn.

Made with Python 3.11 and
    pip install torch==2.11.0 torchvision==0.26.0 transformers==5.23.0 safetensors==0.8.0 numpy==2.4.6
To make them again:         python scripts/make_references.py
To check models at full size (a folder of about 2 GB, not for the repository):
    python scripts/make_references.py --full vit_l_32 --out DIR      (or another ViT, or gpt2)
    build/tests/model/compare_logits vit_l_32 DIR/vit_l_32.weights.safetensors DIR/vit_l_32.reference.safetensors

Each model gives three files: NAME.json (its description), NAME.weights.safetensors (as the library itself saves weights)
and NAME.reference.safetensors: input, target, logits, loss and loss_smoothed (cross-entropy summed over the batch, without
and with label smoothing 0.1), and grad.PARAMETER, the gradients of `loss`. All in float64.

Models of the Llama family were made with transformers 5.24.0. Its code rounds norms and rotary tables to float32 even in a
float64 model; NAME.reference.safetensors is that code with these casts taken out (in_double). NAME.generated.safetensors is
the library as it is, in float32: logits of the same input, and tokens, what generate() without sampling makes of its first
tokens. NAME.documents.safetensors is NAME.reference.safetensors of documents that share samples, each of which the library
was given by itself; positions are those of tokens in their documents.
"""
import argparse
import contextlib
import json
import pathlib
import shutil
import tempfile
from unittest import mock

import torch
import torchvision
import transformers
from safetensors.torch import load_file, save_file, save_model

SMOOTHING = 0.1
DATA = pathlib.Path(__file__).resolve().parent.parent / "tests" / "model" / "data"


def redraw(model, deviation):
    """Gives every parameter values that matter: freshly initialised heads and biases are zero and would hide errors."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_norm_weight = parameter.dim() == 1 and name.endswith("weight")
            parameter.normal_(1.0 if is_norm_weight else 0.0, deviation)
    return model


def logits_of(model, batch):
    output = model(batch)
    return output.logits if hasattr(output, "logits") else output


def summed_loss(logits, target, smoothing):
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, -2), target.flatten(), reduction="sum", label_smoothing=smoothing
    )


def write_reference(model, batch, target, path):
    logits = logits_of(model, batch)
    loss = summed_loss(logits, target, 0.0)
    loss.backward()
    tensors = {"input": batch, "target": target, "logits": logits.detach(), "loss": loss.detach()}
    tensors["loss_smoothed"] = summed_loss(logits, target, SMOOTHING).detach()
    # named_parameters() names a tied tensor once: its gradient is the sum over its uses.
    tensors |= {"grad." + name: parameter.grad for name, parameter in model.named_parameters()}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def make_vit(out):
    sizes = dict(image_size=8, patch_size=4, num_layers=2, num_heads=3, hidden_dim=12, mlp_dim=20, num_classes=5)
    model = redraw(torchvision.models.VisionTransformer(**sizes).double().eval(), 0.3)
    (out / "vit.json").write_text(json.dumps({"type": "vit", **sizes}, indent=2) + "\n")
    save_file(model.state_dict(), out / "vit.weights.safetensors")
    batch, target = torch.randn(3, 3, 8, 8, dtype=torch.float64), torch.tensor([4, 0, 2])
    write_reference(model, batch, target, out / "vit.reference.safetensors")


def gpt2_config(**sizes):
    return transformers.GPT2Config(**sizes, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, attn_implementation="eager")


def save_causal(model, folder, name):
    """As save_pretrained writes it: config.json and model.safetensors, under our names."""
    with tempfile.TemporaryDirectory() as scratch:
        model.save_pretrained(scratch)
        shutil.copyfile(pathlib.Path(scratch) / "config.json", folder / f"{name}.json")
        shutil.copyfile(pathlib.Path(scratch) / "model.safetensors", folder / f"{name}.weights.safetensors")


def make_gpt2(out):
    config = gpt2_config(n_layer=2, n_head=3, n_embd=12, n_positions=7, vocab_size=19, bos_token_id=0, eos_token_id=0)
    model = redraw(transformers.GPT2LMHeadModel(config).double().eval(), 0.3)
    save_causal(model, out, "gpt2")
    write_reference(model, torch.randint(19, (2, 7)), torch.randint(19, (2, 7)), out / "gpt2.reference.safetensors")


@contextlib.contextmanager
def in_double():
    """Casts to float32 in the library's code are casts to float64: the same formulas without this rounding."""
    wide = mock.patch.multiple(torch, float=torch.float64, float32=torch.float64)
    with wide, mock.patch.object(torch.Tensor, "float", torch.Tensor.double):
        yield


# Small sizes; no token ends a text, so that all generated ones are there.
TINY = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2)
TINY |= dict(vocab_size=41, max_position_embeddings=64, initializer_range=0.05, bos_token_id=None, eos_token_id=None)
# Of the eight frequencies of heads 16 wide, one is above, one between and six below what is slowed down.
SCALED = dict(rope_type="llama3", rope_theta=500.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=2.0)
SCALED |= dict(original_max_position_embeddings=16)
LLAMAS = {
    "llama": transformers.LlamaConfig(**TINY),
    "llama_wide": transformers.LlamaConfig(**TINY, head_dim=6, attention_bias=True, mlp_bias=True, rms_norm_eps=1e-5),
    "llama3": transformers.LlamaConfig(**TINY, head_dim=16, tie_word_embeddings=True, rope_parameters=SCALED),
    "qwen2": transformers.Qwen2Config(**TINY, tie_word_embeddings=True, rope_parameters=dict(rope_theta=1e6)),
    "mistral": transformers.MistralConfig(
        **TINY, sliding_window=64, rope_parameters=dict(rope_type="linear", rope_theta=500.0, factor=2.5)
    ),
}


def make_llama(name, config, out):
    with in_double():
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float64)
    redraw(model, 0.3)
    save_causal(model, out, name)
    batch, target = (torch.randint(config.vocab_size, (2, 40)) for _ in range(2))
    with in_double():
        write_reference(model.eval(), batch, target, out / f"{name}.reference.safetensors")
    as_it_is = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    as_it_is.load_state_dict({key: value.float() for key, value in model.state_dict().items()})
    with torch.no_grad():
        made = as_it_is.generate(
            batch[:, :8], max_new_tokens=24, do_sample=False, output_logits=True, return_dict_in_generate=True
        )
        first, second = torch.stack(made.logits).topk(2).values.unbind(-1)
        assert (first - second).min() > 1e-3, f"{name}: two tokens are as likely; take another seed"
        generated = {"tokens": made.sequences, "logits": as_it_is(batch).logits}
    save_file({key: value.contiguous() for key, value in generated.items()}, out / f"{name}.generated.safetensors")
    return as_it_is


def make_llamas(out):
    for seed, (name, config) in enumerate(LLAMAS.items()):
        torch.manual_seed(seed)
        model = make_llama(name, config, out)
        if name == "llama_wide":
            model.save_pretrained(out / "llama-shards", max_shard_size="12KB")
            (out / "llama-shards" / "generation_config.json").unlink()


# Lengths of the documents that share each of two samples.
DOCUMENTS = {"gpt2": ((3, 4), (1, 5, 1)), "llama_wide": ((11, 1, 20, 8), (40,)), "llama3": ((2, 29, 9), (17, 23))}


def saved_model(folder, name):
    with tempfile.TemporaryDirectory() as scratch:
        for suffix, its_name in ((".json", "config.json"), (".weights.safetensors", "model.safetensors")):
            shutil.copyfile(folder / f"{name}{suffix}", pathlib.Path(scratch) / its_name)
        return transformers.AutoModelForCausalLM.from_pretrained(
            scratch, dtype=torch.float64, attn_implementation="eager"
        )


def make_documents(out):
    """Each document by itself, though samples of NAME.documents.safetensors hold several."""
    for name, lengths in DOCUMENTS.items():
        with in_double():
            model = saved_model(out, name).eval()
            tokens = load_file(out / f"{name}.reference.safetensors")["input"]
            target = torch.full_like(tokens, -100)
            positions, logits = torch.zeros_like(tokens), []
            for sample, documents in enumerate(lengths):
                begin = 0
                for length in documents:
                    place = slice(begin, begin + length)
                    begin += length
                    positions[sample, place] = torch.arange(length)
                    target[sample, place.start : place.stop - 1] = tokens[sample, place.start + 1 : place.stop]
                    logits.append(model(tokens[sample : sample + 1, place]).logits[0])
            logits = torch.cat(logits).view(*tokens.shape, -1)
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="sum")
            loss.backward()
        tensors = {"input": tokens, "target": target, "positions": positions, "logits": logits.detach(), "loss": loss.detach()}
        tensors |= {"grad." + key: parameter.grad for key, parameter in model.named_parameters()}
        save_file({key: value.contiguous() for key, value in tensors.items()}, out / f"{name}.documents.safetensors")


class Mlp(torch.nn.Module):
    def __init__(self, widths):
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(a, b) for a, b in zip(widths, widths[1:]))

    def forward(self, x):
        x = x.flatten(1)
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return self.layers[-1](x)


def make_mlp(out):
    model = redraw(Mlp([12, 7, 5, 3]).double(), 0.3)
    description = {"type": "mlp", "input_size": 12, "hidden_sizes": [7, 5], "output_size": 3}
    (out / "mlp.json").write_text(json.dumps(description, indent=2) + "\n")
    save_file(model.state_dict(), out / "mlp.weights.safetensors")
    batch, target = torch.randn(4, 3, 2, 2, dtype=torch.float64), torch.tensor([0, 2, 1, 2])
    write_reference(model, batch, target, out / "mlp.reference.safetensors")


class Wrapped(torch.nn.Module):
    """As DataParallel and torch.compile leave a model's names, without their dependencies."""

    def __init__(self, model):
        super().__init__()
        self.module = torch.nn.Module()
        self.module._orig_mod = model


def make_other_forms(out):
    """The weights of gpt2.json and vit.json in float32, as other writers leave them: shards, names, heads, masks."""
    config = transformers.GPT2Config.from_json_file(out / "gpt2.json")
    model = transformers.GPT2LMHeadModel(config)
    weights = {name: tensor.float() for name, tensor in load_file(out / "gpt2.weights.safetensors").items()}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert missing == ["lm_head.weight"] and not unexpected
    model.save_pretrained(out / "gpt2-shards", max_shard_size="8KB")
    (out / "gpt2-shards" / "generation_config.json").unlink()
    save_model(model, out / "gpt2.head-only.safetensors")  # keeps one name of shared tensors: lm_head.weight
    wrapped = {name: tensor.clone() for name, tensor in Wrapped(model).state_dict().items()}
    wrapped["module._orig_mod.lm_head.weight"] = wrapped["module._orig_mod.lm_head.weight"].half()
    for layer in range(config.n_layer):
        mask = torch.tril(torch.ones(1, 1, 7, 7))
        wrapped[f"module._orig_mod.transformer.h.{layer}.attn.bias"] = mask.to((torch.int8, torch.uint16)[layer % 2])
        wrapped[f"module._orig_mod.transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    save_file(wrapped, out / "gpt2.wrapped.safetensors")
    # torchvision's files of before 0.12, which its VisionTransformer still loads.
    old = {}
    for name, tensor in load_file(out / "vit.weights.safetensors").items():
        old[name.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2.")] = tensor.float()
    sizes = {key: value for key, value in json.loads((out / "vit.json").read_text()).items() if key != "type"}
    torchvision.models.VisionTransformer(**sizes).load_state_dict(dict(old), strict=True)
    save_file(old, out / "vit.old-names.safetensors")


def make_full(name, out):
    """Weights, an input and its logits in float32. The library's own first values, where they are not all zero or one."""
    out.mkdir(parents=True, exist_ok=True)
    if name == "gpt2":
        model = transformers.GPT2LMHeadModel(gpt2_config()).eval()
        batch = torch.randint(50257, (2, 256))
    else:
        model = getattr(torchvision.models, name)().eval()
        batch = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.std() < 1e-3:
                parameter += torch.randn_like(parameter) * 0.02
        logits = logits_of(model, batch)
    if name == "gpt2":
        save_causal(model, out, name)
    else:
        save_file(model.state_dict(), out / f"{name}.weights.safetensors")
    save_file({"input": batch, "logits": logits.contiguous()}, out / f"{name}.reference.safetensors")
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"{name}: {count} parameters, logits of size up to {logits.abs().max():.3g}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", metavar="MODEL", help="vit_b_16 .. vit_h_14 or gpt2, in their full size")
    parser.add_argument("--only", choices=("llama", "others", "documents"), help="the Llama family, all but it, or DOCUMENTS")
    parser.add_argument("--out", type=pathlib.Path, default=DATA, help="folder to write to")
    arguments = parser.parse_args()
    torch.manual_seed(20240)
    if arguments.full:
        if arguments.out == DATA:
            parser.error("--full needs --out DIR: these files are too large for the repository")
        make_full(arguments.full, arguments.out)
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    makers = {"llama": [make_llamas], "others": [make_vit, make_gpt2, make_mlp, make_other_forms]}
    makers["documents"] = [make_documents]  # of models that are there
    for make in makers[arguments.only] if arguments.only else sum(makers.values(), []):
        make(arguments.out)


if __name__ == "__main__":
    main()
