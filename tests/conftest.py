"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

# Before torch is imported. All cores are busy with test processes, and with several threads, torch 2.14 aborts in the
# backward pass of convolutions as narrow as those of the tests' networks.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples on every run and no deadline, so that a failure can be repeated on any machine.
hypothesis.settings.register_profile("seamseg", deadline=None, derandomize=True)
hypothesis.settings.load_profile("seamseg")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Start one process more than there are cores, because many tests wait for timeouts, processes or a browser."""
    return len(os.sched_getaffinity(0)) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run files with slow tests first, so that no core waits for the long file of another at the end."""
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with golden numbers and sample data next to the checkout; tests that use it skip if it is missing."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "golden").is_dir():
        pytest.skip("the folder shared with golden numbers and sample data is not next to the checkout")
    return folder
