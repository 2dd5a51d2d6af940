"""Names of results that are derived from the names of their images."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath


def relative_name(path: Path, folder: Path) -> str:
    """The name of a file below a folder, with ``/`` between folders.

    Some programs unpack archives from Windows into files whose own names hold backslashes. These become ``/`` too, as
    in every JSON file that is read (:func:`seamseg.data.json_fields.file_field`).
    """
    return path.relative_to(folder).as_posix().replace("\\", "/")


def unique_stems(file_names: Iterable[str]) -> list[str]:
    """A name without suffix for every image; of images that differ only in their suffix, later ones get a number.

    >>> unique_stems(["street/a.jpg", "street/a.png", "b.c.jpg"])
    ['street/a', 'street/a_2', 'b.c']

    Args:
        file_names: Names of the images, with ``/`` between folders.
    """
    names: dict[str, None] = {}
    for file_name in file_names:
        stem = name = PurePosixPath(file_name).with_suffix("").as_posix()
        number = 1
        while name in names:
            number += 1
            name = f"{stem}_{number}"
        names[name] = None
    return list(names)
