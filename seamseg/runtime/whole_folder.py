"""Folders that appear whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from seamseg.runtime.files import PART, to_disk


def write_folder(path: Path, write: Callable[[Path], None], replaceable: Sequence[str] | None) -> None:
    """Has ``write`` fill a temporary folder beside ``path``, and gives it that name.

    Whatever fails in between leaves what was there.

    Args:
        path: of the result; may be an empty folder. The folder that it lies in is made if needed.
        write: gets the folder to write to.
        replaceable: names of files; a folder that holds nothing else is replaced. None replaces nothing.

    Raises:
        ValueError: something is there that may not be replaced.
        OSError: it cannot be written.
    """
    check_free(path, replaceable)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.", suffix=PART) as temporary:
            new = Path(temporary, "new")
            new.mkdir()
            write(new)
            to_disk(new)
            _put(new, path, Path(temporary, "old"))
            to_disk(path.parent)
    except OSError as error:
        raise OSError(f"{path} cannot be written ({error.strerror or error}); what was there is as it was") from error


def check_free(path: Path, replaceable: Sequence[str] | None) -> None:
    """Whether a folder may be written; see :func:`write_folder`.

    Raises:
        ValueError: it may not.
    """
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise ValueError(f"{path} is no folder; name another")
    found = sorted(item.name for item in path.iterdir()) if path.is_dir() else []
    if found and replaceable is None:
        raise ValueError(f"{path} is not empty; name another folder, or replace what is in it by --overwrite")
    others = [name for name in found if name not in (replaceable or ())]
    if others:
        raise ValueError(f"{path} holds other files, such as {others[0]}, which are not replaced; name another folder")


def _put(new: Path, path: Path, aside: Path) -> None:
    """Gives a folder its name; one of that name is put aside first, and back if that fails."""
    if not path.is_dir():
        new.replace(path)
        return
    path.replace(aside)
    try:
        new.replace(path)
    except BaseException:
        aside.replace(path)
        raise
