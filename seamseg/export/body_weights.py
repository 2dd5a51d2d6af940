"""Loading of ImageNet weights and trained models into bodies."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from seamseg.errors import ModelError
from seamseg.export.hub_weights import HUB, TIMM, download_hub_file, timm_weights
from seamseg.export.model_file import MODEL_FILE, is_model_file, read_model
from seamseg.io.yaml_files import load_yaml
from seamseg.modules.abn import ABN
from seamseg.modules.batchnorm import inverse_gamma
from seamseg.modules.body import Body
from seamseg.modules.mabn import MABN
from seamseg.modules.norm import PlainABN
from seamseg.modules.resnet import RESNET_BLOCKS, ResNet
from seamseg.modules.torchvision_body import TorchvisionBody
from seamseg.ops.inplace_abn import Scale

COUNTER = ".num_batches_tracked"

FileScale = Literal["plain", "abs", "signed"]
"""How the norms of a file scale: by the weight w (BatchNorm), by |w| + ε, or by w + sign(w)·ε."""


@dataclass(frozen=True)
class LoadedWeights:
    """Report on the entries of a weights file.

    Attributes:
        source: Value of ``body.weights``.
        used: Names of our entries that were filled.
        missing: Names of our entries that the file does not contain and that start at 0: counters, which older files
            do not have.
        unexpected: Entries of the file that were not used, such as the classifier.
        num_changed: Number of norm weights that could not be copied exactly: those closer to 0 than ε became ±ε, and,
            with ``scale = "abs"``, negative ones became ε.
    """

    source: str
    used: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    num_changed: int

    def __str__(self) -> str:
        """Format the report as one sentence."""
        return (
            f"body.weights={self.source}: {len(self.used)} entries used; {count_and_names('missing', self.missing)}; "
            f"{count_and_names('unexpected', self.unexpected)}; {self.num_changed} norm weights changed to the "
            "nearest value that an in-place norm supports"
        )


def load_body_weights(body: Body, name: str, source: str) -> LoadedWeights:
    """Load weights into a body.

    The weights of the norms are set so that the norms scale as in the source. This is exact, except for scales closer
    to 0 than ε and, with ``scale = "abs"``, negative ones, which cannot be represented. Activations are not part of the
    weights: a network that was trained with ReLUs computes something else with leaky ones.

    Args:
        body: Body to fill in place; unchanged if the weights are refused.
        name: Name of the body, such as ``resnet50`` or ``torchvision:mobilenet_v2``.
        source: ``imagenet`` or ``imagenet_v2`` for torchvision's first or second release of ImageNet weights, which
            torchvision downloads; the path of a torch or safetensors file in torchvision's format or in that of the
            published in-place networks; a run folder or its ``model.safetensors``; or the id of a model in a hub
            (:mod:`seamseg.export.hub_weights`).

    Raises:
        SeamsegError: The source is missing, damaged, or belongs to another network.
    """
    found, scale = _read(name, source)
    parts = body.parts()
    if isinstance(body, ResNet) and "layer1.0.conv1.weight" in found:
        found = convert_names(found)
    if name == "torchvision:mobilenet_v2" and "features.1.conv.0.weight" in found:
        found = {_mobilenet_name(key): tensor for key, tensor in found.items()}
    if isinstance(body, TorchvisionBody):  # trained here, the names begin with the attribute that holds the network
        found = {key.removeprefix("network."): tensor for key, tensor in found.items()}
    _check_moving_averages(parts, found, source)
    others = found.keys() - parts.state_dict().keys()
    outside = tuple(sorted(key for key in others if key.partition(".")[0] in _AFTER_BODY))
    tensors = {key: tensor for key, tensor in found.items() if key not in outside}
    return replace(load_converted(parts, tensors, scale, name, source), unexpected=outside)


def load_converted(
    module: nn.Module, tensors: dict[str, Tensor], scale: FileScale, name: str, source: str
) -> LoadedWeights:
    """Load weights into a module, and set the weights of its norms so that they scale as in the source.

    Args:
        module: Module to fill in place; unchanged if the weights are refused.
        tensors: Weights by name. Counters may be missing.
        scale: How the norms of the source scale.
        name: Name of the network, for the error message.
        source: Origin of the weights, for the error message and the report.

    Raises:
        SeamsegError: Names or shapes differ; the message names them.
    """
    expected = module.state_dict()
    missing = tuple(sorted(key for key in expected.keys() - tensors.keys() if key.endswith(COUNTER)))
    tensors = tensors | {key: torch.zeros((), dtype=torch.int64) for key in missing}
    if differing := differences(tensors, expected):
        raise ModelError(f"the weights {source} do not belong to a {name}: {differing}")
    num_changed = sum(
        _adapt(layer, tensors, f"{key}.weight", scale)
        for key, layer in module.named_modules()
        if isinstance(layer, ABN)
    )
    module.load_state_dict(tensors)
    used = tuple(sorted(tensors.keys() - set(missing)))
    return LoadedWeights(source, used, missing, (), num_changed)


_AFTER_BODY = ("fc", "classifier", "pre_logits", "head", "heads", "aux1", "aux2", "AuxLogits")
"""Modules of classification networks that follow the body."""


def _check_moving_averages(parts: nn.Module, found: dict[str, Tensor], source: str) -> None:
    """Check that the body subtracts means if the source did; MABN has the same parameters but does not."""
    ours = any(isinstance(module, MABN) for module in parts.modules())
    theirs = any(key.endswith(".square_history") for key in found)
    if ours != theirs:
        raise ModelError(
            f"the weights {source} were trained with{'' if theirs else 'out'} norm.name=mabn and this network "
            f"{'has it' if ours else 'does not have it'}; use the same norm, or other weights"
        )


def differences(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """Describe the names and shapes that differ from those of a network; empty if none do.

    Args:
        tensors: Tensors of a file, by name.
        expected: State dict of the network.
    """
    missing = sorted(expected.keys() - tensors.keys())
    unexpected = sorted(tensors.keys() - expected.keys())
    other = sorted(key for key in expected.keys() & tensors.keys() if expected[key].shape != tensors[key].shape)
    if not (missing or unexpected or other):
        return ""
    kinds = {"missing": missing, "unexpected": unexpected, "with another shape": other}
    return "; ".join(count_and_names(kind, names) for kind, names in kinds.items())


def _adapt(norm: ABN, tensors: dict[str, Tensor], key: str, scale: FileScale) -> int:
    """Convert the weight of a norm in the file to that of ours; return the number of values that are not exact."""
    if key not in tensors or (scale == norm.scale and not isinstance(norm, PlainABN)):
        return 0
    gamma = _gamma(tensors[key], norm.eps, scale)
    tensors[key] = inverse_gamma(norm, gamma)
    if isinstance(norm, PlainABN):
        return 0
    lost = gamma < norm.eps if norm.scale == "abs" else gamma.abs() < norm.eps
    return int(lost.sum())


def _gamma(weight: Tensor, eps: float, scale: FileScale) -> Tensor:
    if scale == "abs":
        return weight.abs() + eps
    return weight if scale == "plain" else torch.where(weight >= 0, weight + eps, weight - eps)


def count_and_names(adjective: str, names: Iterable[str], at_most: int = 3) -> str:
    """Format the number of names and the first of them, such as ``2 missing (a, b)``."""
    names = list(names)
    listed = ", ".join(names[:at_most]) + (", …" if len(names) > at_most else "")
    return f"{len(names)} {adjective}" + (f" ({listed})" if names else "")


def convert_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the entries of torchvision's ResNets to our names, except for the classifier."""
    return {name if name.startswith("fc.") else _convert(name): tensor for name, tensor in tensors.items()}


