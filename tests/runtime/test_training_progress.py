"""Progress of a run, and resuming with another number of images per batch."""

from __future__ import annotations

import pytest

from seamseg.runtime.training_progress import CompletedSpan, TrainingProgress


def test_default_progress_is_the_start_of_a_run() -> None:
    assert TrainingProgress() == TrainingProgress(epoch=0, batch=0, iteration=0, best_quality=-1, best_iteration=0)
    assert not TrainingProgress().within_epoch


def test_with_batches_of_the_same_size_changes_nothing() -> None:
    assert TrainingProgress(1, 2, 7).with_batches_of(8) == TrainingProgress(1, 2, 7, images_per_batch=8)
    assert TrainingProgress(1, 2, 7, images_per_batch=8).with_batches_of(8) == TrainingProgress(
        1, 2, 7, images_per_batch=8
    )


def test_with_batches_of_another_size_keeps_finished_batches() -> None:
    position = TrainingProgress(1, 2, 7, 0.5, 5, 8).with_batches_of(4)
    assert position == TrainingProgress(1, 0, 7, 0.5, 5, 4, (CompletedSpan(8, 2),))
    assert position.with_batches_of(2) == TrainingProgress(1, 0, 7, 0.5, 5, 2, (CompletedSpan(8, 2),))
    assert position.with_batches_of(4) is not None
    assert TrainingProgress(1, 3, 9, images_per_batch=4, earlier=(CompletedSpan(8, 2),)).with_batches_of(8).earlier == (
        CompletedSpan(8, 2),
        CompletedSpan(4, 3),
    )


def test_progress_between_epochs_has_no_finished_batches() -> None:
    assert TrainingProgress(2, 0, 8, images_per_batch=8).with_batches_of(4) == TrainingProgress(
        2, 0, 8, images_per_batch=4
    )
    assert TrainingProgress(1, 3, 9, 0.5, 4, 4, (CompletedSpan(8, 2),)).next_epoch() == TrainingProgress(
        2, 0, 9, 0.5, 4, 4
    )


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        (TrainingProgress(3), False),
        (TrainingProgress(3, 1), True),
        (TrainingProgress(3, 0, earlier=(CompletedSpan(2, 1),)), True),
    ],
)
def test_within_epoch_is_true_after_the_first_batch(position: TrainingProgress, expected: bool) -> None:
    assert position.within_epoch is expected


def test_from_dict_inverts_to_dict_and_rejects_wrong_keys() -> None:
    position = TrainingProgress(1, 2, 7, 0.5, 5, 8, (CompletedSpan(4, 3),))
    assert TrainingProgress.from_dict(position.to_dict()) == position
    for wrong in ({"epoch": 1}, {**position.to_dict(), "page": 1}):
        with pytest.raises((TypeError, KeyError)):
            TrainingProgress.from_dict(wrong)
