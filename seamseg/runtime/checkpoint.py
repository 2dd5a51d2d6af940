"""The state of a run on disk."""

from __future__ import annotations

import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor

from seamseg.runtime.files import write_whole

FORMAT = 2


@dataclass(frozen=True)
class Position:
    """Where a run stands.

    Attributes:
        epoch: 0, 1, …, the one to go on with.
        batch: batches of it that are done.
        iteration: steps of the optimiser that are done.
        best_pq: best validated panoptic quality in 0 … 1; −1 before the first.
    """

    epoch: int = 0
    batch: int = 0
    iteration: int = 0
    best_pq: float = -1.0


@dataclass(frozen=True)
class Checkpoint:
    """All that a run needs to go on as if it had never stopped.

    All random numbers of a run follow from its seed and its position, so no generator is kept.

    Attributes:
        settings: of the experiment, as YAML.
        categories: as :meth:`seamseg.structures.Categories.to_list` gives them.
        position: where the run stands.
        network: state dict.
        optimizer: state dict.
        scaler: state dict of the loss scale; empty but for fp16.
        average: state dict of the averaged weights, or None if there is no average.
    """

    settings: str
    categories: list[dict[str, Any]]
    position: Position
    network: dict[str, Tensor]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    average: dict[str, Tensor] | None


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Writes it whole; a failure leaves the previous one."""
    content = {
        "format": FORMAT,
        "settings": checkpoint.settings,
        "categories": checkpoint.categories,
        "position": asdict(checkpoint.position),
        "network": checkpoint.network,
        "optimizer": checkpoint.optimizer,
        "scaler": checkpoint.scaler,
        "average": checkpoint.average,
    }
    write_whole(path, lambda temporary: torch.save(content, temporary))


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads one, onto the CPU. Only tensors and plain values are accepted, so that a file cannot run code.

    Raises:
        ValueError: the file is missing, damaged, or no checkpoint of this program.
    """
    if not path.is_file():
        raise ValueError(f"there is no checkpoint {path}")
    try:
        _check_sums(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the damage makes of the archive
        raise ValueError(
            f"the checkpoint {path} cannot be read ({shorten(str(error), 200)}): it is damaged or foreign"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} is not a checkpoint of this program")
    try:
        return Checkpoint(
            settings=content["settings"],
            categories=content["categories"],
            position=Position(**content["position"]),
            network=content["network"],
            optimizer=content["optimizer"],
            scaler=content["scaler"],
            average=content["average"],
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"the checkpoint {path} lacks a part or has one too many: {error}") from error


def _check_sums(path: Path) -> None:
    """The archive holds a checksum of each tensor, which torch itself does not look at.

    Raises:
        ValueError: one is wrong.
        OSError, zipfile.BadZipFile: it is no archive.
    """
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"wrong checksum of {damaged}")
