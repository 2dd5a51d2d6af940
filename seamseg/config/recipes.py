"""The recipes that come with the package, by name."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_FOLDERS = (_PACKAGE / "recipes", _PACKAGE.parent / "configs")
"""Of an installed package, into which the build copies them, and of a checkout."""


def known_recipes() -> dict[str, Path]:
    """The files of settings by name, sorted."""
    folder = next((folder for folder in _FOLDERS if folder.is_dir()), None)
    return {} if folder is None else {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def settings_file(given: str) -> Path:
    """The file of settings that a user means.

    Args:
        given: the path of a file, or the name of a recipe, such as ``vistas_r50``; a file of that name comes first.

    Raises:
        ValueError: it is neither.
    """
    path, known = Path(os.path.expanduser(given)), known_recipes()
    if path.is_file() or given not in known:
        if not path.exists() and path.name == given and not path.suffix:
            nearest = difflib.get_close_matches(given, known, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else f"recipes are {', '.join(known)}"
            raise ValueError(f"there is neither a recipe nor a file {given}; {hint}")
        return path
    return known[given]
