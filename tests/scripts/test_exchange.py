"""The script that swaps one piece of the network for that of torchvision or detectron2."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.script_module import load_script
from torch import Tensor

from seamseg.algos import losses, rpn
from seamseg.algos.anchors import AnchorGrid
from seamseg.algos.box_regression import smooth_l1
from seamseg.algos.rpn import ProposalSelector
from seamseg.builders import build_network
from seamseg.builders.network import initialize
from seamseg.config import load_experiment, settings_file

SIZE = (64, 96)


@pytest.fixture(scope="module")
def script() -> Any:
    """The script as a module."""
    return load_script("exchange")


def test_unknown_piece_is_refused_with_the_known_ones(script: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["train"]):
        assert script.main(arguments) == 2
        assert "L1 loss of boxes, initial weights of torchvision" in capsys.readouterr().err


@pytest.mark.parametrize(
    "piece", ["best proposals of each level", "L1 loss of boxes", "initial weights of torchvision"]
)
def test_piece_is_exchanged_while_the_command_runs(script: Any, piece: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_command(arguments: list[str]) -> int:
        assert arguments == ["train", "scenes_r18"]
        assert all(getattr(owner, name) is new for owner, name, new in script.EXCHANGES[piece])
        return 7

    before = [getattr(owner, name) for owner, name, _ in script.EXCHANGES[piece]]
    monkeypatch.setattr(script, "run_command", run_command)
    assert script.main([piece, "train", "scenes_r18"]) == 7
    assert before == [getattr(owner, name) for owner, name, _ in script.EXCHANGES[piece]]


def test_exchanged_box_losses_are_absolute_differences(script: Any) -> None:
    replaced = script.EXCHANGES["L1 loss of boxes"]
    assert [(owner, name) for owner, name, _ in replaced] == [(rpn, "BOX_SIGMA"), (losses, "BOX_SIGMA")]
    difference = torch.tensor([-2.0, -0.01, 0.0, 0.3])
    for _, _, sigma in replaced:
        loss = smooth_l1(difference, torch.zeros(4), sigma)
        torch.testing.assert_close(loss, difference.abs(), atol=1e-6, rtol=0)


def predictions(strides: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Anchors of three ratios on levels with these strides, with random objectness and box_deltas of two images."""
    grid = AnchorGrid([1.0, 0.5, 2.0], 3.0, strides)
    anchors = grid([(SIZE[0] // stride, SIZE[1] // stride) for stride in strides], torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    objectness = torch.randn(2, len(anchors), generator=generator)
    return anchors, objectness, 0.3 * torch.randn(2, len(anchors), 4, generator=generator)


def test_proposals_of_one_level_are_those_of_our_selector(script: Any) -> None:
    selector = ProposalSelector(200, 30, 0.5, 4)
    arguments = (*predictions((8,)), [SIZE, SIZE])
    for found, expected in zip(script.select_in_levels(selector, *arguments), selector(*arguments), strict=True):
        torch.testing.assert_close(found, expected)


def test_proposals_of_several_levels_are_the_best_of_each(script: Any) -> None:
    strides = (4, 8, 16)
    anchors, objectness, box_deltas = predictions(strides)
    # Most of the best of all levels together are on the finest.
    number = 20
    found = script.select_in_levels(
        ProposalSelector(number, 1000, 0.5, 0), anchors, objectness, box_deltas, [SIZE, SIZE]
    )
    one_level = ProposalSelector(number, 1000, 0.5, 0)
    counts = [3 * (SIZE[0] // stride) * (SIZE[1] // stride) for stride in strides]
    parts = zip(anchors.split(counts), objectness.split(counts, 1), box_deltas.split(counts, 1), strict=True)
    levels = [one_level(*part, [SIZE, SIZE]) for part in parts]
    for image in range(2):
        expected = torch.cat([level[image] for level in levels])
        assert len(found[image]) == len(expected) > number
        torch.testing.assert_close(found[image].sort(dim=0).values, expected.sort(dim=0).values)


def test_initial_weights_have_the_deviations_of_torchvision(script: Any) -> None:
    network = build_network(load_experiment(settings_file("scenes_r18"), []), 5, 4)
    initialize(network, "leaky_relu", 0.01, torch.Generator().manual_seed(0))
    ours = {name: weight.clone() for name, weight in network.named_parameters()}
    script.initialize(network, "leaky_relu", 0.01, torch.Generator().manual_seed(0))
    deviations = {
        "rpn_head.conv1": 0.01,
        "rpn_head.conv_obj": 0.01,
        "roi_head.fc.fc1": (1 / (3 * 3136)) ** 0.5,
        "roi_head.conv.conv1": (2 / (64 * 9)) ** 0.5,
        "body.backbone.mod2.block1.convs.conv1": (2 / (64 * 9)) ** 0.5,
        "body.fpn.output.0.conv": (1 / (64 * 9)) ** 0.5,
    }
    theirs = dict(network.named_parameters())
    for name, deviation in deviations.items():
        assert theirs[f"{name}.weight"].std().item() == pytest.approx(deviation, rel=0.1), name
    for name, weight in theirs.items():
        changed = name.endswith("weight") and weight.dim() > 1 and not name.startswith("sem_head")
        assert torch.equal(weight, ours[name]) != changed, name
