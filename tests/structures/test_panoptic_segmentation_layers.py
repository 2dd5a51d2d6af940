"""Segments in layers, against loops over pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seamseg.structures import VOID, GroundTruth, LayeredSegmentation, PackedSequence

NUM_STUFF = 1


def overlapping(seed: int, num_layers: int = 3) -> LayeredSegmentation:
    """Return random rectangles, each in one layer, some of them crowd and some hidden in their own layer."""
    generator = np.random.default_rng(seed)
    ids = np.zeros((num_layers, 9, 11), np.int32)
    num_segments = int(generator.integers(1, 8))
    for segment in range(1, num_segments + 1):
        y, x = generator.integers(0, 6, 2)
        height, width = generator.integers(1, 6, 2)
        ids[generator.integers(num_layers), y : y + height, x : x + width] = segment
    classes = torch.tensor([VOID, *generator.integers(0, 4, num_segments).tolist()])
    crowd = torch.tensor([False, *(generator.random(num_segments) < 0.3).tolist()])
    return LayeredSegmentation(torch.from_numpy(ids), classes, crowd)


def truth_of(layered: LayeredSegmentation) -> GroundTruth:
    """Return the ground truth of one image, without its boxes."""
    return GroundTruth(
        PackedSequence([layered.ids.long()]),
        PackedSequence([layered.classes]),
        PackedSequence([layered.crowd]),
        PackedSequence([torch.zeros(len(layered.classes), 4)]),
    )


@given(st.integers(0, 2**32 - 1))
def test_flat_shows_small_segments_before_large_ones_and_crowds_last(seed: int) -> None:
    layered = overlapping(seed)
    areas = [int((layered.ids == segment).sum()) for segment in range(len(layered.classes))]
    flat = layered.flat.ids
    for y in range(9):
        for x in range(11):
            there = [segment for segment in layered.ids[:, y, x].tolist() if segment]
            order = sorted(there, key=lambda segment: (bool(layered.crowd[segment]), areas[segment], segment))
            assert flat[y, x] == (order[0] if order else 0)


def test_flat_of_one_layer_is_that_layer() -> None:
    layered = overlapping(1, num_layers=1)
    assert layered.flat.ids is not layered.ids
    assert torch.equal(layered.flat.ids, layered.ids[0])
    assert torch.equal(layered.flat.as_layers().ids, layered.ids)


@given(st.integers(0, 2**32 - 1))
def test_layer_of_segment_is_the_layer_with_its_pixels(seed: int) -> None:
    layered = overlapping(seed)
    for segment, layer in enumerate(layered.layer_of_segment.tolist()):
        shown = [place for place, ids in enumerate(layered.ids) if segment and (ids == segment).any()]
        assert [layer] == (shown or [0])


def test_segmentation_of_overlapping_segments_raises_value_error() -> None:
    layered = overlapping(3)
    truth = truth_of(layered)
    assert torch.equal(truth.annotation(0).flat.ids, layered.flat.ids)
    for read in (truth.segmentation, truth.semantic_target):
        with pytest.raises(ValueError, match="image 0 overlap in 3 layers"):
            read(0)


@given(st.integers(0, 2**32 - 1))
def test_crowd_pixels_are_those_of_crowds_that_no_object_covers(seed: int) -> None:
    layered = overlapping(seed)
    truth = truth_of(layered)
    found = truth.crowd_pixels(0, NUM_STUFF)
    for y in range(9):
        for x in range(11):
            kinds = [
                bool(layered.crowd[segment])
                for segment in layered.ids[:, y, x].tolist()
                if segment and layered.classes[segment] >= NUM_STUFF
            ]
            assert bool(found[y, x]) == (len(kinds) > 0 and all(kinds))
