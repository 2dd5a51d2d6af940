"""An object that shows whether a reader of pickles runs code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


class Malicious:
    """An object that creates a folder when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.target),)
