"""Annotation sheet: images next to their annotations, in lines that fill the width."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seamseg.structures import PanopticSegmentation
from seamseg.structures.categories import Categories, Category
from seamseg.visualization.annotation_sheet import AnnotatedPicture, annotation_sheet

CATEGORIES = Categories((Category("road", False, (255, 0, 0), 1), Category("car", True, (0, 0, 255), 2)))


def picture(height: int, width: int, name: str = "a") -> AnnotatedPicture:
    """Return a green image that is annotated as road."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 1] = 200
    ids = torch.ones((height, width), dtype=torch.int64)
    classes, crowd = torch.tensor([255, 0]), torch.tensor([False, False])
    return AnnotatedPicture(name, image, PanopticSegmentation(ids, classes, crowd))


def colored(sheet: np.ndarray, red: bool) -> np.ndarray:
    """Return the pixels of annotations (red over green), or of images (only green)."""
    wide = sheet.astype(int)
    return (wide[..., 1] > 40) & (wide[..., 2] < 40) & ((wide[..., 0] > 100) == red)


@pytest.mark.parametrize("sizes", [[(40, 60)] * 7, [(20, 200), (200, 20), (50, 50)], [(1, 1)], [(1, 500)], [(500, 1)]])
def test_annotation_sheet_of_any_sizes_gives_images_and_annotations_equal_space(sizes: list[tuple[int, int]]) -> None:
    sheet = annotation_sheet([picture(*size) for size in sizes], CATEGORIES, "title", "subtitle", 800)
    images, annotation = colored(sheet, red=False), colored(sheet, red=True)
    assert sheet.shape[1] == 800
    assert images.sum() > 1000
    assert annotation.sum() > 0.6 * images.sum()  # labels and outlines cover the rest
    columns = np.flatnonzero((images | annotation).any(axis=0))
    assert columns[0] >= 15
    assert columns[-1] < 800 - 15


def test_annotation_sheet_of_eight_images_fills_the_width() -> None:
    sheet = annotation_sheet([picture(40, 60)] * 8, CATEGORIES, "title", "", 1000)
    columns = np.flatnonzero(colored(sheet, red=True).any(axis=0))
    assert columns[-1] > 1000 - 20 - 12


def test_annotation_sheet_with_invalid_input_raises() -> None:
    with pytest.raises(ValueError, match="at least one picture"):
        annotation_sheet([], CATEGORIES, "title")
    with pytest.raises(ValueError, match="at least 400 pixels wide, not 300"):
        annotation_sheet([picture(4, 4)], CATEGORIES, "title", width=300)
    wrong = AnnotatedPicture("odd", picture(4, 5).image, picture(4, 4).annotation)
    with pytest.raises(ValueError, match="the annotation of odd has height and width"):
        annotation_sheet([wrong], CATEGORIES, "title")
