"""The images of a data set that is read as it is, as items to convert."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seamseg.data.annotated_images import AnnotatedImages
from seamseg.data.result_names import relative_name, unique_stems


@dataclass(frozen=True)
class DataSetItem:
    """One annotated image of a data set.

    Attributes:
        index: in the data set.
        name: of the photograph, relative to the folder that holds those of the split.
        stem: Name of its results without suffix; each image has its own.
        annotation: the file of segment ids.
    """

    index: int
    name: str
    stem: str
    annotation: Path

    @property
    def sources(self) -> Sequence[Path]:
        return (self.annotation,)


def data_set_items(source: AnnotatedImages) -> list[DataSetItem]:
    """All images of a split, in its order."""
    paths = [source.image_path(index) for index in range(len(source))]
    folder = os.path.commonpath([path.parent for path in paths])
    names = [relative_name(path, Path(folder)) for path in paths]
    return [
        DataSetItem(index, name, stem, source.annotation_path(index))
        for index, (name, stem) in enumerate(zip(names, unique_stems(names), strict=True))
    ]
