"""The public names of the packages."""

from __future__ import annotations

from types import ModuleType

import pytest

import seamseg
from seamseg import data, metrics, modules, structures


def test_seamseg_exports_exactly_the_public_names() -> None:
    assert seamseg.__all__ == [
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


@pytest.mark.parametrize("package", [seamseg, data, metrics, modules, structures])
def test_every_name_in_all_exists(package: ModuleType) -> None:
    assert all(hasattr(package, name) for name in package.__all__)
    assert set(package.__all__) <= set(dir(package))
