"""Targets of mask scores compared with drawings and with loops over pixels, and calibrated detections."""

from __future__ import annotations

import pytest
import torch
from oracles.mask_iou import mask_iou
from oracles.mask_targets import mask_target
from support.drawn_truth import Drawn, batch, drawn, painted
from torch import Tensor

from seamseg.algos.losses import mask_targets
from seamseg.algos.mask_scoring import calibrated, mask_ious, pixels_outside
from seamseg.structures import GroundTruth, PackedSequence

SIZE = 4
CLASSES = (1, 1, 1)  # all segments are things
# Segment 1 reaches out of the region (1, 2, 5, 6) at the bottom and on the left; segment 2 lies in it, 0 is void.
SCENE = """
00000000
01110220
01110220
01110000
01110333
01110333
"""
REGION = (1.0, 2.0, 5.0, 6.0)


def ious_of(
    image: Drawn, boxes: list[tuple[float, ...]], segments: list[int], logits: Tensor, void_is_background: bool = False
) -> list[float]:
    """Return the targets of regions that show the segments, whose ids start at 1."""
    truth, regions = batch([image]), torch.tensor(boxes).reshape(-1, 4)
    objects, matched = truth.objects(0, 0), torch.tensor(segments, dtype=torch.int64) - 1
    annotation = truth.annotation(0)
    targets = mask_targets(annotation, regions, objects.segment_ids[matched], logits.shape[-1], void_is_background)
    outside = pixels_outside(annotation, regions, objects, matched)
    return mask_ious(logits, targets, regions, outside).tolist()


def mask(rows: str) -> Tensor:
    """Return logits that are positive at each 1."""
    return torch.tensor([[[2.0 * int(pixel) - 1 for pixel in row] for row in rows.split()]])


@pytest.mark.parametrize(
    ("rows", "segment", "expected"),
    [
        # Columns 2 and 3 of rows 1 to 4 are segment 1, which also has five pixels on the left and two below.
        ("1100 1100 1100 1100", 1, 8 / 15),
        ("1000 1000 1000 1000", 1, 4 / 15),
        ("0000 0000 0000 0000", 1, 0),
        ("1101 1101 1100 1100", 1, 8 / 17),  # two wrong pixels, on segment 2
        ("1110 1110 1100 1100", 1, 8 / 15),  # two pixels on void, which do not count
        ("0001 0001 0000 0000", 2, 2 / 4),  # segment 2 has two more columns, of which one is outside
    ],
)
def test_mask_iou_counts_the_whole_object_and_no_void(rows: str, segment: int, expected: float) -> None:
    assert ious_of(drawn(SCENE, CLASSES), [REGION], [segment], mask(rows)) == pytest.approx([expected])


def test_mask_iou_with_void_as_background_counts_predicted_void() -> None:
    logits = mask("1110 1110 1100 1100")
    assert ious_of(drawn(SCENE, CLASSES), [REGION], [1], logits, void_is_background=True) == pytest.approx([8 / 17])


def test_mask_iou_of_a_larger_region_is_in_units_of_mask_pixels() -> None:
    """Each mask pixel covers four pixels of the image."""
    image = painted(torch.zeros(12, 16, dtype=torch.int64), [1])
    image.ids[2:10, 2:8] = 1  # 48 pixels, of which the region has 8×4
    assert ious_of(image, [(2.0, 4.0, 10.0, 12.0)], [1], mask("1100 1100 1100 1100")) == pytest.approx([32 / 48])


def test_mask_iou_of_an_object_between_the_positions_of_the_mask_is_0() -> None:
    image = painted(torch.zeros(16, 16, dtype=torch.int64), [1])
    image.ids[4, 4] = 1
    region = [(0.0, 0.0, 16.0, 16.0)]
    assert ious_of(image, region, [1], mask("0000 0000 0000 0000"), void_is_background=True) == [0]
    assert ious_of(image, region, [1], mask("1000 0000 0000 0000"), void_is_background=True) == [0]


def test_mask_iou_of_nan_logits_is_0() -> None:
    assert ious_of(drawn(SCENE, CLASSES), [REGION], [1], torch.full((1, SIZE, SIZE), torch.nan)) == [0]


