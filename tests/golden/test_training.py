"""One training step of the published network: losses, gradients, statistics, semantic confusion."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from support.golden_network import NUM_IMAGES, NUM_STUFF, NUM_THINGS, Golden
from torch import Tensor

from seamseg.metrics.confusion import ConfusionMatrix
from seamseg.networks import PyramidNet
from seamseg.ops.fusion import upsample_argmax
from seamseg.structures import Losses, SemanticLogits, pad_images

LOSSES = {
    "rpn_objectness": "obj",
    "rpn_boxes": "bbx",
    "roi_classes": "roi_cls",
    "roi_boxes": "roi_bbx",
    "roi_masks": "roi_msk",
    "semantic": "sem",
}
GRADIENTS = (
    "body.backbone.mod1.conv1.weight",
    "body.backbone.mod1.bn1.bias",
    "body.backbone.mod2.block1.convs.bn1.weight",
    "body.backbone.mod5.block1.convs.conv1.weight",
    "body.fpn.lateral.0.conv.weight",
    "rpn_head.conv1.weight",
    "rpn_head.conv_obj.weight",
    "rpn_head.conv_bbx.weight",
    "roi_head.fc.fc2.weight",
    "roi_head.conv.conv2.weight",
    "roi_head.roi_bbx.weight",
    "roi_head.roi_msk.weight",
    "sem_head.output.0.conv1_dil.weight",
)


@dataclass(frozen=True)
class Step:
    """Results of one training step."""

    golden: Golden
    network: PyramidNet
    losses: Losses
    semantic_logits: Tensor


@pytest.fixture(scope="module")
def step(shared: Path) -> Step:
    golden = Golden(shared)
    network = golden.network().train()
    logits: list[Tensor] = []
    network.sem_head.register_forward_hook(lambda module, inputs, output: logits.append(output.detach()))
    losses = network(golden.images(), golden.ground_truth(), torch.Generator())
    losses.total({name: 1.0 for name, _ in losses.items()}).backward()
    return Step(golden, network, losses, logits[0])


@pytest.mark.parametrize("name", LOSSES)
def test_losses_equal_the_recorded_ones(step: Step, name: str) -> None:
    recorded = float(step.golden.numbers[f"train/{LOSSES[name]}_loss"])
    tolerance = 1e-4 if name == "rpn_boxes" else 1e-3  # ties between anchors affect rpn_boxes
    assert float(dict(step.losses.items())[name].detach()) == pytest.approx(recorded, abs=tolerance)


def test_all_recorded_gradients_are_compared(step: Step) -> None:
    assert {f"grad_norm/{name}" for name in GRADIENTS} == {
        key for key in step.golden.numbers if key.startswith("grad_norm/")
    }


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradient_norms_equal_the_recorded_ones(step: Step, name: str) -> None:
    gradient = step.network.get_parameter(name).grad
    assert gradient is not None
    assert float(gradient.norm()) == pytest.approx(float(step.golden.numbers[f"grad_norm/{name}"]), rel=0.01)


def test_training_step_gives_every_parameter_a_gradient(step: Step) -> None:
    for name, parameter in step.network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_running_statistics_equal_the_recorded_ones(step: Step) -> None:
    with np.load(step.golden.shared / "golden" / "vistas_r50_running_stats.npz") as recorded:
        for name in recorded.files:
            found = step.network.get_buffer(name)
            torch.testing.assert_close(found, torch.from_numpy(recorded[name]), rtol=1e-3, atol=1e-3, msg=name)


def test_semantic_confusion_equals_the_recorded_one(step: Step) -> None:
    counts = ConfusionMatrix(NUM_STUFF + NUM_THINGS)
    truth, images = step.golden.ground_truth(), pad_images(step.golden.images())
    for image in range(NUM_IMAGES):
        logits = SemanticLogits(step.semantic_logits[image], images.padded_size, images.sizes[image])
        counts.update(upsample_argmax(logits, images.sizes[image]), truth.semantic_target(image))
    recorded = torch.from_numpy(step.golden.numbers["train/sem_conf"]).long()
    found = counts.state[:, :-1]
    assert torch.equal(found.sum(1), recorded.sum(1))
    assert (found - recorded).abs().sum() / 2 <= 60 * NUM_IMAGES
