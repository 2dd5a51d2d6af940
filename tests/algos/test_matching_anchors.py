"""Matching of anchors with objects, against values computed by hand and loops over all pairs."""

from __future__ import annotations

import pytest
import torch
from oracles import matching as oracle
from torch import Tensor

from seamseg.algos.anchors import AnchorGrid
from seamseg.algos.matching import AnchorMatcher, AnchorSample

UNLIMITED = 10**6
SIZE = (20, 30)
NO_CROWD = torch.zeros(SIZE, dtype=torch.bool)


def boxes(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def match(anchors: Tensor, objects: Tensor, crowd: Tensor = NO_CROWD, seed: int = 0, **settings: float) -> AnchorSample:
    matcher = AnchorMatcher(**({"num_samples": UNLIMITED} | settings))
    size = (crowd.shape[0], crowd.shape[1])
    return matcher(anchors, size, objects, crowd, torch.Generator().manual_seed(seed))


def pairs(sample: AnchorSample) -> dict[int, int]:
    return dict(zip(sample.positives.tolist(), sample.objects.tolist(), strict=True))


def test_match_labels_anchors_positive_negative_or_ignored_by_overlap() -> None:
    anchors = boxes([0, 0, 10, 10], [0, 3, 10, 13], [0, 4, 10, 14], [0, 10, 10, 20])  # IoU 1, 7/13, 3/7, 0
    sample = match(anchors, boxes([0, 0, 10, 10]), positive_threshold=0.5, negative_threshold=0.4)
    assert pairs(sample) == {0: 0, 1: 0}
    assert sample.negatives.tolist() == [3]


def test_match_includes_the_positive_and_excludes_the_negative_threshold() -> None:
    anchors = boxes([0, 0, 10, 10], [0, 0, 10, 7], [0, 0, 10, 3], [0, 0, 10, 2])
    sample = match(anchors, boxes([0, 0, 10, 10]))
    assert pairs(sample) == {0: 0, 1: 0}
    assert sample.negatives.tolist() == [3]


def test_match_makes_the_best_anchor_positive_even_with_small_overlap() -> None:
    anchors = boxes([10, 0, 20, 10], [0, 9, 10, 19], [0, 8, 10, 18])
    sample = match(anchors, boxes([0, 0, 10, 10]))
    assert pairs(sample) == {2: 0}
    assert sample.negatives.tolist() == [0, 1]


def test_match_with_tied_anchors_selects_the_first() -> None:
    anchors = boxes([0, 12, 10, 22], [0, 2, 10, 12], [0, 2, 10, 12], [2, 0, 12, 10])
    sample = match(anchors, boxes([0, 0, 10, 10]))
    assert pairs(sample) == {1: 0}


def test_match_with_tied_objects_selects_the_first() -> None:
    twins = boxes([0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 20])
    sample = match(boxes([0, 0, 10, 10], [0, 0, 10, 9]), twins, positive_threshold=0.7)
    # Anchor 1 gets the first of the two equal objects. Anchor 0 is the best for all three objects and gets the last.
    assert pairs(sample) == {0: 2, 1: 0}


def test_match_prefers_the_object_whose_best_anchor_it_is() -> None:
    small_and_large = boxes([0, 0, 10, 10], [0, 0, 20, 10])
    sample = match(boxes([0, 0, 9, 10], [0, 0, 10, 10]), small_and_large)
    assert pairs(sample) == {0: 0, 1: 1}


def test_match_with_object_outside_all_anchors_has_no_positives() -> None:
    sample = match(boxes([0, 0, 10, 10]), boxes([15, 15, 20, 20]))
    assert pairs(sample) == {}
    assert sample.negatives.tolist() == [0]


def test_match_ignores_anchors_that_cross_the_border() -> None:
    fitting = [0.0, 0.0, 20.0, 30.0]
    anchors = boxes(fitting, [-0.5, 0, 20, 30], [0, -0.5, 20, 30], [0, 0, 20.5, 30], [0, 0, 20, 30.5], fitting)
    assert match(anchors, boxes()).negatives.tolist() == [0, 5]


def test_match_with_border_anchors_ignores_those_whose_center_is_outside() -> None:
    cut = ([-9.0, 0, 10, 10], [0, -8, 10, 10], [12, 0, 28, 10], [0, 20, 10, 39])
    outside = ([-11.0, 0, 10, 10], [0, -11, 10, 10], [12, 0, 29, 10], [0, 22, 10, 39])
    assert match(boxes(*cut, *outside), boxes(), border_anchors=True).negatives.tolist() == [0, 1, 2, 3]


def test_match_selects_the_best_anchor_among_those_inside_the_image() -> None:
    anchors, objects = boxes([-1, 0, 10, 10], [0, 0, 5, 5]), boxes([0, 0, 10, 10])
    assert pairs(match(anchors, objects)) == {1: 0}
    assert pairs(match(anchors, objects, border_anchors=True)) == {0: 0}


def test_match_ignores_anchors_covered_by_crowd() -> None:
    crowd = NO_CROWD.clone()
    crowd[:7, :10] = True
    anchors = boxes([0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 7, 10])  # covered 0.7, 0.6 and 1
    sample = match(anchors, boxes([0, 0, 7, 10]), crowd)
    assert pairs(sample) == {1: 0}
    assert sample.negatives.tolist() == []


def test_match_without_objects_returns_only_negatives() -> None:
    sample = match(boxes([0, 0, 10, 10], [5, 5, 9, 9], [-1, 0, 3, 3]), boxes())
    assert pairs(sample) == {}
    assert sample.negatives.tolist() == [0, 1]


@pytest.mark.parametrize("objects", [boxes(), boxes([0, 0, 5, 5])])
def test_match_without_anchors_returns_no_samples(objects: Tensor) -> None:
    sample = match(boxes(), objects)
    assert (len(sample.positives), len(sample.objects), len(sample.negatives)) == (0, 0, 0)


def random_boxes(count: int, generator: torch.Generator) -> Tensor:
    """Return boxes with integer coordinates, some outside the image, so that many overlaps are tied."""
    corners = torch.randint(-2, 24, (count, 2, 2), generator=generator)
    return torch.cat([corners.amin(1), corners.amax(1) + 1], dim=1).float()


def random_crowd(generator: torch.Generator) -> Tensor:
    crowd = NO_CROWD.clone()
    y, x = torch.randint(0, 15, (2,), generator=generator).tolist()
    crowd[y : y + 7, x : x + 9] = torch.rand(1, generator=generator) < 0.7
    return crowd


@pytest.mark.parametrize("seed", range(30))
def test_match_random_anchors_equals_loops_over_all_pairs(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    anchors, objects = random_boxes(150, generator), random_boxes(seed % 7, generator)
    crowd = random_crowd(generator)
    thresholds = (0.5, 0.3, 0.6) if seed % 2 else (0.7, 0.3, 0.7)
    names = ("positive_threshold", "negative_threshold", "void_threshold")
    border_anchors = seed % 3 == 0
    settings = dict(zip(names, thresholds, strict=True)) | {"border_anchors": border_anchors}
    sample = match(anchors, objects, crowd, **settings)
    expected = oracle.match_anchors(anchors.tolist(), SIZE, objects.tolist(), crowd, *thresholds, border_anchors)
    assert pairs(sample) == expected[0]
    assert sample.negatives.tolist() == sorted(expected[1])


@pytest.mark.parametrize("seed", range(4))
def test_match_anchor_grid_equals_loops_over_all_pairs(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    anchors = AnchorGrid((0.2, 0.5, 1, 2, 5), 2, (4, 8, 16))([(8, 10), (4, 5), (2, 3)], torch.device("cpu"))
    crowd = torch.zeros(32, 40, dtype=torch.bool)
    crowd[20:, 5:15] = True
    objects = random_boxes(5, generator).clamp(min=0)
    sample = match(anchors, objects, crowd)
    positives, negatives = oracle.match_anchors(anchors.tolist(), (32, 40), objects.tolist(), crowd)
    assert pairs(sample) == positives
    assert sample.negatives.tolist() == sorted(negatives)


@pytest.mark.parametrize(
    ("num_samples", "fraction", "expected"), [(8, 0.5, (4, 4)), (6, 1 / 3, (2, 4)), (1, 0.5, (0, 1))]
)
def test_match_with_few_samples_keeps_the_object_of_each_anchor(
    num_samples: int, fraction: float, expected: tuple[int, int]
) -> None:
    objects = boxes([0, 0, 5, 5], [0, 10, 5, 15], [0, 20, 5, 25])
    anchors = torch.cat([objects, objects, objects, objects + torch.tensor([10, 0, 10, 0])])
    sample = match(anchors, objects, num_samples=num_samples, positive_fraction=fraction)
    assert (len(sample.positives), min(len(sample.negatives), expected[1])) == (expected[0], len(sample.negatives))
    assert torch.equal(anchors[sample.positives], objects[sample.objects])
    assert (sample.negatives >= 9).all()


def test_match_samples_depend_only_on_the_generator() -> None:
    anchors = random_boxes(200, torch.Generator().manual_seed(0))
    first, again, other = (match(anchors, boxes([0, 0, 9, 9]), num_samples=20, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.negatives, again.negatives)
    assert not torch.equal(first.negatives, other.negatives)
