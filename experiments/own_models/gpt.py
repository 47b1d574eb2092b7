# A small GPT written in PyTorch, with a causal mask in a buffer and a head tied to the embedding. For scripts/export_model.py.
"""A small GPT written in PyTorch, with a causal mask in a buffer and a head tied to the embedding."""
import torch
from torch import nn


class Embedding(nn.Module):
    def __init__(self, vocabulary, context, width):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.positions.weight, std=0.02)

    def forward(self, tokens):
        return self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1]))


class Layer(nn.Module):
    def __init__(self, width, heads, context):
        super().__init__()
        self.heads = heads
        self.norm, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.register_buffer("mask", torch.ones(context, context).tril().bool(), persistent=False)

    def forward(self, x):
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(self.norm(x)).chunk(3, -1))
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        scores = scores.masked_fill(~self.mask[: x.shape[1], : x.shape[1]], float("-inf"))
        x = x + self.out((scores.softmax(-1) @ value).transpose(1, 2).flatten(-2))
        return x + self.mlp(x)


class Head(nn.Module):
    def __init__(self, embedding, width):
        super().__init__()
        self.norm, self.weight = nn.LayerNorm(width), embedding.tokens.weight

    def forward(self, x):
        return nn.functional.linear(self.norm(x), self.weight)


def model(vocabulary=256, context=64, width=64, heads=4, layers=3):
    torch.manual_seed(0)
    embedding = Embedding(vocabulary, context, width)
    blocks = {"embedding": embedding}
    blocks |= {f"layer {number}": Layer(width, heads, context) for number in range(layers)}
    blocks["head"] = Head(embedding, width)
    return {"blocks": blocks, "example": torch.randint(vocabulary, (2, context)), "loss": "tokens"}
