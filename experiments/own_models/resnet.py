# torchvision's ResNet-18 with group norm in place of batch norm. For scripts/export_model.py.
"""torchvision's ResNet-18 with group norm in place of batch norm, for 32 x 32 images."""
import torch
import torchvision
from torch import nn


def model():
    torch.manual_seed(0)
    net = torchvision.models.resnet18(num_classes=10, norm_layer=lambda channels: nn.GroupNorm(8, channels))
    blocks = {"stem": nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)}
    for number, layer in enumerate((net.layer1, net.layer2, net.layer3, net.layer4), 1):
        blocks |= {f"layer{number}.{index}": block for index, block in enumerate(layer)}
    blocks["head"] = nn.Sequential(net.avgpool, nn.Flatten(), net.fc)
    return {"blocks": blocks, "example": torch.randn(2, 3, 32, 32), "model": net}
