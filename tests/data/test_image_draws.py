"""How often images occur in an epoch, and the batches that are made of them."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamseg.data.dataset import SampleKey
from seamseg.data.image_draws import EpochDraws, EveryImage, ImageDraws, RepeatedImages, UniformClasses
from seamseg.data.samplers import TrainBatches
from seamseg.errors import DataError
from seamseg.runtime.training_progress import TrainingProgress

CLASSES = [[0], [0, 0, 3], [0], [0, 7], [], [0], [0, 3], [0], [0], [0]]
"""Classes of ten images: 0 is in nine, 3 in two, 7 in one; image 4 has none."""
class_lists = st.lists(st.lists(st.integers(0, 6), max_size=5), min_size=1, max_size=30)


def factors(classes: list[list[int]], threshold: float) -> list[float]:
    """Return the repeat factors of LVIS, class by class."""
    fraction = {c: sum(c in shown for shown in classes) / len(classes) for shown in classes for c in shown}
    repeat = {c: max(1.0, math.sqrt(threshold / f)) for c, f in fraction.items()}
    return [max([repeat[c] for c in shown], default=1.0) for shown in classes]


def drawn(draws: ImageDraws, seed: int) -> EpochDraws:
    return draws.draw(np.random.default_rng(seed))


@given(class_lists, st.floats(0.001, 1))
def test_repeat_factors_equal_those_of_a_loop_over_classes(classes: list[list[int]], threshold: float) -> None:
    assert RepeatedImages(classes, threshold).factors.tolist() == pytest.approx(factors(classes, threshold))


def test_repeat_factors_equal_values_computed_by_hand() -> None:
    found = RepeatedImages(CLASSES, 0.8).factors
    assert found.tolist() == pytest.approx([1, 2, 1, 8**0.5, 1, 1, 2, 1, 1, 1])


@settings(deadline=None)
@given(class_lists, st.floats(0.001, 1), st.integers(0, 99))
def test_repeated_images_occur_as_often_as_their_factor_rounded_down_or_up(
    classes: list[list[int]], threshold: float, seed: int
) -> None:
    draws = RepeatedImages(classes, threshold)
    counts = np.bincount(drawn(draws, seed).images, minlength=len(classes))
    whole = np.floor(draws.factors)
    assert set((counts - whole).tolist()) <= {0, 1}
    assert counts.sum() == draws.num_draws
    assert draws.factors.sum() - 1 - 1e-9 <= draws.num_draws <= draws.factors.sum() + 1e-9


def test_repeated_images_occur_as_often_as_their_factor_on_average() -> None:
    classes = [[0], [0, 1], [0, 2], [0, 2], [0, 3], [0, 4, 4], *[[0]] * 20]
    draws = RepeatedImages(classes, 0.3)
    mean = np.mean([np.bincount(drawn(draws, seed).images, minlength=26) for seed in range(2000)], axis=0)
    assert mean[0] == 1
    # The fractional parts shrink by the factor that makes their sum an integer.
    fractions = draws.factors % 1
    expected = np.floor(draws.factors) + fractions * np.floor(fractions.sum()) / fractions.sum()
    assert np.abs(mean - expected).max() < 0.04
    assert 1 < fractions.sum() < 5


def test_images_of_frequent_classes_are_drawn_once() -> None:
    assert drawn(RepeatedImages(CLASSES, 0.05), 0).images.tolist() == list(range(10))
    assert drawn(RepeatedImages([[], []], 1.0), 0).images.tolist() == [0, 1]


def test_repeated_images_say_how_many_samples_an_epoch_has_or_why_no_image_is_repeated() -> None:
    classes = [[0], [0], [0, 1], [0, 0]]
    assert RepeatedImages(classes, 1.0).describe() == "data.class_sampling=repeat: 5 samples per epoch of 4 images"
    nothing = "data.class_sampling=repeat repeats no image: the rarest class is in 25 % of the images"
    assert RepeatedImages(classes, 0.25).describe() == f"{nothing}, and data.repeat_threshold is 25 %"
    assert RepeatedImages(classes, 0.001).describe() == f"{nothing}, and data.repeat_threshold is 0.1 %"
    assert RepeatedImages([[], []], 1.0).rarest == 1


def test_uniform_classes_draw_classes_and_their_images_equally_often() -> None:
    draws, pairs = UniformClasses(CLASSES), Counter[tuple[int, int]]()
    for seed in range(900):
        epoch = drawn(draws, seed)
        assert epoch.targets is not None
        assert len(epoch.images) == len(epoch.targets) == draws.num_draws == 10
        pairs.update(zip(epoch.targets.tolist(), epoch.images.tolist(), strict=True))
    per_class = {c: sum(count for (klass, _), count in pairs.items() if klass == c) for c in (0, 3, 7)}
    assert sum(per_class.values()) == 9000
    assert all(abs(count - 3000) < 150 for count in per_class.values())
    assert {image for klass, image in pairs if klass == 3} == {1, 6}
    assert {image for klass, image in pairs if klass == 7} == {3}
    zero = [pairs[0, image] for image in range(10)]
    assert zero[4] == 0
    assert all(abs(count - 333) < 70 for image, count in enumerate(zero) if image != 4)


def test_uniform_classes_without_any_class_are_refused() -> None:
    with pytest.raises(DataError, match=r"data\.scale_sampling=uniform"):
        UniformClasses([[], []])


@given(st.lists(st.integers(0, 9), max_size=40))
def test_repeats_number_the_draws_of_each_image(images: list[int]) -> None:
    seen: Counter[int] = Counter()
    expected = []
    for image in images:
        expected.append(seen[image])
        seen[image] += 1
    assert EpochDraws(np.array(images, np.int64)).repeats.tolist() == expected


RULES = [RepeatedImages(CLASSES * 3, 0.9), UniformClasses(CLASSES * 3)]
SIZES = [(30, 40) if index % 3 else (40, 30) for index in range(30)]


def keys(sampler: TrainBatches, epoch: int) -> list[SampleKey]:
    return [key for batch in sampler.batches(epoch) for key in batch]


@pytest.mark.parametrize("draws", RULES, ids=["repeat", "uniform"])
@pytest.mark.parametrize(("batch_size", "num_ranks"), [(1, 1), (2, 1), (3, 2), (1, 5), (64, 1)])
def test_ranks_share_the_draws_of_an_epoch(draws: ImageDraws, batch_size: int, num_ranks: int) -> None:
    shares = [
        TrainBatches(SIZES, batch_size, seed=3, rank=rank, num_ranks=num_ranks, draws=draws)
        for rank in range(num_ranks)
    ]
    for epoch in range(3):
        assert {len(share.batches(epoch)) for share in shares} == {shares[0].num_batches}
        used = [key for share in shares for key in keys(share, epoch)]
        assert len(set(used)) == len(used), "no sample occurs twice"
        generator = np.random.default_rng(np.random.SeedSequence(3, spawn_key=(epoch,)))
        epoch_draws = draws.draw(generator)
        targets = [None] * draws.num_draws if epoch_draws.targets is None else epoch_draws.targets.tolist()
        every = {
            SampleKey(epoch, *values)
            for values in zip(epoch_draws.images.tolist(), epoch_draws.repeats.tolist(), targets, strict=True)
        }
        step = batch_size * num_ranks
        assert set(used) <= every
        assert len(used) == (len(every) // step * step or len(every))


@pytest.mark.parametrize("draws", RULES, ids=["repeat", "uniform"])
def test_steps_of_repeated_images_have_one_orientation(draws: ImageDraws) -> None:
    batches = TrainBatches(SIZES, 3, seed=0, draws=draws).batches(0)
    mixed = [len({key.index % 3 == 0 for key in batch}) > 1 for batch in batches]
    assert sum(mixed) <= 1


@pytest.mark.parametrize("draws", RULES, ids=["repeat", "uniform"])
@pytest.mark.parametrize(("before", "after"), [(4, 2), (2, 3), (4, 7)])
def test_resumed_epoch_contains_only_the_remaining_draws(draws: ImageDraws, before: int, after: int) -> None:
    done = keys(TrainBatches(SIZES, before, seed=1, draws=draws), 5)[: 3 * before]
    position = TrainingProgress(5, 3, images_per_batch=before).with_batches_of(after)
    resumed = TrainBatches(SIZES, after, seed=1, resumed=position, draws=draws)
    left = keys(resumed, 5)
    assert len({*done, *left}) == len(done) + len(left)
    assert len(left) == (draws.num_draws - len(done)) // after * after
    assert keys(resumed, 6) == keys(TrainBatches(SIZES, after, seed=1, draws=draws), 6)
    assert {*done, *left} <= {*keys(TrainBatches(SIZES, 1, seed=1, draws=draws), 5)}


def test_every_image_once_draws_no_random_number() -> None:
    generator = np.random.default_rng(0)
    epoch = EveryImage(4).draw(generator)
    assert (epoch.images.tolist(), epoch.repeats.tolist(), epoch.targets) == ([0, 1, 2, 3], [0] * 4, None)
    assert generator.random() == np.random.default_rng(0).random()


def test_order_without_a_rule_is_the_one_of_earlier_versions() -> None:
    """Existing runs resume only if the same seed and epoch give the same order."""
    generator = np.random.default_rng(np.random.SeedSequence(4, spawn_key=(2,)))
    expected = generator.permutation(6)[generator.permutation(6)].tolist()
    assert [key.index for key in keys(TrainBatches([(3, 4)] * 6, 1, seed=4), 2)] == expected
