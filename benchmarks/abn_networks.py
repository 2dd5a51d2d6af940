"""ResNet-50 with our in-place norm, and the same network as it is usually built."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from seamseg.modules.abn import ABN
from seamseg.modules.norm import NormFactory
from seamseg.modules.resnet import ResidualBlock, ResNet

SLOPE = 0.01


class Classifier(nn.Module):
    """ResNet with a linear head and a loss, to be trained.

    Shape:
        N×3×H×W to the loss, a scalar.

    Args:
        body: Backbone.
        num_classes: Number of classes of the head.
    """

    def __init__(self, body: ResNet, num_classes: int = 1000) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(body.channels[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the loss of images with made-up labels."""
        scores = self.head(self.body(images)[-1].mean(dim=(2, 3)))
        targets = torch.arange(len(images)) % self.head.out_features
        return functional.cross_entropy(scores, targets)


class PlainBlock(nn.Module):
    """Residual block with BatchNorms that works in place wherever no gradient is lost.

    Args:
        block: Block whose convolutions and norms are taken.
    """

    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        self.convs = block.convs
        # Its activation, if it has one, comes after the sum.
        name, last = list(self.convs.named_children())[-1]
        setattr(self.convs, name, _batch_norm(last))
        self.shortcut: nn.Module = nn.Identity()
        if hasattr(block, "proj_conv"):
            self.shortcut = nn.Sequential(block.proj_conv, _batch_norm(block.proj_bn))
        plain(self.convs)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        total: Tensor = self.convs(x)
        total += self.shortcut(x)
        return functional.leaky_relu_(total, SLOPE)


class Checkpointed(nn.Module):
    """Block that keeps only its input and is recomputed in the backward pass."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block without keeping its activations."""
        result: Tensor = checkpoint(self.block, x, use_reentrant=False)
        return result


def resnet50() -> ResNet:
    """Return a ResNet-50 with in-place norms."""
    return ResNet("resnet50", NormFactory("bn", "leaky_relu", SLOPE))


def chain(length: int = 8, channels: int = 64) -> nn.Sequential:
    """Return 3×3 convolutions, each with norm and activation."""
    norm = NormFactory("bn", "leaky_relu", SLOPE)
    layers = ((nn.Conv2d(channels, channels, 3, padding=1, bias=False), norm.make(channels)) for _ in range(length))
    return nn.Sequential(*(layer for pair in layers for layer in pair))


def bottlenecks(length: int = 4, channels: int = 256) -> nn.Sequential:
    """Return residual blocks with identity shortcuts."""
    norm = NormFactory("bn", "leaky_relu", SLOPE)
    blocks = (ResidualBlock(channels, channels // 4, channels, norm, 1, bottleneck=True) for _ in range(length))
    return nn.Sequential(*blocks)


def plain(network: nn.Module) -> nn.Module:
    """Replace every in-place norm of a network, in place, by BatchNorm2d and LeakyReLU(inplace=True)."""
    for name, child in list(network.named_children()):
        if isinstance(child, ResidualBlock):
            setattr(network, name, PlainBlock(child))
        elif isinstance(child, ABN):
            norm = _batch_norm(child)
            active = child.activation != "identity"
            setattr(network, name, nn.Sequential(norm, nn.LeakyReLU(SLOPE, inplace=True)) if active else norm)
        else:
            plain(child)
    return network


def checkpointed(network: nn.Module) -> nn.Module:
    """Make a network plain, in place, and checkpoint every residual block."""
    plain(network)
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, PlainBlock):
                setattr(parent, name, Checkpointed(child))
    return network


def _batch_norm(norm: nn.Module) -> nn.BatchNorm2d:
    """Return a BatchNorm with the weights of an in-place norm."""
    assert isinstance(norm, ABN)
    made = nn.BatchNorm2d(norm.num_channels, eps=norm.eps, momentum=norm.momentum)
    made.load_state_dict({**norm.state_dict(), "weight": norm.gamma().detach()})
    return made.to(norm.running_mean.dtype)
