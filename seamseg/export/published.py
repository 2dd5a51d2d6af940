"""Models published by the authors of Seamless Scene Segmentation: a torch file of weights, and ``metadata.bin``."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten

import torch
from torch import Tensor

from seamseg.data.metadata_bin import load_metadata, metadata_categories
from seamseg.structures import Categories

PARTS = ("body", "rpn_head", "roi_head", "sem_head")


def read_snapshot(path: Path) -> dict[str, Tensor]:
    """The network's state dict from a published snapshot.

    Its parts become one dict under our names; counters that older files lack are filled in. Only tensors and plain
    values are accepted, so that a file cannot run code.

    Raises:
        ValueError: the file is missing, damaged, or no snapshot.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever a damaged or missing file makes of it
        raise ValueError(f"the snapshot {path} cannot be read: {shorten(str(error), 200)}") from error
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(part in state for part in PARTS):
        raise ValueError(f"{path} is no published snapshot: it lacks the parts {', '.join(PARTS)} of a state_dict")
    tensors = {f"{part}.{name}": tensor for part in PARTS for name, tensor in state[part].items()}
    for name in [name for name in tensors if name.endswith(".running_mean")]:
        counter = name.replace(".running_mean", ".num_batches_tracked")
        tensors.setdefault(counter, torch.zeros((), dtype=torch.int64))
    return tensors


def read_metadata(path: Path) -> Categories:
    """The classes from a published ``metadata.bin`` (MessagePack).

    Raises:
        ValueError: the file is missing, damaged, or of another kind.
    """
    return metadata_categories(load_metadata(path), path)
