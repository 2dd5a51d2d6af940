"""Selection of a split and of its first images."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TypeVar

from seamseg.errors import SettingsError

Record = TypeVar("Record")


def choose_split(splits: Collection[str], wanted: str, root: Path) -> str:
    """Return the split with this name, or else the only one whose name starts with it.

    For example, ``train`` finds ``train2017``.

    Args:
        splits: Names of the splits of the data set; at least one.
        wanted: Name or prefix given by the user.
        root: Data set folder, for error messages.

    Raises:
        SeamsegError: No split or several splits match.
    """
    matching = [name for name in splits if name.startswith(wanted)]
    if wanted in splits:
        return wanted
    if len(matching) != 1:
        found = "no split" if not matching else "several splits"
        raise SettingsError(f"{root} has {found} matching {wanted!r}*; its splits are {', '.join(splits)}")
    return matching[0]


def first_images(records: list[Record], limit: int | None) -> list[Record]:
    """Return the first ``limit`` records; None returns all.

    Raises:
        SeamsegError: The limit is not positive.
    """
    if limit is not None and limit < 1:
        raise SettingsError(f"the limit on the number of images is {limit}; it must be at least 1")
    return records[:limit]
