"""Segments of one image."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from seamseg.data.annotation import Annotation, compact


def test_a_hand_drawn_map_is_renumbered() -> None:
    before = Annotation(
        np.array([[4, 4, 0], [2, 4, 0]], np.int32),
        np.array([255, 0, 1, 2, 3]),
        np.array([False, True, True, False, False]),
    )
    after = compact(before)
    assert after.ids.tolist() == [[2, 2, 0], [1, 2, 0]]
    assert after.classes.tolist() == [255, 1, 3]
    assert after.crowd.tolist() == [False, True, False]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_every_segment_but_void_has_a_pixel_and_every_pixel_keeps_its_class(seed: int, num_segments: int) -> None:
    generator = np.random.default_rng(seed)
    ids = generator.integers(0, num_segments, size=(3, 4)).astype(np.int32)
    classes = np.concatenate([[255], generator.integers(0, 5, num_segments - 1)]).astype(np.int64)
    before = Annotation(ids, classes, generator.random(num_segments) < 0.5)
    after = compact(before)
    assert set(range(1, len(after.classes))) == set(np.unique(after.ids)) - {0}
    assert after.classes[0] == 255
    assert np.array_equal(after.classes[after.ids], before.classes[before.ids])
    assert np.array_equal(after.crowd[after.ids], before.crowd[before.ids])
    assert (after.ids.dtype, len(after.crowd)) == (np.int32, len(after.classes))
