"""Objects that overlap are cropped, resized and mirrored like each object by itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.detection_folder import SIZE, write_detection

from seamseg.data.formats.coco_detection import CocoDetection
from seamseg.data.transforms import AugmentationPlan, make_plan
from seamseg.structures import LayeredSegmentation


def alone(plan: AugmentationPlan, annotation: LayeredSegmentation, segment: int) -> torch.Tensor:
    """Return the transformed mask of one segment."""
    mask = (annotation.ids == segment).any(dim=0).to(torch.int32)
    return plan.apply_ids(mask) > 0


@pytest.mark.parametrize("seed", range(6))
def test_plan_transforms_each_of_several_overlapping_objects_by_itself(tmp_path: Path, seed: int) -> None:
    root = write_detection(tmp_path, ["train"])
    annotation = CocoDetection(root, "train").read_annotation(0)
    assert annotation.ids.shape == (3, *SIZE)
    generator = np.random.default_rng(seed)
    crop = (13, 17) if seed % 2 else None
    plan = make_plan(SIZE, (31, 46), crop, tuple(generator.random(2)), bool(seed % 3))
    result, boxes, _ = plan.apply_annotation(annotation)
    masks = [alone(plan, annotation, segment) for segment in range(1, 5)]
    shown = [(mask, segment) for segment, mask in enumerate(masks, start=1) if mask.any()]
    assert len(result.classes) == 1 + len(shown) == len(boxes)
    for number, (mask, segment) in enumerate(shown, start=1):
        assert torch.equal((result.ids == number).any(dim=0), mask)
        assert (result.ids == number).flatten(1).any(dim=1).sum() == 1, "a segment lies in one layer"
        rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
        assert boxes[number].tolist() == [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
        assert result.classes[number] == annotation.classes[segment]
        assert result.crowd[number] or not annotation.crowd[segment]
    assert result.ids.flatten(1).any(dim=1).all(), "no layer is empty"
