"""Content of a folder that a command wrote."""

from __future__ import annotations

from pathlib import Path


def visible_files(folder: Path) -> dict[str, bytes]:
    """Read all files of a folder that are not hidden, by their path in the folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
