"""Padding of images of different sizes to one tensor."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from seamseg.structures.packed_sequence import PackedSequence

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True)
class Unreadable:
    """Image that was skipped because it cannot be read.

    Attributes:
        file_name: Path of the file relative to the folder of the run's input.
        error: Sentence that describes the problem.
    """

    file_name: str
    error: str


@dataclass(frozen=True)
class PaddedImages:
    """N images aligned at the top left in one tensor.

    Attributes:
        tensor: N×C×H×W, zero outside the images.
        sizes: Height and width of each image before padding.
    """

    tensor: Tensor
    sizes: tuple[Size, ...]

    @property
    def padded_size(self) -> Size:
        """Height and width of the tensor."""
        return self.tensor.shape[-2], self.tensor.shape[-1]


def pad_images(images: PackedSequence) -> PaddedImages:
    """Copy C×H×W images of different sizes into one zero-padded tensor.

    Args:
        images: N images with the same number of channels.

    Raises:
        ValueError: If an image is absent, is not three-dimensional, or has another number of channels.

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
        raise ValueError(f"images of a batch must be C×H×W with the same C, not {images!r}")
    sizes = tuple((int(image.shape[1]), int(image.shape[2])) for image in tensors)
    height, width = max(size[0] for size in sizes), max(size[1] for size in sizes)
    padded = tensors[0].new_zeros((len(tensors), tensors[0].shape[0], height, width))
    for position, image in enumerate(tensors):
        padded[position, :, : image.shape[1], : image.shape[2]] = image
    return PaddedImages(padded, sizes)


def unpad_images(padded: PaddedImages) -> PackedSequence:
    """Return every image without its padding; the inverse of :func:`pad_images`."""
    return PackedSequence(
        image[:, :height, :width] for image, (height, width) in zip(padded.tensor, padded.sizes, strict=True)
    )
