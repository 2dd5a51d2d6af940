"""Batch of tensors with different sizes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import torch
from torch import Tensor


class PackedSequence:
    """Sequence of N tensors with one dtype and device, but possibly different shapes.

    An entry may be absent (None), which means that there is nothing for this image. Entries may have any shape, for
    example images of different sizes. Only :meth:`contiguous` requires that their shapes agree after the first
    dimension.

    Args:
        tensors: Entries, one per image.

    Raises:
        ValueError: If entries differ in dtype or device, or are not tensors.

    Example:
        Boxes of three images; the second has no entry:

        >>> import torch
        >>> from seamseg import PackedSequence
        >>> boxes = PackedSequence([torch.zeros(2, 4), None, torch.zeros(1, 4)])
        >>> boxes
        PackedSequence((2, 4), none, (1, 4))
        >>> rows, image_index = boxes.contiguous()
        >>> rows.shape, image_index
        (torch.Size([3, 4]), tensor([0, 0, 2]))
        >>> PackedSequence.from_rows(rows, image_index, num_images=3)
        PackedSequence((2, 4), (0, 4), (1, 4))
    """

    def __init__(self, tensors: Iterable[Tensor | None]) -> None:
        self._tensors = list(tensors)
        present = [entry for entry in self._tensors if entry is not None]
        for position, entry in enumerate(self._tensors):
            if entry is not None and not isinstance(entry, Tensor):
                raise ValueError(f"entry {position} of a PackedSequence is a {type(entry).__name__}, not a tensor")
            if entry is not None and (entry.dtype, entry.device) != (present[0].dtype, present[0].device):
                raise ValueError(
                    f"entry {position} of a PackedSequence is {entry.dtype} on {entry.device}, but others are "
                    f"{present[0].dtype} on {present[0].device}; convert them first"
                )

    @classmethod
    def from_rows(cls, rows: Tensor, image_index: Tensor, num_images: int) -> PackedSequence:
        """Split concatenated rows into one entry per image; the inverse of :meth:`contiguous`.

        Args:
            rows: R×… values of all images.
            image_index: R, the image of every row, in 0 … num_images − 1.
            num_images: Length of the result. Images without rows get an entry with zero rows.

        Raises:
            ValueError: If the numbers of rows and indices differ, or an index is not in 0 … num_images − 1.
        """
        if rows.ndim == 0 or image_index.shape != rows.shape[:1]:
            raise ValueError(
                f"every row of a PackedSequence needs the index of its image, but the shape of the rows is "
                f"{tuple(rows.shape)} and that of the indices {tuple(image_index.shape)}"
            )
        entries = [rows[image_index == image] for image in range(num_images)]
        if sum(map(len, entries)) < len(rows):
            invalid = sorted({index for index in image_index.tolist() if not 0 <= index < num_images})
            raise ValueError(
                f"rows of a PackedSequence belong to the images {invalid}, but there are only {num_images} images; "
                f"indices start at 0"
            )
        return cls(entries)

    def __len__(self) -> int:
        return len(self._tensors)

    def __iter__(self) -> Iterator[Tensor | None]:
        return iter(self._tensors)

    @overload
    def __getitem__(self, key: int) -> Tensor | None: ...
    @overload
    def __getitem__(self, key: slice) -> PackedSequence: ...
    def __getitem__(self, key: int | slice) -> Tensor | PackedSequence | None:
        if isinstance(key, slice):
            return PackedSequence(self._tensors[key])
        return self._tensors[key]

    def __add__(self, other: PackedSequence) -> PackedSequence:
        """Concatenate two sequences."""
        if not isinstance(other, PackedSequence):
            return NotImplemented
        return PackedSequence(self._tensors + other._tensors)

    def __repr__(self) -> str:
        shapes = ", ".join("none" if entry is None else str(tuple(entry.shape)) for entry in self._tensors)
        return f"PackedSequence({shapes})"

    @property
    def present(self) -> list[Tensor]:
        """Entries that are not absent, in order."""
        return [entry for entry in self._tensors if entry is not None]

    @property
    def all_absent(self) -> bool:
        """Whether every entry is absent."""
        return not self.present

    @property
    def dtype(self) -> torch.dtype:
        """Type of the entries; raises a ValueError if every entry is absent."""
        return self._first().dtype

    @property
    def device(self) -> torch.device:
        """Device of the entries; raises a ValueError if every entry is absent."""
        return self._first().device

    def entry(self, position: int) -> Tensor:
        """Return the tensor at ``position``.

        Raises:
            ValueError: If the entry is absent.
        """
        found = self._tensors[position]
        if found is None:
            raise ValueError(f"entry {position} of the PackedSequence is absent")
        return found

    def contiguous(self) -> tuple[Tensor, Tensor]:
        """Concatenate the rows of all entries and return the image of each row.

        Returns:
            rows: R×…, the entries concatenated along their first dimension; absent entries add no rows.
            image_index: R int64, the position of each row's entry in the sequence.

        Raises:
            ValueError: If every entry is absent, so that no shape is known, if an entry has no dimension, or if the
                shapes after the first dimension differ.
        """
        scalars = [position for position, entry in enumerate(self._tensors) if entry is not None and entry.ndim == 0]
        if scalars:
            raise ValueError(
                f"the entries {scalars} of a PackedSequence have no dimension and thus no rows; use entry.reshape(1)"
            )
        shapes = {tuple(entry.shape[1:]) for entry in self.present}
        if len(shapes) != 1:
            raise ValueError(
                "contiguous() of a PackedSequence needs entries that agree in all but their first dimension, but their "
                f"other dimensions are {sorted(shapes) or 'unknown, because every entry is absent'}"
            )
        counts = [0 if entry is None else entry.shape[0] for entry in self._tensors]
        image_index = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts, dtype=torch.int64))
        if self.device.type == "cuda":
            image_index = image_index.pin_memory()  # a copy from other memory waits for the GPU
        return torch.cat(self.present), image_index.to(self.device, non_blocking=True)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PackedSequence:
        """Return the sequence on ``device``; absent entries stay absent."""
        return PackedSequence(
            None if entry is None else entry.to(device, non_blocking=non_blocking) for entry in self._tensors
        )

    def pin_memory(self) -> PackedSequence:
        """Return a copy in page-locked memory."""
        return PackedSequence(None if entry is None else entry.pin_memory() for entry in self._tensors)

    def _first(self) -> Tensor:
        if self.all_absent:
            raise ValueError("every entry of the PackedSequence is absent, so it has no dtype and no device")
        return self.present[0]


def require_equal_lengths(whole: object, names: Sequence[str]) -> None:
    """Check that the parts of an object have the same length.

    Args:
        whole: Object with the parts as attributes.
        names: Names of these attributes.

    Raises:
        ValueError: If the lengths differ.
    """
    lengths = {name: len(getattr(whole, name)) for name in names}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"the parts of a {type(whole).__name__} must have the same length, but have {listed}")
