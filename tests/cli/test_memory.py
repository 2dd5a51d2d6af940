"""`seamseg memory`: tables, JSON, batches, settings that save memory, and errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.tiny_experiment import tiny_experiment

from seamseg.cli.memory import switches
from seamseg.config import parse_experiment

SMALL = ("--stuff", 3, "--things", 2, "--size", "64x96", "--objects", 4)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    experiment = tiny_experiment(None, "norm.name=plain", "norm.activation=relu")
    path.write_text(yaml.safe_dump(experiment.model_dump(mode="json", exclude_unset=True)))
    return path


def test_memory_prints_parts_and_peak(command: Callable[..., Any], config: Path) -> None:
    code, out, err = command("memory", config, *SMALL, "--no-switches")
    assert (code, err) == (0, "")
    for word in ("parameters and buffers", "gradients", "body", "fpn", "rpn_head", "roi_head", "sem_head", "losses"):
        assert word in out
    assert "2 images of 64×96 pixels" in out
    assert "5 classes" in out


def test_memory_json_has_bytes_that_agree_with_each_other(command: Callable[..., Any], config: Path) -> None:
    arguments = "memory", config, "task=semantic", *SMALL, "--json", "--device", "cpu"
    code, out, _ = command(*arguments, "data.train_batch_size=1", "--fits", "15MB")
    assert code == 0
    report = json.loads(out)
    memory = report["memory"]
    fixed = sum(memory[key] for key in ("parameters", "optimizer", "batch"))
    assert memory["peak"] >= fixed + sum(memory["kept"].values())
    assert sum(memory["at_peak"].values()) == memory["peak"]
    assert report["workload"]["size"] == [64, 96]
    saved = {entry["settings"]: entry["saved"] for entry in report["savings"]}
    assert saved["norm.name=bn norm.activation=leaky_relu"] > 0
    assert list(saved.values()) == sorted(saved.values(), reverse=True)
    for entry in report["savings"]:
        assert entry["peak"] + entry["saved"] == memory["peak"]
    (size, available) = report["largest_batch"], report["available"]
    assert available == 15_000_000
    peaks = [
        json.loads(command(*arguments, "--no-switches", f"data.train_batch_size={number}").out)
        for number in (size, size + 1)
    ]
    assert peaks[0]["memory"]["peak"] <= available < peaks[1]["memory"]["peak"]
    assert peaks[0]["savings"] == []


def test_memory_of_a_classifier_config_needs_no_data_set(command: Callable[..., Any]) -> None:
    arguments = "memory", "digits_resnet18", "--classes", 10, "--json", "--no-switches"
    report = json.loads(command(*arguments).out)
    assert set(report["memory"]["kept"]) >= {"body"}
    assert report["workload"]["size"] == [32, 32]
    assert report["workload"]["num_things"] == 10
    real = json.loads(command(*arguments, "--device", "cpu").out)
    assert real["device"] == "cpu"
    assert abs(real["memory"]["peak"] - report["memory"]["peak"]) < 0.03 * real["memory"]["peak"]


def test_memory_says_what_saves_most_and_that_no_image_fits(command: Callable[..., Any], config: Path) -> None:
    code, out, _ = command("memory", config, "task=semantic", *SMALL, "--fits", "1MB", "--device", "cpu")
    assert code == 0
    assert "norm.name=bn norm.activation=leaky_relu" in out
    assert "training.memory=checkpoint" in out
    assert "Not even one image fits 0.001 GB" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("vistas_r5",), ("vistas_r50",)),
        (("vistas_r50", "--classes", 3), ("--classes", "--stuff and --things")),
        (("digits_resnet18", "--things", 3), ("--things", "--classes")),
        (("vistas_r50", "--stuff", 0, "--things", 0), ("no classes",)),
        (("vistas_r50", "--size", "0x5"), ("--size 0x5",)),
        (("vistas_r50", "norm.name=bn", "training.memory=compile"), ("training.memory=compile", "bench-memory")),
        (("vistas_r50", "norm.name=bn", "training.compile=true"), ("training.compile=false",)),
        (("vistas_r50", "--device", "cuda"), ("cuda",)),
        (("vistas_r50", "training.memory=all"), ("training.memory",)),
    ],
)
def test_memory_user_errors_are_sentences(
    refuses: Callable[..., str], arguments: tuple[object, ...], words: tuple[str, ...]
) -> None:
    message = refuses("memory", *arguments)
    assert all(word in message for word in words), message


def test_memory_size_without_unit_is_refused(command: Callable[..., Any], config: Path) -> None:
    code, _, err = command("memory", config, "--fits", "11")
    assert code == 2
    assert "GiB" in err


def test_switches_are_those_that_an_experiment_does_not_have_yet() -> None:
    frugal = "{norm: {name: bn}, training: {memory: checkpoint, precision: bf16}, roi: {masks_of_positives_only: true}}"
    assert switches(parse_experiment(frugal, "test")) == []
    lavish = "{data: {train_batch_size: 2}, optimizer: {name: adamw}, training: {weight_average: 0.9}}"
    names = [str(switch) for switch in switches(parse_experiment(lavish, "test"))]
    assert "data.train_batch_size=1 training.accumulate=2" in names
    assert {"optimizer.name=sgd", "training.weight_average=null"} <= set(names)
