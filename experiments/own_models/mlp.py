# A multi-layer perceptron for 28 x 28 images of one channel. For scripts/export_model.py.
"""A multi-layer perceptron for 28 x 28 images of one channel."""
import torch
from torch import nn


def model():
    torch.manual_seed(0)
    blocks = nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    return {"blocks": blocks, "example": torch.rand(2, 1, 28, 28)}
