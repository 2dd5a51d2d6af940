"""Evaluation: one pass over a data set that compares predictions with ground truth."""

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
    """One image of an evaluation, passed to callbacks.

    Attributes:
        image_id: Id of the image in its data set.
        image: 3×H×W, the network's input.
        fused: Output of the network, at the size of the annotation.
        truth: Annotation of the image.
        number: Number of images that this process has scored so far, including this one.
        pq: Panoptic quality of the image, as a mean over the classes that appear in it; NaN if there are none.
    """

    image_id: ImageId
    image: Tensor
    fused: FusedImage
    truth: PanopticSegmentation
    number: int
    pq: float


def evaluate(
    network: PanopticNet,
    loader: BatchLoader[Batch],
    fusion: Fusion,
    categories: Categories,
    device: torch.device,
    on_image: Sequence[Callable[[ScoredImage], None]] = (),
) -> Scores:
    """Score a network at the original size of the images; every rank gets the same scores.

    Args:
        network: Network to score; left in evaluation mode.
        loader: Loader of this rank's share of the images.
        fusion: Fusion of detections and semantic logits.
        categories: Classes of the data set.
        device: Device of the network.
        on_image: Callbacks that receive every image of this rank.
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
    """Gather the errors of images that no rank could read, sorted by file; every rank must call this function.

    Args:
        broken: Errors of this rank.
        scores: Scores of the readable images.

    Returns:
        The errors of all ranks; the same on every rank.

    Raises:
        SeamsegError: If no image could be read, so that there are no scores.
    """
    gathered = [error for of_rank in gather_objects(list(broken)) if isinstance(of_rank, list) for error in of_rank]
    errors = sorted(gathered, key=lambda error: error.path)
    if errors and not scores.images:
        raise DataError(f"none of {len(errors)} images to score can be read; the first error is: {errors[0]}")
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