def _convert(name: str) -> str:
    match = re.fullmatch(r"layer(\d)\.(\d+)\.(.*)", name)
    if match is None:
        return f"mod1.{name}"
    group, block, rest = int(match[1]) + 1, int(match[2]) + 1, match[3]
    if rest.startswith("downsample."):
        rest = rest.replace("downsample.0", "proj_conv").replace("downsample.1", "proj_bn")
    else:
        rest = f"convs.{rest}"
    return f"mod{group}.block{block}.{rest}"


def _mobilenet_name(name: str) -> str:
    """Convert a name of the first MobileNetV2 files, whose blocks are flat sequences, to torchvision's name.

    A block is convolution, norm, ReLU6 for each of its stages, without the ReLU6 after the last one. torchvision groups
    the layers of each stage except the last. Only block 1 has two stages, the others have three.
    """
    match = re.fullmatch(r"features\.(\d+)\.conv\.(\d)\.([a-z_]+)", name)
    if match is None:
        return name
    last = 1 if match[1] == "1" else 2
    stage, part = divmod(int(match[2]), 3)
    layer = f"{stage + part}" if stage == last else f"{stage}.{part}"
    return f"features.{match[1]}.conv.{layer}.{match[3]}"


def _read(name: str, source: str) -> tuple[dict[str, Tensor], FileScale]:
    """Read the entries of a source, with names relative to the body, and how its norms scale."""
    if source in IMAGENET_RELEASES:
        return _imagenet(name, source), "plain"
    if source.startswith(TIMM):
        return timm_weights(name, source), "plain"
    path = download_hub_file(source, name) if source.startswith(HUB) else Path(source)
    if path.is_dir():
        return _trained_body(path / MODEL_FILE)
    if path.suffix == ".safetensors" and is_model_file(path):
        return _trained_body(path)
    tensors = read_state_dict(path, f"body.weights={source}")
    return tensors, "abs" if PUBLISHED_NAME in tensors else "plain"


