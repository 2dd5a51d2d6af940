"""Log of a run: one line of JSON per event, and TensorBoard scalars and pictures."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter

from seamseg.io.files import write_text

METRICS_FILE = "metrics.jsonl"
TENSORBOARD_FOLDER = "tensorboard"


class RunLog:
    """Writer of ``metrics.jsonl`` and ``tensorboard/`` in a run folder.

    Args:
        folder: Run folder; created if needed.
        iteration: Iteration from which the run resumes. Entries that an interrupted process logged beyond it are
            removed, so every iteration occurs once.
        validated: Whether the validation of that iteration, if there is one, is finished; otherwise its entry is
            removed.
    """

    def __init__(self, folder: Path, iteration: int = 0, validated: bool = True) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / METRICS_FILE
        _drop_after(self._path, iteration, validated)
        self._file = self._path.open("a", encoding="utf-8")
        self._board_folder = folder / TENSORBOARD_FOLDER
        self._board = SummaryWriter(str(self._board_folder), purge_step=iteration + 1)

    def scalars(self, kind: str, iteration: int, values: Mapping[str, float]) -> None:
        """Log named numbers, such as the losses of iteration 20 under the kind ``train``."""
        plain = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file.write(json.dumps({"kind": kind, "iteration": iteration, **plain}) + "\n")
        self._file.flush()
        with self._named_errors():
            for name, value in values.items():
                self._board.add_scalar(f"{kind}/{name}", value, iteration)

    def picture(self, name: str, iteration: int, picture: NDArray[np.uint8]) -> None:
        """Add an H×W×3 picture to TensorBoard."""
        with self._named_errors():
            self._board.add_image(name, picture, iteration, dataformats="HWC")

    def to_disk(self) -> None:
        """Flush the lines to disk, so that no checkpoint is ahead of the log."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        with self._named_errors():
            self._board.close()

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Add the folder to errors of TensorBoard's writer thread, such as a full disk, which do not name a file."""
        try:
            yield
        except OSError as error:
            raise OSError(f"{self._board_folder} cannot be written ({error.strerror or error})") from error


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Return the entries of a run's ``metrics.jsonl``; a last line truncated by a crash is left out."""
    path = folder / METRICS_FILE
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return entries


def _drop_after(path: Path, iteration: int, validated: bool) -> None:
    if path.exists():
        last = {"train": iteration, "validation": iteration if validated else iteration - 1}
        entries = [entry for entry in read_metrics(path.parent) if entry["iteration"] <= last[entry["kind"]]]
        write_text(path, "".join(json.dumps(entry) + "\n" for entry in entries))
