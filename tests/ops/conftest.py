"""Fixtures shared by the tests of operations."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from torch import distributed as dist


@pytest.fixture
def group_of_one() -> Iterator[None]:
    """Process group that contains only this process."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]
    yield
    dist.destroy_process_group()
