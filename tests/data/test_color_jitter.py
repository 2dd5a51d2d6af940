"""Random color changes."""

from __future__ import annotations

import colorsys
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seamseg.data.color_jitter import ColorChange, ColorJitter

WEIGHTS = (0.299, 0.587, 0.114)
factors = st.floats(0, 2)


def picture(seed: int, height: int = 6, width: int = 7) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, size=(3, height, width), dtype=np.uint8))


def rotated(color: list[float], part: float) -> list[float]:
    """Rotate a color around the gray axis: the part along the axis stays, the part across it turns."""
    gray = sum(color) / 3
    across = [value - gray for value in color]
    # Two directions perpendicular to the axis and to each other
    first = [2 / math.sqrt(6), -1 / math.sqrt(6), -1 / math.sqrt(6)]
    second = [0.0, 1 / math.sqrt(2), -1 / math.sqrt(2)]
    a, b = (sum(x * y for x, y in zip(across, axis, strict=True)) for axis in (first, second))
    angle = 2 * math.pi * part
    new_a, new_b = a * math.cos(angle) - b * math.sin(angle), a * math.sin(angle) + b * math.cos(angle)
    return [gray + new_a * p + new_b * q for p, q in zip(first, second, strict=True)]


def changed_stepwise(image: Tensor, change: ColorChange) -> list[list[list[float]]]:
    """Apply the four steps one after another, pixel by pixel, and clip at the end."""
    height, width = image.shape[1:]
    pixels = [
        [[float(image[c, y, x]) * change.brightness for c in range(3)] for x in range(width)] for y in range(height)
    ]
    grays = [sum(w * v for w, v in zip(WEIGHTS, color, strict=True)) for row in pixels for color in row]
    mean = sum(grays) / len(grays)
    result = []
    for row in pixels:
        colors = []
        for color in row:
            contrasted = [mean + change.contrast * (value - mean) for value in color]
            gray = sum(w * v for w, v in zip(WEIGHTS, contrasted, strict=True))
            saturated = [gray + change.saturation * (value - gray) for value in contrasted]
            colors.append([min(255.0, max(0.0, value)) for value in rotated(saturated, change.hue)])
        result.append(colors)
    return result


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 1000), factors, factors, factors, st.floats(-0.5, 0.5))
def test_color_change_equals_the_four_steps_in_sequence(
    seed: int, brightness: float, contrast: float, saturation: float, hue: float
) -> None:
    image, change = picture(seed), ColorChange(brightness, contrast, saturation, hue)
    expected = np.array(changed_stepwise(image, change)).transpose(2, 0, 1)
    found = change(image)
    assert (found.dtype, found.is_contiguous()) == (torch.uint8, True)
    assert np.abs(found.numpy() - expected).max() <= 1.01  # rounding, and OpenCV's fixed-point arithmetic


def test_default_change_leaves_the_image_unchanged() -> None:
    image = picture(0)
    assert torch.equal(ColorChange()(image), image)
    assert ColorJitter().draw([0.1, 0.9, 0.4, 0.7]) == ColorChange()


def test_hue_rotation_by_a_third_rotates_the_channels() -> None:
    image = picture(1)
    difference = ColorChange(hue=1 / 3)(image).short() - image[[2, 0, 1]].short()
    assert difference.abs().max() <= 1
    assert colorsys.rgb_to_hsv(0, 1, 0)[0] == pytest.approx(1 / 3)  # red becomes green, as in other definitions of hue
    red = torch.zeros((3, 2, 2), dtype=torch.uint8)
    red[0] = 200
    assert ColorChange(hue=1 / 3)(red)[1].min() >= 199


@given(st.integers(0, 255), st.floats(0, 2), st.floats(-0.5, 0.5))
def test_gray_pixels_ignore_hue_and_saturation(value: int, saturation: float, hue: float) -> None:
    gray = torch.full((3, 3, 4), value, dtype=torch.uint8)
    assert (ColorChange(saturation=saturation, hue=hue)(gray).short() - gray.short()).abs().max() <= 1


def test_draw_covers_each_range_uniformly() -> None:
    jitter = ColorJitter(0.4, 0.3, 0.2, 0.1)
    numbers = np.random.default_rng(0).random((4000, 4))
    changes = [jitter.draw(row.tolist()) for row in numbers]
    for name, middle, span in (("brightness", 1, 0.4), ("contrast", 1, 0.3), ("saturation", 1, 0.2), ("hue", 0, 0.1)):
        values = np.array([getattr(change, name) for change in changes])
        assert values.min() == pytest.approx(middle - span, abs=span / 50)
        assert values.max() == pytest.approx(middle + span, abs=span / 50)
        assert values.mean() == pytest.approx(middle, abs=span / 20)


@pytest.mark.parametrize("wrong", [{"brightness": 1.1}, {"contrast": -0.1}, {"saturation": 2.0}, {"hue": 0.6}])
def test_color_jitter_rejects_values_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"in 0 … 1 and hue in 0 … 0\.5"):
        ColorJitter(**wrong)
