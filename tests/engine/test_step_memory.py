"""Search of the largest batch, and made-up batches."""

from __future__ import annotations

import pytest
import torch

from seamseg.algos.matching import RoIMatcher
from seamseg.algos.rpn import ProposalSelector
from seamseg.engine.made_up_batch import MadeUpProposals, made_up_truth
from seamseg.engine.step_memory import MOST_IMAGES, largest_batch
from seamseg.structures import VOID


@pytest.mark.parametrize(
    ("fixed", "per_image", "available", "expected"),
    [(5, 3, 7, 0), (5, 3, 8, 1), (5, 3, 10, 1), (5, 3, 11, 2), (100, 7, 10_000, 1414), (5, 0, 9, MOST_IMAGES)],
)
def test_largest_batch_is_the_last_that_fits(fixed: int, per_image: int, available: int, expected: int) -> None:
    asked: list[int] = []

    def needed(size: int) -> int:
        asked.append(size)
        return fixed + per_image * size

    assert largest_batch(needed, available) == expected
    assert len(asked) <= 5


def test_largest_batch_is_right_if_memory_is_not_a_line() -> None:
    for limit in range(30, 3000, 97):
        expected = max(size for size in range(1, 100) if 20 + max(7 * size, size * size // 2) <= limit)
        assert largest_batch(lambda size: 20 + max(7 * size, size * size // 2), limit) == expected


def test_made_up_truth_has_as_many_objects_and_classes_as_requested() -> None:
    truth = made_up_truth((60, 90), 2, 3, 4, 10)
    assert len(truth) == 2
    objects = truth.objects(1, 3)
    assert len(objects.boxes) == 10
    assert set(objects.classes.tolist()) == {0, 1, 2, 3}
    assert set(truth.semantic_target(0).unique().tolist()) == set(range(7))
    assert truth.classes.entry(0)[0] == VOID
    assert int(truth.ids.entry(0).max()) + 1 == len(truth.classes.entry(0))
    for segment, box in zip(objects.segment_ids, objects.boxes, strict=True):
        rows, columns = torch.nonzero(truth.ids.entry(1)[0] == segment, as_tuple=True)
        assert box.tolist() == [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]


@pytest.mark.parametrize(("stuff", "things", "objects"), [(0, 2, 3), (2, 0, 3), (2, 2, 0)])
def test_made_up_truth_without_stuff_or_things_or_objects(stuff: int, things: int, objects: int) -> None:
    truth = made_up_truth((16, 24), 1, stuff, things, objects)
    assert len(truth.objects(0, stuff).boxes) == (objects if things else 0)
    assert (truth.semantic_target(0) == VOID).any() == (stuff == 0)


@pytest.mark.parametrize("num_objects", [1, 12])
def test_made_up_proposals_give_as_many_regions_as_the_matcher_samples(num_objects: int) -> None:
    truth = made_up_truth((200, 300), 1, 2, 2, num_objects)
    objects = truth.objects(0, 2)
    selector = MadeUpProposals(ProposalSelector(500, 300, 0.7, 0), [objects.boxes])
    anchors = torch.rand(2000, 4) * 100
    anchors[:, 2:] += anchors[:, :2] + 5
    (proposals,) = selector(anchors, torch.randn(1, 2000), torch.randn(1, 2000, 4), [(200, 300)]).present
    assert proposals.shape == (300, 4)
    assert (proposals[:, 2:] <= torch.tensor([200.0, 300.0])).all()
    sample = RoIMatcher(128)(proposals, objects, torch.zeros(200, 300, dtype=torch.bool), torch.Generator())
    assert (len(sample.boxes), len(sample.objects)) == (128, 32)
