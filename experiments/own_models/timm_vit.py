# timm's VisionTransformer. For scripts/export_model.py.
"""timm's VisionTransformer, for 32 x 32 images."""
import timm
import torch
from torch import nn


class Embedding(nn.Module):
    """Patches with the class token and positions."""

    def __init__(self, net):
        super().__init__()
        self.patch_embed, self.cls_token, self.pos_embed = net.patch_embed, net.cls_token, net.pos_embed

    def forward(self, images):
        patches = self.patch_embed(images)
        return torch.cat([self.cls_token.expand(patches.shape[0], -1, -1), patches], 1) + self.pos_embed


class Head(nn.Module):
    """Logits from the class token."""

    def __init__(self, net):
        super().__init__()
        self.norm, self.head = net.norm, net.head

    def forward(self, tokens):
        return self.head(self.norm(tokens)[:, 0])


def model():
    torch.manual_seed(0)
    net = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, num_classes=10, depth=4)
    layers = {f"layer {number}": layer for number, layer in enumerate(net.blocks)}
    return {"blocks": {"embedding": Embedding(net), **layers, "head": Head(net)}, "example": torch.randn(2, 3, 32, 32), "model": net}
