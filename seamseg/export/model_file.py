"""A trained network in one file: weights, settings and categories."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from seamseg.runtime.checkpoint import load_checkpoint
from seamseg.runtime.files import write_whole
from seamseg.runtime.run_folder import checkpoint_paths, newest_checkpoint

MODEL_FILE = "model.safetensors"
"""Of a run folder: the best model so far."""


@dataclass(frozen=True)
class ModelFile:
    """What a trained network is made of.

    Attributes:
        settings: of the experiment, as YAML.
        categories: as :meth:`seamseg.structures.Categories.to_list` gives them.
        tensors: the network's state dict.
    """

    settings: str
    categories: list[dict[str, Any]]
    tensors: dict[str, Tensor]


def save_model(path: Path, model: ModelFile) -> None:
    """Writes a safetensors file with settings and categories in its header; whole or not at all.

    Raises:
        OSError: it cannot be written, such as to a full disk.
    """
    metadata = {"format": "seamseg 1", "settings": model.settings, "categories": json.dumps(model.categories)}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.tensors.items()}
    try:
        write_whole(path, lambda temporary: save_file(tensors, temporary, metadata))
    except SafetensorError as error:
        raise OSError(f"{path} cannot be written ({error})") from error


def load_model_file(path: Path) -> ModelFile:
    """Reads the model of a run folder or of one file.

    Args:
        path: a run folder (its best model, or its latest state before the first validation), a ``.safetensors`` file
            written here, or a checkpoint.

    Raises:
        ValueError: nothing is there, or it is damaged or foreign.
    """
    if path.is_dir():
        if (path / MODEL_FILE).exists():
            return load_model_file(path / MODEL_FILE)
        if checkpoint_paths(path):
            return load_model_file(newest_checkpoint(path)[0])
        raise ValueError(f"the folder {path} holds no model: neither {MODEL_FILE} nor a checkpoint")
    if not path.exists():
        raise ValueError(f"there is no model {path}; give a run folder or a file such as {MODEL_FILE}")
    if path.suffix == ".safetensors":
        return _load_safetensors(path)
    checkpoint = load_checkpoint(path)
    return ModelFile(checkpoint.settings, checkpoint.categories, checkpoint.average or checkpoint.network)


def _load_safetensors(path: Path) -> ModelFile:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise ValueError(f"the model {path} cannot be read ({error}): it is damaged") from error
    if metadata.get("format") != "seamseg 1":
        raise ValueError(f"{path} is a safetensors file, but not one that this program wrote")
    try:
        return ModelFile(metadata["settings"], json.loads(metadata["categories"]), tensors)
    except (KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"the model {path} has a damaged header ({error})") from error
