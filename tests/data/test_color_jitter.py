"""Random colors."""

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


def turned(color: list[float], part: float) -> list[float]:
    """Around the axis of the grays: along it nothing changes, across it the vector is turned."""
    gray = sum(color) / 3
    across = [value - gray for value in color]
    # Two directions at right angles to the axis and to each other
    first = [2 / math.sqrt(6), -1 / math.sqrt(6), -1 / math.sqrt(6)]
    second = [0.0, 1 / math.sqrt(2), -1 / math.sqrt(2)]
    a, b = (sum(x * y for x, y in zip(across, axis, strict=True)) for axis in (first, second))
    angle = 2 * math.pi * part
    new_a, new_b = a * math.cos(angle) - b * math.sin(angle), a * math.sin(angle) + b * math.cos(angle)
    return [gray + new_a * p + new_b * q for p, q in zip(first, second, strict=True)]


def slowly(image: Tensor, change: ColorChange) -> list[list[list[float]]]:
    """One step after the other, pixel by pixel, clipped at the end."""
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
            colors.append([min(255.0, max(0.0, value)) for value in turned(saturated, change.hue)])
        result.append(colors)
    return result


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 1000), factors, factors, factors, st.floats(-0.5, 0.5))
def test_one_matrix_does_what_the_four_steps_do(
    seed: int, brightness: float, contrast: float, saturation: float, hue: float
) -> None:
    image, change = picture(seed), ColorChange(brightness, contrast, saturation, hue)
    expected = np.array(slowly(image, change)).transpose(2, 0, 1)
    found = change(image)
    assert (found.dtype, found.is_contiguous()) == (torch.uint8, True)
    assert np.abs(found.numpy() - expected).max() <= 1.01  # rounding, and the integers that OpenCV computes in


def test_nothing_changes_nothing() -> None:
    image = picture(0)
    assert torch.equal(ColorChange()(image), image)
    assert ColorJitter().draw([0.1, 0.9, 0.4, 0.7]) == ColorChange()


def test_a_third_of_a_turn_exchanges_the_channels() -> None:
    image = picture(1)
    difference = ColorChange(hue=1 / 3)(image).short() - image[[2, 0, 1]].short()
    assert difference.abs().max() <= 1
    assert colorsys.rgb_to_hsv(0, 1, 0)[0] == pytest.approx(1 / 3)  # red becomes green, as in other definitions of hue
    red = torch.zeros((3, 2, 2), dtype=torch.uint8)
    red[0] = 200
    assert ColorChange(hue=1 / 3)(red)[1].min() >= 199


@given(st.integers(0, 255), st.floats(0, 2), st.floats(-0.5, 0.5))
def test_grays_have_no_hue_and_no_saturation(value: int, saturation: float, hue: float) -> None:
    gray = torch.full((3, 3, 4), value, dtype=torch.uint8)
    assert (ColorChange(saturation=saturation, hue=hue)(gray).short() - gray.short()).abs().max() <= 1


def test_draws_fill_their_ranges_evenly() -> None:
    jitter = ColorJitter(0.4, 0.3, 0.2, 0.1)
    numbers = np.random.default_rng(0).random((4000, 4))
    changes = [jitter.draw(row.tolist()) for row in numbers]
    for name, middle, span in (("brightness", 1, 0.4), ("contrast", 1, 0.3), ("saturation", 1, 0.2), ("hue", 0, 0.1)):
        values = np.array([getattr(change, name) for change in changes])
        assert values.min() == pytest.approx(middle - span, abs=span / 50)
        assert values.max() == pytest.approx(middle + span, abs=span / 50)
        assert values.mean() == pytest.approx(middle, abs=span / 20)


@pytest.mark.parametrize("wrong", [{"brightness": 1.1}, {"contrast": -0.1}, {"saturation": 2.0}, {"hue": 0.6}])
def test_what_is_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"vary by 0 … 1, the hue by 0 … 0\.5"):
        ColorJitter(**wrong)
