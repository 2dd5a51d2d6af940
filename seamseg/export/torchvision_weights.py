"""ImageNet weights of torchvision's ResNets for our bodies."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten

import torch
from torch import Tensor

from seamseg.errors import ModelError
from seamseg.modules.abn import ABN
from seamseg.modules.batchnorm import inverse_gamma
from seamseg.modules.norm import AffineAct
from seamseg.modules.resnet import ResNet

CLASSIFIER = "fc."
COUNTER = ".num_batches_tracked"


@dataclass(frozen=True)
class LoadedWeights:
    """What became of the entries of a file of weights.

    Attributes:
        source: ``imagenet``, or the file.
        used: our names of the entries that were filled.
        missing: our names of those that the file lacks and that start at 0: counters, which older files lack.
        unexpected: entries of the file without a place: the classifier.
        num_changed: weights of norms that could not be taken over as they are: those nearer to 0 than ε became ±ε, and,
            with ``scale = "abs"``, negative ones became ε.
    """

    source: str
    used: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    num_changed: int

    def __str__(self) -> str:
        """In one sentence."""
        return (
            f"body.weights={self.source}: {len(self.used)} entries used; {_some('missing', self.missing)}; "
            f"{_some('unexpected', self.unexpected)}; {self.num_changed} weights of norms changed to what a norm in "
            "place can have"
        )


def load_body_weights(body: ResNet, name: str, source: str) -> LoadedWeights:
    """Fills a body with the weights of torchvision's network of the same name.

    The norms' weights are set so that they scale as stored: exactly, but for those smaller than ε, and, with
    ``scale = "abs"``, negative ones, which cannot be expressed.

    Args:
        body: filled in place; left as it is when the weights are refused.
        name: such as ``resnet50``.
        source: ``imagenet`` for torchvision's first release of ImageNet weights, which it downloads, or a file in its
            format.

    Raises:
        SeamsegError: the file is missing or damaged, or is of another network.
    """
    found = _read(name, source)
    unexpected = tuple(sorted(key for key in found if key.startswith(CLASSIFIER)))
    tensors, expected = convert_names(found), body.state_dict()
    missing = tuple(sorted(key for key in expected.keys() - tensors.keys() if key.endswith(COUNTER)))
    tensors |= {key: torch.zeros((), dtype=torch.int64) for key in missing}
    _check(tensors, expected, name, source)
    num_changed = sum(
        _adapt(module, tensors, f"{key}.weight") for key, module in body.named_modules() if isinstance(module, ABN)
    )
    body.load_state_dict(tensors)
    used = tuple(sorted(tensors.keys() - set(missing)))
    return LoadedWeights(source, used, missing, unexpected, num_changed)


def _check(tensors: dict[str, Tensor], expected: dict[str, Tensor], name: str, source: str) -> None:
    missing = sorted(expected.keys() - tensors.keys())
    unexpected = sorted(tensors.keys() - expected.keys())
    other = sorted(key for key in expected.keys() & tensors.keys() if expected[key].shape != tensors[key].shape)
    if missing or unexpected or other:
        raise ModelError(
            f"the weights {source} are not those of a {name}: {_some('missing', missing)}; "
            f"{_some('unexpected', unexpected)}; {_some('of another shape', other)}"
        )


def _adapt(norm: ABN, tensors: dict[str, Tensor], key: str) -> int:
    """Turns the factor of a BatchNorm into the weight of ours; counts the values that no weight stands for."""
    if key not in tensors or isinstance(norm, AffineAct):
        return 0
    gamma = tensors[key]
    tensors[key] = inverse_gamma(norm, gamma)
    lost = gamma < norm.eps if norm.scale == "abs" else gamma.abs() < norm.eps
    return int(lost.sum())


def _some(what: str, names: Iterable[str], at_most: int = 3) -> str:
    names = list(names)
    listed = ", ".join(names[:at_most]) + (", …" if len(names) > at_most else "")
    return f"{len(names)} {what}" + (f" ({listed})" if names else "")


def convert_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """From torchvision's names to ours; the classifier is left out."""
    return {_convert(name): tensor for name, tensor in tensors.items() if not name.startswith(CLASSIFIER)}


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
            weights: dict[str, Tensor] = models.get_model_weights(name)["IMAGENET1K_V1"].get_state_dict(progress=True)
        except (OSError, RuntimeError) as error:  # no connection; a file that is not what its name promises
            raise ModelError(
                f"body.weights=imagenet: those of {name} cannot be downloaded ({shorten(str(error), 200)}); "
                "name a file of them instead"
            ) from error
        return weights
    try:
        tensors = torch.load(Path(source), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever a damaged or missing file makes of it
        raise ModelError(f"body.weights={source} cannot be read: {shorten(str(error), 200)}") from error
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise ModelError(f"body.weights={source} is not a state dict, which holds tensors by name")
    return tensors
