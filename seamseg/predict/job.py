"""What a run of prediction is asked to do, whatever its images come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from seamseg.predict.predictor import Predictor
from seamseg.predict.results_folder import Mode, ResultsFolder


@dataclass(frozen=True)
class Job:
    """Of one process.

    Attributes:
        predictor: on this process's device.
        folder: of the results.
        mode: what to do with a folder that is not empty.
        info: for ``panoptic.json``.
        batch_size: images that the network sees at a time.
    """

    predictor: Predictor
    folder: ResultsFolder
    mode: Mode
    info: Mapping[str, Any]
    batch_size: int = 1
