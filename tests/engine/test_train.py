"""Training loop: steps, losses and gradients that are not finite, validations and checkpoints."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from support.tiny_experiment import tiny_experiment
from support.tiny_training import Watcher, equal, tiny_trainer, trained

from seamseg.engine.train import Intervals, Trainer, step_generator
from seamseg.runtime.finite import describe_nonfinite_losses
from seamseg.runtime.training_progress import TrainingProgress
from seamseg.structures import LossSum

pytestmark = pytest.mark.usefixtures("narrow")


def parameters(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in trainer.network.named_parameters()}


def changed_entries(trainer: Trainer, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in trainer.network.state_dict().items() if not torch.equal(value, before[name])}


# Steps.


def test_training_on_two_images_lowers_every_loss(folder: Path, tmp_path: Path) -> None:
    overrides = ["training.epochs=30", "data.train_limit=2", "data.random_scale=null", "data.random_flip=false"]
    trainer = tiny_trainer(tiny_experiment(folder, "schedule.warmup.iterations=0", *overrides), tmp_path / "run")
    losses = trained(trainer).losses
    first = {name: sum(losses[k][name] for k in (1, 2, 3)) / 3 for name in losses[1]}
    last = {name: sum(losses[k][name] for k in (28, 29, 30)) / 3 for name in losses[1]}
    assert last["total"] < 0.7 * first["total"]
    for name in ("rpn_objectness", "roi_classes", "roi_masks", "semantic"):
        assert last[name] < first[name], name


def test_on_log_gets_losses_and_learning_rates_at_the_interval(folder: Path, tmp_path: Path) -> None:
    trainer = tiny_trainer(tiny_experiment(folder, "training.log_every=2", "loss_weights.semantic=3"), tmp_path / "run")
    watcher = trained(trainer)
    assert list(watcher.losses) == [2, 4]
    for losses in watcher.losses.values():
        single = {name: value for name, value in losses.items() if name != "total"}
        assert losses["total"] == pytest.approx(sum(single.values()) + 2 * single["semantic"], rel=1e-5)
    # Four iterations: polynomial decay, with a warm-up from one third during the first two.
    assert watcher.rates == pytest.approx({2: 0.02 * 0.75**0.9, 4: 0.02 * 0.25**0.9})


def test_steps_change_every_entry_of_the_state_dict(folder: Path, tmp_path: Path) -> None:
    trainer = tiny_trainer(tiny_experiment(folder), tmp_path / "run")
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    trained(trainer, steps=2)
    assert changed_entries(trainer, before) == set(before)


@pytest.mark.parametrize("norm_frozen", [False, True])
def test_steps_with_frozen_parts_leave_them_unchanged(folder: Path, tmp_path: Path, norm_frozen: bool) -> None:
    frozen = ["body.weights=patched.pth", "body.frozen=[mod1, mod2]", f"body.norm_frozen={norm_frozen}"]
    with mock.patch("seamseg.builders.body.load_body_weights"):
        trainer = tiny_trainer(tiny_experiment(folder, *frozen), tmp_path / "run")
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    trained(trainer, steps=2)
    stayed = set(before) - changed_entries(trainer, before)
    parts = {name for name in before if name.startswith(("body.backbone.mod1.", "body.backbone.mod2."))}
    statistics = {name for name in before if "running" in name or "num_batches" in name}
    norms = {name for name in before if name.startswith("body.backbone.") and "bn" in name.split(".")[-2]}
    assert stayed == (parts | norms if norm_frozen else parts - statistics)


@pytest.mark.parametrize(("limit", "expected"), [("0.001", 0.001), ("null", None)])
def test_step_with_clip_norm_limits_the_change_of_the_weights(
    folder: Path, tmp_path: Path, limit: str, expected: float | None
) -> None:
    plain = ["optimizer.momentum=0", "optimizer.lr=1", "optimizer.weight_decay=0", "schedule.warmup.iterations=0"]
    trainer = tiny_trainer(tiny_experiment(folder, *plain, f"optimizer.clip_norm={limit}"), tmp_path / "run")
    before = parameters(trainer)
    trained(trainer, steps=1)
    step = math.sqrt(sum(float((value - before[name]).square().sum()) for name, value in parameters(trainer).items()))
    assert step == pytest.approx(expected, rel=0.01) if expected else step > 0.1


def test_step_generator_depends_only_on_seed_iteration_and_rank() -> None:
    def draw(*numbers: int) -> list[float]:
        return torch.rand(4, generator=step_generator(*numbers)).tolist()

    assert draw(0, 1, 0) == draw(0, 1, 0)
    drawn = [draw(seed, iteration, rank) for seed in (0, 1) for iteration in (1, 2) for rank in (0, 1)]
    assert len({tuple(numbers) for numbers in drawn}) == 8


# Losses that are not finite.


def losses_of(**values: float) -> dict[str, torch.Tensor]:
    losses = {name: torch.tensor(values.get(name, 1.0)) for name in ("rpn_boxes", "roi_boxes", "semantic")}
    return {"total": torch.stack(list(losses.values())).sum(), **losses}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_describe_nonfinite_losses_names_losses_and_images(value: float) -> None:
    images, finite = [(7, 42), (8, 43)], losses_of()
    assert describe_nonfinite_losses([losses_of(roi_boxes=value), finite], images, 30) == (
        f"iteration 30: roi_boxes={value} on the images [7, 42]"
    )
    assert describe_nonfinite_losses([finite, losses_of(semantic=value, roi_boxes=value)], images, 30) == (
        f"iteration 30: roi_boxes={value}, semantic={value} on the images [8, 43]"
    )
    both = describe_nonfinite_losses([losses_of(roi_boxes=value)] * 2, images, 30)
    assert "[7, 42]; roi_boxes" in both
    assert both.endswith("[8, 43]")
    assert describe_nonfinite_losses([finite, finite], images, 30) == ""


def test_describe_nonfinite_losses_names_an_overflowing_total() -> None:
    assert describe_nonfinite_losses(
        [{"total": torch.tensor(math.inf), "semantic": torch.tensor(3e38)}], [(7,)], 1
    ) == ("iteration 1: total=inf on the images [7]")


@pytest.mark.parametrize("accumulate", [1, 2])
def test_run_with_nan_loss_raises_before_the_step_changes_the_weights(
    folder: Path, tmp_path: Path, accumulate: int
) -> None:
    overrides = [f"training.accumulate={accumulate}", f"training.epochs={2 * accumulate}"]
    experiment = tiny_experiment(folder, "optimizer.weight_decay=0.1", "training.weight_average=0.5", *overrides)
    reference, trainer = (tiny_trainer(experiment, tmp_path / "run") for _ in range(2))
    expected = trained(reference, steps=2).saved[-1]
    original_loss, calls = trainer.network.semantic_loss, []

    def corrupted_loss(*arguments: Any) -> LossSum:
        calls.append(1)
        loss = original_loss(*arguments)
        return LossSum(loss.total * (math.nan if len(calls) == 2 * accumulate + 1 else 1), loss.count)

    trainer.network.semantic_loss = corrupted_loss  # type: ignore[assignment]
    watcher = Watcher(trainer)
    with pytest.raises(
        FloatingPointError, match=r"iteration 3: semantic=nan on the images \[10\d, 10\d\]; the weights"
    ):
        trainer.run(TrainingProgress(), watcher, watcher.stop)
    assert [position.iteration for position in watcher.steps] == [1, 2]
    for name, value in parameters(trainer).items():
        assert torch.equal(value, expected.network[name]), name
    assert equal(trainer.optimization.optimizer.state_dict()["state"], expected.optimizer["state"])
    assert trainer.optimization.average is not None
    assert equal(dict(trainer.optimization.average.network.state_dict()), expected.average)


# Gradients that are not finite while the losses are.


def corrupt_gradient(trainer: Trainer, value: float, calls: set[int]) -> None:
    """Add a value to the gradient of one parameter in the given backward passes (0, 1, …)."""
    seen: list[int] = []

    def hook(gradient: torch.Tensor) -> torch.Tensor:
        seen.append(len(seen))
        return gradient + value if seen[-1] in calls else gradient

    dict(trainer.network.named_parameters())["sem_head.conv_sem.bias"].register_hook(hook)


@pytest.mark.parametrize("clip_norm", ["null", "10"])
@pytest.mark.parametrize("value", [math.inf, math.nan, 3e38])
def test_run_with_nonfinite_gradient_raises_before_the_step_changes_the_weights(
    folder: Path, tmp_path: Path, value: float, clip_norm: str
) -> None:
    experiment = tiny_experiment(folder, "training.weight_average=0.5", f"optimizer.clip_norm={clip_norm}")
    reference, trainer = (tiny_trainer(experiment, tmp_path / "run") for _ in range(2))
    expected = trained(reference, steps=1).saved[-1]
    corrupt_gradient(trainer, value, {1})
    watcher = Watcher(trainer)
    with pytest.raises(FloatingPointError) as caught:
        trainer.run(TrainingProgress(), watcher, watcher.stop)
    place = r"in its norm" if value == 3e38 else r"in sem_head\.conv_sem\.bias"
    assert re.match(
        rf"iteration 2: the gradient .* {place} on the images \[10\d, 10\d\]; .* previous step",
        str(caught.value),
    )
    assert "--resume with optimizer.clip_norm" in str(caught.value)
    assert all(torch.equal(value, expected.network[name]) for name, value in parameters(trainer).items())
    assert equal(trainer.optimization.optimizer.state_dict()["state"], expected.optimizer["state"])
    assert trainer.optimization.average is not None
    assert equal(dict(trainer.optimization.average.network.state_dict()), expected.average)


def use_loss_scale(trainer: Trainer, scale: float) -> torch.amp.GradScaler:
    """Give a trainer on the CPU the loss scaling of fp16, which otherwise needs a GPU."""
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    trainer.optimization.precision._scaler = scaler
    return scaler


@pytest.mark.parametrize("clip_norm", ["null", "10"])
def test_fp16_step_with_overflowing_gradient_is_skipped(folder: Path, tmp_path: Path, clip_norm: str) -> None:
    trainer = tiny_trainer(tiny_experiment(folder, f"optimizer.clip_norm={clip_norm}"), tmp_path / "run")
    scaler = use_loss_scale(trainer, 4.0)
    corrupt_gradient(trainer, math.inf, {0})
    before, watcher = parameters(trainer), Watcher(trainer, stop_after=1)
    end = trainer.run(TrainingProgress(), watcher, watcher.stop)
    assert scaler.get_scale() == 2
    assert all(torch.equal(value, before[name]) for name, value in parameters(trainer).items())
    after = Watcher(trainer)
    assert trainer.run(end, after, after.stop).epoch == 2
    assert not any(torch.equal(value, before[name]) for name, value in parameters(trainer).items())


def test_fp16_gradient_that_stays_nonfinite_ends_the_run(folder: Path, tmp_path: Path) -> None:
    trainer = tiny_trainer(tiny_experiment(folder, "training.epochs=3"), tmp_path / "run")
    use_loss_scale(trainer, 2.0)
    watcher = Watcher(trainer)
    corrupt_gradient(trainer, math.nan, set(range(1, 9)))
    with pytest.raises(FloatingPointError, match=r"iteration 4: the gradient .* in sem_head\.conv_sem\.bias"):
        trainer.run(TrainingProgress(), watcher, watcher.stop)
    assert [position.iteration for position in watcher.steps] == [1, 2, 3]
    assert all(value.isfinite().all() for value in parameters(trainer).values())


def test_weights_that_overflow_in_the_last_step_are_neither_validated_nor_saved(folder: Path, tmp_path: Path) -> None:
    """No loss follows the last step of an epoch, so losses cannot show the overflow."""
    overrides = ["optimizer.lr=1e39", "schedule.warmup.iterations=0"]
    trainer = tiny_trainer(tiny_experiment(folder, "data.train_limit=2", *overrides), tmp_path / "run")
    watcher = Watcher(trainer)
    with pytest.raises(FloatingPointError, match=r"iteration 1: network\.\S+ and \d+ more became infinite or NaN"):
        trainer.run(TrainingProgress(), watcher, watcher.stop)
    assert len(watcher.steps) == 1
    assert (watcher.validated, watcher.saved) == ([], [])


# Validations and checkpoints.


@pytest.mark.parametrize(("every", "expected"), [(1, [0, 1, 2, 3, 4]), (2, [1, 3, 4]), (3, [2, 4]), (5, [4]), (9, [4])])
def test_intervals_schedule_validations_and_checkpoints(every: int, expected: list[int]) -> None:
    intervals = Intervals(epochs=5, validate_every=every, checkpoint_every=every, log_every=1)
    assert [epoch for epoch in range(5) if intervals.validates(epoch)] == expected
    assert [epoch for epoch in range(5) if intervals.checkpoints(epoch)] == expected


def test_intervals_with_validate_every_zero_validate_only_at_the_end() -> None:
    intervals = Intervals(epochs=3, validate_every=0, checkpoint_every=1, log_every=1)
    assert [intervals.validates(epoch) for epoch in range(3)] == [False, False, True]


def test_run_steps_validates_and_saves_in_order(folder: Path, tmp_path: Path) -> None:
    overrides = ["training.epochs=3", "training.checkpoint_every=2", "training.validate_every=1"]
    trainer = tiny_trainer(tiny_experiment(folder, *overrides), tmp_path / "run")
    qualities = {2: 0.3, 4: 0.5, 6: 0.4}
    watcher = Watcher(trainer, quality=lambda position: qualities[position.iteration])
    end = trainer.run(TrainingProgress(), watcher, watcher.stop)
    assert end == TrainingProgress(epoch=3, batch=0, iteration=6, best_quality=0.5, best_iteration=4)
    assert [(p.epoch, p.batch, p.iteration) for p in watcher.steps] == [
        (epoch, batch, 2 * epoch + batch) for epoch in range(3) for batch in (1, 2)
    ]
    assert [(position.iteration, position.best_quality) for position, _ in watcher.validated] == [
        (2, -1),
        (4, 0.3),
        (6, 0.5),
    ]
    assert [saved.position for saved in watcher.saved] == [
        TrainingProgress(1, 0, 2, 0.3, 2),  # not due, but the best so far
        TrainingProgress(2, 0, 4, 0.5, 4),
        TrainingProgress(3, 0, 6, 0.5, 4),
    ]


def test_run_continues_in_training_mode_after_a_validation(folder: Path, tmp_path: Path) -> None:
    trainer = tiny_trainer(tiny_experiment(folder, "training.epochs=2"), tmp_path / "run")
    modes: list[bool] = []
    trainer.network.register_forward_pre_hook(lambda network, inputs: modes.append(network.training))
    watcher = trained(trainer)
    assert len(watcher.validated) == 2
    assert modes == [True] * 4


def test_run_with_weight_average_validates_the_average(folder: Path, tmp_path: Path) -> None:
    trainer = tiny_trainer(tiny_experiment(folder, "training.weight_average=0.9"), tmp_path / "run")
    watcher = trained(trainer)
    assert trainer.optimization.average is not None
    assert all(network is trainer.optimization.average.network for _, network in watcher.validated)
    assert watcher.saved[-1].average is not None
    assert not equal(watcher.saved[-1].average, watcher.saved[-1].network)
    plain = tiny_trainer(tiny_experiment(folder), tmp_path / "run")
    assert all(network is plain.network for _, network in trained(plain).validated)


def test_run_from_the_final_position_does_nothing(folder: Path, tmp_path: Path) -> None:
    trainer = tiny_trainer(tiny_experiment(folder), tmp_path / "run")
    watcher = Watcher(trainer)
    assert trainer.run(TrainingProgress(2, 0, 4, 0.1), watcher, watcher.stop) == TrainingProgress(2, 0, 4, 0.1)
    assert (watcher.steps, watcher.validated, watcher.saved) == ([], [], [])
