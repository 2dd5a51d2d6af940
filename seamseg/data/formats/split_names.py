"""Which split of a data set a user means, and how much of it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TypeVar

from seamseg.errors import SettingsError

Record = TypeVar("Record")


def choose_split(splits: Collection[str], wanted: str, root: Path) -> str:
    """The split of that name, or else the only one whose name begins so: ``train`` finds ``train2017``.

    Args:
        splits: those of the data set, at least one.
        wanted: as the user says.
        root: of the data set, for errors.

    Raises:
        SeamsegError: none or several are meant.
    """
    matching = [name for name in splits if name.startswith(wanted)]
    if wanted in splits:
        return wanted
    if len(matching) != 1:
        found = "no split" if not matching else "several splits"
        raise SettingsError(f"{root} has {found} named {wanted!r}*; its splits are {', '.join(splits)}")
    return matching[0]


def first_images(records: list[Record], limit: int | None) -> list[Record]:
    """As many as the limit says, the first ones.

    Raises:
        SeamsegError: the limit is not positive.
    """
    if limit is not None and limit < 1:
        raise SettingsError(f"the limit on the number of images is {limit}; it must be at least 1")
    return records[:limit]
