"""Model files: weights, settings and categories of a trained network in one file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from seamseg.errors import ModelError
from seamseg.io.files import atomic_write
from seamseg.runtime.finite import check_finite

MODEL_FILE = "model.safetensors"
"""Name of the model file: in a run folder, the best model so far; in a model folder, the weights."""

SETTINGS_FILE = "config.yaml"
"""Name of the file with all settings, in a run folder and in a model folder."""

_FORMAT = "seamseg 1"


@dataclass(frozen=True)
class ModelFile:
    """Content of a model file.

    Attributes:
        settings: Settings of the experiment as YAML text.
        categories: Categories in the format of :meth:`seamseg.structures.Categories.to_list`.
        tensors: State dict of the network.
    """

    settings: str
    categories: list[dict[str, Any]]
    tensors: dict[str, Tensor]


def save_model(path: Path, model: ModelFile) -> None:
    """Write a safetensors file with settings and categories in its header, atomically.

    Args:
        path: Output file.
        model: Content to write.

    Raises:
        FloatingPointError: A tensor contains an infinity or a NaN.
        OSError: The file cannot be written, for example because the disk is full.
    """
    check_finite(f"{path} is not written: the model", model.tensors)
    metadata = {"format": _FORMAT, "settings": model.settings, "categories": json.dumps(model.categories)}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.tensors.items()}
    try:
        atomic_write(path, lambda temporary: save_file(tensors, temporary, metadata))
    except SafetensorError as error:
        raise OSError(f"{path} cannot be written ({error})") from error


def is_model_file(path: Path) -> bool:
    """Return whether a file was written by :func:`save_model`; False for a file that cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("format") == _FORMAT
    except (SafetensorError, OSError):
        return False


def read_model(path: Path) -> ModelFile:
    """Read a safetensors file written by :func:`save_model`.

    Raises:
        SeamsegError: The file is damaged, or was not written by this package.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise ModelError(f"the model {path} cannot be read ({error}); it is damaged") from error
    if metadata.get("format") != _FORMAT:
        raise ModelError(f"{path} is a safetensors file, but was not written by seamseg")
    try:
        return ModelFile(metadata["settings"], json.loads(metadata["categories"]), tensors)
    except (KeyError, json.JSONDecodeError) as error:
        raise ModelError(f"the model {path} has a damaged header ({error})") from error
