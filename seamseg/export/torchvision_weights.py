"""ImageNet weights of torchvision's ResNets for our bodies."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import shorten

import torch
from torch import Tensor

from seamseg.modules.abn import ABN
from seamseg.modules.batchnorm import inverse_gamma
from seamseg.modules.resnet import ResNet


def load_body_weights(body: ResNet, name: str, source: str) -> None:
    """Fills a body with the weights of torchvision's network of the same name.

    The norms' weights are set so that they scale as stored: exactly, but for those smaller than ε, and, with
    ``scale = "abs"``, negative ones, which cannot be expressed.

    Args:
        body: filled in place.
        name: such as ``resnet50``.
        source: ``imagenet`` to download torchvision's own, or a file in its format.

    Raises:
        ValueError: the file is missing or damaged, or is of another network.
    """
    tensors = convert_names(_read(name, source))
    expected = body.state_dict()
    for key in expected.keys() - tensors.keys():
        if key.endswith(".num_batches_tracked"):  # older files lack these counters
            tensors[key] = torch.zeros((), dtype=torch.int64)
    wrong = sorted(
        key for key in expected.keys() | tensors.keys() if _shape(expected.get(key)) != _shape(tensors.get(key))
    )
    if wrong:
        raise ValueError(
            f"the weights {source} are not those of a {name}: {len(wrong)} entries are missing, unknown or of another "
            f"shape, such as {wrong[0]}"
        )
    for key, module in body.named_modules():
        if isinstance(module, ABN) and f"{key}.weight" in tensors:
            tensors[f"{key}.weight"] = inverse_gamma(module, tensors[f"{key}.weight"])
    body.load_state_dict(tensors)


def convert_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """From torchvision's names to ours; the classifier is left out."""
    return {_convert(name): tensor for name, tensor in tensors.items() if not name.startswith("fc.")}


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


def _read(name: str, source: str) -> dict[str, Tensor]:
    if source == "imagenet":
        from torchvision import models

        try:
            weights: dict[str, Tensor] = models.get_model_weights(name).DEFAULT.get_state_dict(progress=True)
        except (OSError, RuntimeError) as error:  # no connection; a file that is not what its name promises
            raise ValueError(
                f"body.weights=imagenet: those of {name} cannot be downloaded ({shorten(str(error), 200)}); "
                "name a file of them instead"
            ) from error
        return weights
    try:
        tensors = torch.load(Path(source), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever a damaged or missing file makes of it
        raise ValueError(f"body.weights={source} cannot be read: {shorten(str(error), 200)}") from error
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise ValueError(f"body.weights={source} is not a state dict, which holds tensors by name")
    return tensors


def _shape(tensor: Tensor | None) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(tensor.shape)
