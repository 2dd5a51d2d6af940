"""Evaluation: one pass over a data set that compares predictions with ground truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from seamseg.algos.fusion import FusedImage, Fusion
from seamseg.data.loader import BatchLoader
from seamseg.errors import BrokenImageError, DataError
from seamseg.metrics.average_precision import detected_instances, segment_instances, true_instances
from seamseg.metrics.calibration import CalibrationCounter, CalibrationState, confidence_levels, segment_cases
from seamseg.metrics.evaluator import EvaluatorState, PanopticEvaluator
from seamseg.metrics.lost_things import LostThingsCounter
from seamseg.metrics.matching import match
from seamseg.metrics.objects import ObjectEvaluator, ObjectScores
from seamseg.metrics.overlaps import Overlaps
from seamseg.metrics.scores import Scores
from seamseg.metrics.semantic import SemanticEvaluator, SemanticScores, SemanticState
from seamseg.networks import PyramidNet, SegmentationNet
from seamseg.ops.boxes import scale_boxes
from seamseg.ops.collectives import gather_objects
from seamseg.predict import Predictor
from seamseg.structures import (
    Batch,
    Categories,
    ImageId,
    ImageInstances,
    LayeredSegmentation,
    PanopticSegmentation,
    Unreadable,
)


@dataclass(frozen=True)
class ScoredImage:
    """One image of an evaluation, passed to callbacks.

    Attributes:
        image_id: Id of the image in its data set.
        image: 3×H×W, the network's input.
        fused: Output of the network, at the size of the annotation.
        truth: Annotation of the image; of objects that overlap, the visible parts.
        number: Number of images that this process has scored so far, including this one.
        quality: Panoptic quality or IoU of the image, as a mean over the classes that appear in it, or F1 of its
            objects; NaN if there are none.
        objects: Objects to show instead of the segments: the true ones, and the detections that are likely enough.
    """

    image_id: ImageId
    image: Tensor
    fused: FusedImage
    truth: PanopticSegmentation
    number: int
    quality: float
    objects: ImageInstances | None = None


Update = Callable[[ImageId, FusedImage, LayeredSegmentation], tuple[float, ImageInstances | None]]
"""Function that scores the output for an image and returns ``quality`` and ``objects`` of its :class:`ScoredImage`."""


@dataclass(frozen=True)
class EvaluationPass:
    """What one pass over a data set scores.

    Attributes:
        network: Network to score; left in evaluation mode.
        loader: Loader of this rank's share of the images.
        fusion: Fusion of detections and semantic logits.
        categories: Classes of the data set.
        device: Device of the network.
        on_image: Callbacks that receive every image of this rank.
        predictor: Predictor with test-time augmentation, for a loader that keeps the pixels of the images; None
            predicts once on the images as the loader resizes them.
        trace_above: Score above which detections take part in the fusion, to find the stage at which each missing
            thing was lost; None does not trace them. Test-time augmentation cannot be traced.
        calibrate: Whether to compute the calibration, too: of the things' scores, and of the confidence of pixels if
            the fusion computes it.
    """

    network: SegmentationNet
    loader: BatchLoader[Batch]
    fusion: Fusion
    categories: Categories
    device: torch.device
    on_image: Sequence[Callable[[ScoredImage], None]] = ()
    predictor: Predictor | None = None
    trace_above: float | None = None
    calibrate: bool = False


def evaluate(given: EvaluationPass) -> Scores:
    """Score a network at the original size of the images; every rank gets the same scores."""
    categories = given.categories
    evaluator, joined = (PanopticEvaluator(len(categories), categories.num_stuff) for _ in range(2))
    has_classes = not isinstance(given.network, PyramidNet) or given.network.classifies_pixels
    lost = LostThingsCounter(categories.num_things, categories.num_stuff, given.trace_above or 0.0)
    calibration = _CalibrationPass(given)

    def update(image_id: ImageId, fused: FusedImage, truth: LayeredSegmentation) -> tuple[float, None]:
        semantics = fused.semantics if has_classes else None
        if given.trace_above is not None and fused.proposals is not None:
            lost.update(fused.segmentation, fused.detections, fused.proposals, truth.flat)
        calibration.add(image_id, fused, truth.flat)
        return evaluator.update(image_id, fused.segmentation, fused.detections, semantics, truth.flat).pq, None

    _score_images(given, update)
    joined.merge(state for state in gather_objects(evaluator.state) if isinstance(state, EvaluatorState))
    scores = calibration.added_to(joined.compute(categories.names, coco_figures=True))
    if given.trace_above is None:
        return scores
    lost.state = torch.stack([state for state in gather_objects(lost.state) if isinstance(state, Tensor)]).sum(0)
    return replace(scores, lost=lost.compute(categories.names[categories.num_stuff :]))


def evaluate_objects(given: EvaluationPass, *, has_masks: bool, score_threshold: float) -> ObjectScores:
    """Score boxes, and masks if there are any, at the original size of the images, like :func:`evaluate`.

    Args:
        given: What is scored.
        has_masks: Whether the network predicts masks.
        score_threshold: Minimum score of the detections that are shown, and that count in the quality of an image.
    """
    categories = given.categories
    evaluator, joined = (ObjectEvaluator(categories.num_things, has_masks, score_threshold) for _ in range(2))

    def update(image_id: ImageId, fused: FusedImage, truth: LayeredSegmentation) -> tuple[float, ImageInstances | None]:
        true = true_instances(truth, categories.num_stuff)
        image = ImageInstances(image_id, truth.size, true, detected_instances(fused.detections, truth.size))
        shown = [one for one in image.detected if one.score > score_threshold]
        return evaluator.update(image), replace(image, detected=shown)

    _score_images(given, update)
    joined.merge(state for state in gather_objects(evaluator.state) if isinstance(state, list))
    names = categories.names[categories.num_stuff :]
    scores = joined.compute(names)
    return replace(scores, calibration=joined.calibration(names)) if given.calibrate else scores


def evaluate_semantics(given: EvaluationPass) -> SemanticScores:
    """Score the classes of the semantic head at the original size of the images, like :func:`evaluate`.

    All annotated pixels count with their class: stuff, things and crowd.
    """
    categories = given.categories
    evaluator, joined = (SemanticEvaluator(len(categories)) for _ in range(2))
    calibration = _CalibrationPass(given)

    def update(image_id: ImageId, fused: FusedImage, truth: LayeredSegmentation) -> tuple[float, None]:
        calibration.add(image_id, fused, truth.flat)
        return evaluator.update(image_id, fused.semantics, truth.flat.semantics), None

    _score_images(given, update)
    joined.merge(state for state in gather_objects(evaluator.state) if isinstance(state, SemanticState))
    return calibration.added_to(joined.compute(categories.names))


AnyScores = TypeVar("AnyScores", Scores, SemanticScores)


class _CalibrationPass:
    """Calibration of the segments of one pass, if it is requested."""

    def __init__(self, given: EvaluationPass) -> None:
        self._calibrate, self._categories = given.calibrate, given.categories
        self._counter = CalibrationCounter(len(given.categories))

    def add(self, image_id: ImageId, fused: FusedImage, truth: PanopticSegmentation) -> None:
        if not self._calibrate:
            return
        num_stuff, segments = self._categories.num_stuff, fused.segmentation.without_crowd()
        if self._categories.num_things:
            matching = match(Overlaps.between(segments, truth))
            things = segment_instances(segments, num_stuff, segments.filled_scores.tolist())
            image = ImageInstances(image_id, segments.size, [], things)
            self._counter.add_things(segment_cases(matching, [image], num_stuff))
        if fused.confidence is not None:
            maps = (one.semantics.cpu().numpy() for one in (segments, truth))
            self._counter.add_pixels(confidence_levels(fused.confidence.cpu().numpy()), *maps)

    def added_to(self, scores: AnyScores) -> AnyScores:
        """Return the scores with the calibration over all ranks."""
        if not self._calibrate:
            return scores
        joined = CalibrationCounter(len(self._categories))
        joined.merge(state for state in gather_objects(self._counter.state) if isinstance(state, CalibrationState))
        return replace(scores, calibration=joined.compute(self._categories.names))


def left_out(broken: Sequence[BrokenImageError], num_scored: int) -> list[BrokenImageError]:
    """Gather the errors of images that no rank could read, sorted by file; every rank must call this function.

    Args:
        broken: Errors of this rank.
        num_scored: Number of images that all ranks have scored.

    Returns:
        The errors of all ranks; the same on every rank.

    Raises:
        SeamsegError: If no image could be read, so that there are no scores.
    """
    gathered = [error for of_rank in gather_objects(list(broken)) if isinstance(of_rank, list) for error in of_rank]
    errors = sorted(gathered, key=lambda error: error.path)
    if errors and not num_scored:
        raise DataError(f"none of {len(errors)} images to score can be read; the first error is: {errors[0]}")
    return errors


def unreadable(error: BrokenImageError, folder: Path) -> Unreadable:
    """Return the entry of a skipped image in a results file.

    Args:
        error: Error of the image.
        folder: Folder of the data set, to which the path of the image becomes relative.
    """
    path = error.path.relative_to(folder) if error.path.is_relative_to(folder) else error.path
    return Unreadable(path.as_posix(), str(error))


def _score_images(given: EvaluationPass, update: Update) -> None:
    """Pass the output and the annotation of each image to ``update``."""
    given.network.eval()
    number = 0
    for batch in given.loader.epoch(0):
        truths = batch.ground_truth.to(given.device)
        for position, (pixels, fused) in enumerate(_outputs(given, batch)):
            image_id, truth = batch.image_ids[position], truths.annotation(position)
            quality, objects = update(image_id, fused, truth)
            number += 1
            for callback in given.on_image:
                callback(ScoredImage(image_id, pixels, fused, truth.flat, number, quality, objects))


def _outputs(given: EvaluationPass, batch: Batch) -> Iterator[tuple[Tensor, FusedImage]]:
    """Yield the network's input at scale 1, and the output at the size of the annotation, for each image of a batch."""
    if given.predictor is not None:
        for kept in batch.images.present:
            pixels = kept.permute(1, 2, 0).numpy()
            yield given.predictor.transform(pixels), given.predictor.fused(given.predictor.prepare(pixels))
        return
    images = batch.images.to(given.device, non_blocking=True)
    predictions = given.network.predict(images)
    for image in range(len(batch)):
        detections, semantics = predictions.detections(image), predictions.semantics(image)
        size = batch.ground_truth.annotation(image).size
        fused = given.fusion(detections, semantics, size)
        if predictions.proposals is not None:
            proposals = scale_boxes(predictions.proposals.entry(image), predictions.sizes[image], size)
            fused = replace(fused, proposals=proposals)
        yield images.entry(image), fused
