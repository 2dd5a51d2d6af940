"""Scoring of classification networks: averaged crops, and pictures of images with their classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seamseg.engine.classification import LabelGallery, captioned, evaluate_classifier
from seamseg.metrics.accuracy import Accuracy
from seamseg.structures import LabeledBatch, PackedSequence

CPU = torch.device("cpu")


class Brightness(nn.Module):
    """Stands for a network: the logits are the values of the first pixel."""

    def predict(self, images: PackedSequence) -> Tensor:
        return torch.stack([image[:, 0, 0] for image in images.present])


class Batches:
    def __init__(self, *batches: LabeledBatch) -> None:
        self.batches = batches

    def epoch(self, epoch: int) -> Iterator[LabeledBatch]:
        return iter(self.batches)


def batch(images: list[Tensor], labels: list[int]) -> LabeledBatch:
    names = tuple(f"class{label}/{number}.png" for number, label in enumerate(labels))
    return LabeledBatch(names, PackedSequence(images), torch.tensor(labels))


def test_evaluate_classifier_counts_over_all_batches() -> None:
    images = [torch.eye(3)[label][:, None, None].expand(3, 4, 4) for label in (0, 1, 2, 2)]
    loader: Any = Batches(batch(images[:3], [0, 1, 1]), batch(images[3:], [2]))
    seen: list[int] = []
    accuracy = evaluate_classifier(Brightness(), loader, CPU, on_batch=lambda one, logits: seen.append(len(one)))
    assert accuracy == Accuracy(4, 0.75, 1.0)
    assert seen == [3, 1]


def test_evaluate_classifier_ten_crops_average_the_corners_the_center_and_their_mirror_images() -> None:
    """The first pixel of the ten crops lies on ten known places; one of them decides."""
    side, crop = 8, 4
    starts = [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2)]
    places = starts + [(y, x + crop - 1) for y, x in starts]  # of mirrored crops
    for place in places:
        image = torch.zeros(3, side, side)
        image[1] = 0.05
        image[0][place] = 1.0  # a tenth of it is more than 0.05
        loader: Any = Batches(batch([image, torch.ones(3, 1, 1) * image], [0, 0]))
        assert evaluate_classifier(Brightness(), loader, CPU, ten_crops=crop).top1 == 1
    image[0][places[-1]] = 0.4
    loader = Batches(batch([image], [0]))
    assert evaluate_classifier(Brightness(), loader, CPU, ten_crops=crop).top1 == 0


def test_label_gallery_keeps_the_first_images_with_their_classes() -> None:
    gallery = LabelGallery(("cat", "dog"), (0.5,) * 3, (0.25,) * 3, limit=2)
    images = [torch.zeros(3, 8, 16)] * 3
    gallery.add(batch(images[:1], [1]), torch.tensor([[0.0, 9.0]]))
    gallery.add(batch(images, [0, 0, 1]), torch.zeros(3, 2))
    assert list(gallery.pictures) == ["class1/0.png", "class0/0.png"]
    picture = gallery.pictures["class1/0.png"]
    assert picture.shape[1] == 256
    assert (np.abs(picture[:128].astype(int) - 128) <= 1).all()  # the mean color
    assert picture[128:].min() < 100  # text on white
    assert picture[128:].max() == 255


def test_captioned_scales_the_picture_and_shortens_the_text() -> None:
    picture = np.full((2, 4, 3), 9, np.uint8)
    short, long = (captioned(picture, (text,), width=100) for text in ("cat", "a very long name of a class " * 9))
    assert short.shape == long.shape
    assert (short[:50] == 9).all()
    assert (long[50:, -8:] == 255).all()  # a margin remains
