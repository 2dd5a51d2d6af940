"""Cases of the operator that samples region features, and their comparison with the oracle."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from oracles import multilevel_roi_align as oracle
from torch import Tensor

from seamseg.ops.multilevel_roi_align import multilevel_roi_align

SIZES = ((19, 83), (10, 42), (5, 21), (1, 2))


@dataclass(frozen=True)
class Case:
    """Arguments of one call."""

    num_channels: int
    output_size: int
    dtype: torch.dtype = torch.float32
    channels_last: bool = False
    num_regions: int = 24

    def levels(self) -> list[Tensor]:
        """Return random levels of two images that require gradients."""
        generator = torch.Generator().manual_seed(0)
        memory_format = torch.channels_last if self.channels_last else torch.contiguous_format
        levels = [torch.randn(2, self.num_channels, *size, generator=generator).to(self.dtype) for size in SIZES]
        return [level.contiguous(memory_format=memory_format).requires_grad_() for level in levels]

    def regions(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes, images and levels: boxes of all sizes, partly outside, and images in no order.

        The edges are multiples of 1/8, so many samples lie on centers of pixels.
        """
        generator = torch.Generator().manual_seed(1)
        level_index = torch.randint(0, len(SIZES), (self.num_regions,), generator=generator)
        extent = torch.tensor(SIZES)[level_index].repeat(1, 2) + 4.0
        corners = torch.rand(self.num_regions, 2, 2, generator=generator)
        boxes = torch.cat([corners.amin(1), corners.amax(1)], dim=1) * extent - 2
        boxes[::3, 2:] = boxes[::3, :2] + torch.rand(len(boxes[::3]), 2, generator=generator) * 4
        image_index = torch.randint(0, 2, (self.num_regions,), generator=generator)
        return (boxes * 8).round() / 8, image_index, level_index


def check_case(case: Case) -> None:
    """Compare features and gradients, and their layout."""
    levels, regions = case.levels(), case.regions()
    found = multilevel_roi_align(levels, *regions, case.output_size)
    expected = oracle.multilevel_roi_align(levels, *regions, case.output_size)
    assert found.dtype == case.dtype
    rounding = 1e-2 if case.dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(found.float(), expected, rtol=rounding, atol=rounding)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2)).to(case.dtype)
    gradients = torch.autograd.grad(found, levels, weights)
    for level, gradient, right in zip(
        levels, gradients, torch.autograd.grad(expected, levels, weights.float()), strict=True
    ):
        assert gradient.dtype == case.dtype
        assert gradient.stride() == level.stride()
        torch.testing.assert_close(gradient, right, rtol=rounding, atol=rounding)


# Channels and bins around vectors, strips of 15 bins and blocks of channels; rows of more than 32 pixels are in SIZES.
COUNTS = [(1, 1), (3, 2), (4, 8), (16, 15), (17, 16), (5, 32), (70, 7), (130, 14)]


def check_all() -> None:
    """Check all kernels of this process."""
    for (channels, size), channels_last in itertools.product(COUNTS, (False, True)):
        for dtype in (torch.float32, torch.bfloat16):
            check_case(Case(channels, size, dtype, channels_last))
