# LoRA by PEFT on Hugging Face's GPT-2 and Llama with fresh first values: the peer of lshdp's --lora.
"""PEFT and transformers are imported where a model is built: other runs of a launch need not wait for them."""
import dataclasses

import torch
from torch import nn

import models
from refusal import Refused


@dataclasses.dataclass(frozen=True)
class Settings:
    """As lshdp's --lora has them."""

    rank: int
    alpha: float
    dropout: float
    targets: tuple
    stabilized: bool = False


def values_of(text):
    """{key: [value, ..]} of "r=16,targets=q_proj,v_proj": what has no key belongs to the one before."""
    values, last = {}, None
    for part in text.split(","):
        key, given, value = part.partition("=")
        if given and key in values:
            raise Refused(f"--lora {text}: {key} stands there twice")
        if not given and last != "targets":
            raise Refused(f"--lora {text}: {part!r} is no KEY=VALUE")
        last = key if given else last
        values.setdefault(last, []).append(value if given else part)
    return values


def parse(text):
    """Throws Refused naming --lora."""
    values = values_of(text)
    unknown = set(values) - {"r", "alpha", "dropout", "targets", "rslora"}
    if unknown:
        raise Refused(f"--lora {text}: {unknown.pop()} is not a key; there are r, alpha, dropout, targets and rslora")
    if "r" not in values or "targets" not in values:
        raise Refused(f"--lora {text}: r and targets are wanted")
    try:
        rank = int(values["r"][0])
        settings = Settings(rank, float(values.get("alpha", [rank])[0]), float(values.get("dropout", [0])[0]), tuple(values["targets"]),
                            values.get("rslora", ["false"])[0] == "true")
    except ValueError as error:
        raise Refused(f"--lora {text}: {error}") from error
    if settings.rank < 1 or not 0 <= settings.dropout < 1:
        raise Refused(f"--lora {text}: r is at least 1, dropout from 0 to below 1")
    return settings


def hugging_face(description, source):
    """The model of a description, which has the keys of Hugging Face's own; without dropout, as lshdp's."""
    import transformers

    description = dict(description)
    kind = description.pop("type", None)
    if kind == "gpt2":
        config = transformers.GPT2Config(**description, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
        return transformers.GPT2LMHeadModel(config)
    if kind == "llama":
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(**description))
    raise ValueError(f"{source}: type is {kind}; LoRA is measured with gpt2 and llama")


class Adapted(nn.Module):
    """int64 [B, T] -> logits [B, T, vocabulary]; only the adapters are trained."""

    def __init__(self, description, settings, source):
        super().__init__()
        import peft

        base = hugging_face(description, source)
        targets = "all-linear" if settings.targets == ("all-linear",) else list(settings.targets)
        config = peft.LoraConfig(task_type="CAUSAL_LM", r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout,
                                 target_modules=targets, use_rslora=settings.stabilized, fan_in_fan_out=description["type"] == "gpt2")
        self.positions, self.vocabulary = base.config.max_position_embeddings, base.config.vocab_size
        self.terms_per_sample = self.positions
        self.adapted = peft.get_peft_model(base, config)

    def forward(self, tokens):
        return self.adapted(input_ids=tokens, use_cache=False).logits

    synthetic = models.Gpt2.synthetic


def build(name, settings):
    """The model of a preset or of a JSON file, with adapters."""
    return Adapted(models.described(name), settings, name)


def trained_parameters(model):
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
