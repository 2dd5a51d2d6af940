"""Sizes and resampling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamseg.data.resizing import network_size, resize_ids, resize_image


@pytest.mark.parametrize(
    ("size", "shortest", "longest", "expected"),
    [
        ((480, 640), 240, 1000, (240, 320)),
        ((640, 480), 240, 1000, (320, 240)),
        ((100, 1000), 200, 1000, (100, 1000)),  # 2000 is too long: scale 1
        ((1024, 2048), 1024, 2048, (1024, 2048)),
        ((427, 640), 800, 1333, (800, 1199)),  # 640 · 800/427 = 1199.06
        ((375, 500), 800, 1066, (800, 1066)),  # 500 · 800/375 = 1066.67 truncates to just what is allowed
        ((3, 10_000), 100, 1000, (1, 1000)),  # 0.3 pixels are none, but an image has one
    ],
)
def test_sizes_by_hand(size: tuple[int, int], shortest: int, longest: int, expected: tuple[int, int]) -> None:
    assert network_size(size, shortest, longest) == expected


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 2500), st.integers(1, 4000))
def test_sides_stay_within_their_bounds_and_one_is_reached(
    height: int, width: int, shortest: int, longest: int
) -> None:
    new = network_size((height, width), shortest, longest)
    assert max(new) <= longest
    assert min(new) <= max(1, shortest)
    reached_short = min(new) >= shortest - 1
    reached_long = max(new) >= longest - 1
    assert reached_short or reached_long
    assert (new[0] >= new[1]) if height >= width else (new[0] <= new[1])


@pytest.mark.parametrize("size", [(50, 70), (96, 41), (37, 53), (101, 143), (12, 9)])
def test_images_are_resampled_as_pillow_does(size: tuple[int, int]) -> None:
    pillow = pytest.importorskip("PIL.Image")
    generator = np.random.default_rng(1)
    noise = generator.integers(0, 256, size=(64, 90, 3), dtype=np.uint8)  # all frequencies: aliasing would show
    expected = np.asarray(pillow.fromarray(noise).resize((size[1], size[0]), pillow.Resampling.BILINEAR), dtype=int)
    resized = resize_image(noise, size).permute(1, 2, 0).numpy()
    difference = np.abs(resized.astype(int) - expected)
    assert difference.max() <= 2
    assert difference.mean() < 0.1


def test_shrinking_a_checkerboard_gives_gray() -> None:
    """To a third, where looking at single pixels would give another checkerboard."""
    board = np.indices((63, 63)).sum(axis=0)[..., None].repeat(3, axis=2) % 2 * 255
    shrunk = resize_image(board.astype(np.uint8), (21, 21))
    assert shrunk.min() > 110
    assert shrunk.max() < 145


def test_resizing_to_the_same_size_changes_nothing() -> None:
    image = np.random.default_rng(0).integers(0, 256, size=(9, 7, 3), dtype=np.uint8)
    assert np.array_equal(resize_image(image, (9, 7)).permute(1, 2, 0), image)
    assert np.array_equal(resize_ids(image[..., 0].astype(np.int32), (9, 7)), image[..., 0])


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.integers(1, 12))
def test_an_id_is_that_of_the_pixel_under_the_center(height: int, width: int, new_height: int, new_width: int) -> None:
    ids = np.arange(height * width, dtype=np.int32).reshape(height, width)
    resized = resize_ids(ids, (new_height, new_width))
    assert resized.dtype == np.int32
    for y in range(new_height):
        for x in range(new_width):
            center_y, center_x = (y + 0.5) * height / new_height, (x + 0.5) * width / new_width
            assert resized[y, x] == ids[int(center_y + 1e-9), int(center_x + 1e-9)]
