"""Where a run stands."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True)
class CompletedSpan:
    """Consecutive batches of an epoch.

    Attributes:
        images_per_batch: of all ranks together.
        num_batches: at least 1.
    """

    images_per_batch: int
    num_batches: int


@dataclass(frozen=True)
class TrainingProgress:
    """Where a run stands.

    Attributes:
        epoch: 0, 1, …, the one to go on with.
        batch: batches of it that are done, each rank having its share of them; all of them before the validation.
        iteration: steps of the optimizer that are done, in the whole run.
        best_pq: best validated panoptic quality in 0 … 1; −1 before the first.
        best_iteration: where it was reached; 0 before the first.
        images_per_batch: that all ranks together take at a time; 0 where nobody asked.
        earlier: what was done of the epoch with other numbers of images per batch, before the run was resumed.
    """

    epoch: int = 0
    batch: int = 0
    iteration: int = 0
    best_pq: float = -1.0
    best_iteration: int = 0
    images_per_batch: int = 0
    earlier: tuple[CompletedSpan, ...] = ()

    @property
    def within_epoch(self) -> bool:
        """Whether some of the epoch is done, up to the whole of it without its validation."""
        return self.batch > 0 or bool(self.earlier)

    def with_batches_of(self, images_per_batch: int) -> TrainingProgress:
        """The same position for ranks that take so many images at a time; what is done of the epoch stays done."""
        if self.images_per_batch in (0, images_per_batch):
            return replace(self, images_per_batch=images_per_batch)
        done = (CompletedSpan(self.images_per_batch, self.batch),) if self.batch else ()
        return replace(self, batch=0, images_per_batch=images_per_batch, earlier=self.earlier + done)

    def next_epoch(self) -> TrainingProgress:
        return replace(self, epoch=self.epoch + 1, batch=0, earlier=())

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainingProgress:
        """The inverse.

        Raises:
            TypeError, KeyError: it lacks a value or has an unknown one.
        """
        return cls(**{**values, "earlier": tuple(CompletedSpan(**stretch) for stretch in values["earlier"])})
