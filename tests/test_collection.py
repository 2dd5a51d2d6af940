"""Every test file is collected."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent


class _EmptyModule(pytest.Module):
    def collect(self) -> list[pytest.Item]:
        return []


class _Recorder:
    """Records the test files that pytest finds, without importing them."""

    def __init__(self) -> None:
        self.found: set[Path] = set()

    def pytest_pycollect_makemodule(self, module_path: Path, parent: pytest.Collector) -> pytest.Module:
        self.found.add(module_path)
        return _EmptyModule.from_parent(parent, path=module_path)


def test_collection_finds_every_test_file() -> None:
    # Folders whose names match pytest's norecursedirs, such as "build" or "dist", are skipped without a word.
    recorder = _Recorder()
    pytest.main(["--collect-only", "-qq", "-p", "no:cacheprovider", "-p", "no:xdist", str(TESTS)], plugins=[recorder])
    assert recorder.found == set(TESTS.rglob("test_*.py"))
