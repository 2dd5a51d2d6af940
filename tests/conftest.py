"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest

# The same examples on every run, however slow the machine: a red run can be repeated.
hypothesis.settings.register_profile("seamseg", deadline=None, derandomize=True)
hypothesis.settings.load_profile("seamseg")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: at the end no core shall wait for another's long file."""
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of golden numbers and sample data beside the checkout; tests that need it skip without it."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "golden").is_dir():
        pytest.skip("the shared folder with golden numbers and sample data is not beside the checkout")
    return folder
