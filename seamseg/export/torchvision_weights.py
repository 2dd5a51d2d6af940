"""Loading of torchvision's ImageNet weights into our ResNet bodies."""

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
from seamseg.modules.body import Body
from seamseg.modules.norm import AffineAct

CLASSIFIER = "fc."
COUNTER = ".num_batches_tracked"


@dataclass(frozen=True)
class LoadedWeights:
    """Report on the entries of a weights file.

    Attributes:
        source: ``imagenet``, or the path of the file.
        used: Names of our entries that were filled.
        missing: Names of our entries that the file does not contain and that start at 0: counters, which older files
            do not have.
        unexpected: Entries of the file that were not used: the classifier.
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
            f"body.weights={self.source}: {len(self.used)} entries used; {_count_and_names('missing', self.missing)}; "
            f"{_count_and_names('unexpected', self.unexpected)}; {self.num_changed} norm weights changed to the "
            "nearest value that an in-place norm supports"
        )


def load_body_weights(body: Body, name: str, source: str) -> LoadedWeights:
    """Load the weights of the torchvision network of the same name into a body.

    The weights of the norms are set so that the norms scale as stored. This is exact, except for weights closer to 0
    than ε and, with ``scale = "abs"``, negative weights, which cannot be represented.

    Args:
        body: Body to fill in place; unchanged if the weights are refused.
        name: Name of the network, such as ``resnet50``.
        source: ``imagenet`` for the first release of torchvision's ImageNet weights, which torchvision downloads, or
            the path of a file in the same format.

    Raises:
        SeamsegError: The file is missing, damaged, or belongs to another network.
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
            f"the weights {source} do not belong to a {name}: {_count_and_names('missing', missing)}; "
            f"{_count_and_names('unexpected', unexpected)}; {_count_and_names('with another shape', other)}"
        )


def _adapt(norm: ABN, tensors: dict[str, Tensor], key: str) -> int:
    """Convert the scale of a BatchNorm to the weight of our norm; return the number of values that are not exact."""
    if key not in tensors or isinstance(norm, AffineAct):
        return 0
    gamma = tensors[key]
    tensors[key] = inverse_gamma(norm, gamma)
    lost = gamma < norm.eps if norm.scale == "abs" else gamma.abs() < norm.eps
    return int(lost.sum())


def _count_and_names(adjective: str, names: Iterable[str], at_most: int = 3) -> str:
    """Format the number of names and the first of them, such as ``2 missing (a, b)``."""
    names = list(names)
    listed = ", ".join(names[:at_most]) + (", …" if len(names) > at_most else "")
    return f"{len(names)} {adjective}" + (f" ({listed})" if names else "")


def convert_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename torchvision's entries to our names; the classifier is dropped."""
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
        except (OSError, RuntimeError) as error:  # no connection, or a checksum mismatch
            raise ModelError(
                f"body.weights=imagenet: the weights of {name} cannot be downloaded ({shorten(str(error), 200)}); "
                "set body.weights to a file with these weights instead"
            ) from error
        return weights
    try:
        tensors = torch.load(Path(source), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or missing file can raise anything in torch
        raise ModelError(f"body.weights={source} cannot be read: {shorten(str(error), 200)}") from error
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise ModelError(f"body.weights={source} is not a state dict, which contains tensors by name")
    return tensors
