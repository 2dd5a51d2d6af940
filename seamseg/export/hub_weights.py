"""Weights from model hubs, by huggingface_hub and timm if the user has installed them."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from textwrap import shorten
from typing import Any, TypeVar

from torch import Tensor

from seamseg.errors import ModelError, SettingsError

HUB = "hf://"
TIMM = "timm:"
TIMM_REPOSITORY = "timm/"

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
"""Names of weights files in a repository of the Hugging Face Hub; the first that exists is read."""

Downloaded = TypeVar("Downloaded")


def download_hub_file(source: str, body_name: str) -> Path:
    """Download the weights file of a repository of the Hugging Face Hub; no code of the repository runs.

    Args:
        source: ``hf://ORG/NAME``, or ``hf://ORG/NAME@REVISION`` for a branch, a tag or a commit.
        body_name: Name of the body to fill, such as ``resnet50``. timm's own repositories are called ``timm/NAME.TAG``,
            and their architecture must be that of the body; see :func:`timm_weights`.

    Returns:
        Path of the file in the cache of huggingface_hub, which a second call reads without downloading.

    Raises:
        SeamsegError: huggingface_hub is not installed, the id is malformed, timm's model has another architecture, or
            none of :data:`HUB_FILES` can be downloaded.
    """
    match = re.fullmatch(rf"{HUB}([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", source)
    if match is None:
        raise SettingsError(f"body.weights={source} is not a model id; write hf://ORG/NAME or hf://ORG/NAME@REVISION")
    if match[1].startswith(TIMM_REPOSITORY):
        _check_architecture(match[1].removeprefix(TIMM_REPOSITORY), body_name, source)
    hub = _installed("huggingface_hub", source)
    missing_file = import_module("huggingface_hub.utils").EntryNotFoundError
    first, second = HUB_FILES

    def download() -> Path:
        try:
            return Path(hub.hf_hub_download(match[1], first, revision=match[2]))
        except missing_file:
            return Path(hub.hf_hub_download(match[1], second, revision=match[2]))

    return _downloaded(download, source)


def timm_weights(body_name: str, source: str) -> dict[str, Tensor]:
    """Return the pretrained weights of a timm model that has the same architecture as the body.

    timm's ResNets, ResNeXts, Wide ResNets, DenseNets and VGGs have torchvision's layers and names. Its variants of
    them, such as ``resnetaa50``, can have the same entries although they compute something else, so the name of the
    architecture must be equal, too.

    Args:
        body_name: Name of the body, such as ``resnet50`` or ``torchvision:densenet121``.
        source: ``timm:NAME`` for timm's default weights, or ``timm:NAME.TAG`` for others, such as
            ``timm:resnet50.a1_in1k``.

    Raises:
        SeamsegError: timm is not installed, the model has another architecture, or timm has no such weights or cannot
            download them.
    """
    timm = _installed("timm", source)
    model = source.removeprefix(TIMM)
    _check_architecture(model, body_name, source)
    created = _downloaded(lambda: timm.create_model(model, pretrained=True), source)
    weights: dict[str, Tensor] = created.state_dict()
    return weights


def _check_architecture(model: str, body_name: str, source: str) -> None:
    """Check that a timm model, such as ``resnet50.a1_in1k``, has the architecture of the body."""
    architecture, network = model.partition(".")[0], body_name.removeprefix("torchvision:")
    if architecture != network:
        raise ModelError(
            f"body.weights={source} has the architecture {architecture}, which is not that of body.name={body_name}; "
            f"choose weights of {network}, or another body"
        )


def _installed(package: str, source: str) -> Any:
    """Import an optional package."""
    try:
        return import_module(package)
    except ImportError as error:
        raise ModelError(f"body.weights={source} requires {package}: pip install {package}") from error


def _downloaded(download: Callable[[], Downloaded], source: str) -> Downloaded:
    """Call ``download`` and turn its errors into one sentence."""
    try:
        return download()
    except Exception as error:  # the kinds of errors differ between versions of these packages
        reason = shorten(str(error), 200)
        raise ModelError(f"body.weights={source} cannot be downloaded ({reason}); name a file instead") from error
