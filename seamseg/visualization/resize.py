"""Segmentations at the size of a picture, and annotation in the form of a segmentation."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from seamseg.structures.categories import VOID
from seamseg.structures.ground_truth import GroundTruth
from seamseg.structures.images import Size
from seamseg.structures.predictions import PanopticSegmentation
from seamseg.visualization.images import Picture


def resize_picture(image: Picture, size: Size) -> Picture:
    """H×W×3 at another height and width, smooth in both directions."""
    smaller = size[0] < image.shape[0] or size[1] < image.shape[1]
    interpolation = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size[::-1], interpolation=interpolation), np.uint8)


def resize_segmentation(segmentation: PanopticSegmentation, size: Size) -> PanopticSegmentation:
    """The same segments at another height and width: every pixel takes the id at its centre."""
    rows, columns = (
        (torch.arange(new, device=segmentation.ids.device) * 2 + 1) * old // (2 * new)
        for new, old in zip(size, segmentation.ids.shape, strict=True)
    )
    ids = segmentation.ids[rows[:, None], columns]
    return PanopticSegmentation(ids, segmentation.classes, segmentation.scores, segmentation.crowd)


def annotated_segmentation(ground_truth: GroundTruth, image: int) -> PanopticSegmentation:
    """The annotation of one image in the form of a prediction that is sure of everything: scores are 1, of void 0."""
    classes = ground_truth.classes.entry(image)
    return PanopticSegmentation(
        ids=ground_truth.ids.entry(image)[0],
        classes=classes,
        scores=(classes != VOID).to(torch.float32),
        crowd=ground_truth.crowd.entry(image),
    )
