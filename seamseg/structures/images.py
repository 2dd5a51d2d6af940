"""Images of different sizes as one tensor, and back."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from seamseg.structures.packed_sequence import PackedSequence

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True)
class Unreadable:
    """An image that was left out of a run.

    Attributes:
        file_name: Name of its file, relative to the folder of the run's input.
        error: Sentence that says what is wrong with it.
    """

    file_name: str
    error: str


@dataclass(frozen=True)
class PaddedImages:
    """N images aligned top left in one tensor.

    Attributes:
        tensor: N×C×H×W, zero outside the images.
        sizes: height and width of every image's valid part.
    """

    tensor: Tensor
    sizes: tuple[Size, ...]

    @property
    def padded_size(self) -> Size:
        """Height and width of the tensor that holds them all."""
        return self.tensor.shape[-2], self.tensor.shape[-1]


def pad_images(images: PackedSequence) -> PaddedImages:
    """Puts C×H×W images of different sizes into one zero-padded tensor.

    Raises:
        ValueError: an image is absent, not three-dimensional, or has another number of channels.

    Example:
        >>> import torch
        >>> from seamseg import PackedSequence
        >>> from seamseg.structures import pad_images, unpad_images
        >>> padded = pad_images(PackedSequence([torch.ones(3, 4, 6), torch.ones(3, 5, 2)]))
        >>> padded.tensor.shape, padded.sizes
        (torch.Size([2, 3, 5, 6]), ((4, 6), (5, 2)))
        >>> unpad_images(padded)
        PackedSequence((3, 4, 6), (3, 5, 2))
    """
    tensors = [images.entry(position) for position in range(len(images))]
    channels = {tuple(image.shape[:-2]) for image in tensors}
    if len(channels) != 1 or any(image.ndim != 3 for image in tensors):
        raise ValueError(f"images of one batch are C×H×W with one C; these are {images!r}")
    sizes = tuple((int(image.shape[1]), int(image.shape[2])) for image in tensors)
    height, width = max(size[0] for size in sizes), max(size[1] for size in sizes)
    padded = tensors[0].new_zeros((len(tensors), tensors[0].shape[0], height, width))
    for position, image in enumerate(tensors):
        padded[position, :, : image.shape[1], : image.shape[2]] = image
    return PaddedImages(padded, sizes)


def unpad_images(padded: PaddedImages) -> PackedSequence:
    """The valid part of every image; the inverse of :func:`pad_images`."""
    return PackedSequence(
        image[:, :height, :width] for image, (height, width) in zip(padded.tensor, padded.sizes, strict=True)
    )
