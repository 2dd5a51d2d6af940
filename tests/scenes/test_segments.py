"""Conversion of owner numbers to segments, checked on small maps."""

from __future__ import annotations

import numpy as np

from seamseg.scenes.segments import Owner, Segment, label


def test_label_converts_owners_to_segments_in_order() -> None:
    owners = np.zeros((20, 30), np.uint16)
    owners[:10] = 1
    owners[10:, 5:15] = 7
    owners[12:18, 20:30] = 9
    known = {1: Owner("sky", False, 0), 7: Owner("car", False, 400), 9: Owner("person", True, 240)}
    ids, segments = label(owners, known, 4)
    assert segments == (
        Segment(1, "sky", False, 300, 1),
        Segment(2, "car", False, 100, 7),
        Segment(3, "person", True, 60, 9),
    )
    assert (ids == np.select([owners == 1, owners == 7, owners == 9], [1, 2, 3])).all()


def test_label_makes_small_hidden_and_unknown_owners_void() -> None:
    owners = np.zeros((20, 30), np.uint16)
    owners[0, :23] = 6
    owners[2:4, :12] = 7
    owners[6:10, :10] = 8
    owners[12:16, :10] = 9
    owners[18, :] = 10
    known = {
        6: Owner("car", False, 23),
        7: Owner("car", False, 24),
        8: Owner("car", False, 161),
        9: Owner("car", False, 160),
    }
    ids, segments = label(owners, known, 1)
    assert [segment.area for segment in segments] == [24, 40]
    assert (ids[owners == 7] == 1).all()
    assert (ids[owners == 9] == 2).all()
    assert (ids[(owners != 7) & (owners != 9)] == 0).all()


def test_label_in_large_picture_requires_larger_segments() -> None:
    owners = np.zeros((400, 500), np.uint16)
    owners[0, :99] = 5
    owners[2, :100] = 6
    known = {5: Owner("sign", False, 99), 6: Owner("sign", False, 100)}
    assert [segment.area for segment in label(owners, known, 1)[1]] == [100]


def test_label_without_owners_gives_only_void() -> None:
    ids, segments = label(np.zeros((4, 5), np.uint16), {}, 1)
    assert segments == ()
    assert not ids.any()
