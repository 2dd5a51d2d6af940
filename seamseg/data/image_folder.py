"""Image folders, one per class, as samples for training and testing classification networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.data import Dataset
from torchvision.datasets import folder as torchvision_folder

from seamseg.data.dataset import SampleKey, sample_generator
from seamseg.data.images import read_image
from seamseg.data.input_folder import IMAGE_SUFFIXES
from seamseg.data.random_crops import CenterCrop, RandomCrop
from seamseg.data.resizing import channels_first
from seamseg.errors import DataError
from seamseg.structures import LabeledImage, Size

MOST_NAMES = 5
"""Maximum number of classes that an error message names."""


@dataclass(frozen=True)
class ImageFolder:
    """One split of a folder in the layout of torchvision's ``ImageFolder``: ``ROOT/SPLIT/CLASS/…/image.jpg``.

    Attributes:
        folder: Folder of the split.
        classes: Names of the classes, in the order of the network.
        images: Path and class of each image, sorted by class folder and path.
    """

    folder: Path
    classes: tuple[str, ...]
    images: Sequence[tuple[str, int]]

    @property
    def sizes(self) -> list[Size]:
        """Size of each image for the batch samplers: all the same, because all images are cropped to one size."""
        return [(1, 1)] * len(self.images)

    def image_id(self, index: int) -> str:
        """Return the path of an image relative to the folder of the split."""
        return Path(self.images[index][0]).relative_to(self.folder).as_posix()

    def __len__(self) -> int:
        return len(self.images)


def open_image_folder(root: Path, split: str, classes: Sequence[str] | None = None) -> ImageFolder:
    """Find the classes and images of a split.

    Args:
        root: Folder of the data set.
        split: Name of the folder of the split.
        classes: Names of the known classes, in the order of the network, some of which may have no images. None uses
            all folders in alphabetical order, each of which must contain an image.

    Raises:
        SeamsegError: The folder is missing or has no class folders, a class is not in ``classes``, or there are no
            images.
    """
    folder = root / split
    if not folder.is_dir():
        raise DataError(
            f"{folder} is not a folder; it must contain one folder of images per class, such as {split}/cat"
        )
    found = _class_folders(folder)
    unknown = [name for name in found if classes is not None and name not in classes]
    if unknown:
        raise DataError(f"{folder} has classes that the training images or the model lack: {_first_of(unknown)}")
    numbers = {name: number for number, name in enumerate(found if classes is None else classes)}
    images = [
        (path, label)
        for path, label in torchvision_folder.make_dataset(
            str(folder), {name: numbers[name] for name in found}, tuple(IMAGE_SUFFIXES), allow_empty=True
        )
        if not Path(path).name.startswith(".")
    ]
    with_images = {label for _, label in images}
    empty = [name for name in found if numbers[name] not in with_images]
    if not images or (classes is None and empty):
        raise DataError(f"{folder} has no images of the classes {_first_of(empty)}; remove their folders or add images")
    return ImageFolder(folder, tuple(numbers), images)


def _class_folders(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, sorted, except for hidden ones."""
    try:
        names = torchvision_folder.find_classes(folder)[0]
    except FileNotFoundError:
        names = []
    names = [name for name in names if not name.startswith(".")]
    if not names:
        raise DataError(f"{folder} has no class folders; it must contain one folder of images per class")
    return names


def _first_of(names: list[str]) -> str:
    return ", ".join(names[:MOST_NAMES]) + (f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else "")


class LabeledTrainDataset(Dataset[LabeledImage]):
    """Randomly cropped training images with their classes.

    Each sample depends only on the seed and its key, not on the samples read before it.

    Args:
        source: Images on disk.
        transform: Random crop of an image.
        seed: Non-negative seed.
    """

    def __init__(self, source: ImageFolder, transform: RandomCrop, seed: int) -> None:
        self.source, self.transform, self.seed = source, transform, seed

    def __getitem__(self, key: SampleKey) -> LabeledImage:
        path, label = self.source.images[key.index]
        image = self.transform(channels_first(read_image(Path(path))), sample_generator(self.seed, key))
        return LabeledImage(self.source.image_id(key.index), image, torch.tensor(label))


class LabeledTestDataset(Dataset[LabeledImage]):
    """Images with their classes, without randomness; the epoch of a key is ignored."""

    def __init__(self, source: ImageFolder, transform: CenterCrop) -> None:
        self.source, self.transform = source, transform

    def __getitem__(self, key: SampleKey) -> LabeledImage:
        path, label = self.source.images[key.index]
        image = self.transform(channels_first(read_image(Path(path))))
        return LabeledImage(self.source.image_id(key.index), image, torch.tensor(label))
