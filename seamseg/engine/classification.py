"""Scoring of classification networks: one pass over images, and the validation during training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from seamseg.data.loader import BatchLoader
from seamseg.engine.evaluate import left_out
from seamseg.engine.validation import Validated
from seamseg.errors import BrokenImageError
from seamseg.metrics.accuracy import Accuracy, CorrectCounts, count_correct
from seamseg.metrics.scores import percent
from seamseg.networks.classifier import Classifier
from seamseg.ops.collectives import gather_objects
from seamseg.runtime.distributed import Process
from seamseg.structures import LabeledBatch, PackedSequence
from seamseg.visualization.images import Picture, denormalize, resize_picture
from seamseg.visualization.text import draw_text, shorten

Triple = tuple[float, float, float]
OnBatch = Callable[[LabeledBatch, Tensor], None]
"""Callback that receives each scored batch of this rank and its N×K logits."""


def evaluate_classifier(
    network: Classifier,
    loader: BatchLoader[LabeledBatch],
    device: torch.device,
    ten_crops: int | None = None,
    on_batch: OnBatch = lambda batch, logits: None,
) -> Accuracy:
    """Score a network; every rank gets the same accuracy.

    Args:
        network: Network to score; left in evaluation mode.
        loader: Loader of this rank's share of the images.
        device: Device of the network.
        ten_crops: Side of the crops in pixels if ten of each image are classified: the corners, the center, and their
            mirror images, whose logits are averaged. None classifies the images as they are loaded.
        on_batch: Called with each batch of this rank and its logits.
    """
    network.eval()
    counts = CorrectCounts()
    for loaded in loader.epoch(0):
        batch = loaded.to(device)
        logits = network.predict(batch.images) if ten_crops is None else _mean_logits(network, batch.images, ten_crops)
        counts += count_correct(logits, batch.ground_truth)
        on_batch(batch, logits)
    return Accuracy.from_counts([one for one in gather_objects(counts) if isinstance(one, CorrectCounts)])


def _mean_logits(network: Classifier, images: PackedSequence, side: int) -> Tensor:
    """Return the N×K means of the logits of the ten crops of each image."""
    crops = [crop for image in images.present for crop in functional.ten_crop(image, [side, side])]
    logits = network.predict(PackedSequence(crops))
    return logits.reshape(len(images), 10, -1).mean(dim=1)


@dataclass
class LabelGallery:
    """Pictures of the first scored images, with their true and predicted class.

    Attributes:
        classes: Names of the classes.
        mean: Mean color that the images were normalized with.
        std: Standard deviation of the color that the images were normalized with.
        limit: Maximum number of pictures.
        pictures: Pictures by image id.
    """

    classes: tuple[str, ...]
    mean: Triple
    std: Triple
    limit: int
    pictures: dict[str, Picture] = field(default_factory=dict)

    def add(self, batch: LabeledBatch, logits: Tensor) -> None:
        """Add images of a batch until the gallery is full."""
        for number, image_id in enumerate(batch.image_ids):
            if len(self.pictures) >= self.limit:
                return
            score, label = logits[number].float().softmax(0).max(0)
            texts = (
                f"true: {self.classes[int(batch.ground_truth[number])]}",
                f"predicted: {self.classes[int(label)]} ({percent(float(score), 0)} %)",
            )
            picture = denormalize(batch.images.entry(number).cpu(), self.mean, self.std)
            self.pictures[str(image_id)] = captioned(picture, texts)


def captioned(picture: Picture, texts: tuple[str, ...], width: int = 256, size: int = 14) -> Picture:
    """Scale a picture to a width and write lines of text below it.

    Args:
        picture: H×W×3 uint8 RGB.
        texts: Lines of text; they are shortened to the width.
        width: Width of the result in pixels.
        size: Font size in pixels.
    """
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    line = round(1.5 * size)
    canvas = np.full((height + len(texts) * line + size // 2, width, 3), 255, np.uint8)
    canvas[:height] = resize_picture(picture, (height, width))
    for number, text in enumerate(texts, 1):
        draw_text(canvas, shorten(text, width - size, size), size // 2, height + number * line, size, (20, 24, 28))
    return canvas


class ClassifierValidation:
    """Validation of a classification network.

    Args:
        process: Distributed process of this rank.
        classes: Names of the classes.
        loader: Loader of this rank's share of the validation images.
        broken: List to which the loader appends errors of images that it cannot read.
        mean: Mean color that the images were normalized with.
        std: Standard deviation of the color that the images were normalized with.
        num_pictures: Number of images to draw.
    """

    def __init__(
        self,
        process: Process,
        classes: tuple[str, ...],
        loader: BatchLoader[LabeledBatch],
        broken: list[BrokenImageError],
        mean: Triple,
        std: Triple,
        num_pictures: int,
    ) -> None:
        self.process, self.classes, self.loader, self.broken = process, classes, loader, broken
        self.mean, self.std, self.num_pictures = mean, std, num_pictures

    def __call__(self, network: Classifier) -> Validated:
        """Score the network; its quality is the top-1 accuracy."""
        gallery = LabelGallery(self.classes, self.mean, self.std, self.num_pictures if self.process.is_first else 0)
        self.broken.clear()
        accuracy = evaluate_classifier(network, self.loader, self.process.device, on_batch=gallery.add)
        errors = left_out(self.broken, accuracy.images)
        return Validated(
            quality=accuracy.top1,
            curves={"top1": accuracy.top1, "top5": accuracy.top5},
            summary=f"top-1 {percent(accuracy.top1)}, top-5 {percent(accuracy.top5)}",
            broken=errors,
            pictures=lambda: {f"validation/{name}": picture for name, picture in gallery.pictures.items()},
        )
