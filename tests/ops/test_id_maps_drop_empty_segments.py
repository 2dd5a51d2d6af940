"""Segments without a pixel are dropped and the others renumbered."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seamseg.ops.id_maps import drop_empty_segments
from seamseg.structures import VOID, PanopticSegmentation


def test_drop_empty_segments_renumbers_a_drawn_map() -> None:
    before = PanopticSegmentation(
        torch.tensor([[4, 4, 0], [2, 4, 0]], dtype=torch.int32),
        torch.tensor([VOID, 0, 1, 2, 3]),
        torch.tensor([False, True, True, False, False]),
    )
    after, boxes = drop_empty_segments(before)
    assert after.ids.tolist() == [[2, 2, 0], [1, 2, 0]]
    assert after.classes.tolist() == [VOID, 1, 3]
    assert after.crowd.tolist() == [False, True, False]
    assert boxes.tolist() == [[0, 2, 2, 3], [1, 0, 2, 1], [0, 0, 2, 2]]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**63 - 1), st.integers(1, 9))
def test_drop_empty_segments_keeps_the_class_of_every_pixel(seed: int, num_segments: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(num_segments, (3, 4), generator=generator, dtype=torch.int32)
    classes = torch.cat([torch.tensor([VOID]), torch.randint(5, (num_segments - 1,), generator=generator)])
    before = PanopticSegmentation(ids, classes, torch.rand(num_segments, generator=generator) < 0.5)
    after, boxes = drop_empty_segments(before)
    assert set(range(1, len(after.classes))) == set(after.ids.unique().tolist()) - {0}
    assert after.classes[0] == VOID
    assert torch.equal(after.semantics, before.semantics)
    assert torch.equal(after.crowd[after.ids.long()], before.crowd[before.ids.long()])
    assert (after.ids.dtype, len(after.crowd), len(boxes)) == (torch.int32, len(after.classes), len(after.classes))
