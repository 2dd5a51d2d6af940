"""Segmentations of the frames of a film that is not finished.

A film that was torn cannot be added to, so a run that goes on writes it anew: what was found in its first frames is
read from here, and drawn again.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch

from seamseg.io.files import in_one_step
from seamseg.predict.film_files import RECORDS_FOLDER
from seamseg.structures import PanopticSegmentation


class FrameRecords:
    """A hidden folder with a small file for every frame.

    Args:
        folder: of the results.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / RECORDS_FOLDER

    def write(self, name: str, segmentation: PanopticSegmentation) -> None:
        """Keeps what was found in a frame.

        Raises:
            OSError: it cannot be written.
        """
        in_one_step(self._path(name), lambda path: _save(path, segmentation))

    def holds(self, name: str) -> bool:
        """Whether a frame has a file; a power cut can leave one of a size of 0."""
        path = self._path(name)
        return path.is_file() and path.stat().st_size > 0

    def read(self, name: str) -> PanopticSegmentation | None:
        """What was found in a frame; None if its file is damaged."""
        try:
            with np.load(self._path(name)) as arrays:
                found = {key: torch.from_numpy(arrays[key]) for key in ("ids", "classes", "scores", "crowd")}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
            return None
        return PanopticSegmentation(found["ids"].long(), found["classes"], found["scores"], found["crowd"])

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.npz"


def _save(path: Path, found: PanopticSegmentation) -> None:
    ids = found.ids.numpy().astype(np.int32)
    with path.open("wb") as file:
        np.savez_compressed(
            file, ids=ids, classes=found.classes.numpy(), scores=found.scores.numpy(), crowd=found.crowd.numpy()
        )
