"""Networks of the memory benchmark, each with ordinary norms, in place, recomputed and compiled."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from seamseg.builders.body import build_body
from seamseg.builders.network import initialize
from seamseg.config.network import BodySettings
from seamseg.modules.max_pool import LeanMaxPool2d
from seamseg.modules.norm import NormFactory
from seamseg.modules.norm_conversion import convert_norms
from seamseg.modules.recomputation import checkpoint, compile_within

Form = Literal["leaky", "relu", "inplace", "converted", "checkpoint", "compile", "inplace-checkpoint"]
FORMS: Mapping[Form, str] = {
    "leaky": "BatchNorm2d + LeakyReLU",
    "relu": "BatchNorm2d + ReLU, another function",
    "inplace": "in place, exact",
    "converted": "only convert_norms, exact",
    "checkpoint": "BatchNorm2d + LeakyReLU in checkpoints, exact",
    "compile": "BatchNorm2d + LeakyReLU under torch.compile, activation_memory_budget 0.5, exact up to rounding",
    "inplace-checkpoint": "in place and in checkpoints, exact",
}
"""What a network is made of; the others are compared with ``leaky``."""
SLOPE = 0.01
BUDGET = 0.5
_IN_PLACE = NormFactory("bn", "leaky_relu", SLOPE, scale="signed")
_ORDINARY = NormFactory("plain", "leaky_relu", SLOPE)
_NORMS = {"relu": NormFactory("plain", "relu"), "inplace": _IN_PLACE, "inplace-checkpoint": _IN_PLACE}


class Loss(nn.Module):
    """Sum of the means of all outputs of a network.

    Args:
        network: Network from images to a tensor, or to a list or dict of tensors.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return a scalar."""
        outputs = [output for output in tree_leaves(self.network(images)) if isinstance(output, Tensor)]
        return torch.stack([output.float().square().mean() for output in outputs]).sum()


def body_in(form: Form, name: str) -> nn.Module:
    """Return a body of this project in one of the forms.

    Args:
        form: Form of the network.
        name: Name of the body in the settings.
    """
    memory = "checkpoint" if "checkpoint" in form else "none"
    body = build_body(BodySettings(name=name), _NORMS.get(form, _ORDINARY), memory)
    if form == "compile":
        body.compile_budget = BUDGET
    return body


class DoubleConv(nn.Sequential):
    """Two 3×3 convolutions, each with BatchNorm and activation.

    Args:
        before: Channels of the input.
        after: Channels of the output.
        activation: Function that makes an activation.
    """

    def __init__(self, before: int, after: int, activation: Callable[[], nn.Module]) -> None:
        layers: list[nn.Module] = []
        for channels in (before, after):
            layers += [nn.Conv2d(channels, after, 3, padding=1), nn.BatchNorm2d(after), activation()]
        super().__init__(*layers)


class UNet(nn.Module):
    """U-Net as users write it: Ronneberger et al., 2015, with BatchNorm and padding.

    Args:
        activation: Function that makes an activation.
        width: Channels of the finest maps.
        depth: Number of poolings.
    """

    def __init__(self, activation: Callable[[], nn.Module], width: int = 32, depth: int = 4) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth + 1)]
        self.pool: nn.Module = nn.MaxPool2d(2)
        self.first = DoubleConv(3, width, activation)
        self.down, self.up, self.join = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for fine, coarse in pairwise(widths):
            self.down.append(DoubleConv(fine, coarse, activation))
            self.up.append(nn.ConvTranspose2d(coarse, fine, 2, 2))
            self.join.append(DoubleConv(coarse, fine, activation))
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return N×2×H×W logits of N×3×H×W images, whose sides all poolings divide."""
        maps = [self.first(images)]
        for block in self.down:
            maps.append(self.pooled(block, maps[-1]))
        x = maps.pop()
        for up, block in zip(reversed(self.up), reversed(self.join), strict=True):
            x = self.joined(up, block, maps.pop(), x)
        logits: Tensor = self.head(x)
        return logits

    def pooled(self, block: nn.Module, x: Tensor) -> Tensor:
        """Return the map of the next coarser level."""
        output: Tensor = block(self.pool(x))
        return output

    def joined(self, up: nn.Module, block: nn.Module, skip: Tensor, x: Tensor) -> Tensor:
        """Return the map of the next finer level."""
        output: Tensor = block(torch.cat([skip, up(x)], dim=1))
        return output


class LeanUNet(UNet):
    """The same with in-place norms, whose concatenations are not kept and whose pools keep int32 positions."""

    def __init__(self, activation: Callable[[], nn.Module], width: int = 32, depth: int = 4) -> None:
        super().__init__(activation, width, depth)
        convert_norms(self)
        self.pool = LeanMaxPool2d(2)

    def joined(self, up: nn.Module, block: nn.Module, skip: Tensor, x: Tensor) -> Tensor:
        """Return the map of the next finer level; the backward pass concatenates again."""
        convolution, *others = block.children()
        x = checkpoint(lambda *maps: convolution(torch.cat(maps, dim=1)), skip, up(x))
        for layer in others:
            x = layer(x)
        return x


class RecomputedUNet(UNet):
    """The same, which only keeps what its blocks read."""

    def pooled(self, block: nn.Module, x: Tensor) -> Tensor:
        """Return the map of the next coarser level; the backward pass computes it again."""
        return checkpoint(partial(super().pooled, block), x)

    def joined(self, up: nn.Module, block: nn.Module, skip: Tensor, x: Tensor) -> Tensor:
        """Return the map of the next finer level; the backward pass computes it again."""
        return checkpoint(partial(super().joined, up, block), skip, x)


def unet_in(form: Form, width: int = 32, depth: int = 4) -> nn.Module:
    """Return a U-Net in one of the forms."""
    kinds = {"inplace": LeanUNet, "checkpoint": RecomputedUNet, "inplace-checkpoint": RecomputedUNet}
    activation = nn.ReLU if form == "relu" else partial(nn.LeakyReLU, SLOPE)
    network: nn.Module = kinds.get(form, UNet)(partial(activation, inplace=True), width, depth)
    if form in ("converted", "inplace-checkpoint"):
        convert_norms(network)
    return compile_within(BUDGET, network) if form == "compile" else network


def user_network_in(form: Form, make: Callable[[], nn.Module]) -> nn.Module:
    """Return a network of the user in one of the forms.

    Args:
        form: ``leaky``, which is the network as it is, ``converted`` or ``compile``.
        make: Function that makes the network.
    """
    network = make()
    if form == "converted":
        print(convert_norms(network, activation="leaky_relu"), file=sys.stderr)
    return compile_within(BUDGET, network) if form == "compile" else network


def find_callable(name: str) -> Callable[[], nn.Module]:
    """Import a function by ``module:callable``; modules of the current folder are found, too.

    Raises:
        SystemExit: There is no such function.
    """
    module, _, attribute = name.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found: Callable[[], nn.Module] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        sys.exit(f"--network {name} is no function: {error}; pass module:callable, such as torchvision.models:resnet18")
    finally:
        sys.path.pop(0)
    return found


def started(network: nn.Module) -> Loss:
    """Give a network random weights, the same in all forms, and return its loss."""
    initialize(network, "leaky_relu", SLOPE, torch.Generator().manual_seed(0))
    return Loss(network)
