"""Semantic head compared with its definition, and its state dict."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from oracles.gradients import assert_every_parameter_moves
from oracles.norm import stir
from oracles.published_names import published, shapes
from oracles.window_mean import window_mean
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.memory import saved_bytes
from seamseg.modules.norm import NormFactory
from seamseg.modules.semantic_head import MiniDeepLab, SemanticHead

SIZES = [(15, 21), (8, 11), (4, 6), (2, 3)]


def levels(count: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 4, *size, generator=generator) for size in [*SIZES, (1, 2)][:count]]


def head(norm: str = "affine") -> SemanticHead:
    made = SemanticHead(4, 6, 5, 7, NormFactory(norm))  # type: ignore[arg-type]
    stir(made)
    return made


class Joined(nn.Module):
    """Semantic head on levels that are flattened and concatenated."""

    def __init__(self, head: SemanticHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        parts = x.split([2 * 4 * height * width for height, width in SIZES])
        return self.head([part.view(2, 4, *size) * 1 for part, size in zip(parts, SIZES, strict=True)])


@pytest.mark.parametrize("size", [(15, 21), (7, 7), (8, 3), (1, 1)])
def test_mini_deeplab_joins_near_dilated_and_pooled_context(size: tuple[int, int]) -> None:
    """The second third of the channels reads positions 6 apart, the last third a window of 7×7."""
    made = MiniDeepLab(4, 6, 7, NormFactory("affine"))
    stir(made)
    x = torch.randn(2, 4, *size, generator=torch.Generator().manual_seed(0))
    near = functional.conv2d(x, made.conv1_3x3.weight, padding=1)
    spread = torch.zeros(6, 4, 13, 13)
    spread[:, :, ::6, ::6] = made.conv1_dil.weight
    far = functional.conv2d(x, spread, padding=6)
    wide = functional.conv2d(window_mean(x, 7), made.conv1_glb.weight)
    hidden = made.bn1(torch.cat([near, far, wide], dim=1))
    expected = made.bn2(functional.conv2d(hidden, made.conv2.weight))
    torch.testing.assert_close(made(x), expected, rtol=1e-4, atol=1e-4)


def test_semantic_head_upsamples_levels_to_the_finest_and_joins_them() -> None:
    made, maps = head(), levels()
    contexts = [
        functional.interpolate(made.output[level](maps[level]), SIZES[0], mode="bilinear", align_corners=False)
        for level in range(4)
    ]
    weights = made.conv_sem.weight[:, :, 0, 0]
    expected = torch.einsum("nchw,oc->nohw", torch.cat(contexts, dim=1), weights) + made.conv_sem.bias[:, None, None]
    found = made(maps)
    assert found.shape == (2, 5, *SIZES[0])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_semantic_head_ignores_a_fifth_level() -> None:
    made = head()
    torch.testing.assert_close(made(levels(5)), made(levels(4)))


def test_semantic_head_with_too_few_levels_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        head()(levels(3))


def test_semantic_head_keeps_its_input() -> None:
    maps = levels()
    head("bn")(maps)
    assert all(torch.equal(*pair) for pair in zip(maps, levels(), strict=True))


def test_semantic_head_keeps_contexts_and_normed_maps_once() -> None:
    """Neither means over windows nor upsampled contexts are kept: 3 · 6 hidden and 6 output channels of each level."""
    kept = saved_bytes(Joined(head("bn")), torch.cat([level.flatten() for level in levels()]))
    num_values = sum(2 * height * width for height, width in SIZES)
    inputs, contexts = 4 * num_values, (3 * 6 + 6) * num_values
    assert 4 * (inputs + contexts) <= kept < 1.05 * 4 * (inputs + contexts)


@pytest.mark.parametrize("norm", ["bn", "affine"])
def test_semantic_head_gradients_reach_every_parameter(norm: str) -> None:
    made = head(norm)
    made(levels()).square().mean().backward()
    # A dilation of 6 reaches beyond the smaller levels, but never with all of its weights.
    assert_every_parameter_moves(made)


def test_semantic_head_state_dict_has_the_published_names_and_shapes(shared: Path) -> None:
    with torch.device("meta"):
        made = SemanticHead(256, 128, 65, 64, NormFactory("bn"))
    assert shapes(made) == published(shared, "sem_head")
