"""Matching of regions with objects, against values computed by hand and loops over all pairs."""

from __future__ import annotations

import pytest
import torch
from oracles import matching as oracle
from oracles.sampling import sample_counts
from torch import Tensor

from seamseg.algos.matching import RoIMatcher, RoISample
from seamseg.structures import Objects

UNLIMITED = 10**6
SIZE = (20, 30)
NO_CROWD = torch.zeros(SIZE, dtype=torch.bool)


def boxes(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def objects(*rows: list[float], classes: list[int] | None = None) -> Objects:
    classes = list(range(len(rows))) if classes is None else classes
    ids = torch.arange(1, len(rows) + 1)
    return Objects(boxes(*rows), torch.tensor(classes, dtype=torch.int64), ids)


NO_OBJECTS = objects()


def match(proposals: Tensor, truth: Objects, crowd: Tensor = NO_CROWD, seed: int = 0, **settings: float) -> RoISample:
    matcher = RoIMatcher(**({"num_samples": UNLIMITED, "positive_fraction": 1.0} | settings))
    return matcher(proposals, truth, crowd, torch.Generator().manual_seed(seed))


def assert_empty(sample: RoISample) -> None:
    assert (sample.boxes.shape, sample.classes.shape, sample.objects.shape) == ((0, 4), (0,), (0,))


def test_match_returns_positives_first_with_their_classes() -> None:
    truth = objects([0, 0, 10, 10], [10, 10, 20, 30], classes=[4, 2])
    sample = match(boxes([0, 20, 5, 30], [10, 12, 20, 30], [0, 0, 10, 5]), truth)
    assert sample.boxes.tolist() == [
        [0, 0, 10, 10],
        [10, 10, 20, 30],
        [10, 12, 20, 30],
        [0, 0, 10, 5],
        [0, 20, 5, 30],
    ]
    assert sample.classes.tolist() == [5, 3, 3, 5, 0]
    assert sample.objects.tolist() == [0, 1, 1, 0]


def test_match_includes_the_positive_threshold() -> None:
    sample = match(boxes([0, 0, 10, 5], [0, 0, 10, 4]), objects([0, 0, 10, 10]))
    assert sample.classes.tolist() == [1, 1, 0]


def test_match_selects_background_between_the_negative_thresholds() -> None:
    proposals = boxes([0, 0, 10, 1], [0, 0, 10, 2], [0, 0, 10, 3], [0, 0, 10, 4], [0, 0, 10, 5])
    sample = match(proposals, objects([0, 0, 10, 10]), negative_low=0.2, negative_high=0.4)
    assert sample.boxes.tolist() == [[0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 2], [0, 0, 10, 3]]


def test_match_never_labels_a_positive_region_as_background() -> None:
    sample = match(boxes([0, 0, 10, 8]), objects([0, 0, 10, 10]), negative_high=1.0)
    assert sample.classes.tolist() == [1, 1]


def test_match_with_tied_objects_selects_the_first() -> None:
    sample = match(boxes([0, 0, 10, 9]), objects([0, 0, 10, 10], [0, 0, 10, 10]))
    assert sample.objects.tolist() == [0, 0, 0]


def test_match_drops_boxes_without_area() -> None:
    sample = match(boxes([5, 5, 5, 9], [0, 30, 10, 30], [0, 0, 0, 0]), objects([0, 0, 10, 10]))
    assert sample.boxes.tolist() == [[0, 0, 10, 10]]


def test_match_drops_regions_and_object_boxes_covered_by_crowd() -> None:
    crowd = NO_CROWD.clone()
    crowd[:7, :10] = True
    truth = objects([0, 0, 10, 10], [1, 0, 11, 10], classes=[0, 1])  # covered 0.7 and 0.6
    sample = match(boxes([0, 0, 7, 10], [0, 0, 8, 10]), truth, crowd)
    assert sample.boxes.tolist() == [[1, 0, 11, 10]]
    assert sample.objects.tolist() == [1]


def test_match_keeps_a_proposal_of_an_object_whose_box_was_dropped() -> None:
    crowd = NO_CROWD.clone()
    crowd[:7, :10] = True
    sample = match(boxes([0, 0, 10.5, 10]), objects([0, 0, 10, 10]), crowd)
    assert sample.boxes.tolist() == [[0, 0, 10.5, 10]]
    assert sample.classes.tolist() == [1]


def test_match_without_objects_returns_no_regions() -> None:
    assert_empty(match(boxes([0, 0, 10, 10]), NO_OBJECTS))


def test_match_without_objects_returns_background_if_background_images() -> None:
    crowd = NO_CROWD.clone()
    crowd[:, 20:] = True
    proposals = boxes([0, 0, 10, 10], [0, 20, 10, 30], [3, 3, 3, 9])
    sample = match(proposals, NO_OBJECTS, crowd, background_images=True)
    assert sample.boxes.tolist() == [[0, 0, 10, 10]]
    assert sample.classes.tolist() == [0]
    assert len(sample.objects) == 0


@pytest.mark.parametrize("background_images", [False, True])
def test_match_without_proposals_and_objects_returns_no_regions(background_images: bool) -> None:
    assert_empty(match(boxes(), NO_OBJECTS, background_images=background_images))


def test_match_without_proposals_returns_the_object_boxes() -> None:
    sample = match(boxes(), objects([0, 0, 10, 10]))
    assert (sample.boxes.tolist(), sample.classes.tolist()) == ([[0, 0, 10, 10]], [1])


def random_boxes(count: int, generator: torch.Generator) -> Tensor:
    """Return boxes with integer coordinates inside the image, some without area, so that many overlaps are tied."""
    y, x = (torch.randint(0, limit + 1, (count, 2), generator=generator) for limit in SIZE)
    return torch.stack([y.amin(1), x.amin(1), y.amax(1), x.amax(1)], dim=1).float()


@pytest.mark.parametrize("seed", range(30))
def test_match_random_regions_equals_loops_over_all_pairs(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    proposals = random_boxes(60, generator)
    rows = [row for row in random_boxes(seed % 6, generator).tolist() if row[2] > row[0] and row[3] > row[1]]
    truth = objects(*rows)
    crowd = NO_CROWD.clone()
    crowd[3:12, 4:20] = seed % 3 > 0
    settings = {
        "positive_threshold": (0.5, 0.4)[seed % 2],
        "negative_low": (0.0, 0.1)[seed // 2 % 2],
        "negative_high": (0.5, 0.4)[seed % 2],
        "void_threshold": (0.7, 0.5)[seed // 3 % 2],
        "background_images": seed % 5 > 1,
    }
    sample = match(proposals, truth, crowd, **settings)
    expected = oracle.match_regions(proposals.tolist(), rows, crowd, **settings)
    num_positive = len(expected.positives)
    assert sample.boxes.tolist() == [box for box, _ in expected.positives] + expected.negatives
    assert sample.objects.tolist() == [index for _, index in expected.positives]
    assert sample.classes[:num_positive].tolist() == [index + 1 for _, index in expected.positives]
    assert sample.classes[num_positive:].tolist() == [0] * len(expected.negatives)


@pytest.mark.parametrize("seed", range(6))
def test_match_with_few_samples_keeps_counts_and_objects(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    proposals, rows = random_boxes(80, generator), [[0.0, 0, 12, 12], [5, 10, 20, 30]]
    truth = objects(*rows, classes=[3, 1])
    num_samples, fraction = (40, 10, 4)[seed % 3], (0.25, 0.5)[seed % 2]
    all_regions = oracle.match_regions(proposals.tolist(), rows, NO_CROWD)
    sample = match(proposals, truth, num_samples=num_samples, positive_fraction=fraction)
    expected = sample_counts(len(all_regions.positives), len(all_regions.negatives), num_samples, fraction)
    num_positive = len(sample.objects)
    assert (num_positive, len(sample.boxes) - num_positive) == expected
    chosen = list(zip(sample.boxes[:num_positive].tolist(), sample.objects.tolist(), strict=True))
    assert all(pair in all_regions.positives for pair in chosen)
    assert all(box in all_regions.negatives for box in sample.boxes[num_positive:].tolist())
    assert sample.classes.tolist() == [[4, 2][index] for _, index in chosen] + [0] * expected[1]


def test_match_samples_depend_only_on_the_generator() -> None:
    proposals = random_boxes(200, torch.Generator().manual_seed(0))
    truth = objects([0, 0, 10, 10])
    first, again, other = (match(proposals, truth, num_samples=20, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.boxes, again.boxes)
    assert not torch.equal(first.boxes, other.boxes)
