from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seamseg.structures import VOID, GroundTruth, PackedSequence

NUM_STUFF, NUM_THINGS = 2, 3


def street() -> GroundTruth:
    """Return a small image that can be checked by eye, and a second one that is void everywhere."""
    ids = torch.tensor(
        [
            [1, 1, 1, 1, 0],
            [1, 2, 2, 3, 3],
            [4, 2, 2, 3, 3],
            [4, 4, 5, 5, 0],
        ]
    )
    classes = torch.tensor([VOID, 0, 2, 4, 1, 3, 2])
    crowd = torch.tensor([False, False, False, True, False, False, False])
    boxes = [
        [0, 0, 4, 5],  # void
        [0, 0, 2, 4],  # stuff 0
        [1, 1, 3, 3],  # thing 0
        [1, 3, 3, 5],  # crowd of thing 2
        [2, 0, 4, 2],  # stuff 1
        [3, 2, 4, 4],  # thing 1
        [-1, -1, -1, -1],  # thing 0 without a pixel
    ]
    return GroundTruth(
        ids=PackedSequence([ids[None], torch.zeros(1, 2, 3, dtype=torch.int64)]),
        classes=PackedSequence([classes, torch.tensor([VOID])]),
        crowd=PackedSequence([crowd, torch.tensor([False])]),
        boxes=PackedSequence([torch.tensor(boxes, dtype=torch.float32), torch.tensor([[0.0, 0, 2, 3]])]),
    )


def test_objects_are_noncrowd_things_with_pixels() -> None:
    objects = street().objects(0, NUM_STUFF)
    assert objects.segment_ids.tolist() == [2, 5]
    assert objects.classes.tolist() == [0, 1]
    assert objects.boxes.tolist() == [[1, 1, 3, 3], [3, 2, 4, 4]]
    assert (objects.boxes.dtype, objects.classes.dtype) == (torch.float32, torch.int64)


def test_objects_of_an_image_without_things_have_zero_rows() -> None:
    objects = street().objects(1, NUM_STUFF)
    assert (objects.boxes.shape, objects.classes.shape, objects.segment_ids.shape) == ((0, 4), (0,), (0,))


def test_crowd_pixels_cover_only_crowds_of_things() -> None:
    pixels = street().crowd_pixels(0, NUM_STUFF)
    assert pixels.dtype == torch.bool
    assert pixels.nonzero().tolist() == [[1, 3], [1, 4], [2, 3], [2, 4]]
    assert not street().crowd_pixels(1, NUM_STUFF).any()


def test_semantic_target_includes_crowds() -> None:
    target = street().semantic_target(0)
    assert target.dtype == torch.int64
    assert target.tolist() == [
        [0, 0, 0, 0, VOID],
        [0, 2, 2, 4, 4],
        [1, 2, 2, 4, 4],
        [1, 1, 3, 3, VOID],
    ]
    assert street().semantic_target(1).tolist() == [[VOID] * 3] * 2


SEGMENTS = st.tuples(st.integers(0, NUM_STUFF + NUM_THINGS - 1) | st.just(VOID), st.booleans(), st.booleans())
"""Class, crowd flag, and whether the segment has pixels."""


@given(st.lists(SEGMENTS, max_size=8))
@settings(deadline=None)
def test_random_segments_are_classified_independently(segments: list[tuple[int, bool, bool]]) -> None:
    """The map has one row per segment with pixels, and a void row on top."""
    segments = [(VOID, False, True), *segments]
    ids = [number for number, (_, _, seen) in enumerate(segments) if seen]
    boxes = [[ids.index(n), 0, ids.index(n) + 1, 2] if n in ids else [-1] * 4 for n in range(len(segments))]
    truth = GroundTruth(
        ids=PackedSequence([torch.tensor(ids)[None, :, None].expand(1, -1, 2)]),
        classes=PackedSequence([torch.tensor([klass for klass, _, _ in segments])]),
        crowd=PackedSequence([torch.tensor([crowd for _, crowd, _ in segments])]),
        boxes=PackedSequence([torch.tensor(boxes, dtype=torch.float32)]),
    )
    expected, crowd_rows = [], []
    for number, (klass, crowd, seen) in enumerate(segments):
        if seen and NUM_STUFF <= klass < VOID:
            if crowd:
                crowd_rows.append(ids.index(number))
            else:
                expected.append((number, klass - NUM_STUFF, boxes[number]))
    objects = truth.objects(0, NUM_STUFF)
    found = zip(objects.segment_ids.tolist(), objects.classes.tolist(), objects.boxes.tolist(), strict=True)
    assert list(found) == expected
    assert truth.crowd_pixels(0, NUM_STUFF).nonzero().tolist() == [[row, x] for row in crowd_rows for x in (0, 1)]
    assert truth.semantic_target(0).tolist() == [[segments[number][0]] * 2 for number in ids]


def test_ground_truth_with_parts_of_different_length_raises_value_error() -> None:
    whole = street()
    with pytest.raises(ValueError, match="ids 2, classes 1"):
        GroundTruth(whole.ids, whole.classes[:1], whole.crowd, whole.boxes)


def test_ground_truth_with_missing_crowd_flags_raises_value_error() -> None:
    whole = street()
    cut = PackedSequence([whole.crowd.entry(0)[:1], whole.crowd.entry(1)])  # broadcasting would repeat the single flag
    with pytest.raises(ValueError, match="image 0 of a GroundTruth"):
        GroundTruth(whole.ids, whole.classes, cut, whole.boxes)


def test_to_moves_all_parts() -> None:
    moved = street().to("meta")
    assert len(moved) == 2
    for part in (moved.ids, moved.classes, moved.crowd, moved.boxes):
        assert part.device == torch.device("meta")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_targets_on_gpu_equal_those_on_cpu() -> None:
    def pictures(truth: GroundTruth) -> list[Tensor]:
        objects = truth.objects(0, NUM_STUFF)
        return [objects.boxes, objects.classes, truth.crowd_pixels(0, NUM_STUFF), truth.semantic_target(0)]

    for found, expected in zip(pictures(street().to("cuda")), pictures(street()), strict=True):
        assert torch.equal(found.cpu(), expected)
