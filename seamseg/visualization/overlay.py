"""A segmentation painted over its image."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from seamseg.structures.categories import VOID, Categories
from seamseg.structures.predictions import PanopticSegmentation
from seamseg.visualization.colors import segment_colors
from seamseg.visualization.images import Picture, check_picture
from seamseg.visualization.labels import draw_labels, place_labels
from seamseg.visualization.strokes import blend, outlines, stripes

VOID_BRIGHTNESS, VOID_STRIPE_BRIGHTNESS = 0.5, 0.62
"""What the image is multiplied with where it is void, and on the stripes there."""

_CROWD_STRIPE, _OUTLINE = 0.35, 0.85


def draw_overlay(
    image: Picture,
    segmentation: PanopticSegmentation,
    categories: Categories,
    opacity: float = 0.5,
    labels: bool = True,
    scores: bool = True,
    text_scale: float = 1.0,
) -> Picture:
    """Paints what was found in an image over it.

    Stuff takes the colour of its class, every instance of a thing a shade of it and a light outline; crowd segments
    have light diagonal stripes and no outline. Where the segmentation is void the image shows through, darkened and
    striped.

    Args:
        image: H×W×3 uint8, any size from a few pixels on.
        segmentation: of the same height and width, on any device.
        categories: what its classes mean.
        opacity: of the colours, 0 … 1.
        labels: write the names of the classes on segments that are large enough.
        scores: follow the names of things by their scores in percent (off for ground truth).
        text_scale: larger or smaller letters than usual, e.g. for pictures that will be shown smaller than they are.

    Returns:
        H×W×3 uint8; ``image`` is left as it was.

    Raises:
        ValueError: sizes, types or class numbers don't fit together, or the opacity is out of range.
    """
    check_picture(image)
    if not 0 <= opacity <= 1:
        raise ValueError(f"the opacity of an overlay lies between 0 and 1, {opacity} does not")
    ids, classes = _checked_arrays(image, segmentation, categories)
    colors = segment_colors(classes, categories)
    canvas = np.asarray(cv2.addWeighted(image, 1 - opacity, colors[ids], opacity, 0), np.uint8)
    things = (classes >= categories.num_stuff) & (classes != VOID)
    crowd = things & segmentation.crowd.cpu().numpy()
    _stripe(canvas, image, ids, classes == VOID, crowd)
    blend(canvas, outlines(ids, things & ~crowd) * np.float32(_OUTLINE), 255)
    if labels:
        texts = segment_texts(segmentation, categories, scores)
        draw_labels(canvas, place_labels(ids, texts, text_scale), colors)
    return canvas


def segment_texts(segmentation: PanopticSegmentation, categories: Categories, scores: bool = True) -> dict[int, str]:
    """What is written on each segment that is not void: "road", "car 98%", "person (crowd)"."""
    rows = zip(segmentation.classes.tolist(), segmentation.scores.tolist(), segmentation.crowd.tolist(), strict=True)
    texts = {}
    for segment, (number, score, crowd) in enumerate(rows):
        if number != VOID:
            category = categories.classes[number]
            value = f" {score:.0%}" if scores and category.is_thing else ""
            texts[segment] = category.name + (" (crowd)" if crowd and category.is_thing else value)
    return texts


def _stripe(
    canvas: Picture,
    image: Picture,
    ids: npt.NDArray[np.int64],
    void: npt.NDArray[np.bool_],
    crowd: npt.NDArray[np.bool_],
) -> None:
    striped = stripes(*ids.shape)
    for brightness, pixels in ((VOID_BRIGHTNESS, ~striped), (VOID_STRIPE_BRIGHTNESS, striped)):
        chosen = void[ids] & pixels
        canvas[chosen] = image[chosen] * np.float32(brightness)
    blend(canvas, (crowd[ids] & striped) * np.float32(_CROWD_STRIPE), 255)


def _checked_arrays(
    image: Picture, segmentation: PanopticSegmentation, categories: Categories
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The H×W segment ids and K+1 classes."""
    ids, classes = segmentation.ids.cpu().numpy(), segmentation.classes.cpu().numpy()
    if ids.shape != image.shape[:2]:
        raise ValueError(f"the segmentation is {_by(ids.shape)} pixels, its image {_by(image.shape[:2])}; resize one")
    if ids.min() < 0 or ids.max() >= len(classes):
        raise ValueError(f"the segment ids go from {ids.min()} to {ids.max()}, but there are {len(classes)} segments")
    unknown = sorted(set(classes[(classes < 0) | (classes >= len(categories))].tolist()) - {VOID})
    if unknown:
        raise ValueError(f"the segmentation has classes {unknown}, but there are {len(categories)} categories")
    return ids, classes


def _by(shape: Sequence[int]) -> str:
    return "×".join(str(length) for length in shape)
