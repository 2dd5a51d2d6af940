"""Fixtures shared by the tests of training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.tiny_experiment import narrow_body, write_tiny_splits


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny data set with one validation image."""
    return write_tiny_splits(tmp_path_factory.mktemp("train") / "data", num_val=1)


@pytest.fixture
def narrow() -> Iterator[None]:
    """Build bodies with few channels."""
    with narrow_body():
        yield
