"""The measured memory of a training step is that of real steps, on small networks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from support.tiny_experiment import narrow_body, tiny_experiment, write_tiny_splits
from support.tiny_image_folder import tiny_classifier, write_tiny_folder

from benchmarks.memory import peak_bytes
from seamseg.builders.memory import COCO_CLASSES, Workload, find_workload, measure_training
from seamseg.config import ClassifierExperiment, TrainableSettings, parse_experiment, parse_settings

CPU = torch.device("cpu")
SMALL = Workload(3, 2, (96, 128), 5, "the test")


@pytest.fixture(autouse=True)
def _narrow() -> Iterator[None]:
    with narrow_body():
        yield


EXPERIMENTS: dict[str, tuple[str, ...]] = {
    "half": ("training.precision=bf16", "training.weight_average=0.9", "norm.name=syncbn", "optimizer.name=adamw"),
    "recomputed": ("roi.masks_of_positives_only=true", "training.accumulate=2", "training.memory=checkpoint"),
    "regions": (
        *("roi.box_head=conv4", "roi.box_channels=16", "roi.mask_scoring=true", "roi.mask_head=pointrend"),
        *("norm.heads=gn", "task=instance"),
    ),
    "cascade": ("roi.cascade=[0.5, 0.6, 0.7]", "roi.masks_of_positives_only=true", "norm.heads=gn"),
    "semantic": ("task=semantic", "norm.name=plain", "loss.class_weights=frequency", "sem.focal_gamma=2"),
    "deeplab": ("task=semantic", "sem.head=deeplab", "norm.name=mabn"),
}


def classifier() -> ClassifierExperiment:
    text = "{task: classification, data: {crop: 64, resize: 64, train_batch_size: 3}, body: {name: resnet18}}"
    return parse_settings(ClassifierExperiment, text, "test", ["norm.name=brn"])


def experiments() -> Iterator[tuple[str, TrainableSettings, Workload]]:
    for name, overrides in EXPERIMENTS.items():
        yield name, tiny_experiment(None, *overrides), SMALL
    yield "classifier", classifier(), Workload(0, 5, (64, 64), 0, "the test")


@pytest.mark.filterwarnings("ignore:some norms have weights")
def test_step_without_values_has_the_memory_of_a_real_step() -> None:
    for name, experiment, workload in experiments():
        estimated, real = (measure_training(experiment, workload, device) for device in (None, CPU))
        assert abs(estimated.peak - real.peak) < 0.03 * real.peak, name
        assert estimated.peak_phase == real.peak_phase, name
        expected = asdict(real)
        found = asdict(estimated)
        for key in ("parameters", "average", "gradients", "optimizer", "batch"):
            assert found[key] == expected[key], (name, key)
        assert found["kept"].keys() == expected["kept"].keys(), name
        for part, num_bytes in expected["kept"].items():
            assert abs(found["kept"][part] - num_bytes) <= 0.01 * num_bytes, (name, part)


@pytest.mark.parametrize("overrides", [("norm.name=bn",), ("norm.name=plain", "training.memory=checkpoint")])
def test_peak_of_a_real_step_is_that_of_the_profiler(overrides: tuple[str, ...]) -> None:
    experiment = tiny_experiment(None, *overrides, "data.train_batch_size=4")
    measured = []
    expected = peak_bytes(lambda: measured.append(measure_training(experiment, SMALL, CPU)))
    # The profiler also sees workspaces inside of operators, here one of a convolution of the mask branch.
    assert 0.8 * expected < measured[0].peak < expected


def test_parts_follow_from_the_settings() -> None:
    memory = measure_training(tiny_experiment(None, "body.frozen=[mod1]", "body.weights=imagenet"), SMALL, None)
    assert set(memory.kept) == {"body", "fpn", "rpn_head", "roi_head", "sem_head", "losses"}
    assert memory.optimizer < memory.parameters  # momentum of what is trained
    assert memory.optimizer <= memory.gradients < 1.01 * memory.optimizer
    assert memory.batch > 2 * 96 * 128 * (3 * 4 + 8)  # images in float32, ids in int64
    other = measure_training(tiny_experiment(None, "roi.masks_of_positives_only=true"), SMALL, None)
    assert other.kept["roi_head"] < 0.7 * memory.kept["roi_head"]
    assert other.kept["body"] > memory.kept["body"]


def test_workload_without_a_data_set_has_the_largest_images_of_the_settings() -> None:
    experiment = parse_experiment("data: {shortest_side: 100, longest_side: 300, random_scale: [0.5, 2]}", "test")
    workload = find_workload(experiment, 7)
    assert (workload.num_stuff, workload.num_things, workload.size) == (*COCO_CLASSES, (200, 300))
    assert "assumed" in workload.source
    cropped = parse_experiment("data: {random_crop: [150, 500]}", "test", ["data.longest_side=1500"])
    assert find_workload(cropped, 7).size == (150, 500)
    jitter = "data: {shortest_side: 100, longest_side: 150, random_scale: [0.5, 2], random_crop: [500, 260]}"
    assert find_workload(parse_experiment(jitter, "test"), 7).size == (200, 260)
    assert find_workload(classifier(), 7).num_things == 1000


def test_workload_of_a_data_set_has_its_classes_and_largest_image(tmp_path: Path) -> None:
    experiment = tiny_experiment(write_tiny_splits(tmp_path / "data"), "data.random_scale=null")
    workload = find_workload(experiment, 7)
    assert (workload.num_stuff, workload.num_things, workload.num_objects) == (2, 2, 7)
    assert min(workload.size) == 64 or max(workload.size) == 96
    images = tiny_classifier(write_tiny_folder(tmp_path / "images"))
    assert find_workload(images, 7).num_things == 3
