"""What the results of a run depend on beside its images, in one word."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import torch

from seamseg.predict.outputs import OutputKind
from seamseg.predict.predictor import Predictor
from seamseg.structures import Categories

_VERSION = 1  # to be raised when outputs are written differently, so that no old folder is gone on with


def fingerprint(predictor: Predictor, categories: Categories, kinds: Sequence[OutputKind]) -> str:
    """The same for the same weights, classes, thresholds, sizes, augmentation, precision and kinds of output."""
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
    ]
    digest = hashlib.sha256(json.dumps(told).encode())
    for name, tensor in sorted(predictor.network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
