"""Builders of the optimizer, the schedule and the trainer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.tiny_dataset import write_tiny_panoptic
from support.tiny_experiment import narrow_body, tiny_experiment, write_tiny_splits
from support.tiny_network import tiny_network
from support.tiny_training import ALONE, CATEGORIES, Watcher, tiny_trainer

from seamseg.builders import build_trainer
from seamseg.builders.training import build_learning_rate, build_optimizer, with_choices
from seamseg.cli.training_run import changed_settings
from seamseg.config import parse_experiment
from seamseg.runtime.training_progress import TrainingProgress
from seamseg.structures import Categories


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_splits(tmp_path_factory.mktemp("training") / "data")


def test_build_optimizer_sgd_has_its_settings() -> None:
    optimizer = build_optimizer(tiny_experiment(None, "optimizer.lr=0.3", "optimizer.momentum=0.8"), tiny_network())
    assert type(optimizer) is torch.optim.SGD
    for group, decay in zip(optimizer.param_groups, (1e-4, 0.0), strict=True):
        assert (group["lr"], group["momentum"], group["nesterov"]) == (0.3, 0.8, True)
        assert group["weight_decay"] == decay


def test_build_optimizer_sgd_without_momentum_disables_nesterov() -> None:
    optimizer = build_optimizer(tiny_experiment(None, "optimizer.momentum=0"), tiny_network())
    assert not optimizer.param_groups[0]["nesterov"]


def test_build_optimizer_adamw_has_its_settings() -> None:
    overrides = ["optimizer.name=adamw", "optimizer.betas=[0.8, 0.9]", "optimizer.weight_decay=0.05"]
    optimizer = build_optimizer(tiny_experiment(None, *overrides), tiny_network())
    assert isinstance(optimizer, torch.optim.AdamW)
    assert [group["betas"] for group in optimizer.param_groups] == [(0.8, 0.9)] * 2
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.05, 0.05]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("{name: poly, power: 2, warmup: {iterations: 0}}", [1, 0.75**2, 0.5**2, 0.25**2]),
        ("{name: steps, milestones: [2, 4], gamma: 0.5, warmup: {iterations: 0}}", [1, 0.5, 0.5, 0.25]),
        ("{name: steps, milestones: [1], unit: epochs, gamma: 0.5, warmup: {iterations: 0}}", [1, 1, 0.5, 0.5]),
        ("{name: cosine, warmup: {iterations: 0}}", [1, 0.853553, 0.5, 0.146447]),
        ("{name: steps, milestones: [9], warmup: {iterations: 4, factor: 0.2}}", [0.4, 0.6, 0.8, 1]),
    ],
)
def test_build_learning_rate_schedule_gives_these_rates(schedule: str, expected: list[float]) -> None:
    rate = build_learning_rate(tiny_experiment(None, "optimizer.lr=2", f"schedule={schedule}"), 4, 1)
    assert [rate(k) for k in (1, 2, 3, 4)] == pytest.approx([2 * factor for factor in expected], rel=1e-5)


def test_build_trainer_schedule_spans_all_epochs(folder: Path, tmp_path: Path) -> None:
    with narrow_body():
        trainer = tiny_trainer(tiny_experiment(folder, "training.epochs=3"), tmp_path / "run")
    assert trainer.optimization.learning_rate(6) == pytest.approx(0.02 * (1 / 6) ** 0.9)  # 3 epochs of 2 batches


def test_build_trainer_compiles_the_backbone_if_the_settings_say_so(folder: Path, tmp_path: Path) -> None:
    with narrow_body():
        compiled, plain = (
            tiny_trainer(tiny_experiment(folder, *overrides), tmp_path / str(len(overrides))).network
            for overrides in (("training.memory=compile", "training.compile_budget=0.3"), ())
        )
    assert compiled.body.backbone.compile_budget == 0.3
    assert plain.body.backbone.compile_budget is None
    assert compiled.state_dict().keys() == plain.state_dict().keys()


def test_build_trainer_splits_with_different_classes_are_refused(tmp_path: Path) -> None:
    write_tiny_panoptic(tmp_path, split="train")
    write_tiny_panoptic(tmp_path, split="val", things=["car", "dog"])
    with pytest.raises(ValueError, match=f"the splits train and val of {tmp_path} have different categories"):
        tiny_trainer(tiny_experiment(tmp_path), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_build_trainer_resumes_from_a_checkpoint(folder: Path, tmp_path: Path) -> None:
    experiment = tiny_experiment(folder)
    with narrow_body():
        trainer = tiny_trainer(experiment, tmp_path / "run")
        watcher = Watcher(trainer, stop_after=1)
        trainer.run(TrainingProgress(), watcher, watcher.stop)
        restored, record = build_trainer(experiment, tmp_path / "run", ALONE, watcher.saved[0])
    record.close()
    assert record.position == TrainingProgress(epoch=0, batch=1, iteration=1, images_per_batch=2)
    state = restored.network.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in trainer.network.state_dict().items())


def test_build_trainer_checkpoint_of_another_network_is_refused(folder: Path, tmp_path: Path) -> None:
    with narrow_body():
        trainer = tiny_trainer(tiny_experiment(folder), tmp_path / "run")
        watcher = Watcher(trainer, stop_after=1)
        trainer.run(TrainingProgress(), watcher, watcher.stop)
        with pytest.raises(ValueError, match="another network: ") as caught:
            tiny_trainer(tiny_experiment(folder, "fpn.channels=32"), tmp_path / "run", watcher.saved[0])
        assert "\n" not in str(caught.value)
        without = replace(watcher.saved[0], optimizer={"state": {}, "param_groups": []})
        with pytest.raises(ValueError, match="another network"):
            tiny_trainer(tiny_experiment(folder), tmp_path / "run", without)


def test_build_trainer_checkpoint_of_other_classes_is_refused(folder: Path, tmp_path: Path) -> None:
    with narrow_body():
        trainer = tiny_trainer(tiny_experiment(folder), tmp_path / "first")
        sky, road, *things = CATEGORIES.classes
        other = trainer.checkpoint(TrainingProgress(), "{}", Categories((road, sky, *things)).to_list())
        with pytest.raises(ValueError, match="class 0 is 'sky' in the data set and 'road' in the run") as caught:
            build_trainer(tiny_experiment(folder), tmp_path / "second", ALONE, other)
    assert str(folder) in str(caught.value)
    assert not (tmp_path / "second").exists()


@pytest.mark.parametrize(("lr_batch", "expected"), [("null", 2.0), ("8", 1.5), ("3", 4.0)])
def test_build_learning_rate_is_scaled_by_the_images_per_step(lr_batch: str, expected: float) -> None:
    experiment = tiny_experiment(None, "optimizer.lr=2", f"optimizer.lr_batch={lr_batch}")
    assert build_learning_rate(experiment, 4, images_per_step=6).lr == pytest.approx(expected)


AUTOMATIC = ("training.precision=auto", "training.channels_last=auto")


def test_automatic_settings_are_recorded_as_chosen(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    with narrow_body(channels=16):
        trainer, record = build_trainer(tiny_experiment(folder, *AUTOMATIC), tmp_path / "run", ALONE, None)
    record.close()
    chosen = parse_experiment((tmp_path / "run/config.yaml").read_text(), "test").training
    assert (chosen.precision, chosen.channels_last) == ("bf16", True)
    weight = trainer.network.get_parameter("body.fpn.output.0.conv.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last)
    with trainer.optimization.precision.autocast():
        assert torch.is_autocast_enabled("cpu")


def test_automatic_settings_of_a_resumed_run_are_those_it_was_started_with(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with narrow_body(channels=16):
        trainer, record = build_trainer(tiny_experiment(folder), tmp_path / "run", ALONE, None)
    record.close()
    checkpoint = trainer.checkpoint(TrainingProgress(), record.settings, record.classes)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    resumed = with_choices(tiny_experiment(folder, *AUTOMATIC), torch.device("cpu"), checkpoint).training
    assert (resumed.precision, resumed.channels_last) == ("float32", False)
    changed = changed_settings(checkpoint, tiny_experiment(folder, *AUTOMATIC, "training.epochs=5"))
    assert changed == {"training.epochs": (2, 5)}
    given = with_choices(tiny_experiment(folder, "training.precision=bf16"), torch.device("cpu"), checkpoint).training
    assert (given.precision, given.channels_last) == ("bf16", False)
