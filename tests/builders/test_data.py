"""Builders of data sets and loaders."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.detection_folder import write_detection
from support.tiny_dataset import write_tiny_panoptic
from support.tiny_experiment import tiny_experiment, write_tiny_splits
from support.vistas_folder import write_vistas

from seamseg.builders import build_evaluation_loader, build_input_transform, build_training_loader, open_split
from seamseg.builders.data import build_image_draws, open_training_split
from seamseg.errors import BrokenImageError, DataError
from seamseg.runtime.distributed import Process
from seamseg.runtime.training_progress import TrainingProgress


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_splits(tmp_path_factory.mktemp("build") / "data")


def rank(number: int, of: int = 1) -> Process:
    return Process(number, of, torch.device("cpu"))


def test_open_split_without_a_root_is_refused() -> None:
    with pytest.raises(ValueError, match=r"set data\.root=FOLDER"):
        open_split(None, "train", None)


def test_open_split_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        open_split(str(tmp_path / "nowhere"), "train", None)


def test_open_split_limit_uses_the_first_images(folder: Path) -> None:
    assert len(open_split(str(folder), "train", None)) == 4
    assert len(open_split(str(folder), "val", 2)) == 2


@pytest.mark.parametrize("empty_images", ["keep", "skip"])
def test_empty_images_are_kept_or_skipped_as_set(folder: Path, tmp_path: Path, empty_images: str) -> None:
    tiny = write_tiny_panoptic(tmp_path / "panoptic")
    tiny.edit_json(lambda content: content["annotations"][2].update(segments_info=[]))
    split = open_training_split(tiny_experiment(tiny.folder, f"data.empty_images={empty_images}"))
    ids = [split.image_id(index) for index in range(len(split))]
    assert ids == ([100, 101, 102, 103] if empty_images == "keep" else [100, 101, 103])
    settings = tiny_experiment(write_detection(tmp_path / "objects"), f"data.empty_images={empty_images}")
    objects = open_training_split(settings.model_copy(update={"task": "detection"}))
    assert len(objects) == (3 if empty_images == "keep" else 2)
    loader = build_training_loader(settings, objects, rank(0), TrainingProgress())
    assert sum(len(batch) for batch in loader.epoch(0)) == 2, "one batch of two images"


def test_split_that_does_not_suffice_for_the_task_is_refused(tmp_path: Path) -> None:
    settings = tiny_experiment(write_detection(tmp_path))
    with pytest.raises(ValueError, match=r"'train' of .* is COCO detection data, which has no .*task=panoptic"):
        open_training_split(settings)
    with pytest.raises(ValueError, match=r"'val' of .* is COCO detection data, which has no .*task=semantic"):
        open_split(settings.data.root, "val", None, task="semantic")


def test_training_loader_scales_images_to_the_network_size(folder: Path) -> None:
    experiment = tiny_experiment(folder)
    loader = build_training_loader(experiment, open_split(str(folder), "train", None), rank(0), TrainingProgress())
    assert loader.num_batches == 2
    for batch in loader.epoch(0):
        assert len(batch) == 2
        for image, size in zip(batch.images, batch.original_sizes, strict=True):
            assert image is not None
            assert 57 <= min(image.shape[1:]) <= 64  # 64 × (0.9 … 1.0), truncated
            assert (image.shape[1] < image.shape[2]) == (size[0] < size[1])


def test_copy_paste_without_thing_classes_is_refused(tmp_path: Path) -> None:
    tiny = write_tiny_panoptic(tmp_path, things=())
    experiment = tiny_experiment(tiny.folder, "data.copy_paste=0.5")
    source = open_split(str(tiny.folder), "train", None)
    with pytest.raises(DataError, match=r"data\.copy_paste=0\.5 .* panoptic data without thing classes"):
        build_training_loader(experiment, source, rank(0), TrainingProgress())


def test_copy_paste_of_boxes_without_outlines_is_refused(tmp_path: Path) -> None:
    def without_outline(content: dict[str, Any]) -> None:
        del content["annotations"][0]["segmentation"]

    root = write_detection(tmp_path, change=without_outline)
    source = open_split(str(root), "train", None)
    experiment = tiny_experiment(root, "data.copy_paste=0.5", "task=detection")
    with pytest.raises(DataError, match="COCO detection data without outlines of objects"):
        build_training_loader(experiment, source, rank(0), TrainingProgress())


def test_evaluation_loader_shows_each_image_once_over_all_ranks(folder: Path) -> None:
    experiment, source = tiny_experiment(folder), open_split(str(folder), "val", None)
    seen = [
        image_id
        for number in (0, 1)
        for batch in build_evaluation_loader(experiment, source, rank(number, 2)).epoch(0)
        for image_id in batch.image_ids
    ]
    assert sorted(seen) == [100, 101, 102]


def test_evaluation_loader_and_input_transform_give_the_same_pixels(folder: Path) -> None:
    experiment, source = tiny_experiment(folder), open_split(str(folder), "val", None)
    transform = build_input_transform(experiment)
    input_images = {source.image_id(index): source.read_image(index) for index in range(len(source))}
    for batch in build_evaluation_loader(experiment, source, rank(0)).epoch(0):
        for image, image_id in zip(batch.images, batch.image_ids, strict=True):
            assert image is not None
            assert torch.equal(image, transform(input_images[image_id]))


def test_evaluation_loader_broken_image_is_reported_or_raised(tmp_path: Path) -> None:
    folder = write_tiny_splits(tmp_path / "data")
    (folder / "images" / "val" / "001.png").write_bytes(b"no image")
    experiment, source = tiny_experiment(folder), open_split(str(folder), "val", None)
    broken: list[BrokenImageError] = []
    loader = build_evaluation_loader(experiment, source, rank(0), broken.append)
    assert sorted(image_id for batch in loader.epoch(0) for image_id in batch.image_ids) == [100, 102]
    assert [error.path.name for error in broken] == ["001.png"]
    with pytest.raises(BrokenImageError, match=r"001\.png"):
        list(build_evaluation_loader(experiment, source, rank(0)).epoch(0))


UNIFORM, REPEAT = "data.scale_sampling=uniform", "data.class_sampling=repeat"


def drawn_classes(root: Path, task: str, *overrides: str) -> set[int]:
    """Return the classes that samples are drawn for."""
    settings = tiny_experiment(root, UNIFORM, *overrides).model_copy(update={"task": task})
    draws = build_image_draws(settings, open_training_split(settings))
    assert draws is not None
    targets = [draws.draw(np.random.default_rng(seed)).targets for seed in range(20)]
    return {int(target) for epoch in targets if epoch is not None for target in epoch}


def test_usual_settings_have_no_rule_that_draws_images(folder: Path) -> None:
    experiment = tiny_experiment(folder)
    assert build_image_draws(experiment, open_training_split(experiment)) is None


def test_classes_are_drawn_that_the_task_learns(folder: Path, tmp_path: Path) -> None:
    assert drawn_classes(folder, "panoptic") == drawn_classes(folder, "semantic") == {0, 1, 2, 3}
    assert drawn_classes(folder, "instance") == drawn_classes(folder, "detection") == {2, 3}
    assert drawn_classes(write_detection(tmp_path), "detection") == {0, 1}


@pytest.mark.parametrize("setting", [UNIFORM, REPEAT])
def test_annotation_that_does_not_list_classes_is_refused(tmp_path: Path, setting: str) -> None:
    experiment = tiny_experiment(write_vistas(tmp_path, panoptic=False).root, "data.train_split=training", setting)
    with pytest.raises(DataError, match=rf"{setting} requires annotation that lists .*\.png"):
        build_image_draws(experiment, open_training_split(experiment))


def test_training_loader_repeats_images_of_rare_classes_with_different_crops(tmp_path: Path) -> None:
    tiny = write_tiny_panoptic(tmp_path, num_images=8, images_without_objects=range(1, 8), sizes=[(40, 56)])
    experiment = tiny_experiment(tiny.folder, REPEAT, "data.repeat_threshold=1.0", "data.random_scale=[0.5,1]")
    told: list[str] = []
    split = open_training_split(experiment)
    loader = build_training_loader(experiment, split, rank(0), TrainingProgress(), told.append)
    assert [sentence.partition(": ")[0] for sentence in told] == ["data.class_sampling=repeat"]
    assert loader.num_batches == 4, "7 images once, and image 100, the only one with things, twice: 8¹ᐟ² = 2.8"
    batches = [batch for epoch in range(6) for batch in loader.epoch(epoch)]
    shown = [pair for batch in batches for pair in zip(batch.image_ids, batch.images, strict=True)]
    assert Counter(image_id for image_id, _ in shown)[100] > 8
    sizes = {tuple(image.shape) for image_id, image in shown if image_id == 100 and image is not None}
    assert len(sizes) > 6


def test_training_loaders_of_two_ranks_share_the_samples_drawn_with_uniform_scales(folder: Path) -> None:
    def samples(batch_size: int, number: int, of: int) -> list[tuple[object, list[int]]]:
        settings = tiny_experiment(folder, UNIFORM, "data.random_crop=[40,40]", f"data.train_batch_size={batch_size}")
        loader = build_training_loader(settings, open_training_split(settings), rank(number, of), TrainingProgress())
        assert loader.num_batches == 2
        return [
            (image_id, image.flatten()[:9].tolist())
            for batch in loader.epoch(3)
            for image_id, image in zip(batch.image_ids, batch.images.present, strict=True)
        ]

    shares = [samples(1, number, 2) for number in (0, 1)]
    assert [sample for step in zip(*shares, strict=True) for sample in step] == samples(2, 0, 1)
