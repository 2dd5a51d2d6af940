"""Content of samples, and what it depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from oracles.segment_boxes import segment_boxes
from support.tiny_dataset import write_tiny_panoptic

from seamseg.data.dataset import EvaluationDataset, SampleKey, TrainDataset, sample_generator
from seamseg.data.formats.coco import CocoPanoptic, DataWarning
from seamseg.data.transforms import Channels, InputTransform, TrainTransform
from seamseg.structures import Batch, Sample

MEAN: Channels = (0.5, 0.5, 0.5)
STD: Channels = (0.25, 0.25, 0.25)


@pytest.fixture
def source(tmp_path: Path) -> CocoPanoptic:
    tiny = write_tiny_panoptic(
        tmp_path, num_images=4, images_without_objects=[1], images_with_crowd=[2], images_with_void=[0]
    )
    return CocoPanoptic(tiny.folder, tiny.split)


def train_dataset(source: CocoPanoptic, seed: int = 0) -> TrainDataset:
    transform = TrainTransform(24, 64, random_scale=(0.5, 1.5), random_flip=True)
    return TrainDataset(source, transform, seed=seed)


def is_same(first: Sample, second: Sample) -> bool:
    return first.image.shape == second.image.shape and bool(
        torch.equal(first.image, second.image)
        and torch.equal(first.ids, second.ids)
        and torch.equal(first.boxes, second.boxes)
    )


def check_parts(sample: Sample) -> None:
    assert (sample.image.dtype, sample.ids.dtype, sample.classes.dtype) == (torch.uint8, torch.int32, torch.int64)
    assert (sample.crowd.dtype, sample.boxes.dtype) == (torch.bool, torch.float32)
    assert sample.image.shape[0] == 3
    assert sample.ids.shape[0] == 1
    num_segments = len(sample.classes)
    assert (sample.crowd.shape, sample.boxes.shape) == ((num_segments,), (num_segments, 4))
    boxes, areas = segment_boxes(sample.ids[0].numpy(), num_segments)
    assert sample.boxes.tolist() == boxes
    assert min(areas[1:], default=1) > 0
    assert sample.classes[0] == 255


def test_training_samples_have_consistent_shapes_and_boxes(source: CocoPanoptic) -> None:
    dataset = train_dataset(source)
    for epoch in range(3):
        for index in range(4):
            sample = dataset[SampleKey(epoch, index)]
            check_parts(sample)
            assert sample.image.shape[1:] == sample.ids.shape[1:]
            assert sample.image_id == 100 + index
            assert sample.original_size == source.sizes[index]


def test_evaluation_samples_keep_the_original_annotation_size(source: CocoPanoptic) -> None:
    dataset = EvaluationDataset(source, InputTransform(24, 64, MEAN, STD))
    for index in range(4):
        sample = dataset[SampleKey(0, index)]
        check_parts(sample)
        assert tuple(sample.ids.shape[1:]) == sample.original_size == source.sizes[index]
        assert np.array_equal(sample.ids[0].numpy(), source.read_annotation(index).ids)
        assert min(sample.image.shape[1:]) == 24
        assert is_same(sample, dataset[SampleKey(5, index)])


def test_sample_depends_only_on_seed_epoch_and_index(source: CocoPanoptic) -> None:
    key = SampleKey(2, 3)
    expected = train_dataset(source)[key]
    used = train_dataset(source)
    for epoch in range(2):
        used[SampleKey(epoch, 0)]
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert is_same(used[key], expected)
    assert torch.equal(torch.get_rng_state(), state), "the global generator must not be used"
    others = [train_dataset(source, seed=1)[key], used[SampleKey(1, 3)]]
    assert not any(is_same(other, expected) for other in others)


def test_sample_generators_of_different_keys_are_independent() -> None:
    draws = {
        float(torch.rand((), generator=sample_generator(seed, SampleKey(epoch, index)), dtype=torch.float64))
        for seed in range(10)
        for epoch in range(10)
        for index in range(10)
    }
    assert len(draws) == 1000
    assert abs(np.mean(list(draws)) - 0.5) < 0.04


def test_training_samples_of_an_image_differ_between_epochs(source: CocoPanoptic) -> None:
    dataset = train_dataset(source)
    sizes = {tuple(dataset[SampleKey(epoch, 0)].image.shape) for epoch in range(8)}
    assert len(sizes) >= 4


def test_samples_collate_to_a_batch_with_ground_truth(source: CocoPanoptic) -> None:
    dataset = train_dataset(source)
    batch = Batch.collate([dataset[SampleKey(0, index)] for index in range(4)])
    assert batch.image_ids == (100, 101, 102, 103)
    num_stuff = source.categories.num_stuff
    assert len(batch.ground_truth.objects(1, num_stuff).boxes) == 0
    assert batch.ground_truth.crowd_pixels(2, num_stuff).any()
    assert (batch.ground_truth.semantic_target(0) == 255).any()


def test_samples_with_swapped_sizes_in_json_equal_those_with_correct_sizes(tmp_path: Path) -> None:
    tiny = write_tiny_panoptic(tmp_path, num_images=4)
    right = CocoPanoptic(tiny.folder, tiny.split)
    for swapped in ([0, 1, 2, 3], [2]):
        tiny.edit_json(lambda content, positions=swapped: swap(content, positions))
        with pytest.warns(DataWarning, match="width and height"):
            found = CocoPanoptic(tiny.folder, tiny.split)
        for index in range(4):
            key = SampleKey(0, index)
            assert is_same(train_dataset(found)[key], train_dataset(right)[key])
        tiny.edit_json(lambda content, positions=swapped: swap(content, positions))


def swap(content: dict[str, Any], positions: list[int]) -> None:
    for entry in content["images"]:
        if entry["id"] - 100 in positions:
            entry["height"], entry["width"] = entry["width"], entry["height"]