PUBLISHED_NAME = "mod1.conv1.weight"
"""Name of an entry of all published in-place networks."""


def read_state_dict(path: Path, what: str) -> dict[str, Tensor]:
    """Read a file of tensors by name that torch or safetensors has written, but not seamseg.

    The tensors may be in an entry ``state_dict``, with ``module.`` in front of their names, and, as in the published
    semantic network, in an entry ``body`` of that.

    Args:
        path: Path of the file.
        what: Name of the file in error messages.

    Raises:
        SeamsegError: The file is missing, damaged, or contains something else.
    """
    try:
        safe = path.suffix == ".safetensors"
        content: Any = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or missing file can raise anything in torch
        raise ModelError(f"{what} cannot be read: {shorten(str(error), 200)}") from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):  # published in-place networks
        content = content["state_dict"]
        content = content.get("body", content)
    if not isinstance(content, dict) or not all(isinstance(tensor, Tensor) for tensor in content.values()):
        raise ModelError(f"{what} is not a state dict, which contains tensors by name")
    return {key.removeprefix("module."): tensor for key, tensor in content.items()}


IMAGENET_RELEASES = {"imagenet": "IMAGENET1K_V1", "imagenet_v2": "IMAGENET1K_V2"}
"""torchvision's name of the ImageNet weights for each value of ``body.weights`` that stands for them."""


def _imagenet(name: str, source: str) -> dict[str, Tensor]:
    from torchvision import models

    network, release = name.removeprefix("torchvision:"), IMAGENET_RELEASES[source]
    if network == name and name not in RESNET_BLOCKS:
        raise ModelError(f"body.weights={source}: torchvision has no weights of {name}; name a file instead")
    releases = models.get_model_weights(network)
    if release not in releases.__members__:
        others = [
            f"body.weights={value}" for value, other in IMAGENET_RELEASES.items() if other in releases.__members__
        ]
        raise ModelError(
            f"body.weights={source}: torchvision has no weights {release} of {name}; "
            f"use {' or '.join([*others, 'a file'])} instead"
        )
    try:
        weights: dict[str, Tensor] = releases[release].get_state_dict(progress=True, check_hash=True, weights_only=True)
    except Exception as error:  # no connection, a wrong checksum, or a file with anything else than tensors
        raise ModelError(
            f"body.weights={source}: the weights of {name} cannot be downloaded and read ({shorten(str(error), 200)}); "
            "set body.weights to a file with these weights instead"
        ) from error
    return weights


def _trained_body(path: Path) -> tuple[dict[str, Tensor], FileScale]:
    """Read the body of a model that was trained here."""
    if not path.is_file():
        raise ModelError(f"body.weights={path} does not exist; name a run folder that has been validated once")
    model = read_model(path)
    prefix = "body.backbone." if any(key.startswith("body.backbone.") for key in model.tensors) else "body."
    tensors = {key.removeprefix(prefix): value for key, value in model.tensors.items() if key.startswith(prefix)}
    norm = load_yaml(model.settings, f"the settings in {path}")["norm"]
    return tensors, norm_scale(norm["name"], norm["scale"])


def norm_scale(name: str, scale: Scale) -> FileScale:
    """Return how the norms of a network with these settings scale."""
    return "plain" if name in ("affine", "plain") else scale
