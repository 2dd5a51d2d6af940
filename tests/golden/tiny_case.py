"""Golden case that is part of the repository: numbers of a tiny network on two small images, for several norms.

Each weight is drawn from a generator seeded by its name, images and annotation are drawn here, and all anchors and
regions are used, so nothing depends on PyTorch's random numbers. `record.py` writes the numbers to `tiny_network.npz`.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from support.golden_network import made_up_weights
from support.tiny_experiment import narrow_body, tiny_experiment
from support.tiny_network import NUM_STUFF, NUM_THINGS, scenes
from torch import Tensor

from seamseg.algos.fusion import FusedImage
from seamseg.builders import build_fusion, build_network
from seamseg.metrics.panoptic_quality import PanopticQuality
from seamseg.networks import PyramidNet
from seamseg.structures import GroundTruth, PackedSequence, PanopticSegmentation, Predictions

NORMS = {
    "in_place": ("norm={name: bn, momentum: 1.0}",),
    "in_place_elu": ("norm={name: bn, momentum: 1.0, activation: elu, slope: 1.0, scale: signed}",),
    "group": ("norm={name: gn, groups: 4}",),
}
"""Settings of each variant. With a momentum of 1, prediction uses the statistics of the training step."""
NO_SAMPLING = ("rpn.num_samples=1000000", "roi.num_samples=1000000")
SIZES = ((64, 96), (80, 56))
SHIFT = (1, 1)
"""Rows and columns by which a segmentation is moved, so that its panoptic quality can be measured against itself."""
NUM_MASKS = 4
"""Number of masks recorded per image, to keep the file small."""

Numbers = dict[str, NDArray[np.generic]]


def tiny_numbers(norm: str, task: str = "panoptic") -> Numbers:
    """Return inputs and outputs of one training step and of a prediction after it, by name."""
    overrides = (*NORMS[norm], *NO_SAMPLING, "fusion.score_threshold=0.3", f"task={task}")
    experiment = tiny_experiment(None, *overrides)
    with narrow_body():
        network = build_network(experiment, NUM_STUFF, NUM_THINGS)
    fill(network)
    images, truth = inputs()
    numbers: Numbers = {f"image/{image}": images.entry(image).numpy() for image in range(len(SIZES))}
    numbers |= train(network.train(), images, truth)
    predictions, proposals = predict(network.eval(), images)
    fusion = build_fusion(experiment, NUM_STUFF, NUM_THINGS)
    for image, size in enumerate(SIZES):
        fused = fusion(predictions.detections(image), predictions.semantics(image), size)
        if proposals is not None:
            numbers[f"proposals/{image}"] = proposals.entry(image).numpy()
        numbers |= {f"{key}/{image}": array for key, array in describe(fused).items()}
    return numbers


def inputs() -> tuple[PackedSequence, GroundTruth]:
    """Return normalized images in which every segment has a color with noise, and their annotation."""
    _, truth = scenes(["objects", "objects"], SIZES)
    rng = np.random.Generator(np.random.PCG64(14))
    colors = rng.uniform(-2, 2, (6, 3))
    images = []
    for image, size in enumerate(SIZES):
        values = colors[truth.ids.entry(image)[0].numpy()] + 0.3 * rng.standard_normal((*size, 3))
        images.append(torch.from_numpy(values.transpose(2, 0, 1).astype(np.float32)))
    return PackedSequence(images), truth


@torch.no_grad()
def fill(network: PyramidNet) -> None:
    """Set all weights, in place."""
    for name, parameter in network.named_parameters():
        parameter.copy_(torch.from_numpy(made_up_weights(name, tuple(parameter.shape))))


def train(network: PyramidNet, images: PackedSequence, truth: GroundTruth) -> Numbers:
    """Return losses and gradient norms of a step, and the running statistics after it."""
    losses = network(images, truth, torch.Generator())
    losses.total({name: 1.0 for name, _ in losses.items()}).backward()
    numbers: Numbers = {f"loss/{name}": loss.detach().numpy() for name, loss in losses.items()}
    numbers |= {f"gradient/{name}": norm_of(parameter.grad) for name, parameter in network.named_parameters()}
    numbers |= {f"statistics/{name}": buffer.numpy().copy() for name, buffer in network.named_buffers()}
    return numbers


def norm_of(gradient: Tensor | None) -> NDArray[np.generic]:
    assert gradient is not None
    return gradient.double().norm().float().numpy()


@torch.no_grad()
def predict(network: PyramidNet, images: PackedSequence) -> tuple[Predictions, PackedSequence | None]:
    """Return predictions and the proposals they are based on, if there are any."""
    levels: list[Tensor] = []
    hook = network.body.register_forward_hook(lambda module, given, output: levels.extend(output))
    predictions = network.predict(images)
    hook.remove()
    if not network.finds_objects:
        return predictions, None
    return predictions, network.rpn.propose(network.rpn_head, levels, predictions.sizes)


def describe(fused: FusedImage) -> Numbers:
    """Return detections, fused segmentation, and its panoptic quality against itself moved by `SHIFT`."""
    found, segmentation = fused.detections, fused.segmentation
    quality = PanopticQuality(NUM_STUFF + NUM_THINGS, NUM_STUFF)
    shifted = PanopticSegmentation(segmentation.ids.roll(SHIFT, (0, 1)), segmentation.classes, segmentation.crowd)
    quality.update(segmentation, shifted)
    return {
        "detections/boxes": found.boxes.numpy(),
        "detections/classes": found.classes.numpy().astype(np.uint8),
        "detections/scores": found.scores.numpy(),
        "detections/masks": found.masks[:NUM_MASKS].numpy(),
        "semantics": fused.semantics.numpy().astype(np.uint8),
        "segments/ids": segmentation.ids.numpy().astype(np.uint8),
        "segments/classes": segmentation.classes.numpy().astype(np.uint8),
        "segments/scores": segmentation.scores.numpy(),
        "quality": quality.counts.numpy(),
    }
