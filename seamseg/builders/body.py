"""Settings to the body, with the weights that it starts from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

from torch import nn

from seamseg.config.network import TORCHVISION, BodySettings, NormSettings
from seamseg.errors import SettingsError
from seamseg.export.body_weights import load_body_weights
from seamseg.modules.abn import ABN
from seamseg.modules.batch_renorm import RenormLimits
from seamseg.modules.body import Body
from seamseg.modules.densenet import DENSENET_LAYERS, build_cifar_densenet, build_densenet
from seamseg.modules.mabn import MovingAverages
from seamseg.modules.norm import NormFactory, NormName
from seamseg.modules.pre_activation import RESNEXT_BLOCKS, build_resnext, build_wide_resnet38
from seamseg.modules.resnet import RESNET_BLOCKS, ResNet
from seamseg.modules.torchvision_body import TorchvisionBody

BODIES: Mapping[str, Callable[[NormFactory], Body]] = {
    **{name: partial(ResNet, name) for name in RESNET_BLOCKS},
    **{name: partial(build_resnext, name) for name in RESNEXT_BLOCKS},
    "wide_resnet38": partial(build_wide_resnet38, "pooled"),
    "wide_resnet38_a2": partial(build_wide_resnet38, "strided"),
    "wide_resnet38_a2_dilated": partial(build_wide_resnet38, "dilated"),
    **{name: partial(build_densenet, name) for name in DENSENET_LAYERS},
    "densenet_bc100": build_cifar_densenet,
}
"""How the body of each ``body.name`` is made; networks of torchvision are not listed."""

PYRAMID_STRIDES = (4, 8, 16, 32)
"""Strides of the levels that the feature pyramid reads, in pixels."""


def build_norm(settings: NormSettings, name: NormName | None = None) -> NormFactory:
    """Build the factory of norms; ``name`` replaces that of the settings unless it is None."""
    return NormFactory(
        name=name or settings.name,
        activation=settings.activation,
        slope=settings.slope,
        scale=settings.scale,
        groups=settings.groups,
        momentum=settings.momentum,
        sync=settings.sync,
        standardize_weights=settings.standardize_weights,
        mabn=MovingAverages(**settings.mabn.model_dump()),
        brn=RenormLimits(**settings.brn.model_dump()),
    )


_RECOMPUTED: Mapping[str, Literal["nothing", "largest", "all"]] = {"auto": "largest", "checkpoint": "all"}
"""What the backward pass recomputes for each ``training.memory``; nothing for others."""


def build_body(settings: BodySettings, norm: NormFactory, memory: str = "none") -> Body:
    """Build the body without particular weights.

    Args:
        settings: Settings of the body.
        norm: Factory of all norms.
        memory: Setting ``training.memory``.

    Raises:
        SeamsegError: torchvision has no such network, or none that can be a body.
    """
    if settings.name.startswith(TORCHVISION):
        body: Body = TorchvisionBody(settings.name.removeprefix(TORCHVISION), settings.norm_frozen)
    else:
        body = BODIES[settings.name](norm)
    body.recompute = _RECOMPUTED.get(memory, "nothing")
    return body


def build_pyramid_body(settings: BodySettings, norm: NormFactory, memory: str = "none") -> Body:
    """Build the body for a feature pyramid, which needs levels at strides 4, 8, 16 and 32, as :func:`build_body` does.

    Raises:
        SeamsegError: The body has other levels, or as for :func:`build_body`.
    """
    body = build_body(settings, norm, memory)
    if body.strides != PYRAMID_STRIDES:
        strides = ", ".join(map(str, body.strides))
        raise SettingsError(
            f"body.name={settings.name} has levels at strides {strides}, but the feature pyramid needs 4, 8, 16, 32; "
            "choose another body"
        )
    return body


def compile_bodies(network: nn.Module, budget: float) -> None:
    """Let the bodies of a network run compiled in training; see :class:`seamseg.modules.body.Body`."""
    for module in network.modules():
        if isinstance(module, Body):
            module.compile_budget = budget


def load_and_freeze(body: Body, settings: BodySettings, tell: Callable[[str], None] | None, read_weights: bool) -> None:
    """Load ``body.weights`` and freeze what the settings say.

    Args:
        body: Changed in place.
        settings: Settings of the body.
        tell: Called with a sentence on the weights that were used.
        read_weights: Whether to load ``body.weights``; False for a network that gets the weights of a checkpoint.

    Raises:
        SeamsegError: The weights cannot be read or belong to another network, or a frozen part does not exist.
    """
    if read_weights and settings.weights is not None:
        loaded = load_body_weights(body, settings.name, settings.weights)
        if tell is not None:
            tell(str(loaded))
    parts = dict(body.parts().named_modules())
    for part in settings.frozen:
        if part not in parts:
            known = ", ".join(name for name, _ in body.parts().named_children())
            raise SettingsError(f"body.frozen: {settings.name} has no part {part}; its parts are {known}")
        parts[part].requires_grad_(False)
    if settings.norm_frozen:
        for module in body.modules():
            if isinstance(module, ABN):
                module.freeze()
