"""Panoptic segmentation of street scenes: one network labels every pixel with a class and, for things, an instance.

Example:
    The folder ``runs/demo`` is what ``make demo`` writes.

    >>> import seamseg
    >>> model = seamseg.load_model("runs/demo", device="cpu")
    >>> result = model.predict("street.jpg")
    >>> result.image.shape == result.overlay().shape
    True
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seamseg.api import Model, load_model
    from seamseg.errors import SeamsegError
    from seamseg.modules import (
        ABN,
        InPlaceABN,
        InPlaceABNSync,
        NormConversion,
        convert_norms,
        fold_norms,
        from_batchnorm,
        to_batchnorm,
    )
    from seamseg.predict.result import Result
    from seamseg.structures import PackedSequence

__all__ = [
    "ABN",
    "InPlaceABN",
    "InPlaceABNSync",
    "Model",
    "NormConversion",
    "PackedSequence",
    "Result",
    "SeamsegError",
    "convert_norms",
    "fold_norms",
    "from_batchnorm",
    "load_model",
    "to_batchnorm",
]
__version__ = "1.0.0.dev0"

_PACKAGE_OF = {
    "ABN": "modules",
    "InPlaceABN": "modules",
    "InPlaceABNSync": "modules",
    "Model": "api",
    "NormConversion": "modules",
    "PackedSequence": "structures",
    "Result": "predict.result",
    "SeamsegError": "errors",
    "convert_norms": "modules",
    "fold_norms": "modules",
    "from_batchnorm": "modules",
    "load_model": "api",
    "to_batchnorm": "modules",
}


def __getattr__(name: str) -> Any:
    """Import an exported name when it is first used, because importing torch takes seconds."""
    if name not in _PACKAGE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    exported = getattr(import_module(f"seamseg.{_PACKAGE_OF[name]}"), name)
    globals()[name] = exported
    return exported


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
