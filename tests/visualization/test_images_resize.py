"""Resizing of pictures and segmentations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seamseg.structures import PanopticSegmentation
from seamseg.visualization.images import resize_picture, resize_segmentation


def _segmentation(ids: torch.Tensor) -> PanopticSegmentation:
    num = int(ids.max()) + 1
    return PanopticSegmentation(ids, torch.arange(num), torch.zeros(num, dtype=torch.bool), torch.ones(num))


@pytest.mark.parametrize(("old", "new"), [((7, 9), (3, 4)), ((3, 4), (9, 16)), ((5, 5), (5, 5)), ((1, 1), (4, 2))])
def test_resize_segmentation_takes_the_id_at_each_pixel_center(old: tuple[int, int], new: tuple[int, int]) -> None:
    ids = torch.arange(old[0] * old[1]).reshape(old)
    result = resize_segmentation(_segmentation(ids), new).ids
    for y in range(new[0]):
        for x in range(new[1]):
            assert result[y, x] == ids[int((y + 0.5) * old[0] / new[0]), int((x + 0.5) * old[1] / new[1])]


def test_resize_segmentation_keeps_the_properties_of_segments() -> None:
    segmentation = _segmentation(torch.arange(100).reshape(10, 10))
    smaller = resize_segmentation(segmentation, (2, 2))
    assert smaller.classes is segmentation.classes
    assert smaller.scores is segmentation.scores
    assert smaller.crowd is segmentation.crowd


@pytest.mark.parametrize("size", [(10, 12), (40, 48), (10, 48), (20, 24)])
def test_resize_picture_of_one_color_keeps_the_color(size: tuple[int, int]) -> None:
    picture = np.full((20, 24, 3), (10, 200, 90), np.uint8)
    resized = resize_picture(picture, size)
    assert resized.shape == (*size, 3)
    assert (resized == (10, 200, 90)).all()
