# The ViT and GPT-2 that lshdp trains, in plain torch.nn: torchvision's and Hugging Face's function, numbers and names of layers.
"""A model is built from the same JSON description that lshdp reads, as the same chain of blocks."""
import json
import math

import torch
from torch import nn
from torch.nn import functional


def attention(query_key_value, heads, causal):
    """[B, T, 3 * width] -> [B, T, width]."""
    batch, length, width = query_key_value.shape
    width //= 3
    parts = query_key_value.view(batch, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4).unbind(0)
    mixed = functional.scaled_dot_product_attention(*parts, is_causal=causal)
    return mixed.transpose(1, 2).reshape(batch, length, width)


class Chain(nn.Module):
    """Blocks that are called one after the other: embedding, two halves for each layer, head."""

    def __init__(self, embedding, layers, head):
        super().__init__()
        self.embedding, self.layers, self.head = embedding, nn.ModuleList(nn.Sequential(*halves) for halves in layers), head

    def blocks(self):
        """What FSDP2 shards one by one."""
        return list(self.layers)

    def chain(self):
        """The blocks as lshdp numbers them."""
        return [self.embedding, *(half for layer in self.layers for half in layer), self.head]

    def forward(self, x):
        x = self.embedding(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


class VitEmbedding(nn.Module):
    def __init__(self, channels, image_size, patch_size, hidden):
        super().__init__()
        self.conv_proj = nn.Conv2d(channels, hidden, patch_size, patch_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, hidden))
        self.pos_embedding = nn.Parameter(torch.empty(1, (image_size // patch_size) ** 2 + 1, hidden).normal_(std=0.02))

    def forward(self, images):
        x = self.conv_proj(images).flatten(2).transpose(1, 2)
        return torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1) + self.pos_embedding


class VitAttention(nn.Module):
    def __init__(self, hidden, heads):
        super().__init__()
        self.heads = heads
        self.ln_1 = nn.LayerNorm(hidden, eps=1e-6)
        self.in_proj, self.out_proj = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)

    def forward(self, x):
        return x + self.out_proj(attention(self.in_proj(self.ln_1(x)), self.heads, causal=False))


class VitMlp(nn.Module):
    def __init__(self, hidden, mlp):
        super().__init__()
        self.ln_2 = nn.LayerNorm(hidden, eps=1e-6)
        self.up, self.down = nn.Linear(hidden, mlp), nn.Linear(mlp, hidden)

    def forward(self, x):
        return x + self.down(functional.gelu(self.up(self.ln_2(x))))


class VitHead(nn.Module):
    def __init__(self, hidden, classes):
        super().__init__()
        self.ln = nn.LayerNorm(hidden, eps=1e-6)
        self.head = nn.Linear(hidden, classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x):
        return self.head(self.ln(x[:, 0]))


class Vit(Chain):
    """float [B, channels, image, image] -> logits [B, classes]."""

    def __init__(self, image_size, patch_size, num_layers, num_heads, hidden_dim, mlp_dim, channels=3, num_classes=1000):
        embedding = VitEmbedding(channels, image_size, patch_size, hidden_dim)
        layers = [(VitAttention(hidden_dim, num_heads), VitMlp(hidden_dim, mlp_dim)) for _ in range(num_layers)]
        super().__init__(embedding, layers, VitHead(hidden_dim, num_classes))
        self.image_shape, self.classes = (channels, image_size, image_size), num_classes

    def synthetic(self, count, generator):
        return (torch.randn(count, *self.image_shape, generator=generator),
                torch.randint(self.classes, (count,), generator=generator))

    terms_per_sample = 1


class Conv1d(nn.Module):
    """Hugging Face's name for a linear layer whose matrix is stored [in, out]."""

    def __init__(self, inputs, outputs, deviation):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs).normal_(std=deviation))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        return torch.addmm(self.bias, x.reshape(-1, x.shape[-1]), self.weight).view(*x.shape[:-1], -1)


