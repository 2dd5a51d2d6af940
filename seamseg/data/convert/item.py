"""What a conversion works on, one image at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class Item(Protocol):
    """What one image is made from."""

    @property
    def name(self) -> str:
        """Each item of a job has its own."""

    @property
    def sources(self) -> Sequence[Path]:
        """The files that are read; when one changes, an interrupted job converts the item again."""


@dataclass(frozen=True)
class Converted:
    """What became of one item.

    Attributes:
        files: that were written, each in one step.
        entries: what to append to the lists of the JSON file, by their keys.
        num_hidden: objects that are left out because others cover them.
    """

    files: tuple[Path, ...]
    entries: dict[str, list[dict[str, Any]]]
    num_hidden: int = 0
