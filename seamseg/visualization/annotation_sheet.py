"""Annotation sheet: one picture that shows images next to their annotations, in lines that fill the width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seamseg.structures.categories import Categories
from seamseg.structures.panoptic_segmentation import PanopticSegmentation
from seamseg.visualization.colors import GRAY, INK, PAPER
from seamseg.visualization.images import Picture, check_picture, resize_picture, resize_segmentation
from seamseg.visualization.legend import draw_legend, legend_height
from seamseg.visualization.overlay import Style, draw_overlay
from seamseg.visualization.shapes import paste_rounded
from seamseg.visualization.text import BOLD, draw_text, shorten, text_width

_OPACITY = 0.6
_SLIMMEST, _WIDEST = 0.25, 4.0
_TALLEST = 2


@dataclass(frozen=True)
class AnnotatedPicture:
    """One image of a sheet.

    Attributes:
        name: Text under the image, such as its file name.
        image: Pixels, H×W×3 uint8 RGB.
        annotation: Annotation of the same height and width.
    """

    name: str
    image: Picture
    annotation: PanopticSegmentation

    @property
    def aspect(self) -> float:
        """Width / height, clamped to 0.25 … 4; more extreme images are shown squeezed."""
        return float(np.clip(self.image.shape[1] / self.image.shape[0], _SLIMMEST, _WIDEST))


@dataclass(frozen=True)
class _Line:
    """Images side by side, with the height at which they fill the line."""

    pictures: list[AnnotatedPicture]
    height: int


class _Layout:
    """Distances in pixels, all proportional to the width of the sheet."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.margin = round(width * 0.02)
        self.inner = width - 2 * self.margin  # of the sheet without its margins
        self.gap = round(width * 0.012)  # between two images
        self.seam = max(1, round(width * 0.002))  # between an image and its annotation
        self.usual_height = round(width * 0.16)  # of an image; lines are slightly higher or lower to fill the width
        self.title_size = max(14, round(width * 0.017))
        self.text_size = max(10, round(width * 0.0085))
        self.header = round(2.1 * self.title_size)
        self.caption = round(2.4 * self.text_size)  # text under a line, including the space below it


def annotation_sheet(
    pictures: Sequence[AnnotatedPicture], categories: Categories, title: str, subtitle: str = "", width: int = 2000
) -> Picture:
    """Draw each image with its annotation to the right, and a legend of all classes that occur at the bottom.

    Args:
        pictures: One or more images of any size.
        categories: Categories of the annotations.
        title: Title above the images.
        subtitle: Text next to the title.
        width: Width of the sheet in pixels, at least 400; all other sizes are proportional to it.

    Returns:
        The sheet on white, H×W×3 uint8 RGB.

    Raises:
        ValueError: There are no pictures, the sheet is too narrow, or an image and its annotation differ in size.
    """
    if not pictures:
        raise ValueError("a sheet needs at least one picture")
    if width < 400:
        raise ValueError(f"a sheet must be at least 400 pixels wide, not {width}")
    for picture in pictures:
        _check(picture)
    layout = _Layout(width)
    lines = _lines(pictures, layout)
    classes = sorted({number for one in pictures for number in np.unique(one.annotation.semantics.numpy()).tolist()})
    above = layout.margin + layout.header + sum(line.height + layout.caption for line in lines)
    legend = legend_height(categories, classes, layout.inner, layout.text_size)
    canvas = np.full((above + legend + layout.margin, width, 3), PAPER, np.uint8)
    _draw_header(canvas, layout, title, subtitle)
    y = layout.margin + layout.header
    for line in lines:
        _draw_line(canvas, layout, line, categories, y)
        y += line.height + layout.caption
    draw_legend(canvas, (y, layout.margin), categories, classes, layout.inner, layout.text_size)
    return canvas


def _check(picture: AnnotatedPicture) -> None:
    check_picture(picture.image)
    if tuple(picture.annotation.ids.shape) != picture.image.shape[:2]:
        sizes = f"{tuple(picture.annotation.ids.shape)}, but its image has {picture.image.shape[:2]}"
        raise ValueError(f"the annotation of {picture.name} has height and width {sizes}; both must have the same size")


def _lines(pictures: Sequence[AnnotatedPicture], layout: _Layout) -> list[_Line]:
    """Break the images into lines as wide as the sheet, with heights as close as possible to the target height."""
    # best[n]: minimum cost of the first n images, and the first image of their last line
    best = [(0.0, 0)]
    for end in range(1, len(pictures) + 1):
        costs = [best[begin][0] + _cost(pictures[begin:end], layout) for begin in range(end)]
        best.append((min(costs), int(np.argmin(costs))))
    lines: list[_Line] = []
    end = len(pictures)
    while end:
        begin = best[end][1]
        lines.append(_Line(list(pictures[begin:end]), _filling_height(pictures[begin:end], layout)))
        end = begin
    return lines[::-1]


def _cost(pictures: Sequence[AnnotatedPicture], layout: _Layout) -> float:
    return float(np.log(_filling_height(pictures, layout) / layout.usual_height) ** 2)


def _filling_height(pictures: Sequence[AnnotatedPicture], layout: _Layout) -> int:
    """Return the height at which the images fill the line, at most twice the target height."""
    free = layout.inner - len(pictures) * layout.seam - (len(pictures) - 1) * layout.gap
    filling = int(free / sum(2 * picture.aspect for picture in pictures))
    return max(1, min(filling, round(_TALLEST * layout.usual_height)))


def _draw_header(canvas: Picture, layout: _Layout, title: str, subtitle: str) -> None:
    baseline = layout.margin + layout.title_size
    draw_text(canvas, title, layout.margin, baseline, layout.title_size, INK, BOLD)
    x = layout.margin + text_width(title, layout.title_size, BOLD) + layout.gap
    draw_text(canvas, subtitle, x, baseline, round(0.7 * layout.title_size), GRAY)


def _draw_line(canvas: Picture, layout: _Layout, line: _Line, categories: Categories, y: int) -> None:
    x, radius = layout.margin, max(2, layout.width // 400)
    baseline = y + line.height + round(1.3 * layout.text_size)
    for picture in line.pictures:
        size = (line.height, max(1, int(line.height * picture.aspect)))
        image = resize_picture(picture.image, size)
        annotation = resize_segmentation(picture.annotation, size)
        overlay = draw_overlay(image, annotation, categories, Style(opacity=_OPACITY, scores=False))
        paste_rounded(canvas, image, y, x, radius)
        paste_rounded(canvas, overlay, y, x + size[1] + layout.seam, radius)
        width = 2 * size[1] + layout.seam
        draw_text(canvas, shorten(picture.name, width, layout.text_size), x, baseline, layout.text_size, GRAY)
        x += width + layout.gap
