"""Models published by the authors of Seamless Scene Segmentation: a torch file of weights, and ``metadata.bin``."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten

import msgpack
import torch
from torch import Tensor

from seamseg.structures import Categories, Category

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
    try:
        meta = msgpack.unpackb(path.read_bytes(), raw=False)["meta"]
        num_stuff, names = int(meta["num_stuff"]), list(meta["categories"])
        palette, original_ids = list(meta["palette"]), list(meta["original_ids"])
        return Categories(
            tuple(
                Category(str(name), index >= num_stuff, (int(red), int(green), int(blue)), int(original))
                for index, (name, (red, green, blue), original) in enumerate(
                    zip(names, palette, original_ids, strict=True)
                )
            )
        )
    except (OSError, ValueError, KeyError, TypeError, msgpack.UnpackException) as error:
        raise ValueError(f"{path} cannot be read as metadata of a published model: {error!r}") from error
