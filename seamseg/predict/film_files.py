"""Files of a film's results that no journal lists: the film itself, and what it is made from until it is whole."""

from __future__ import annotations

import shutil
from pathlib import Path

OVERLAY_FILE = "overlay.mp4"
UNFINISHED_FILE = ".overlay.unfinished.mp4"
RECORDS_FOLDER = ".frames"


def remove_film(folder: Path) -> None:
    """Takes them away from a folder of results."""
    (folder / OVERLAY_FILE).unlink(missing_ok=True)
    (folder / UNFINISHED_FILE).unlink(missing_ok=True)
    remove_records(folder)


def remove_records(folder: Path) -> None:
    """Takes away what a film was made from, once it is whole."""
    if (folder / RECORDS_FOLDER).exists():
        shutil.rmtree(folder / RECORDS_FOLDER)
