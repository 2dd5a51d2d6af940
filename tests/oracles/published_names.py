"""Names and shapes of the published network's weights."""

from __future__ import annotations

import json
from pathlib import Path

from torch import nn


def published(shared: Path, part: str) -> dict[str, tuple[int, ...]]:
    """Return names and shapes below ``part``, without this prefix."""
    entries = json.loads((shared / "golden" / "vistas_r50_state_dict.json").read_text())
    prefix = f"{part}."
    return {name[len(prefix) :]: tuple(shape) for name, shape in entries.items() if name.startswith(prefix)}


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of a module."""
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}
