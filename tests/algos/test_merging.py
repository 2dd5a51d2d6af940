"""Merging of class scores, against a loop over pixels; and its memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from oracles.merging import merged_scores
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from seamseg.algos import merging
from seamseg.algos.merging import MERGES, Merge, mean_logits, merged_classes
from seamseg.ops.fusion import resample, resample_rows

GRIDS = ((6, 9), (8, 12), (8, 12), (3, 5))
PER_PIXEL: tuple[Merge, ...] = ("mean", "max", "vote")


@pytest.fixture(autouse=True)
def _narrow_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use strips of two rows at five classes and 40 columns."""
    monkeypatch.setattr(merging, "STRIP_BYTES", 4 * 5 * 40 * 2)


def random_passes(seed: int = 0, scale: float = 2.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(5, *grid, generator=generator) for grid in GRIDS]


@pytest.mark.parametrize("size", [(23, 40), (7, 5), (1, 1)])
@pytest.mark.parametrize("merge", PER_PIXEL)
def test_merged_classes_equal_a_loop_over_pixels(merge: Merge, size: tuple[int, int]) -> None:
    passes = random_passes()
    found = merged_classes(passes, merge, size)
    assert tuple(found.shape) == size
    assert found.dtype == torch.int64
    for y in range(size[0]):
        for x in range(size[1]):
            scores = merged_scores(passes, merge, size, y, x)
            assert scores[int(found[y, x])] >= max(scores) - 1e-6, (y, x)


def test_merged_classes_of_the_ways_differ() -> None:
    maps = [merged_classes(random_passes(), merge, (23, 40)) for merge in PER_PIXEL]
    assert not any(torch.equal(one, other) for one, other in [maps[:2], maps[1:], maps[::2]])


def column(*logits: float) -> Tensor:
    return torch.tensor(logits)[:, None, None]


@pytest.mark.parametrize(
    ("merge", "expected"),
    # Probabilities: .51 .49 .00; .51 .49 .00; .01 .03 .96
    [("mean", 0), ("max", 2), ("vote", 0)],
)
def test_merged_classes_by_hand(merge: Merge, expected: int) -> None:
    first, last = column(0.04, 0.0, -9.0), column(0.0, 1.0, 4.6)
    assert int(merged_classes([first, first, last], merge, (1, 1))) == expected


def test_merged_classes_votes_of_many_beat_one_certain_pass() -> None:
    certain, doubtful = column(9.0, 0.0), column(0.0, 0.1)
    assert int(merged_classes([certain, doubtful, doubtful], "vote", (1, 1))) == 1
    assert int(merged_classes([certain, doubtful, doubtful], "mean", (1, 1))) == 0


def test_merged_classes_smallest_class_wins_a_tie_of_votes() -> None:
    assert int(merged_classes([column(0.0, 0.0, 1.0), column(0.0, 1.0, 0.0)], "vote", (1, 1))) == 1


@pytest.mark.parametrize("merge", PER_PIXEL)
def test_merged_classes_nan_and_infinite_logits_stay_where_they_are(merge: Merge) -> None:
    passes = random_passes()
    passes[0][1, 0, 0], passes[1][2, 7, 11], passes[2][3, 0, 0] = torch.nan, torch.inf, -torch.inf
    found = merged_classes(passes, merge, (24, 40))
    expected = merged_classes(random_passes(), merge, (24, 40))
    assert torch.equal(found[5:18, 6:30], expected[5:18, 6:30])
    assert merge != "max" or int(found[-1, -1]) == 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_resample_rows_of_another_type_are_float32(dtype: torch.dtype) -> None:
    scores = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0)).to(dtype)
    rows = resample_rows(scores, range(3, 6), (11, 13))
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows, resample(scores.float(), (11, 13))[:, 3:6])


def test_mean_logits_are_on_the_finest_grid() -> None:
    passes = random_passes()
    expected = sum(resample(one, (8, 12)) for one in passes) / len(passes)
    torch.testing.assert_close(mean_logits(passes), expected)


def test_merges_are_the_documented_ones() -> None:
    assert ("logits", *PER_PIXEL) == MERGES


class LargestTensor(TorchDispatchMode):
    """Records the largest number of elements of any floating-point tensor that an operator returns."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for one in tensors(result):
            if one.is_floating_point():
                self.largest = max(self.largest, one.numel())
        return result


def tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from tensors(one)


@pytest.mark.parametrize("merge", PER_PIXEL)
def test_merged_classes_never_hold_the_scores_of_more_than_a_strip(merge: Merge) -> None:
    size = (200, 40)
    with LargestTensor() as memory:
        merged_classes(random_passes(), merge, size)
    assert 0 < memory.largest <= max(merging.STRIP_BYTES // 4, max(5 * height * width for height, width in GRIDS))
    assert memory.largest < 5 * size[0] * size[1] / 50
