"""What the results of a run depend on beside its images, in one word."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from seamseg.predict.outputs import OutputKind
from seamseg.predict.predictor import Predictor
from seamseg.structures import Categories

_END = 1 << 20  # bytes
_VERSION = 1  # to be raised when outputs are written differently, so that no old folder is gone on with


def fingerprint(
    predictor: Predictor, categories: Categories, kinds: Sequence[OutputKind], film: Path | None = None
) -> str:
    """The same for the same weights, classes, thresholds, sizes, augmentation, precision and kinds of output.

    Args:
        predictor: what is asked.
        categories: of its network.
        kinds: of output.
        film: that is segmented, wherever it lies; None stands for photographs, whichever they are.
    """
    selector, transform = predictor.network.region_network.selector, predictor.transform
    told = [
        _VERSION,
        sorted(kinds),
        categories.to_list(),
        repr(predictor.fusion),
        repr(predictor.augmentation),
        predictor.precision,
        [selector.nms_threshold, selector.score_threshold, selector.max_predictions],
        [transform.shortest_side, transform.longest_side],
        [transform.normalize.mean.tolist(), transform.normalize.std.tolist()],
        None if film is None else _ends(film),
    ]
    digest = hashlib.sha256(json.dumps(told).encode())
    for name, tensor in sorted(predictor.network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _ends(film: Path) -> list[str | int]:
    """Size, and sum of beginning and end: enough to tell films apart, and soon read."""
    size = film.stat().st_size
    with film.open("rb") as file:
        beginning = file.read(_END)
        file.seek(max(0, size - _END))
        return [size, hashlib.sha256(beginning + file.read(_END)).hexdigest()]
