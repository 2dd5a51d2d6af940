"""Progress of a training run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True)
class CompletedSpan:
    """Consecutive finished batches of an epoch.

    Attributes:
        images_per_batch: Number of images per batch, over all ranks.
        num_batches: Number of batches, at least 1.
    """

    images_per_batch: int
    num_batches: int


@dataclass(frozen=True)
class TrainingProgress:
    """Progress of a training run.

    Attributes:
        epoch: Current epoch, 0, 1, ….
        batch: Number of finished batches of this epoch, each shared by all ranks. After the last batch, it keeps its
            value until the validation is finished.
        iteration: Number of finished optimizer steps in the whole run.
        best_quality: Best quality of a validation, such as PQ, in [0, 1]; −1 before the first.
        best_iteration: Iteration of that validation; 0 before the first.
        images_per_batch: Number of images that all ranks together take per batch; 0 if unknown.
        earlier: Batches of the epoch finished with other numbers of images per batch, before the run was resumed.
    """

    epoch: int = 0
    batch: int = 0
    iteration: int = 0
    best_quality: float = -1.0
    best_iteration: int = 0
    images_per_batch: int = 0
    earlier: tuple[CompletedSpan, ...] = ()

    @property
    def within_epoch(self) -> bool:
        """Whether part of the epoch is finished, or all of it except its validation."""
        return self.batch > 0 or bool(self.earlier)

    def with_batches_of(self, images_per_batch: int) -> TrainingProgress:
        """Return the same position for another number of images per batch; finished batches of the epoch stay finished.

        Args:
            images_per_batch: Number of images that all ranks together take per batch.
        """
        if self.images_per_batch in (0, images_per_batch):
            return replace(self, images_per_batch=images_per_batch)
        done = (CompletedSpan(self.images_per_batch, self.batch),) if self.batch else ()
        return replace(self, batch=0, images_per_batch=images_per_batch, earlier=self.earlier + done)

    def next_epoch(self) -> TrainingProgress:
        """Return the position at the start of the next epoch."""
        return replace(self, epoch=self.epoch + 1, batch=0, earlier=())

    def to_dict(self) -> dict[str, Any]:
        """Return the position as plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainingProgress:
        """Return the position from the values of :meth:`to_dict`.

        Raises:
            TypeError, KeyError: A value is missing or unknown.
        """
        return cls(**{**values, "earlier": tuple(CompletedSpan(**span) for span in values["earlier"])})
