"""Validation during training, for each task, and its outcome."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np

from seamseg.algos.fusion import PanopticFusion
from seamseg.data.loader import BatchLoader
from seamseg.engine.analysis_pictures import analysis_pictures, semantic_pictures
from seamseg.engine.evaluate import (
    EvaluationPass,
    ScoredImage,
    evaluate,
    evaluate_objects,
    evaluate_semantics,
    left_out,
)
from seamseg.engine.gallery import SampleGallery, WorstGallery
from seamseg.errors import BrokenImageError
from seamseg.metrics.analysis import NUM_WORST
from seamseg.metrics.objects import ObjectScores
from seamseg.metrics.scores import Scores, percent
from seamseg.networks import SegmentationNet
from seamseg.runtime.distributed import Process
from seamseg.structures import Batch, Categories
from seamseg.visualization.images import Picture
from seamseg.visualization.objects import draw
from seamseg.visualization.overlay import Style

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Validated:
    """Outcome of a validation.

    Attributes:
        quality: Score in 0 … 1 that chooses the best model of a run.
        curves: Scores to log, by name.
        summary: Line for the terminal.
        broken: Errors of the images that no rank could read.
        pictures: Function that draws the pictures to log, by name; called on rank 0.
    """

    quality: float
    curves: dict[str, float]
    summary: str
    broken: list[BrokenImageError] = field(default_factory=list)
    pictures: Callable[[], dict[str, Picture]] = dict


class Validation(Protocol):
    """Scoring of a network during training.

    Attributes:
        loader: Loader of this rank's share of the validation images.
    """

    loader: BatchLoader[Any]

    def __call__(self, network: Any) -> Validated:
        """Score the network; all ranks call this method together, and get the same outcome except for pictures."""
        ...


@dataclass(frozen=True)
class NetworkScores:
    """Scores of a network, in the form that all tasks share.

    Attributes:
        quality: Score that chooses the best model; NaN without any class.
        curves: Scores to log, by name.
        summary: Line for the terminal.
        num_images: Number of scored images.
        analysis: Function that draws pictures of the scores, by name.
    """

    quality: float
    curves: dict[str, float]
    summary: str
    num_images: int
    analysis: Callable[[], dict[str, Picture]]


class SegmentationValidation:
    """Validation of a network that segments; a subclass scores it.

    Args:
        process: Distributed process of this rank.
        categories: Classes of the data set.
        loader: Loader of this rank's share of the validation images.
        broken: List to which the loader appends errors of images that it cannot read.
        fusion: Fusion of detections and semantic logits.
        mean: Mean color that the images were normalized with.
        std: Standard deviation of the color that the images were normalized with.
        num_pictures: Number of images to draw.

    Attributes:
        measure: Name of the quality of an image in pictures.
    """

    measure: str

    def __init__(
        self,
        process: Process,
        categories: Categories,
        loader: BatchLoader[Batch],
        broken: list[BrokenImageError],
        fusion: PanopticFusion,
        mean: Triple,
        std: Triple,
        num_pictures: int,
    ) -> None:
        self.process, self.categories, self.loader, self.broken = process, categories, loader, broken
        self.fusion, self.mean, self.std, self.num_pictures = fusion, mean, std, num_pictures

    def score(self, network: SegmentationNet, on_image: Sequence[Callable[[ScoredImage], None]]) -> NetworkScores:
        """Score the network and pass every image of this rank to the callbacks."""
        raise NotImplementedError

    def __call__(self, network: SegmentationNet) -> Validated:
        """Score the network; every rank gets the same outcome."""
        look = (self.categories, self.mean, self.std)
        gallery = SampleGallery(*look, self.num_pictures if self.process.is_first else 0, measure=self.measure)
        worst = WorstGallery(*look, min(self.num_pictures, NUM_WORST), measure=self.measure)
        self.broken.clear()
        scores = self.score(network, [gallery.add, worst.add])
        errors = left_out(self.broken, scores.num_images)
        worst.over_ranks()
        return Validated(
            # The quality is NaN in a validation without any class; with 0, the run still ends with a model.
            quality=0.0 if math.isnan(scores.quality) else scores.quality,
            curves=scores.curves,
            summary=scores.summary,
            broken=errors,
            pictures=lambda: self._pictures(gallery, worst, scores) if self.num_pictures else {},
        )

    def _pass(self, network: SegmentationNet, on_image: Sequence[Callable[[ScoredImage], None]]) -> EvaluationPass:
        return EvaluationPass(network, self.loader, self.fusion, self.categories, self.process.device, on_image)

    def _pictures(self, gallery: SampleGallery, worst: WorstGallery, scores: NetworkScores) -> dict[str, Picture]:
        pictures = {f"analysis/{name}": picture for name, picture in scores.analysis().items()}
        if worst.rows:
            pictures["analysis/worst"] = worst.sheet()
        for row in gallery.rows:
            truth = draw(row.image, row.truth, self.categories, Style(scores=False))
            prediction = draw(row.image, row.prediction, self.categories)
            pictures[f"validation/{row.name}"] = np.concatenate([truth, prediction])
        return pictures


class PanopticValidation(SegmentationValidation):
    """Validation by panoptic quality; see :class:`SegmentationValidation`."""

    measure = "PQ"

    def score(self, network: SegmentationNet, on_image: Sequence[Callable[[ScoredImage], None]]) -> NetworkScores:
        """Score the network; its quality is the PQ."""
        scores = evaluate(self._pass(network, on_image))
        return NetworkScores(
            scores.all.pq,
            _curves(scores),
            _summary_line(scores),
            scores.num_images,
            lambda: analysis_pictures(scores.analysis),
        )


class SemanticValidation(SegmentationValidation):
    """Validation by mean IoU; see :class:`SegmentationValidation`."""

    measure = "mIoU"

    def score(self, network: SegmentationNet, on_image: Sequence[Callable[[ScoredImage], None]]) -> NetworkScores:
        """Score the network; its quality is the mean IoU."""
        scores = evaluate_semantics(self._pass(network, on_image))
        curves = {name: getattr(scores, name) for name in ("miou", "pixel_accuracy", "mean_class_accuracy")}
        miou, pixels, classes = map(percent, curves.values())
        summary = f"mIoU {miou}, pixel accuracy {pixels}, mean class accuracy {classes}"
        names = self.categories.names
        pictures = partial(semantic_pictures, scores.confusion, names)
        return NetworkScores(scores.miou, curves, summary, scores.num_images, pictures)


class ObjectValidation(SegmentationValidation):
    """Validation by the average precision of boxes; see :class:`SegmentationValidation`."""

    measure = "F1"
    has_masks = False

    def score(self, network: SegmentationNet, on_image: Sequence[Callable[[ScoredImage], None]]) -> NetworkScores:
        """Score the network; its quality is the AP of masks, or of boxes without masks."""
        scores = evaluate_objects(
            self._pass(network, on_image), has_masks=self.has_masks, score_threshold=self.fusion.score_threshold
        )
        curves = object_curves(scores)
        return NetworkScores(scores.quality, curves, object_summary(scores), scores.num_images, dict)


class InstanceValidation(ObjectValidation):
    """Validation by the average precision of masks; see :class:`SegmentationValidation`."""

    has_masks = True


def object_curves(scores: ObjectScores) -> dict[str, float]:
    """Return all figures of boxes and masks by name, such as ``box_ap50``."""
    parts = {"mask": scores.mask, "box": scores.box}
    return {
        f"{part}_{name}": value
        for part, figures in parts.items()
        if figures is not None
        for name, value in asdict(figures).items()
    }


def object_summary(scores: ObjectScores) -> str:
    """Format the main figures as one line."""
    parts = {"mask": scores.mask, "box": scores.box}
    texts = (
        f"{part} AP {percent(figures.ap)} (AP50 {percent(figures.ap50)}, AP75 {percent(figures.ap75)})"
        for part, figures in parts.items()
        if figures is not None
    )
    return ", ".join(texts)


def _curves(scores: Scores) -> dict[str, float]:
    """Return the scores that are logged as curves."""
    return {
        "pq": scores.all.pq,
        "pq_things": scores.things.pq,
        "pq_stuff": scores.stuff.pq,
        **{f"pq_{size}": quality.all.pq for size, quality in scores.analysis.by_size.items()},
        "sq": scores.all.sq,
        "rq": scores.all.rq,
        "miou": scores.miou,
        "miou_semantic": scores.miou_semantic,
        "box_ap": scores.box_ap,
        "mask_ap": scores.mask_ap,
    }


def _summary_line(scores: Scores) -> str:
    values = (scores.all.pq, scores.things.pq, scores.stuff.pq, scores.miou, scores.box_ap, scores.mask_ap)
    pq, things, stuff, miou, box_ap, mask_ap = map(percent, values)
    return f"PQ {pq} (things {things}, stuff {stuff}), mIoU {miou}, AP box {box_ap}, mask {mask_ap}"
