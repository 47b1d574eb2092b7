# timm's ConvNeXt. For scripts/export_model.py.
"""timm's ConvNeXt, for 32 x 32 images."""
import timm
import torch
from torch import nn


def model():
    torch.manual_seed(0)
    net = timm.create_model("convnext_atto", num_classes=10)
    blocks = {"stem": net.stem}
    for number, stage in enumerate(net.stages):
        blocks[f"stages.{number}"] = nn.Sequential(stage.downsample, *stage.blocks)
    blocks["head"] = nn.Sequential(net.norm_pre, net.head)
    return {"blocks": blocks, "example": torch.randn(2, 3, 32, 32), "model": net}
