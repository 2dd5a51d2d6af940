"""Polygons and run lengths of unknown quality."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from pycocotools import mask as run_lengths

from seamseg.convert.detection_source import read_outline, replace_outlines, uncompressed

SIZE = (4, 6)


@given(npst.arrays(np.uint8, npst.array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.integers(0, 1)))
def test_short_run_lengths_are_those_of_pycocotools(mask: np.ndarray) -> None:
    enlarged = np.asfortranarray(np.repeat(mask, 50, axis=0))
    text = run_lengths.encode(enlarged)["counts"].decode()
    borders = np.flatnonzero(np.diff(enlarged.ravel(order="F"), prepend=0, append=2)).tolist()
    assert uncompressed(text) == np.diff([0, *borders]).tolist()


def test_all_forms_of_one_outline() -> None:
    mask = np.zeros(SIZE, np.uint8)
    mask[1:3, 2:5] = 1
    encoded = run_lengths.encode(np.asfortranarray(mask))
    forms: list[Any] = [
        [[2, 1, 5, 1, 5, 3, 2, 3]],
        {"size": [*SIZE], "counts": encoded["counts"].decode()},
        {"size": [*SIZE], "counts": [9, 2, 2, 2, 2, 2, 5]},
    ]
    for form in forms:
        assert (run_lengths.decode(read_outline(form, SIZE, "here")) == mask).all()


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ([[float("inf"), 0, 4, 0, 4, 2]], "far outside of 4×6 pixels"),
        ([[1e9, 0, 4, 0, 4, 2]], "far outside of 4×6 pixels"),
        ([[float("nan"), 0, 4, 0, 4, 2]], "far outside of 4×6 pixels"),
        ([["a", 0, 4, 0, 4, 2]], "is no number"),
        ([[0, 0, 4, 0, 4, 2, 1]], "odd number of coordinates"),
        ([5], "a flat list of 1 numbers"),
        ({"size": [4, 6], "counts": "13<"}, "do not cover 4×6 pixels"),
        ({"size": [4, 6], "counts": ""}, "end too early"),
        ({"size": [4, 6], "counts": "23c"}, "end too early"),
        ({"size": [4, 6], "counts": "2 3"}, "' ' is out of place"),
        ({"size": [4, 6], "counts": "o" * 500}, "is out of place"),
        ({"size": [4, 6], "counts": [-2, 26]}, "do not cover"),
        ({"size": [4, 6], "counts": [10**400]}, "do not cover"),
        ({"size": [6, 4], "counts": [24]}, "it is 6×4, its image 4×6"),
    ],
)
def test_what_would_crash_or_show_old_memory_is_refused(shape: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        read_outline(shape, SIZE, "here")
    assert str(caught.value).startswith("here: its segmentation is wrong (")


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (None, "it is null"),
        ([], "it is empty"),
        ([[]], "none of its polygons has three corners"),
        ([[1, 1, 3, 3]], "none of its polygons has three corners"),
        ([1, 1, 3, 1, 3, 3], "a flat list of 6 numbers"),
        (["abcdef"], "a polygon is 'abcdef'"),
        ([[0, 0, 4, 0, 4, 2], None], "a polygon is None"),
        ({}, "expected polygons, or run lengths"),
        ({"counts": [24]}, "expected polygons, or run lengths"),
        ("1 2 3", "it is '1 2 3'"),
        ({"size": [4], "counts": [24]}, r"'size' is \[4\]"),
        ({"size": "4x6", "counts": [24]}, "'size' is '4x6'"),
        ({"size": [4, 6], "counts": []}, "do not cover"),
        ({"size": [4, 6], "counts": None}, "'counts' are None"),
        ({"size": [4, 6], "counts": ["a"]}, "'counts' are"),
        ({"size": [4, 6], "counts": [12.0, 12.0]}, "'counts' are"),
    ],
)
def test_outlines_that_are_none_are_sentences(shape: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        read_outline(shape, SIZE, "here")
    message = str(caught.value)
    assert message.startswith("here: ")
    assert "--without-outline" in message
    assert not any(
        word in message for word in ("NoneType", "iterable", "subscript", "argument", "index out of", "has no")
    )


def entries() -> list[dict[str, Any]]:
    outline = [[0, 0, 2, 0, 2, 2, 0, 2]]
    return [
        {"id": 1, "image_id": 7, "segmentation": outline, "bbox": [0, 0, 2, 2]},
        {"id": 2, "image_id": 7, "segmentation": [], "bbox": [3, 1, 2, 2.5]},
        {"id": 3, "image_id": 7, "bbox": [0, 0, 1, 1]},
    ]


def test_objects_without_outline_are_skipped() -> None:
    kept, number = replace_outlines(entries(), SIZE, "skip")
    assert ([entry["id"] for entry in kept], number) == ([1], 2)


def test_objects_without_outline_are_their_boxes() -> None:
    kept, number = replace_outlines(entries(), SIZE, "box")
    assert ([entry["id"] for entry in kept], number) == ([1, 2, 3], 2)
    mask = run_lengths.decode(read_outline(kept[1]["segmentation"], SIZE, "here"))
    assert mask[1:3, 3:5].all()
    assert not mask[:, :3].any()


@pytest.mark.parametrize(
    "box", [None, [], [1, 2, 3], [1, 2, "3", 4], [1, 2, 0, 4], [1, 2, float("nan"), 4], [0, 0, 1e9, 1]]
)
def test_a_box_that_is_none_either_is_an_error(box: Any) -> None:
    entry = {"id": 12, "image_id": 7, "segmentation": None, "bbox": box}
    with pytest.raises(ValueError, match=r"the annotation 12 of image 7.*'bbox'"):
        replace_outlines([entry], SIZE, "box")
