"""Overlaps between prediction and truth: checks of both sides, and crowd."""

from __future__ import annotations

import pytest
import torch

from seamseg.metrics.overlaps import Overlaps
from seamseg.structures import PanopticSegmentation

IDS = torch.tensor([[0, 1, 1], [2, 2, 3]])
CLASSES = torch.tensor([255, 4, 7, 7])
CROWD = torch.tensor([False, False, False, True])
VALID = PanopticSegmentation(IDS, CLASSES, CROWD)


@pytest.mark.parametrize(
    ("ids", "classes", "crowd", "message"),
    [
        (IDS, CLASSES[:3], CROWD[:3], "segment 3, but only 0 … 2"),
        (IDS - 1, CLASSES, CROWD, "segment -1"),
        (IDS, CLASSES, CROWD[:3], "one class and one crowd flag"),
        (IDS, CLASSES - 1, CROWD, "class 254"),
        (IDS[None], CLASSES, CROWD, "height and a width"),
        (IDS[:0], CLASSES, CROWD, "height and a width"),
    ],
)
def test_between_with_an_inconsistent_side_raises(
    ids: torch.Tensor, classes: torch.Tensor, crowd: torch.Tensor, message: str
) -> None:
    wrong = PanopticSegmentation(ids, classes, crowd)
    for prediction, truth in ((wrong, VALID), (VALID, wrong)):
        with pytest.raises(ValueError, match=message):
            Overlaps.between(prediction, truth)


def test_between_turns_predicted_crowd_into_void_and_keeps_true_crowd() -> None:
    overlaps = Overlaps.between(VALID, VALID)
    assert overlaps.predicted_classes.tolist() == [255, 4, 7, 255]
    assert overlaps.true_classes.tolist() == CLASSES.tolist()
    assert overlaps.true_crowd.tolist() == CROWD.tolist()