def random_case(seed: int) -> tuple[Drawn, list[tuple[float, ...]], list[int], Tensor]:
    """Return an image, regions with and without pixels of their segment, the segments, and logits."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 4, (5, 6), generator=generator).repeat_interleave(3, 0).repeat_interleave(4, 1)
    ids[0, :3] = torch.tensor([1, 2, 3])  # each segment exists
    corners = torch.rand(30, 2, 2, generator=generator) * torch.tensor([15.0, 24.0])
    boxes = torch.cat([corners.amin(1), corners.amax(1) + 0.01], dim=1)
    boxes[:3] = torch.tensor([[0.0, 0, 15, 24], [0, 0, 0.3, 0.3], [14.6, 23.6, 15, 24]])
    segments = torch.randint(1, 4, (30,), generator=generator).tolist()
    logits = torch.randn(30, SIZE, SIZE, generator=generator)
    return painted(ids, CLASSES), [tuple(box) for box in boxes.tolist()], segments, logits


@pytest.mark.parametrize("void_is_background", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_random_mask_ious_equal_a_loop_over_pixels(seed: int, void_is_background: bool) -> None:
    image, boxes, segments, logits = random_case(seed)
    expected = []
    for box, segment, values in zip(boxes, segments, logits.tolist(), strict=True):
        target = mask_target(image.ids, box, segment, SIZE, void_is_background)
        expected.append(mask_iou(values, target, image.ids, box, segment))
    found = ious_of(image, boxes, segments, logits, void_is_background)
    assert found == pytest.approx(expected, rel=1e-5)
    assert 0 <= min(found) < max(found) <= 1


def test_pixels_outside_of_overlapping_objects_are_counted_in_their_layers() -> None:
    ids = torch.zeros(2, 4, 6, dtype=torch.int64)
    ids[0, :, :4], ids[1, 1:3, 2:] = 1, 2
    truth = GroundTruth(
        PackedSequence([ids]),
        PackedSequence([torch.tensor([255, 0, 0])]),
        PackedSequence([torch.zeros(3, dtype=torch.bool)]),
        PackedSequence([torch.tensor([[-1.0] * 4, [0, 0, 4, 4], [1, 2, 3, 6]])]),
    )
    objects = truth.objects(0, 0)
    boxes = torch.tensor([[0.0, 0, 4, 6], [0, 0, 4, 2], [0, 0, 4, 4], [0, 4, 1, 6]])
    matched = torch.tensor([0, 0, 1, 1])
    assert pixels_outside(truth.annotation(0), boxes, objects, matched).tolist() == [0, 8, 4, 8]


@pytest.mark.parametrize("edge", [0.49, 0.5, 0.51])
def test_pixel_is_outside_if_its_center_is(edge: float) -> None:
    truth = batch([drawn("1 1", [0])])
    boxes = torch.tensor([[edge, 0.0, 2, 1], [0, 0, 1 + edge, 1], [-3, -3, edge, 9]])
    found = pixels_outside(truth.annotation(0), boxes, truth.objects(0, 0), torch.zeros(3, dtype=torch.int64))
    assert found.tolist() == {0.49: [0, 1, 2], 0.5: [0, 1, 2], 0.51: [1, 0, 1]}[edge]


def test_mask_ious_without_regions_are_empty() -> None:
    truth = batch([drawn("00 00", [0])])
    assert len(truth.objects(0, 0).boxes) == 0
    assert ious_of(drawn("00 00", [0]), [], [], torch.zeros(0, SIZE, SIZE)) == []


def test_calibrated_detections_are_sorted_by_the_product_and_clip_ious() -> None:
    scores = [torch.tensor([0.9, 0.8, 0.6, 0.5]), torch.zeros(0), torch.tensor([0.4])]
    ious = [torch.tensor([0.5, -1.0, 1.5, 0.9]), torch.zeros(0), torch.tensor([0.5])]
    numbers = [torch.arange(len(one)) for one in scores]
    boxes = PackedSequence(number[:, None].expand(-1, 4).float() for number in numbers)
    masks = PackedSequence(number[:, None, None].float() for number in numbers)
    found = calibrated(boxes, PackedSequence(numbers), PackedSequence(scores), masks, PackedSequence(ious))
    order = [[2, 0, 3, 1], [], [0]]
    assert [one.tolist() for one in found[1].present] == order
    assert found[2].entry(0).tolist() == pytest.approx([0.6, 0.45, 0.45, 0])
    assert found[2].entry(2).tolist() == pytest.approx([0.2])
    for part in (found[0].entry(0)[:, 0], found[3].entry(0)[:, 0, 0]):
        assert part.tolist() == order[0]
    assert found[2].dtype == torch.float32
