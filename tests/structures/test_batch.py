from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from seamseg.structures import VOID, Batch, Sample


def sample(image_id: int, height: int, width: int, num_segments: int) -> Sample:
    return Sample(
        image_id=image_id,
        image=torch.full((3, height, width), float(image_id)),
        ids=torch.full((1, height, width), num_segments),
        classes=torch.tensor([VOID, *range(num_segments)]),
        crowd=torch.zeros(num_segments + 1, dtype=torch.bool),
        boxes=torch.full((num_segments + 1, 4), float(image_id)),
        original_size=(2 * height, 2 * width),
    )


SAMPLES = [sample(7, 4, 6, 2), sample(3, 5, 2, 0)]


def test_collate_joins_samples_of_different_sizes_in_order_without_copying() -> None:
    batch = Batch.collate(SAMPLES)
    assert len(batch) == 2
    assert batch.image_ids == (7, 3)
    assert batch.original_sizes == ((8, 12), (10, 4))
    for position, one in enumerate(SAMPLES):
        assert batch.images.entry(position) is one.image
        assert batch.ground_truth.ids.entry(position) is one.ids
        assert batch.ground_truth.classes.entry(position) is one.classes
        assert batch.ground_truth.crowd.entry(position) is one.crowd
        assert batch.ground_truth.boxes.entry(position) is one.boxes


def test_collate_without_samples_returns_empty_batch() -> None:
    batch = Batch.collate([])
    assert (len(batch), len(batch.images), len(batch.ground_truth)) == (0, 0, 0)


def test_batch_with_parts_of_different_length_raises_value_error() -> None:
    batch = Batch.collate(SAMPLES)
    with pytest.raises(ValueError, match="image_ids 2, images 1, ground_truth 2, original_sizes 2"):
        replace(batch, images=batch.images[:1])


def test_to_moves_images_and_ground_truth() -> None:
    moved = Batch.collate(SAMPLES).to("meta")
    assert moved.images.device == moved.ground_truth.ids.device == torch.device("meta")
    assert (moved.image_ids, moved.original_sizes) == ((7, 3), ((8, 12), (10, 4)))
