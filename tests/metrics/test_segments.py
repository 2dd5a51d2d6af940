"""What metrics accept as a segmentation."""

from __future__ import annotations

import pytest
import torch

from seamseg.metrics.segments import Segments
from seamseg.structures import GroundTruth, PackedSequence, PanopticSegmentation

IDS = torch.tensor([[0, 1, 1], [2, 2, 3]])
CLASSES = torch.tensor([255, 4, 7, 7])
CROWD = torch.tensor([False, False, False, True])


def test_of_an_annotation() -> None:
    truth = GroundTruth(
        PackedSequence([torch.zeros(1, 1, 1, dtype=torch.int64), IDS[None]]),
        PackedSequence([CLASSES[:1], CLASSES]),
        PackedSequence([CROWD[:1], CROWD]),
        PackedSequence([torch.zeros(1, 4), torch.zeros(4, 4)]),
    )
    segments = Segments.of_truth(truth, 1)
    assert segments.size == (2, 3)
    assert segments.class_map().tolist() == [[255, 4, 4], [7, 7, 7]]
    assert segments.crowd.tolist() == CROWD.tolist()


def test_of_a_prediction_whose_crowd_becomes_void() -> None:
    segments = Segments.of_prediction(PanopticSegmentation(IDS, CLASSES, torch.ones(4), CROWD)).without_crowd()
    assert segments.class_map().tolist() == [[255, 4, 4], [7, 7, 255]]
    assert not segments.crowd.any()
    assert CLASSES.tolist() == [255, 4, 7, 7]


@pytest.mark.parametrize(
    ("ids", "classes", "crowd", "message"),
    [
        (IDS, CLASSES[:3], CROWD[:3], "segment 3, but classes are known for 0 … 2"),
        (IDS - 1, CLASSES, CROWD, "segment -1"),
        (IDS, CLASSES, CROWD[:3], "one class and one crowd flag"),
        (IDS, CLASSES - 1, CROWD, "not 254"),
        (IDS[None], CLASSES, CROWD, "height and a width"),
        (IDS[:0], CLASSES, CROWD, "height and a width"),
    ],
)
def test_maps_that_contradict_their_lists(
    ids: torch.Tensor, classes: torch.Tensor, crowd: torch.Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Segments(ids, classes, crowd)
