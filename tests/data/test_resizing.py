"""Network input sizes and resampling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamseg.data.resizing import nearest, network_size, resize_image


@pytest.mark.parametrize(
    ("size", "shortest", "longest", "expected"),
    [
        ((480, 640), 240, 1000, (240, 320)),
        ((640, 480), 240, 1000, (320, 240)),
        ((100, 1000), 200, 1000, (100, 1000)),  # 2000 would be too long, so the scale is 1
        ((1024, 2048), 1024, 2048, (1024, 2048)),
        ((427, 640), 800, 1333, (800, 1199)),  # 640 · 800/427 = 1199.06
        ((375, 500), 800, 1066, (800, 1066)),  # 500 · 800/375 = 1066.67 is truncated to the maximum
        ((3, 10_000), 100, 1000, (1, 1000)),  # 0.3 pixels become 1
    ],
)
def test_network_size_matches_sizes_computed_by_hand(
    size: tuple[int, int], shortest: int, longest: int, expected: tuple[int, int]
) -> None:
    assert network_size(size, shortest, longest) == expected


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 2500), st.integers(1, 4000))
def test_network_size_stays_within_its_bounds_and_reaches_one(
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
def test_resize_image_matches_pillow(size: tuple[int, int]) -> None:
    pillow = pytest.importorskip("PIL.Image")
    generator = np.random.default_rng(1)
    noise = generator.integers(0, 256, size=(64, 90, 3), dtype=np.uint8)  # all frequencies: aliasing would show
    expected = np.asarray(pillow.fromarray(noise).resize((size[1], size[0]), pillow.Resampling.BILINEAR), dtype=int)
    resized = resize_image(noise, size).permute(1, 2, 0).numpy()
    difference = np.abs(resized.astype(int) - expected)
    assert difference.max() <= 2
    assert difference.mean() < 0.1


def test_resize_image_of_shrunk_checkerboard_is_gray() -> None:
    """Shrink to a third, where picking single pixels would give another checkerboard."""
    board = np.indices((63, 63)).sum(axis=0)[..., None].repeat(3, axis=2) % 2 * 255
    shrunk = resize_image(board.astype(np.uint8), (21, 21))
    assert shrunk.min() > 110
    assert shrunk.max() < 145


def test_resize_image_to_the_same_size_changes_nothing() -> None:
    image = np.random.default_rng(0).integers(0, 256, size=(9, 7, 3), dtype=np.uint8)
    assert np.array_equal(resize_image(image, (9, 7)).permute(1, 2, 0), image)


@given(st.integers(1, 200), st.integers(1, 200))
def test_nearest_returns_the_pixels_under_the_centers(old: int, new: int) -> None:
    indices = nearest(old, new)
    assert indices.dtype == np.int64
    assert indices.tolist() == [int((i + 0.5) * old / new + 1e-9) for i in range(new)]
