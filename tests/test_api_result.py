"""The result of one image in the Python API."""

from __future__ import annotations

import json
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from seamseg.predict.predictor import Prediction
from seamseg.predict.result import Result
from seamseg.structures import VOID, Categories, Category, Detections, PanopticSegmentation, SemanticLogits

CATEGORIES = Categories((Category("road", False, (128, 64, 128), 7), Category("car", True, (0, 0, 142), 26)))
IDS = torch.tensor([[0, 1, 1, 3, 3], [2, 2, 1, 3, 3], [2, 2, 5, 5, 3]])  # segment 4 has no pixel


def result(ids: torch.Tensor = IDS) -> Result:
    classes, scores = torch.tensor([VOID, 1, 1, 0, 1, 1]), torch.tensor([0.0, 0.9, 0.8, 1.0, 0.7, 1.0])
    found = PanopticSegmentation(ids, classes, torch.tensor([False] * 5 + [True]), scores)
    objects = Detections(torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0), torch.zeros(0, 28, 28))
    image = np.full((*ids.shape, 3), 100, np.uint8)
    size = tuple(ids.shape)
    return Result(image, CATEGORIES, Prediction(found, objects, SemanticLogits(torch.zeros(2, 1, 1), size, size)))


def test_segments_with_pixels_are_listed_by_id() -> None:
    found = result().segments
    assert [(s.id, s.class_name, s.class_index, s.is_thing, s.is_crowd, s.area, s.box) for s in found] == [
        (1, "car", 1, True, False, 3, (0, 1, 2, 3)),
        (2, "car", 1, True, False, 4, (1, 0, 3, 2)),
        (3, "road", 0, False, False, 5, (0, 3, 3, 5)),
        (5, "car", 1, True, True, 2, (2, 2, 3, 4)),
    ]
    assert [s.score for s in found] == pytest.approx([0.9, 0.8, 1.0, 1.0])
    assert repr(result()) == "Result(3×5, 4 segments)"


def test_to_coco_gives_one_entry_per_segment_without_crowd() -> None:
    entries = result().to_coco("a")
    assert json.loads(json.dumps(entries)) == entries
    assert [(entry["id"], entry["category_id"], entry["image_id"]) for entry in entries] == [
        (1, 26, "a"),
        (2, 26, "a"),
        (3, 7, "a"),
    ]
    for entry in entries:
        assert (coco_mask.decode(entry["segmentation"]) == (entry["id"] == IDS).numpy()).all()


def test_overlay_does_not_change_the_image() -> None:
    one = result()
    overlay = one.overlay(opacity=1.0, labels=False)
    assert overlay.shape == (3, 5, 3)
    assert tuple(overlay[0, 4]) == CATEGORIES.classes[0].color
    assert (one.image == 100).all()


class StandIn:
    """Of ``supervision.Detections``, with its constructor's arguments."""

    def __init__(self, xyxy: Any, mask: Any, confidence: Any, class_id: Any, data: Any) -> None:
        self.xyxy, self.mask, self.confidence = xyxy, mask, confidence
        self.class_id, self.data = class_id, data

    def __len__(self) -> int:
        return len(self.xyxy)

    @classmethod
    def empty(cls) -> StandIn:
        return cls(np.empty((0, 4)), None, None, None, {})


@pytest.mark.parametrize("real", [False, True], ids=["stand-in", "real"])
def test_to_supervision_gives_boxes_masks_and_classes(monkeypatch: pytest.MonkeyPatch, real: bool) -> None:
    if real:
        pytest.importorskip("supervision", reason="supervision is not installed")
    else:
        module = ModuleType("supervision")
        module.Detections = StandIn  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "supervision", module)
    found = result().to_supervision()
    assert len(found) == 3
    assert found.xyxy.tolist() == [[1, 0, 3, 2], [0, 1, 2, 3], [3, 0, 5, 3]]
    assert (found.mask == np.stack([IDS.eq(segment).numpy() for segment in (1, 2, 3)])).all()
    assert found.confidence.tolist() == pytest.approx([0.9, 0.8, 1.0])
    assert found.class_id.tolist() == [1, 1, 0]
    assert found.data["class_name"].tolist() == ["car", "car", "road"]
    assert len(result(torch.zeros_like(IDS)).to_supervision()) == 0


def objects_result(task: str) -> Result:
    """Return two overlapping cars with boxes and, for instances, masks that fill them."""
    side = 28 if task == "instance" else 0
    boxes = torch.tensor([[0.0, 0.0, 3.0, 3.0], [0.0, 2.0, 3.0, 5.0]])
    found = Detections(boxes, torch.tensor([0, 0]), torch.tensor([0.9, 0.3]), torch.full((2, side, side), 9.0))
    nothing = PanopticSegmentation(torch.zeros(3, 5).long(), torch.tensor([VOID]), torch.tensor([False]))
    prediction = Prediction(nothing, found, SemanticLogits(torch.zeros(0, 0, 0), (3, 5), (3, 5)), shown_score=0.5)
    return Result(np.full((3, 5, 3), 100, np.uint8), CATEGORIES, prediction, task)


@pytest.mark.parametrize("task", ["instance", "detection"])
def test_objects_are_given_to_coco_and_supervision(task: str) -> None:
    pytest.importorskip("supervision", reason="supervision is not installed")
    one = objects_result(task)
    entries = one.to_coco("a")
    assert [entry["bbox"] for entry in entries] == [[0, 0, 3, 3], [2, 0, 3, 3]]
    assert all((entry["image_id"], entry["category_id"]) == ("a", 26) for entry in entries)
    found = one.to_supervision()
    assert found.xyxy.tolist() == [[0, 0, 3, 3], [2, 0, 5, 3]]
    assert found.class_id.tolist() == [1, 1]
    assert found.confidence.tolist() == pytest.approx([0.9, 0.3])
    assert found.data["class_name"].tolist() == ["car", "car"]
    if task == "detection":
        assert (found.mask, one.instances) == (None, None)
        assert not any("segmentation" in entry for entry in entries)
        return
    masks = [coco_mask.decode(entry["segmentation"]) for entry in entries]
    assert (found.mask == np.stack(masks)).all()
    assert (np.sum(masks, axis=0)[1] == [1, 1, 2, 1, 1]).all()
    assert [(found.mask[number] == other.mask).all() for number, other in enumerate(one.instances)] == [True, True]


def test_overlay_of_objects_shows_those_that_are_likely_enough() -> None:
    plain = objects_result("instance").overlay(opacity=1.0, labels=False)
    assert (plain[1, 4] == 100).all(), "the second car has a score of 0.3"
    assert (plain[1, 1] != 100).any()


def test_to_supervision_without_the_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ImportError, match="pip install supervision"):
        result().to_supervision()


def test_result_of_a_void_image_is_empty() -> None:
    nothing = result(torch.zeros_like(IDS))
    assert nothing.segments == ()
    assert nothing.to_coco() == []
    assert nothing.overlay().shape == (3, 5, 3)
