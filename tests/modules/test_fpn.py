"""Feature pyramid: merged levels, sizes and state dict."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from oracles.gradients import assert_every_parameter_moves
from oracles.norm import stir
from oracles.published_names import published, shapes
from torch import Tensor

from seamseg.modules.fpn import FPN, PyramidBody, conv_norm
from seamseg.modules.norm import AffineAct, NormFactory
from seamseg.modules.resnet import ResNet

IN_CHANNELS = (3, 5, 6, 7)


def body_maps(sizes: list[tuple[int, int]]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(2, channels, *size, generator=generator) for channels, size in zip(IN_CHANNELS, sizes, strict=True)
    ]


def repeated(coarse: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a finer map in which every position has the value of the coarse position that covers it."""
    rows = [y * coarse.shape[2] // size[0] for y in range(size[0])]
    columns = [x * coarse.shape[3] // size[1] for x in range(size[1])]
    return coarse[:, :, rows][:, :, :, columns]


@pytest.mark.parametrize("extra_levels", [0, 1, 3])
@pytest.mark.parametrize(
    "sizes",
    [
        [(16, 24), (8, 12), (4, 6), (2, 3)],
        [(15, 21), (8, 11), (4, 6), (2, 3)],
        [(5, 3), (3, 2), (2, 1), (1, 1)],
    ],
    ids=["even", "odd", "tiny"],
)
def test_fpn_adds_upsampled_coarse_levels_to_fine_levels(sizes: list[tuple[int, int]], extra_levels: int) -> None:
    fpn = FPN(IN_CHANNELS, 4, extra_levels, NormFactory("affine"))
    stir(fpn)
    features = body_maps(sizes)
    before = [feature.clone() for feature in features]
    levels = fpn(features)
    assert all(torch.equal(*pair) for pair in zip(features, before, strict=True))

    merged = fpn.lateral[3](features[3])
    torch.testing.assert_close(levels[3], fpn.output[3](merged))
    for level in (2, 1, 0):
        merged = fpn.lateral[level](features[level]) + repeated(merged, sizes[level])
        torch.testing.assert_close(levels[level], fpn.output[level](merged))
    coarse = features[3]
    for level in range(extra_levels):
        coarse = fpn.extra[level](coarse)
        torch.testing.assert_close(levels[4 + level], coarse)
    assert len(levels) == 4 + extra_levels


def test_pyramid_body_of_an_odd_image_gives_the_published_level_sizes() -> None:
    with torch.device("meta"):
        backbone = ResNet("resnet18", NormFactory("bn"))
        body = PyramidBody(backbone, FPN(backbone.channels, 16, 2, NormFactory("bn")))
        levels = body(torch.empty(2, 3, 320, 479))
    sizes = [(80, 120), (40, 60), (20, 30), (10, 15), (5, 8), (3, 4)]
    assert [tuple(level.shape) for level in levels] == [(2, 16, *size) for size in sizes]


def test_fpn_state_dict_has_the_published_names_and_shapes(shared: Path) -> None:
    with torch.device("meta"):
        fpn = FPN((256, 512, 1024, 2048), 256, 2, NormFactory("bn"))
    assert shapes(fpn) == published(shared, "body.fpn")


def test_fpn_with_too_few_maps_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        FPN(IN_CHANNELS, 4, 0, NormFactory("affine"))(body_maps([(8, 8), (4, 4), (2, 2), (1, 1)])[:3])


def test_fpn_gradients_reach_every_parameter() -> None:
    fpn = FPN(IN_CHANNELS, 4, 2, NormFactory("bn"))
    stir(fpn)
    levels = fpn(body_maps([(15, 21), (8, 11), (4, 6), (3, 5)]))
    torch.stack([level.square().mean() for level in levels]).sum().backward()
    assert_every_parameter_moves(fpn)


@pytest.mark.parametrize(("kernel_size", "stride", "size"), [(1, 1, (7, 9)), (3, 1, (7, 9)), (3, 2, (4, 5))])
def test_conv_norm_has_its_settings_and_keeps_the_size(kernel_size: int, stride: int, size: tuple[int, int]) -> None:
    layers = conv_norm(2, 6, kernel_size, NormFactory("affine", "elu", 0.5), stride)
    stir(layers)
    x = torch.randn(1, 2, 7, 9, generator=torch.Generator().manual_seed(0))
    assert isinstance(layers.bn, AffineAct)
    assert (layers.bn.activation, layers.bn.slope, layers.conv.bias) == ("elu", 0.5, None)
    assert layers(x).shape == (1, 6, *size)
    assert [name.split(".")[0] for name in layers.state_dict()] == ["conv"] + ["bn"] * 5
