"""Which images form a batch."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamseg.data.samplers import EvaluationBatches, TrainBatches
from seamseg.runtime.training_progress import TrainingProgress

LANDSCAPE, PORTRAIT = (30, 40), (40, 30)
Sizes = list[tuple[int, int]]
orientations = st.lists(st.sampled_from([LANDSCAPE, PORTRAIT, (30, 30)]), min_size=1, max_size=40)


def indices(batches: list[list]) -> list[list[int]]:
    return [[key.index for key in batch] for batch in batches]


def is_mixed(batch: list[int], sizes: Sizes) -> bool:
    return len({width >= height for height, width in (sizes[index] for index in batch)}) > 1


@settings(deadline=None, max_examples=150)
@given(orientations, st.integers(1, 6), st.integers(1, 4), st.integers(0, 3))
def test_training_epoch_has_full_batches_without_repeated_images(
    sizes: Sizes, batch_size: int, num_ranks: int, epoch: int
) -> None:
    num_ranks = min(num_ranks, len(sizes))
    samplers = [TrainBatches(sizes, batch_size, seed=5, rank=rank, num_ranks=num_ranks) for rank in range(num_ranks)]
    per_rank = [indices(sampler.batches(epoch)) for sampler in samplers]
    assert {len(batches) for batches in per_rank} == {samplers[0].num_batches} != {0}
    seen = Counter(index for batches in per_rank for batch in batches for index in batch)
    assert max(seen.values()) == 1
    step = batch_size * num_ranks
    assert len(seen) == (len(sizes) // step * step if len(sizes) >= step else len(sizes))
    steps = [[index for batch in batches for index in batch] for batches in zip(*per_rank, strict=True)]
    assert sum(is_mixed(images, sizes) for images in steps) <= 1
    sizes_of_batches = {len(batch) for batches in per_rank for batch in batches}
    if len(sizes) >= step:
        assert sizes_of_batches == {batch_size}
    else:
        assert max(sizes_of_batches) - min(sizes_of_batches) <= 1
        assert min(sizes_of_batches) >= 1


@settings(deadline=None, max_examples=100)
@given(orientations, st.integers(1, 6), st.integers(1, 5))
def test_evaluation_batches_contain_every_image_once(sizes: Sizes, batch_size: int, num_ranks: int) -> None:
    samplers = [EvaluationBatches(sizes, batch_size, rank=rank, num_ranks=num_ranks) for rank in range(num_ranks)]
    per_rank = [indices(sampler.batches(0)) for sampler in samplers]
    assert sorted(index for batches in per_rank for batch in batches for index in batch) == list(range(len(sizes)))
    counts = [len(batches) for batches in per_rank]
    assert counts == [sampler.num_batches for sampler in samplers]
    assert max(counts) - min(counts) <= 1
    for batches in per_rank:
        for batch in batches:
            assert 1 <= len(batch) <= batch_size
            assert not is_mixed(batch, sizes)


def test_batch_keys_contain_the_epoch() -> None:
    for sampler in (TrainBatches([LANDSCAPE] * 4, 2, seed=0), EvaluationBatches([LANDSCAPE] * 4, 2)):
        assert {key.epoch for batch in sampler.batches(7) for key in batch} == {7}


def test_training_order_depends_only_on_seed_and_epoch() -> None:
    sizes = [LANDSCAPE, PORTRAIT] * 20
    first = TrainBatches(sizes, 2, seed=1).batches(3)
    sampler = TrainBatches(sizes, 2, seed=1)
    sampler.batches(0)
    np.random.seed(0)
    assert sampler.batches(3) == first
    assert indices(sampler.batches(4)) != indices(first)
    assert indices(TrainBatches(sizes, 2, seed=2).batches(3)) != indices(first)


def test_images_of_a_step_are_independent_of_the_number_of_ranks() -> None:
    sizes = [LANDSCAPE, PORTRAIT, LANDSCAPE] * 9
    single = indices(TrainBatches(sizes, 4, seed=1).batches(0))
    shared = [indices(TrainBatches(sizes, 1, seed=1, rank=rank, num_ranks=4).batches(0)) for rank in range(4)]
    assert single == [[index for batch in batches for index in batch] for batches in zip(*shared, strict=True)]


@pytest.mark.parametrize(("before", "after"), [(4, 2), (2, 4), (4, 7), (40, 2)])
@pytest.mark.parametrize("done", [1, 3])
def test_resumed_epoch_contains_only_the_remaining_images(before: int, after: int, done: int) -> None:
    sizes = [LANDSCAPE, PORTRAIT, LANDSCAPE] * 9
    whole = indices(TrainBatches(sizes, before, seed=1).batches(5))
    seen = [index for batch in whole[:done] for index in batch]
    position = TrainingProgress(5, done, images_per_batch=before).with_batches_of(after)
    rest = TrainBatches(sizes, after, seed=1, resumed=position)
    remaining = [index for batch in indices(rest.batches(5)) for index in batch]
    assert len(remaining) == (27 - len(seen)) // after * after
    assert len({*seen, *remaining}) == len(seen) + len(remaining)
    assert all(len(batch) == after for batch in rest.batches(5))
    for epoch in (4, 6):
        assert rest.batches(epoch) == TrainBatches(sizes, after, seed=1).batches(epoch)


def test_epoch_resumed_several_times_covers_every_image_once() -> None:
    sizes = [LANDSCAPE] * 24
    position, seen = TrainingProgress(0, images_per_batch=4), []
    for images, num_batches in ((4, 2), (2, 3), (6, 1), (1, 4)):
        position = position.with_batches_of(images)
        shares = [
            TrainBatches(sizes, 1, seed=1, rank=rank, num_ranks=images, resumed=position) for rank in range(images)
        ]
        seen += [index for share in shares for batch in indices(share.batches(0))[:num_batches] for index in batch]
        position = replace(position, batch=num_batches)
    assert sorted(seen) == list(range(24))
    assert TrainBatches(sizes, 2, seed=1, resumed=position.with_batches_of(2)).batches(0) == []


def test_resuming_with_the_same_batch_size_keeps_the_steps() -> None:
    sizes = [LANDSCAPE, PORTRAIT] * 12
    position = TrainingProgress(0, 2, images_per_batch=4).with_batches_of(4)
    assert TrainBatches(sizes, 4, seed=1, resumed=position).batches(0) == TrainBatches(sizes, 4, seed=1).batches(0)


def test_orientations_alternate_over_the_epoch() -> None:
    sizes = [LANDSCAPE] * 40 + [PORTRAIT] * 40
    is_portrait = [batch[0] >= 40 for batch in indices(TrainBatches(sizes, 4, seed=0).batches(0))]
    changes = sum(first != second for first, second in pairwise(is_portrait))
    assert changes >= 4


def test_skipped_images_vary_between_epochs() -> None:
    """One portrait image among landscape ones, and images that do not fill the last batch."""
    sampler = TrainBatches([LANDSCAPE] * 6 + [PORTRAIT], 4, seed=0)
    seen = Counter(index for epoch in range(200) for batch in indices(sampler.batches(epoch)) for index in batch)
    assert len(seen) == 7
    assert min(seen.values()) > 90  # 4 of 7 images each epoch: 114 on average
    assert max(seen.values()) < 140


@pytest.mark.parametrize("batch_size", [1, 2, 4, 8])
def test_epoch_of_eight_images_contains_all_when_the_batch_size_divides_eight(batch_size: int) -> None:
    for num_portrait in range(9):
        sampler = TrainBatches([LANDSCAPE] * (8 - num_portrait) + [PORTRAIT] * num_portrait, batch_size, seed=0)
        assert sorted(index for batch in indices(sampler.batches(0)) for index in batch) == list(range(8))


def test_samplers_reject_arguments_out_of_range() -> None:
    with pytest.raises(ValueError, match="2 training images are too few for 3 processes"):
        TrainBatches([LANDSCAPE] * 2, 1, seed=0, rank=0, num_ranks=3)
    with pytest.raises(ValueError, match="batch size is 0"):
        TrainBatches([LANDSCAPE], 0, seed=0)
    with pytest.raises(ValueError, match="rank 2 is not in 0 … 1"):
        EvaluationBatches([LANDSCAPE], 1, rank=2, num_ranks=2)
