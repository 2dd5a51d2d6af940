"""Panoptic segmentation by color only, as a baseline that ignores shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from oracles.panoptic_quality import count

Picture = npt.NDArray[np.uint8]
Classes = npt.NDArray[np.int64]

VOID = 255


@dataclass(frozen=True)
class Labeled:
    """Picture (H×W×3) with its ids (H×W), and the class (255 is void) and crowd flag of each id, starting at 0."""

    picture: Picture
    ids: npt.NDArray[np.int32]
    classes: list[int]
    crowd: list[bool]


class ColorThreshold:
    """Most likely class of every color, counted in coarse bins, followed by connected regions of one class.

    Args:
        num_stuff: Number of stuff classes.
        num_classes: Number of stuff and thing classes.
        bins: Number of bins per channel.
        balance: Weight of the class frequencies: 0 weighs classes by their pixels, 1 weighs all classes equally.
        blur: Sigma of a blur in pixels that removes noise first; 0 for none.
    """

    def __init__(self, num_stuff: int, num_classes: int, bins: int, balance: float, blur: float) -> None:
        self.num_stuff, self.num_classes = num_stuff, num_classes
        self.bins, self.balance, self.blur = bins, balance, blur
        self.class_of_color = np.zeros(bins**3, np.int64)

    def fit(self, images: Sequence[Labeled]) -> None:
        counts = np.zeros((self.num_classes, self.bins**3))
        for image in images:
            classes = np.array(image.classes)[image.ids]
            known = classes != VOID
            np.add.at(counts, (classes[known], self._colors(image.picture)[known]), 1)
        votes = counts / (counts.sum(1, keepdims=True) + 1) ** self.balance
        votes = np.stack([_smoothed(vote, self.bins) for vote in votes])
        self.class_of_color = votes.argmax(0)

    def predict(self, picture: Picture, min_thing: int, min_stuff: int) -> tuple[npt.NDArray[np.int32], list[int]]:
        """Return H×W ids and the class per id: a segment per stuff class and per connected region of a thing class."""
        classes = self.class_of_color[self._colors(picture)]
        classes = np.asarray(cv2.medianBlur(classes.astype(np.uint8), 5))
        ids, class_of_id = np.zeros(classes.shape, np.int32), [VOID]
        for value in range(self.num_classes):
            mask = (classes == value).astype(np.uint8)
            regions = mask.astype(np.int32) if value < self.num_stuff else cv2.connectedComponents(mask)[1]
            least = min_stuff if value < self.num_stuff else min_thing
            for region in np.flatnonzero(np.bincount(regions.reshape(-1))[1:] >= least) + 1:
                ids[regions == region] = len(class_of_id)
                class_of_id.append(value)
        return ids, class_of_id

    def _colors(self, picture: Picture) -> Classes:
        soft = cv2.GaussianBlur(picture, (0, 0), self.blur) if self.blur else picture
        binned = soft.astype(np.int64) * self.bins // 256
        return (binned[..., 0] * self.bins + binned[..., 1]) * self.bins + binned[..., 2]


def panoptic_quality(
    model: ColorThreshold, images: Sequence[Labeled], min_thing: int, min_stuff: int
) -> npt.NDArray[np.float64]:
    """Return the quality per class in 0 … 1; NaN for classes that are neither in the pictures nor predicted."""
    totals = torch.zeros(4, model.num_classes, dtype=torch.float64)
    for image in images:
        ids, classes = model.predict(image.picture, min_thing, min_stuff)
        predicted = torch.from_numpy(ids), classes, [False] * len(classes)
        truth = torch.from_numpy(image.ids), image.classes, image.crowd
        totals += count(predicted, truth, model.num_classes)
    iou, true, false, missed = totals.numpy()
    with np.errstate(invalid="ignore"):
        return iou / (true + 0.5 * false + 0.5 * missed)


def _smoothed(votes: npt.NDArray[np.float64], bins: int) -> npt.NDArray[np.float64]:
    """Average the votes of neighboring colors, so that rare colors get a class, too."""
    cube = votes.reshape(bins, bins, bins)
    for axis in range(3):
        padded = np.pad(cube, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
        before, after = np.take(padded, range(bins), axis), np.take(padded, range(2, bins + 2), axis)
        cube = 0.5 * cube + 0.25 * before + 0.25 * after
    return cube.reshape(-1)
