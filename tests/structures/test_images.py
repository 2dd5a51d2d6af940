from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seamseg.structures import PackedSequence, PaddedImages, pad_images, unpad_images

SIDES = st.integers(1, 6)


@given(st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=4), st.integers(1, 3))
@settings(deadline=None)
def test_pad_images_keeps_every_pixel_and_adds_zeros(sizes: list[tuple[int, int]], channels: int) -> None:
    images = [torch.randn(channels, *size) for size in sizes]
    padded = pad_images(PackedSequence(images))
    assert padded.sizes == tuple(sizes)
    height, width = padded.padded_size
    assert (height, width) == (max(size[0] for size in sizes), max(size[1] for size in sizes))
    assert padded.tensor.shape == (len(images), channels, height, width)
    for position, image in enumerate(images):
        for y in range(height):
            for x in range(width):
                inside = y < image.shape[1] and x < image.shape[2]
                expected = image[:, y, x] if inside else torch.zeros(channels)
                assert torch.equal(padded.tensor[position, :, y, x], expected)


@given(st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=4))
@settings(deadline=None)
def test_unpad_images_inverts_pad_images(sizes: list[tuple[int, int]]) -> None:
    images = [torch.randn(3, *size) for size in sizes]
    again = unpad_images(pad_images(PackedSequence(images)))
    assert len(again) == len(images)
    assert all(torch.equal(again.entry(position), image) for position, image in enumerate(images))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bfloat16, torch.float64])
def test_pad_images_keeps_the_dtype(dtype: torch.dtype) -> None:
    padded = pad_images(PackedSequence([torch.ones(1, 2, 2, dtype=dtype), torch.ones(1, 1, 3, dtype=dtype)]))
    assert padded.tensor.dtype == dtype
    assert padded.tensor.sum() == 7


def test_pad_images_copies_the_images() -> None:
    image = torch.ones(1, 2, 2)
    padded = pad_images(PackedSequence([image]))
    padded.tensor.zero_()
    assert image.sum() == 4


def test_pad_images_passes_gradients_to_the_images() -> None:
    images = [torch.ones(1, 2, 3, requires_grad=True), torch.ones(1, 4, 1, requires_grad=True)]
    pad_images(PackedSequence(images)).tensor.square().sum().backward()
    for image in images:
        assert image.grad is not None
        assert torch.equal(image.grad, torch.full_like(image, 2))


def test_unpad_images_supports_any_number_of_channels() -> None:
    padded = PaddedImages(torch.arange(2 * 5 * 3 * 3).reshape(2, 5, 3, 3), ((3, 1), (2, 3)))
    assert [tuple(image.shape) for image in unpad_images(padded).present] == [(5, 3, 1), (5, 2, 3)]


@pytest.mark.parametrize(
    "images",
    [
        [],
        [torch.zeros(4, 4)],
        [torch.zeros(1, 3, 4, 4)],
        [torch.zeros(3, 4, 4), torch.zeros(1, 4, 4)],
        [torch.zeros(3, 4, 4), torch.zeros(4, 4)],
    ],
)
def test_pad_images_with_invalid_shapes_raises_value_error(images: list[Tensor]) -> None:
    with pytest.raises(ValueError, match="C×H×W"):
        pad_images(PackedSequence(images))


def test_pad_images_with_absent_image_names_its_position() -> None:
    with pytest.raises(ValueError, match="entry 1 of the PackedSequence is absent"):
        pad_images(PackedSequence([torch.zeros(3, 4, 4), None]))
