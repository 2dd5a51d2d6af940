"""Reading of models published by the authors of Seamless Scene Segmentation: settings, classes and weights."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
import yaml
from torch import Tensor

from seamseg.data.formats.seamseg2019 import load_metadata, metadata_categories
from seamseg.errors import ModelError
from seamseg.export.model_file import ModelFile
from seamseg.export.published_archive import CONFIG, open_published
from seamseg.export.published_settings import Translation, translate_settings
from seamseg.structures import Categories

PARTS = ("body", "rpn_head", "roi_head", "sem_head")
FOR_TRAINING = ("optimizer", "_meter")
"""Suffixes of the names of snapshot parts that only the published training code uses."""


@dataclass(frozen=True)
class Snapshot:
    """Content of a published torch file.

    Attributes:
        tensors: State dict of the network under our names. Counters that older files lack are filled in.
        left_out: Names of the other parts of the file.
        config: INI text of the training settings; may be empty.
        training_meta: Training state, such as epoch and best_score.
    """

    tensors: dict[str, Tensor]
    left_out: tuple[str, ...]
    config: str
    training_meta: dict[str, Any]


@dataclass(frozen=True)
class PublishedModel:
    """A published model, converted to our format.

    Attributes:
        file: Content of the model.
        notes: Notes about settings and parts that were dropped or replaced, one sentence each.
    """

    file: ModelFile
    notes: tuple[str, ...]


def load_published(path: Path) -> PublishedModel:
    """Read a published model.

    Args:
        path: Zip archive, or the folder it was unpacked to.

    Raises:
        SeamsegError: A file is missing, damaged or malicious, or requires an unsupported network.
    """
    with open_published(path) as files:
        translation = _read_settings(files.config, path)
        categories = read_metadata(files.metadata)
        snapshot = read_snapshot(files.snapshot)
    settings = yaml.safe_dump(nested(translation.settings), sort_keys=False)
    notes = (*translation.notes, *_notes(snapshot, translation))
    return PublishedModel(ModelFile(settings, categories.to_list(), snapshot.tensors), notes)


def read_snapshot(path: Path) -> Snapshot:
    """Read a published snapshot.

    Only tensors and plain values are accepted, so that a file cannot run code.

    Raises:
        SeamsegError: The file is missing, damaged, or not a snapshot.
    """
    content = load_torch_file(path)
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(state.get(part), dict) for part in PARTS):
        raise ModelError(f"{path} is not a published snapshot: its state_dict must have the parts {', '.join(PARTS)}")
    tensors = {f"{part}.{name}": tensor for part in PARTS for name, tensor in state[part].items()}
    wrong = [name for name, tensor in tensors.items() if not isinstance(tensor, Tensor)]
    if wrong:
        raise ModelError(f"{path} is not a published snapshot: {wrong[0]} is a {type(tensors[wrong[0]]).__name__}")
    for name in [name for name in tensors if name.endswith(".running_mean")]:
        counter = name.replace(".running_mean", ".num_batches_tracked")
        tensors.setdefault(counter, torch.zeros((), dtype=torch.int64))
    config, meta = content.get("config"), content.get("training_meta")
    return Snapshot(
        tensors,
        tuple(str(name) for name in state if name not in PARTS),
        config if isinstance(config, str) else "",
        meta if isinstance(meta, dict) else {},
    )


def read_metadata(path: Path) -> Categories:
    """Read the classes from a published ``metadata.bin`` (MessagePack).

    Raises:
        SeamsegError: The file is missing, damaged, or has another content.
    """
    return metadata_categories(load_metadata(path), path)


def load_torch_file(path: Path) -> Any:
    """Load a torch file onto the CPU. Files of newer torch versions are memory-mapped: only used parts are read.

    Only tensors and plain values are accepted, so that a file cannot run code.

    Raises:
        SeamsegError: The file is missing, damaged or malicious.
    """
    try:
        is_archive = zipfile.is_zipfile(path)
        if is_archive:
            with zipfile.ZipFile(path) as archive:
                if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                    raise ModelError("it has compressed parts, which torch never writes")
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)
    except Exception as error:  # a damaged or missing file can raise anything in torch
        raise ModelError(f"the snapshot {path} cannot be read: {shorten(str(error), 200)}") from error


def _read_settings(config: Path, source: Path) -> Translation:
    try:
        return translate_settings(config.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ModelError(f"{CONFIG} in {source} is not UTF-8 text") from error
    except ValueError as error:
        raise ModelError(f"{CONFIG} in {source}: {error}") from error


def nested(settings: dict[str, Any]) -> dict[str, Any]:
    """Convert settings by dotted name to nested dicts, the structure of a YAML settings file."""
    tree: dict[str, Any] = {}
    for name, value in settings.items():
        *groups, last = name.split(".")
        inner = tree
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[last] = value
    return tree


def _notes(snapshot: Snapshot, translation: Translation) -> list[str]:
    notes = []
    training = [name for name in snapshot.left_out if name.endswith(FOR_TRAINING)]
    others = [name for name in snapshot.left_out if name not in training]
    if training:
        notes.append(f"dropped {', '.join(training)} from the snapshot: only the published training code uses them")
    if others:
        notes.append(f"dropped {', '.join(others)} from the snapshot: the network has no such parts")
    return notes + _disagreements(snapshot.config, translation)


def _disagreements(config: str, translation: Translation) -> list[str]:
    """Describe differences between the settings in the snapshot and those in config.ini, one sentence each."""
    try:
        carried = translate_settings(config)
    except ValueError as error:
        return [f"the settings in the snapshot cannot be read ({error}); those in {CONFIG} are used"]
    keys = [key for key in carried.given if key in carried.values and carried.values[key] != translation.values[key]]
    if not keys:
        return []
    shown = ", ".join(f"[{key.replace('.', '] ', 1)}" for key in keys)
    return [f"the snapshot has other values of {shown} than {CONFIG}; those in {CONFIG} are used"]