class Gpt2Embedding(nn.Module):
    def __init__(self, hidden, positions, vocabulary):
        super().__init__()
        self.wte = nn.Parameter(torch.empty(vocabulary, hidden).normal_(std=0.02))
        self.wpe = nn.Parameter(torch.empty(positions, hidden).normal_(std=0.02))

    def forward(self, tokens):
        return functional.embedding(tokens, self.wte) + self.wpe[: tokens.shape[1]]


def residual_deviation(layers):
    return 0.02 / math.sqrt(2 * layers)


class Gpt2Attention(nn.Module):
    def __init__(self, hidden, heads, layers):
        super().__init__()
        self.heads = heads
        self.ln_1 = nn.LayerNorm(hidden)
        self.c_attn, self.c_proj = Conv1d(hidden, 3 * hidden, 0.02), Conv1d(hidden, hidden, residual_deviation(layers))

    def forward(self, x):
        return x + self.c_proj(attention(self.c_attn(self.ln_1(x)), self.heads, causal=True))


class Gpt2Mlp(nn.Module):
    def __init__(self, hidden, inner, layers):
        super().__init__()
        self.ln_2 = nn.LayerNorm(hidden)
        self.up, self.down = Conv1d(hidden, inner, 0.02), Conv1d(inner, hidden, residual_deviation(layers))

    def forward(self, x):
        return x + self.down(functional.gelu(self.up(self.ln_2(x)), approximate="tanh"))


class Gpt2Head(nn.Module):
    def __init__(self, hidden, wte):
        super().__init__()
        self.ln_f = nn.LayerNorm(hidden)
        self.wte = wte  # the embedding's own matrix

    def forward(self, x):
        return functional.linear(self.ln_f(x), self.wte)


class Gpt2(Chain):
    """int64 [B, T] -> logits [B, T, vocabulary], by the embedding's own matrix."""

    def __init__(self, n_layer, n_head, n_embd, n_positions, vocab_size):
        embedding = Gpt2Embedding(n_embd, n_positions, vocab_size)
        layers = [(Gpt2Attention(n_embd, n_head, n_layer), Gpt2Mlp(n_embd, 4 * n_embd, n_layer)) for _ in range(n_layer)]
        super().__init__(embedding, layers, Gpt2Head(n_embd, embedding.wte))
        self.positions, self.vocabulary = n_positions, vocab_size
        self.terms_per_sample = n_positions

    def synthetic(self, count, generator):
        tokens = torch.randint(self.vocabulary, (count, self.positions + 1), generator=generator)
        return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


KINDS = {"vit": Vit, "gpt2": Gpt2}


def vit_preset(patch, layers, heads, hidden):
    return {"type": "vit", "image_size": 224, "patch_size": patch, "num_layers": layers, "num_heads": heads, "hidden_dim": hidden,
            "mlp_dim": 4 * hidden}


def gpt2_preset(layers, heads, hidden):
    return {"type": "gpt2", "n_layer": layers, "n_head": heads, "n_embd": hidden, "n_positions": 1024, "vocab_size": 50257}


# Names and sizes of torchvision and Hugging Face.
PRESETS = {"vit_b_16": vit_preset(16, 12, 12, 768), "vit_b_32": vit_preset(32, 12, 12, 768), "vit_l_16": vit_preset(16, 24, 16, 1024),
           "vit_l_32": vit_preset(32, 24, 16, 1024), "vit_h_14": vit_preset(14, 32, 16, 1280), "gpt2": gpt2_preset(12, 12, 768),
           "gpt2-medium": gpt2_preset(24, 16, 1024), "gpt2-large": gpt2_preset(36, 20, 1280), "gpt2-xl": gpt2_preset(48, 25, 1600)}


def described(name):
    """The description of a preset or of a JSON file."""
    if name in PRESETS:
        return dict(PRESETS[name])
    with open(name, encoding="utf-8") as file:
        return json.load(file)


def build(name):
    """The model of a preset or of a JSON file."""
    description = described(name)
    kind = description.pop("type", None)
    if kind not in KINDS:
        raise ValueError(f"{name}: type is {kind}; the baselines know {' and '.join(KINDS)}")
    return KINDS[kind](**description)


def summed_loss(logits, target):
    return functional.cross_entropy(logits.flatten(0, -2), target.flatten(), reduction="sum")
