"""The harness itself: correct kernels run, and errors of every kind are reported."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from native.harness import Fault, Kernels, build
from numpy.typing import NDArray

SIZE = 64
COUNT = np.arange(SIZE, dtype=np.float32)


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    return build("toys.cpp", tmp_path_factory.mktemp("toys"))


def run(toys: Kernels, name: str) -> NDArray[np.float32]:
    memory = np.zeros(3 * SIZE + 4, np.float32)  # a gap between both, so that they are not adjacent
    start = -memory.ctypes.data // 4 % 4  # to a 16-byte boundary
    numbers, result = memory[start:][:SIZE], memory[start + 2 * SIZE :][:SIZE]
    numbers[:] = COUNT
    toys.call("run_toy", name.encode(), *(ctypes.c_void_p(array.ctypes.data) for array in (numbers, result)))
    return result


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("reverse", COUNT[::-1]),
        ("reverse_dynamic", COUNT[::-1]),
        ("index_in_three", COUNT),
        ("copy_vectors", np.where(COUNT < 60, COUNT, 0)),
        ("sum_warp", np.where(COUNT < 32, 496, 1520)),
        ("swap_in_warp", COUNT.reshape(-1, 2)[:, ::-1].ravel()),
        ("add_up", np.where(COUNT == 0, 2016, 0)),
    ],
)
def test_correct_kernel_gives_its_result(toys: Kernels, name: str, expected: NDArray[np.float32]) -> None:
    np.testing.assert_array_equal(run(toys, name), expected)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("missing_barrier", "thread .* shared memory that this block never wrote"),
        ("missing_warp_barrier", "shared memory that this block never wrote"),
        ("read_unwritten", "shared memory that this block never wrote"),
        ("overwrite_early", "race: reads memory that another thread wrote"),
        ("write_after_read", "race: writes memory that another thread read"),
        ("write_same_word", "race: writes memory that another thread wrote"),
        ("blocks_collide", r"block \(1, 0, 0\).* race: writes memory that another thread wrote"),
        ("divergent_barrier", "deadlock: thread 0 .* wait in __syncthreads, 48 of 64 threads have returned"),
        ("lane_missing", "deadlock: .* wait in __shfl_xor_sync, 2 of 64 threads have returned"),
        ("lane_outside_mask", "reads from a lane that is not in the mask"),
        ("read_before", r"thread \(0, 0, 0\): reads outside all buffers"),
        ("read_beyond", r"thread \(63, 0, 0\): reads outside all buffers"),
        ("write_beyond", r"thread \(63, 0, 0\): writes"),
        ("write_input", "writes to a buffer that is read-only"),
        ("index_beyond_shared", r"thread \(32, 0, 0\): an index past the end of an array"),
        ("dynamic_too_small", "reaches past the end of its buffer"),
        ("misaligned_vectors", "a misaligned or null address"),
        ("empty_grid", "grid or block size that GPUs reject"),
    ],
)
def test_wrong_kernel_is_reported_and_the_next_launch_works(toys: Kernels, name: str, fault: str) -> None:
    with pytest.raises(Fault, match=rf"{name}: .*{fault}"):
        run(toys, name)
    np.testing.assert_array_equal(run(toys, "reverse"), COUNT[::-1])  # the next launch is not affected
