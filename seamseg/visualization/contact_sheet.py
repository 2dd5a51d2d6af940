"""Contact sheet: one picture that shows images, their annotations and predictions side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seamseg.structures.categories import Categories, Color
from seamseg.structures.instances import DrawnObjects
from seamseg.structures.panoptic_segmentation import PanopticSegmentation
from seamseg.visualization.colors import GRAY, INK, PAPER
from seamseg.visualization.images import Picture, resize_picture
from seamseg.visualization.legend import draw_legend, legend_height
from seamseg.visualization.objects import Drawn, draw, resize_drawn
from seamseg.visualization.overlay import Style
from seamseg.visualization.shapes import fill_rounded, paste_rounded
from seamseg.visualization.text import BOLD, draw_text, shorten, text_width

HEADERS = ("Image", "Ground truth", "Prediction")

_PANEL: Color = (238, 241, 244)
_TALLEST = 0.8
_TEXT_SCALE = 1.35


@dataclass(frozen=True)
class SheetRow:
    """One image of a contact sheet.

    Attributes:
        name: Text under the image, such as its file name.
        image: Pixels, H×W×3 uint8 RGB.
        truth, prediction: Annotation and prediction of the same height and width.
        quality: Quality of the prediction in 0 … 1, written under it; None to omit it.
        measure: Name of the quality, such as PQ.
    """

    name: str
    image: Picture
    truth: Drawn
    prediction: Drawn
    quality: float | None = None
    measure: str = "PQ"


class _Layout:
    """Distances in pixels, all proportional to the width of a column."""

    def __init__(self, column: int, tallest: int) -> None:
        self.column, self.tallest = column, tallest
        self.margin = round(column * 0.07)
        self.gap = round(column * 0.03)
        self.header_size = max(12, round(column * 0.046))
        self.text_size = max(10, round(column * 0.034))
        self.header = round(self.header_size * 1.7)  # column titles, including the space below them
        self.caption = round(self.text_size * 2.6)  # text under a row, including the space below it
        self.width = len(HEADERS) * column + (len(HEADERS) - 1) * self.gap  # of the sheet without its margins

    def x(self, column: int) -> int:
        """Return the left edge of a column."""
        return self.margin + column * (self.column + self.gap)

    def row(self, row: SheetRow) -> int:
        """Return the height of a row's pictures, limited so that tall images do not fill the sheet."""
        height, width = row.image.shape[:2]
        natural: int = round(self.column * height / width)
        return max(1, min(natural, self.tallest))


def contact_sheet(
    rows: Sequence[SheetRow], categories: Categories, column_width: int = 640, first: str = HEADERS[0]
) -> Picture:
    """Draw one row per image with the image, its annotation and its prediction, and a legend of all classes that occur.

    Images fill the width of their column. Images that are much taller than wide are scaled down and centered.

    Args:
        rows: One or more images of any size.
        categories: Categories of the segments and objects.
        column_width: Width of a column in pixels, at least 100; all other sizes are proportional to it.
        first: Title of the first column.

    Returns:
        The sheet on white, H×W×3 uint8 RGB.

    Raises:
        ValueError: There are no rows, columns are too narrow, or an image and a segmentation differ in size.
    """
    if not rows:
        raise ValueError("a contact sheet needs at least one row")
    if column_width < 100:
        raise ValueError(f"the columns of a contact sheet must be at least 100 pixels wide, not {column_width}")
    layout = _Layout(column_width, _tallest_row(rows, column_width))
    classes = _classes_present(rows, categories)
    pictures = layout.header + sum(layout.row(row) + layout.caption for row in rows)
    legend = legend_height(categories, classes, layout.width, layout.text_size) if classes else 0
    shape = (pictures + legend + 2 * layout.margin, layout.width + 2 * layout.margin, 3)
    canvas = np.full(shape, PAPER, np.uint8)
    _draw_headers(canvas, layout, (first, *HEADERS[1:]))
    y = layout.margin + layout.header
    for row in rows:
        _draw_row(canvas, layout, row, categories, y)
        y += layout.row(row) + layout.caption
    if classes:
        draw_legend(canvas, (y, layout.margin), categories, classes, layout.width, layout.text_size)
    return canvas


def _draw_headers(canvas: Picture, layout: _Layout, headers: Sequence[str]) -> None:
    baseline = layout.margin + round(0.75 * layout.header_size)
    for column, header in enumerate(headers):
        draw_text(canvas, header, layout.x(column), baseline, layout.header_size, INK, BOLD)


def _draw_row(canvas: Picture, layout: _Layout, row: SheetRow, categories: Categories, y: int) -> None:
    height, radius = layout.row(row), max(2, layout.column // 80)
    for column, picture in enumerate(_cells(row, categories, (height, layout.column))):
        x = layout.x(column)
        if picture.shape[1] < layout.column:
            fill_rounded(canvas, (y, x, y + height, x + layout.column), radius, _PANEL)
        paste_rounded(canvas, picture, y, x + (layout.column - picture.shape[1]) // 2, radius)
    baseline = y + height + round(1.35 * layout.text_size)
    name = shorten(row.name, layout.column, layout.text_size)
    draw_text(canvas, name, layout.x(0), baseline, layout.text_size, GRAY)
    if row.quality is not None:
        _draw_quality(canvas, layout, row.quality, f"{row.measure} ", baseline)


def _draw_quality(canvas: Picture, layout: _Layout, quality: float, measure: str, baseline: int) -> None:
    value = f"{100 * quality:.1f}"
    x = layout.x(len(HEADERS)) - layout.gap - text_width(value, layout.text_size, BOLD)
    draw_text(canvas, value, x, baseline, layout.text_size, INK, BOLD)
    x -= text_width(measure, layout.text_size)
    draw_text(canvas, measure, x, baseline, layout.text_size, GRAY)


def _cells(row: SheetRow, categories: Categories, cell: tuple[int, int]) -> list[Picture]:
    """Return the three pictures of a row, scaled to fit the cell."""
    for part, found in (("ground truth", row.truth), ("prediction", row.prediction)):
        if isinstance(found, PanopticSegmentation) and found.size != row.image.shape[:2]:
            sizes = f"{found.size}, but its image has {row.image.shape[:2]}"
            raise ValueError(f"the {part} of {row.name} has height and width {sizes}; both must have the same size")
    height, width = row.image.shape[:2]
    factor = min(cell[0] / height, cell[1] / width)
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    image = resize_picture(row.image, size)
    truth, prediction = (resize_drawn(found, size) for found in (row.truth, row.prediction))
    return [
        image,
        draw(image, truth, categories, Style(scores=False, text_scale=_TEXT_SCALE)),
        draw(image, prediction, categories, Style(text_scale=_TEXT_SCALE)),
    ]


def _tallest_row(rows: Sequence[SheetRow], column_width: int) -> int:
    """Return the maximum height of a row in pixels. The limit is higher if most images are tall."""
    usual = float(np.median([row.image.shape[0] / row.image.shape[1] for row in rows]))
    return round(column_width * min(max(_TALLEST, usual), 2))


def _classes_present(rows: Sequence[SheetRow], categories: Categories) -> list[int]:
    """Return the classes of all segments with pixels and of all objects, ascending, with void last."""
    classes: set[int] = set()
    for found in (side for row in rows for side in (row.truth, row.prediction)):
        if isinstance(found, DrawnObjects):
            classes |= {one.category + categories.num_stuff for one in found.instances}
        else:
            classes |= set(np.unique(found.semantics.cpu().numpy()).tolist())
    return sorted(classes)
