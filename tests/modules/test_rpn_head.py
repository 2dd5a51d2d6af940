"""RPN head: order of anchors, statistics and state dict."""

from __future__ import annotations

from pathlib import Path

import torch
from oracles.gradients import assert_every_parameter_moves
from oracles.norm import stir
from oracles.published_names import published, shapes
from torch import Tensor

from seamseg.modules.norm import NormFactory
from seamseg.modules.rpn_head import RPNHead

SIZES = [(5, 7), (3, 4), (1, 2)]
NUM_ANCHORS = 3


def head(norm: str = "affine") -> RPNHead:
    made = RPNHead(4, 6, NUM_ANCHORS, NormFactory(norm))  # type: ignore[arg-type]
    stir(made)
    return made


def levels() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 4, *size, generator=generator) for size in SIZES]


def test_rpn_head_orders_anchors_by_level_row_column_and_shape() -> None:
    made, maps = head(), levels()
    objectness, box_deltas = made(maps)
    num_anchors = sum(height * width for height, width in SIZES) * NUM_ANCHORS
    assert (objectness.shape, box_deltas.shape) == ((2, num_anchors), (2, num_anchors, 4))
    position = 0
    for level in maps:
        hidden = made.bn1(made.conv1(level))
        scores, moves = made.conv_obj(hidden), made.conv_bbx(hidden)
        for row in range(level.shape[2]):
            for column in range(level.shape[3]):
                for anchor in range(NUM_ANCHORS):
                    assert torch.equal(objectness[:, position], scores[:, anchor, row, column])
                    four = slice(4 * anchor, 4 * anchor + 4)
                    assert torch.equal(box_deltas[:, position], moves[:, four, row, column])
                    position += 1


def test_rpn_head_updates_running_statistics_once_per_level_from_fine_to_coarse() -> None:
    made = head("bn")
    norm = made.bn1
    mean, var = norm.running_mean.clone(), norm.running_var.clone()
    made(levels())
    for level in levels():
        hidden = made.conv1(level)
        mean = 0.9 * mean + 0.1 * hidden.mean((0, 2, 3))
        var = 0.9 * var + 0.1 * hidden.var((0, 2, 3))
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, var)
    assert norm.num_batches_tracked == len(SIZES)


def test_rpn_head_keeps_its_input() -> None:
    maps = levels()
    head("bn")(maps)
    assert all(torch.equal(*pair) for pair in zip(maps, levels(), strict=True))


def test_rpn_head_gradients_reach_every_parameter() -> None:
    made = head("bn")
    objectness, box_deltas = made(levels())
    (objectness.square().mean() + box_deltas.square().mean()).backward()
    assert_every_parameter_moves(made)


def test_rpn_head_state_dict_has_the_published_names_and_shapes(shared: Path) -> None:
    with torch.device("meta"):
        made = RPNHead(256, 256, 5, NormFactory("bn"))
    assert shapes(made) == published(shared, "rpn_head")
