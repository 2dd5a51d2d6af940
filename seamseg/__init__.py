"""Panoptic segmentation of street scenes: one network labels every pixel with a class and, for things, an instance.

``seamseg.load_model(path)`` is the way in for those who use it as a library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seamseg.api import load_model as load_model

__version__ = "1.0.0.dev0"


def __getattr__(name: str) -> Any:
    if name == "load_model":  # takes the seconds that importing torch takes, so not before it is asked for
        from seamseg.api import load_model

        return load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
