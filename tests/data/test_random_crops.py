"""Random crops, central crops, and the color shift."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from seamseg.data.color_jitter import ColorJitter
from seamseg.data.random_crops import LIGHTING_AXES, LIGHTING_STD, CenterCrop, RandomCrop, shift_colors


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def positions(height: int, width: int) -> Tensor:
    """An image whose red and green are the row and the column, and blue 7."""
    image = torch.full((3, height, width), 7, dtype=torch.uint8)
    image[0] = torch.arange(height, dtype=torch.uint8)[:, None]
    image[1] = torch.arange(width, dtype=torch.uint8)
    return image


def test_random_crop_depends_only_on_the_generator() -> None:
    transform = RandomCrop(16, 16, color_jitter=ColorJitter(0.4, 0.4, 0.4), lighting=0.1)
    image = torch.randint(256, (3, 40, 50), dtype=torch.uint8, generator=seeded(9))
    before = image.clone()
    state = torch.get_rng_state()
    first, again, other = (transform(image, seeded(seed)) for seed in (1, 1, 2))
    assert first.shape == (3, 16, 16)
    assert first.dtype == torch.uint8
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(image, before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("height", "width"), [(60, 90), (90, 60)])
def test_random_windows_have_the_given_areas_and_aspect_ratios_and_cover_the_image(height: int, width: int) -> None:
    transform = RandomCrop(8, 8, area=(0.2, 0.6), aspect=(0.5, 2.0))
    areas, aspects, rows, columns = [], [], np.zeros(height, int), np.zeros(width, int)
    for seed in range(400):
        draws = torch.rand(22, generator=seeded(seed), dtype=torch.float64).tolist()
        y, x, h, w = transform._window((height, width), (draws[0], draws[1]), draws[2:])
        assert 0 <= y <= y + h <= height
        assert 0 <= x <= x + w <= width
        areas.append(h * w / (height * width))
        aspects.append(w / h)
        rows[y : y + h] += 1
        columns[x : x + w] += 1
    assert 0.19 < min(areas) < 0.22
    assert 0.55 < max(areas) < 0.61
    assert 0.48 < min(aspects) < 0.6
    assert 1.6 < max(aspects) < 2.1
    assert abs(np.mean(np.log(aspects))) < 0.2
    assert rows.all()
    assert columns.all()


@pytest.mark.parametrize(("size", "window"), [((10, 100), (0, 44, 10, 13)), ((100, 10), (44, 0, 13, 10))])
def test_random_window_of_an_extreme_image_is_the_largest_central_one(
    size: tuple[int, int], window: tuple[int, int, int, int]
) -> None:
    # No window with 90 % of the area has an aspect ratio of at most 4/3.
    transform = RandomCrop(8, 8, area=(0.9, 1.0))
    assert transform._window(size, (0.5, 0.5), [0.5] * 20) == pytest.approx(window, abs=1)


def test_random_crop_shows_the_window_without_moving_it() -> None:
    """The whole image at half its size: each pixel is the mean of its four."""
    transform = RandomCrop(20, 20, area=(1.0, 1.0), aspect=(1.0, 1.0), flip=False)
    shown = transform(positions(40, 40), seeded(0)).float()
    torch.testing.assert_close(shown[0, 1:-1, 5], 2 * torch.arange(1.0, 19.0) + 0.5, atol=0.51, rtol=0)
    torch.testing.assert_close(shown[1, 5, 1:-1], 2 * torch.arange(1.0, 19.0) + 0.5, atol=0.51, rtol=0)
    assert shown[2].unique().tolist() == [7]


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (5, 3), (300, 2)])
def test_crops_of_images_smaller_than_the_crop_have_the_size_of_the_crop(size: tuple[int, int]) -> None:
    image = torch.full((3, *size), 90, dtype=torch.uint8)
    for seed in range(5):
        for padding in (None, 4):
            crop = RandomCrop(16, 20, padding=padding)(image, seeded(seed))
            assert crop.shape == (3, 16, 16)
            assert crop.is_contiguous()
    assert CenterCrop(20, 16)(image).shape == (3, 16, 16)


def test_random_crop_mirrors_half_of_the_images() -> None:
    transform = RandomCrop(16, 16, area=(1.0, 1.0), aspect=(1.0, 1.0))
    image = positions(16, 16)
    mirrored = [bool(transform(image, seeded(seed))[1, 0, 0] > 7) for seed in range(200)]
    assert 70 < sum(mirrored) < 130
    never = RandomCrop(16, 16, area=(1.0, 1.0), aspect=(1.0, 1.0), flip=False)
    assert all(torch.equal(never(image, seeded(seed)), image) for seed in range(20))


def test_padded_crop_cuts_all_windows_of_the_padded_image() -> None:
    transform = RandomCrop(32, 32, padding=4, flip=False)
    image = positions(32, 32) + 100
    starts = set()
    for seed in range(400):
        crop = transform(image, seeded(seed))
        black = crop.sum(dim=0) == 0
        rows, columns = (~black).any(dim=1).nonzero().flatten(), (~black).any(dim=0).nonzero().flatten()
        top, left = int(crop[0, rows[0], columns[0]]) - 100, int(crop[1, rows[0], columns[0]]) - 100
        dy, dx = top - int(rows[0]), left - int(columns[0])
        starts.add((dy, dx))
        expected = torch.nn.functional.pad(image, (4, 4, 4, 4))[:, 4 + dy : 36 + dy, 4 + dx : 36 + dx]
        assert torch.equal(crop, expected)
    assert {dy for dy, _ in starts} == {dx for _, dx in starts} == set(range(-4, 5))


@pytest.mark.parametrize("size", [(40, 60), (60, 40), (25, 25)])
def test_center_crop_equals_torchvision(size: tuple[int, int]) -> None:
    image = torch.randint(256, (3, *size), dtype=torch.uint8, generator=seeded(0))
    peer = v2.Compose([v2.Resize(24, antialias=True), v2.CenterCrop(20)])
    assert torch.equal(CenterCrop(24, 20)(image), peer(image))
    assert min(CenterCrop(24, None)(image).shape[1:]) == 24


def test_shift_colors_adds_the_sum_of_the_scaled_components() -> None:
    image = torch.randint(60, 200, (3, 4, 5), dtype=torch.uint8, generator=seeded(0))
    alphas = [0.1, -0.3, 0.2]
    shifted = shift_colors(image, torch.tensor(alphas, dtype=torch.float64))
    for channel in range(3):
        shift = 255 * sum(LIGHTING_AXES[channel][i] * alphas[i] * LIGHTING_STD[i] for i in range(3))
        expected = (image[channel].double() + shift).round()
        torch.testing.assert_close(shifted[channel].double(), expected)
    axes = np.array(LIGHTING_AXES)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-3)


def test_shift_colors_clips_to_the_range_of_a_byte() -> None:
    image = torch.tensor([0, 255], dtype=torch.uint8).expand(3, 1, 2)
    for alpha in (-50.0, 50.0):
        shifted = shift_colors(image, torch.tensor([alpha, 0, 0], dtype=torch.float64))
        assert shifted.unique().tolist() == ([255] if alpha < 0 else [0])


def test_random_crop_lighting_has_the_given_strength() -> None:
    gray = torch.full((3, 1, 1), 128, dtype=torch.uint8)
    transform = RandomCrop(1, 1, lighting=0.1)
    shifts = torch.stack([transform(gray, seeded(seed)).flatten().double() - 128 for seed in range(1000)]) / 255
    first = shifts @ torch.tensor([axis[0] for axis in LIGHTING_AXES], dtype=torch.float64)
    assert first.std().item() == pytest.approx(0.1 * LIGHTING_STD[0], rel=0.1)
    assert abs(first.mean().item()) < 0.003
    assert math.isclose(float(RandomCrop(1, 1)(gray, seeded(0)).float().mean()), 128)
