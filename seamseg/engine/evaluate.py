"""One pass over a data set: predictions against ground truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seamseg.algos.fusion import FusedImage, Fusion
from seamseg.data.loader import BatchLoader
from seamseg.errors import BrokenImageError, DataError
from seamseg.metrics.evaluator import EvaluatorState, PanopticEvaluator
from seamseg.metrics.scores import Scores
from seamseg.networks import PanopticNet
from seamseg.ops.collectives import gather_objects
from seamseg.structures import Batch, Categories, ImageId, PanopticSegmentation


@dataclass(frozen=True)
class ScoredImage:
    """One image of an evaluation, for those who want to see more than numbers.

    Attributes:
        image_id: the data set's own id.
        image: 3×H×W, the network's input.
        fused: what the network says, at the size of the annotation.
        truth: the annotation.
        number: images scored so far by this process.
        pq: of the image, the mean over the classes that appear in it; NaN if none does.
    """

    image_id: ImageId
    image: Tensor
    fused: FusedImage
    truth: PanopticSegmentation
    number: int
    pq: float


def evaluate(
    network: PanopticNet,
    loader: BatchLoader,
    fusion: Fusion,
    categories: Categories,
    device: torch.device,
    on_image: Sequence[Callable[[ScoredImage], None]] = (),
) -> Scores:
    """Scores a network at the original size of the images; the same on every rank.

    Args:
        network: left in evaluation mode.
        loader: of this rank's share of the images.
        fusion: of detections and semantics.
        categories: of the data set.
        device: of the network.
        on_image: called with every image of this rank.
    """
    network.eval()
    evaluator = PanopticEvaluator(len(categories), categories.num_stuff)
    number = 0
    for batch in loader.epoch(0):
        for scored in _score(network, batch.to(device), fusion, evaluator, number):
            number = scored.number
            for callback in on_image:
                callback(scored)
    return _over_ranks(evaluator, categories).compute(categories.names)


def left_out(broken: Sequence[BrokenImageError], scores: Scores) -> list[BrokenImageError]:
    """What no rank could read of the scored images, sorted by file; every rank calls this and gets the same.

    Args:
        broken: Errors of this rank.
        scores: Scores of the other images.

    Raises:
        SeamsegError: Nothing could be read, so the scores mean nothing.
    """
    gathered = [error for of_rank in gather_objects(list(broken)) if isinstance(of_rank, list) for error in of_rank]
    errors = sorted(gathered, key=lambda error: error.path)
    if errors and not scores.images:
        raise DataError(f"none of {len(errors)} images to score can be read; the first: {errors[0]}")
    return errors


def _score(
    network: PanopticNet, batch: Batch, fusion: Fusion, evaluator: PanopticEvaluator, number: int
) -> list[ScoredImage]:
    predictions = network.predict(batch.images)
    scored = []
    for image, image_id in enumerate(batch.image_ids):
        truth = batch.ground_truth.segmentation(image)
        fused = fusion(predictions.detections(image), predictions.semantics(image), truth.size)
        counts = evaluator.update(image_id, fused.segmentation, fused.detections, fused.semantics, truth)
        number += 1
        scored.append(ScoredImage(image_id, batch.images.entry(image), fused, truth, number, counts.pq))
    return scored


def _over_ranks(evaluator: PanopticEvaluator, categories: Categories) -> PanopticEvaluator:
    states = [state for state in gather_objects(evaluator.state) if isinstance(state, EvaluatorState)]
    joined = PanopticEvaluator(len(categories), categories.num_stuff)
    joined.merge(states)
    return joined
