"""Panoptic segmentation of one image."""

from __future__ import annotations

import torch

from seamseg.structures import VOID, GroundTruth, PackedSequence, PanopticSegmentation

IDS = torch.tensor([[0, 1, 1], [2, 2, 3]])
CLASSES = torch.tensor([VOID, 4, 7, 7])
CROWD = torch.tensor([False, False, False, True])


def test_semantics_with_ids_of_any_integer_type_are_the_classes() -> None:
    for kind in (torch.uint8, torch.int32, torch.int64):
        segmentation = PanopticSegmentation(IDS.to(kind), CLASSES, CROWD)
        assert segmentation.size == (2, 3)
        assert segmentation.semantics.tolist() == [[VOID, 4, 4], [7, 7, 7]]


def test_without_crowd_turns_crowd_into_void_in_a_copy() -> None:
    scores = torch.tensor([0.0, 1.0, 0.5, 1.0])
    changed = PanopticSegmentation(IDS, CLASSES, CROWD, scores).without_crowd()
    assert changed.semantics.tolist() == [[VOID, 4, 4], [7, 7, VOID]]
    assert not changed.crowd.any()
    assert changed.scores is scores
    assert CLASSES.tolist() == [VOID, 4, 7, 7]


def test_filled_scores_without_scores_are_one_except_for_void() -> None:
    assert PanopticSegmentation(IDS, CLASSES, CROWD).filled_scores.tolist() == [0, 1, 1, 1]
    scores = torch.tensor([0.0, 1.0, 0.5, 1.0])
    assert PanopticSegmentation(IDS, CLASSES, CROWD, scores).filled_scores is scores


def test_segmentation_of_a_batch_returns_the_requested_image() -> None:
    truth = GroundTruth(
        PackedSequence([torch.zeros(1, 1, 1, dtype=torch.int64), IDS[None]]),
        PackedSequence([CLASSES[:1], CLASSES]),
        PackedSequence([CROWD[:1], CROWD]),
        PackedSequence([torch.zeros(1, 4), torch.zeros(4, 4)]),
    )
    segmentation = truth.segmentation(1)
    assert segmentation.ids.tolist() == IDS.tolist()
    assert segmentation.classes.tolist() == CLASSES.tolist()
    assert segmentation.crowd.tolist() == CROWD.tolist()
    assert segmentation.scores is None
