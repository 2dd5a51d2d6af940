"""Sides at which a crop cuts segments."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_dataset import write_tiny_panoptic

from seamseg.data.dataset import SampleKey, TrainDataset
from seamseg.data.formats.coco import CocoPanoptic
from seamseg.data.shared_samples import SharedSamples
from seamseg.data.transforms import AugmentationPlan, TrainTransform, make_plan
from seamseg.structures import Batch, LayeredSegmentation, Sample

fractions = st.floats(0, 1, exclude_max=True)


def annotation(rows: str) -> LayeredSegmentation:
    ids = torch.tensor([[int(pixel) for pixel in row] for row in rows.split()], dtype=torch.int32)
    num = int(ids.max()) + 1
    return LayeredSegmentation(ids[None], torch.tensor([255, *range(num - 1)]), torch.zeros(num, dtype=torch.bool))


def test_window_cuts_segments_that_continue_beyond_it_but_not_those_at_the_edge_of_the_image() -> None:
    """Segment 1 ends at the edge of the image, 2 continues on two sides, 3 only touches the window from inside."""
    drawing = annotation(
        """
        11100000
        11100000
        00002222
        03302222
        00002222
        """
    )
    plan = AugmentationPlan((5, 8), (0, 0, 4, 6), (4, 6), mirrored=False, decode_scale=1)
    _, boxes, cut = plan.apply_annotation(drawing)
    assert boxes[1:].tolist() == [[0, 0, 2, 3], [2, 4, 4, 6], [3, 1, 4, 3]]
    assert cut is not None
    assert cut[1:].tolist() == [[False] * 4, [False, False, True, True], [False] * 4]


def test_mirroring_swaps_the_cut_sides() -> None:
    drawing = annotation("1111 0000 2220")
    plan = AugmentationPlan((3, 4), (0, 1, 3, 4), (3, 3), mirrored=True, decode_scale=1)
    _, boxes, cut = plan.apply_annotation(drawing)
    assert boxes[1:].tolist() == [[0, 0, 1, 3], [2, 1, 3, 3]]
    assert cut is not None
    assert cut[1:].tolist() == [[False, False, False, True]] * 2


def test_segment_in_two_parts_is_only_cut_where_its_visible_part_ends() -> None:
    """Segment 1 lies left and right of the post 2; the window shows only its right part."""
    drawing = annotation("1102011 1102011")
    plan = AugmentationPlan((2, 7), (0, 2, 2, 6), (2, 4), mirrored=False, decode_scale=1)
    _, boxes, cut = plan.apply_annotation(drawing)
    assert boxes[1].tolist() == [0, 3, 2, 4]
    assert cut is not None
    assert cut[1].tolist() == [False, False, False, True]


def test_whole_image_cuts_nothing() -> None:
    plan = make_plan((2, 4), (2, 4), (9, 9), (0.5, 0.5), False)
    assert plan.apply_annotation(annotation("1111 1111"))[2] is None


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.tuples(fractions, fractions), st.floats(0.4, 2), st.booleans())
def test_cut_sides_equal_those_of_each_segment_by_itself(
    seed: int, place: tuple[float, float], scale: float, mirrored: bool
) -> None:
    generator = np.random.default_rng(seed)
    ids = np.kron(generator.integers(0, 9, size=(6, 7)), np.ones((5, 5))).astype(np.int32)
    drawing = LayeredSegmentation(
        torch.from_numpy(ids)[None], torch.tensor([255, *range(8)]), torch.zeros(9, dtype=torch.bool)
    )
    plan = make_plan((30, 35), (int(30 * scale), int(35 * scale)), (12, 12), place, mirrored)
    result, boxes, cut = plan.apply_annotation(drawing)
    if cut is None:
        assert plan.window == (0, 0, 30, 35)
        return
    y0, x0, y1, x1 = plan.window
    for number, klass in enumerate(result.classes.tolist()[1:], start=1):
        rows, columns = np.nonzero(ids == klass + 1)
        beyond = [rows.min() < y0, columns.min() < x0, rows.max() >= y1, columns.max() >= x1]
        if mirrored:
            beyond[1], beyond[3] = beyond[3], beyond[1]
        at_edge = [end == edge for end, edge in zip(boxes[number].tolist(), (0, 0, *plan.size), strict=True)]
        assert cut[number].tolist() == [bool(a and b) for a, b in zip(beyond, at_edge, strict=True)]


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    tiny = write_tiny_panoptic(tmp_path, num_images=4, images_without_objects=[1])
    transform = TrainTransform(48, 96, random_scale=None, random_flip=True, random_crop=(30, 30))
    dataset = TrainDataset(CocoPanoptic(tiny.folder, tiny.split), transform, seed=0)
    return [dataset[SampleKey(epoch, index)] for epoch in range(3) for index in range(4)]


def test_cut_sides_travel_through_shared_memory_and_batch_to_the_objects(samples: list[Sample]) -> None:
    batch = Batch.collate(SharedSamples.pack(samples, shared=False).unpack()).finalize(lambda image: image.float())
    truth = batch.to("cpu").ground_truth
    num_cut = 0
    for image, sample in enumerate(samples):
        objects = truth.objects(image, num_stuff=0)
        assert sample.cut is not None
        assert torch.equal(objects.cut_sides, sample.cut[objects.segment_ids])
        num_cut += int(objects.cut_sides.any(dim=1).sum())
    assert num_cut > 0


def test_objects_of_an_image_without_crop_have_no_cut_sides(samples: list[Sample]) -> None:
    whole = Sample(**{**vars(samples[0]), "cut": None})
    truth = Batch.collate([samples[0], whole]).ground_truth
    assert not truth.objects(1, num_stuff=0).cut_sides.any()
    assert truth.objects(1, num_stuff=0).cut_sides.shape == truth.objects(0, num_stuff=0).cut_sides.shape
