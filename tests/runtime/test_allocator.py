"""Allocator setting that keeps freed memory."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from seamseg.runtime import allocator
from seamseg.runtime.allocator import SWITCH, keep_freed_memory

FAULTS = """
import resource, sys
import numpy as np
from seamseg.runtime.allocator import keep_freed_memory
assert keep_freed_memory() == (sys.argv[1] == "1")
np.ones(8_000_000, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(8_000_000, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

RETURNED = """
import numpy as np
from seamseg.runtime import allocator
assert allocator.keep_freed_memory(below=10_000_000)
for size in (8_000_000, 80_000_000):
    block = np.ones(size, np.uint8)
    before = allocator._resident_bytes()
    del block
    print(before - allocator._resident_bytes())
"""

GAPS = """
import sys
import numpy as np
from seamseg.runtime import allocator
assert allocator.keep_freed_memory()
allocator._LARGE = int(sys.argv[1])
blocks = [np.ones(8_000_000, np.uint8) for _ in range(20)]
del blocks[::2]
before = allocator._resident_bytes()
allocator.release_gaps()
assert all(block.all() for block in blocks)
print(before - allocator._resident_bytes())
"""


class FakeLibrary:
    """A C library that records the calls of mallopt."""

    def __init__(self, answer: int) -> None:
        self.calls: list[tuple[int, int]] = []
        self.answer = answer

    def mallopt(self, parameter: int, value: int) -> int:
        self.calls.append((parameter, value))
        return self.answer


def use_library(monkeypatch: pytest.MonkeyPatch, library: object) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv(SWITCH, raising=False)


def test_keep_freed_memory_disables_mapping_and_trimming(monkeypatch: pytest.MonkeyPatch) -> None:
    library = FakeLibrary(1)
    use_library(monkeypatch, library)
    assert keep_freed_memory()
    assert library.calls == [(-4, 0), (-1, 2**31 - 1)]  # M_MMAP_MAX and M_TRIM_THRESHOLD in malloc.h


def test_keep_freed_memory_below_a_size_maps_larger_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    library = FakeLibrary(1)
    use_library(monkeypatch, library)
    assert keep_freed_memory(below=2**25)
    assert library.calls == [(-4, 65536), (-3, 2**25), (-1, 2**31 - 1)]  # M_MMAP_THRESHOLD is -3


def test_keep_freed_memory_keeps_all_blocks_if_the_variable_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    library = FakeLibrary(1)
    use_library(monkeypatch, library)
    monkeypatch.setenv(SWITCH, "all")
    assert keep_freed_memory(below=2**25)
    assert library.calls == [(-4, 0), (-1, 2**31 - 1)]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_keep_freed_memory_below_a_size_returns_larger_blocks_only() -> None:
    output = subprocess.run(
        [sys.executable, "-c", RETURNED], env=os.environ | {SWITCH: "1"}, capture_output=True, text=True, check=True
    ).stdout
    small, large = map(int, output.split())
    assert small < 1_000_000
    assert large == pytest.approx(80_000_000, abs=10_000_000)


def test_keep_freed_memory_returns_false_when_mallopt_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    use_library(monkeypatch, FakeLibrary(0))
    assert not keep_freed_memory()


def test_keep_freed_memory_returns_false_without_mallopt(monkeypatch: pytest.MonkeyPatch) -> None:
    use_library(monkeypatch, object())
    assert not keep_freed_memory()


@pytest.mark.parametrize(("platform", "switch"), [("linux", "0"), ("darwin", "1"), ("win32", "1")])
def test_keep_freed_memory_does_nothing_when_disabled_or_not_on_linux(
    monkeypatch: pytest.MonkeyPatch, platform: str, switch: str
) -> None:
    library = FakeLibrary(1)
    use_library(monkeypatch, library)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv(SWITCH, switch)
    assert not allocator.keep_freed_memory()
    assert library.calls == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_keep_freed_memory_reduces_page_faults() -> None:
    faults = [
        int(
            subprocess.run(
                [sys.executable, "-c", FAULTS, switch],
                env=os.environ | {SWITCH: switch},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for switch in ("0", "1")
    ]
    assert faults[1] < faults[0] / 10


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
@pytest.mark.parametrize(("switch", "calls"), [("1", [0]), ("0", [])])
def test_release_gaps_leaves_an_unchanged_allocator_alone(
    monkeypatch: pytest.MonkeyPatch, switch: str, calls: list[int]
) -> None:
    found: list[int] = []
    use_library(monkeypatch, SimpleNamespace(malloc_trim=found.append))
    monkeypatch.setenv(SWITCH, switch)
    monkeypatch.setattr(allocator, "_LARGE", 0)
    allocator.release_gaps()
    assert found == calls


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
@pytest.mark.parametrize(("large", "released"), [(0, 80_000_000), (2**40, 0)])
def test_release_gaps_returns_free_memory_of_large_processes_only(large: int, released: int) -> None:
    command = [sys.executable, "-c", GAPS, str(large)]
    environment = os.environ | {SWITCH: "1"}
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert int(output) == pytest.approx(released, abs=10_000_000)
