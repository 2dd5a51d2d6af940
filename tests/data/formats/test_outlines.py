"""Valid and invalid polygons and run lengths."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from pycocotools import mask as run_lengths

from seamseg.data.formats.outlines import read_outline, replace_outlines, uncompressed

SIZE = (4, 6)


@given(npst.arrays(np.uint8, npst.array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.integers(0, 1)))
def test_uncompressed_run_lengths_match_pycocotools(mask: np.ndarray) -> None:
    enlarged = np.asfortranarray(np.repeat(mask, 50, axis=0))
    text = run_lengths.encode(enlarged)["counts"].decode()
    borders = np.flatnonzero(np.diff(enlarged.ravel(order="F"), prepend=0, append=2)).tolist()
    assert uncompressed(text) == np.diff([0, *borders]).tolist()


def test_read_outline_gives_one_mask_for_all_three_forms() -> None:
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
    ("shape", "fact"),
    [
        ([[float("inf"), 0, 4, 0, 4, 2]], "far outside 4×6"),
        ([[1e9, 0, 4, 0, 4, 2]], "far outside 4×6"),
        ([[float("nan"), 0, 4, 0, 4, 2]], "far outside 4×6"),
        ([["a", 0, 4, 0, 4, 2]], "not a finite number"),
        ([[0, 0, 4, 0, 4, 2, 1]], "odd number of coordinates"),
        ([5], "list of 1 numbers"),
        ({"size": [4, 6], "counts": "13<"}, "do not cover .*4×6"),
        ({"size": [4, 6], "counts": ""}, "end in the middle"),
        ({"size": [4, 6], "counts": "23c"}, "end in the middle"),
        ({"size": [4, 6], "counts": "2 3"}, "invalid character ' '"),
        ({"size": [4, 6], "counts": "o" * 500}, "invalid character 'o'"),
        ({"size": [4, 6], "counts": [-2, 26]}, "do not cover"),
        ({"size": [4, 6], "counts": [10**400]}, "do not cover"),
        ({"size": [6, 4], "counts": [24]}, "6×4.* 4×6"),
    ],
)
def test_read_outline_given_unsafe_input_raises(shape: Any, fact: str) -> None:
    """pycocotools would crash on these, or return uninitialized memory."""
    with pytest.raises(ValueError, match=fact) as caught:
        read_outline(shape, SIZE, "here")
    assert str(caught.value).startswith("here: invalid 'segmentation' (")


@pytest.mark.parametrize(
    ("shape", "fact"),
    [
        (None, "null"),
        ([], "empty"),
        ([[]], "three corners"),
        ([[1, 1, 3, 3]], "three corners"),
        ([1, 1, 3, 1, 3, 3], "list of 6 numbers"),
        (["abcdef"], "polygon .*'abcdef'"),
        ([[0, 0, 4, 0, 4, 2], None], "polygon .*None"),
        ({}, "expected polygons, or run lengths"),
        ({"counts": [24]}, "expected polygons, or run lengths"),
        ("1 2 3", "found '1 2 3'"),
        ({"size": [4], "counts": [24]}, r"'size' .*\[4\]"),
        ({"size": "4x6", "counts": [24]}, "'size' .*'4x6'"),
        ({"size": [4, 6], "counts": []}, "do not cover"),
        ({"size": [4, 6], "counts": None}, "'counts' .*None"),
        ({"size": [4, 6], "counts": ["a"]}, "'counts' .*'a'"),
        ({"size": [4, 6], "counts": [12.0, 12.0]}, "'counts' .*12.0"),
    ],
)
def test_read_outline_given_malformed_input_explains_it_in_one_sentence(shape: Any, fact: str) -> None:
    with pytest.raises(ValueError, match=fact) as caught:
        read_outline(shape, SIZE, "here")
    message = str(caught.value)
    assert message.startswith("here: ")
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


def test_replace_outlines_with_skip_drops_objects_without_outline() -> None:
    kept, number = replace_outlines(entries(), SIZE, "skip")
    assert ([entry["id"] for entry in kept], number) == ([1], 2)


def test_replace_outlines_with_box_fills_the_box() -> None:
    kept, number = replace_outlines(entries(), SIZE, "box")
    assert ([entry["id"] for entry in kept], number) == ([1, 2, 3], 2)
    mask = run_lengths.decode(read_outline(kept[1]["segmentation"], SIZE, "here"))
    assert mask[1:3, 3:5].all()
    assert not mask[:, :3].any()


@pytest.mark.parametrize(
    "box", [None, [], [1, 2, 3], [1, 2, "3", 4], [1, 2, 0, 4], [1, 2, float("nan"), 4], [0, 0, 1e9, 1]]
)
def test_replace_outlines_given_invalid_box_raises(box: Any) -> None:
    entry = {"id": 12, "image_id": 7, "segmentation": None, "bbox": box}
    with pytest.raises(ValueError, match=r"annotation 12 of image 7.*'bbox'"):
        replace_outlines([entry], SIZE, "box")
