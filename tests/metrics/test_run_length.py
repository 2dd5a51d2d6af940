"""Run-length masks, compared with pycocotools' encoding of image-sized masks."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from seamseg.metrics.run_length import encode_patch, encode_segments
from seamseg.structures import RunLengthMask


def decoded(mask: RunLengthMask) -> np.ndarray:
    return coco_mask.decode(mask.to_coco()).astype(bool)


def coded(mask: np.ndarray) -> bytes:
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]


@pytest.mark.parametrize("seed", range(30))
def test_encode_patch_anywhere_in_the_image_equals_pycocotools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 20, 2)
    top, left = rng.integers(0, height), rng.integers(0, width)
    bottom, right = rng.integers(top, height + 1), rng.integers(left, width + 1)
    patch = rng.random((bottom - top, right - left)) < rng.choice([0.0, 0.3, 0.8, 1.0])
    image = np.zeros((height, width), dtype=bool)
    image[top:bottom, left:right] = patch
    mask = encode_patch(patch, int(top), int(left), (int(height), int(width)))
    assert np.array_equal(decoded(mask), image)
    assert mask.counts == coded(image)
    assert mask.area() == image.sum()


def test_encode_patch_of_the_whole_image_covers_every_pixel() -> None:
    assert decoded(encode_patch(np.ones((3, 4), dtype=bool), 0, 0, (3, 4))).all()


def test_encode_patch_of_full_height_columns_is_one_run() -> None:
    """Zero-length gaps between full-height columns would end pycocotools' comparison early."""
    mask = encode_patch(np.ones((3, 2), dtype=bool), 0, 1, (3, 4))
    assert coco_mask.iou([mask.to_coco()], [mask.to_coco()], [0]).item() == 1
    assert mask.counts == coded(np.array([[0, 1, 1, 0]] * 3))


@pytest.mark.parametrize("seed", range(10))
def test_encode_segments_of_a_random_map_equals_pycocotools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 5, (13, 9)).repeat(2, 0)
    wanted = [4, 0, 7, 2]
    for segment, mask in zip(wanted, encode_segments(ids, wanted), strict=True):
        assert mask.counts == coded(ids == segment)


def test_box_of_a_mask_is_tight_and_zero_if_empty() -> None:
    ids = np.zeros((6, 8), dtype=np.int64)
    ids[1:4, 2:7] = 1
    mask, nothing = encode_segments(ids, [1, 2])
    assert mask.box() == (1, 2, 4, 7)
    assert (nothing.box(), nothing.area()) == ((0, 0, 0, 0), 0)
