"""The training loop: what a step does, what is kept, and that an interruption changes nothing."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from tiny_experiment import narrow_body, tiny_experiment, write_tiny_splits
from tiny_training import ALONE, Watcher, tiny_trainer

from seamseg.build import build_trainer
from seamseg.config import Experiment
from seamseg.runtime.checkpoint import Checkpoint, load_checkpoint
from seamseg.runtime.log import read_metrics
from seamseg.runtime.position import Position, Stretch
from seamseg.runtime.run_folder import checkpoint_paths, newest_checkpoint
from seamseg.runtime.stopping import StopRequest
from seamseg.structures import Batch, LossSum
from seamseg.train import Pace, Trainer, astray, step_generator


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_splits(tmp_path_factory.mktemp("train") / "data", num_val=1)


@pytest.fixture(autouse=True)
def _narrow() -> Iterator[None]:
    with narrow_body():
        yield


def trained(trainer: Trainer, steps: int | None = None) -> Watcher:
    watcher = Watcher(trainer, stop_after=steps)
    trainer.run(Position(), watcher, watcher.stop)
    return watcher


def parameters(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in trainer.network.named_parameters()}


def moved(trainer: Trainer, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in trainer.network.state_dict().items() if not torch.equal(value, before[name])}


# What a step does.


def test_the_loss_falls(folder: Path, tmp_path: Path) -> None:
    overrides = ["training.epochs=30", "data.train_limit=2", "data.random_scale=null", "data.random_flip=false"]
    trainer = tiny_trainer(tiny_experiment(folder, "schedule.warmup.iterations=0", *overrides), tmp_path / "run")
    losses = trained(trainer).losses
    first = {name: sum(losses[k][name] for k in (1, 2, 3)) / 3 for name in losses[1]}
    last = {name: sum(losses[k][name] for k in (28, 29, 30)) / 3 for name in losses[1]}
    assert last["total"] < 0.7 * first["total"]
    for name in ("rpn_objectness", "roi_classes", "roi_masks", "semantic"):
        assert last[name] < first[name], name


def test_what_is_logged(folder: Path, tmp_path: Path) -> None:
    trainer = tiny_trainer(tiny_experiment(folder, "training.log_every=2", "loss_weights.semantic=3"), tmp_path / "run")
    watcher = trained(trainer)
    assert list(watcher.losses) == [2, 4]
    for losses in watcher.losses.values():
        single = {name: value for name, value in losses.items() if name != "total"}
        assert losses["total"] == pytest.approx(sum(single.values()) + 2 * single["semantic"], rel=1e-5)
    # Four iterations, two of them warm-up from a third, on top of a polynomial decay.
    assert watcher.rates == pytest.approx({2: 0.02 * 0.75**0.9, 4: 0.02 * 0.25**0.9})


def test_a_step_moves_every_parameter(folder: Path, tmp_path: Path) -> None:
    trainer = tiny_trainer(tiny_experiment(folder), tmp_path / "run")
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    trained(trainer, steps=2)
    assert moved(trainer, before) == set(before)


@pytest.mark.parametrize("norm_frozen", [False, True])
def test_frozen_parts_stay(folder: Path, tmp_path: Path, norm_frozen: bool) -> None:
    frozen = ["body.weights=patched.pth", "body.frozen=[mod1, mod2]", f"body.norm_frozen={norm_frozen}"]
    with mock.patch("seamseg.build.network.load_body_weights"):
        trainer = tiny_trainer(tiny_experiment(folder, *frozen), tmp_path / "run")
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    trained(trainer, steps=2)
    stayed = set(before) - moved(trainer, before)
    parts = {name for name in before if name.startswith(("body.backbone.mod1.", "body.backbone.mod2."))}
    statistics = {name for name in before if "running" in name or "num_batches" in name}
    norms = {name for name in before if name.startswith("body.backbone.") and "bn" in name.split(".")[-2]}
    assert stayed == (parts | norms if norm_frozen else parts - statistics)


@pytest.mark.parametrize(("limit", "expected"), [("0.001", 0.001), ("null", None)])
def test_the_gradient_is_clipped(folder: Path, tmp_path: Path, limit: str, expected: float | None) -> None:
    plain = ["optimizer.momentum=0", "optimizer.lr=1", "optimizer.weight_decay=0", "schedule.warmup.iterations=0"]
    trainer = tiny_trainer(tiny_experiment(folder, *plain, f"optimizer.clip_norm={limit}"), tmp_path / "run")
    before = parameters(trainer)
    trained(trainer, steps=1)
    step = math.sqrt(sum(float((value - before[name]).square().sum()) for name, value in parameters(trainer).items()))
    assert step == pytest.approx(expected, rel=0.01) if expected else step > 0.1


def test_a_step_depends_on_seed_iteration_and_rank() -> None:
    def draw(*numbers: int) -> list[float]:
        return torch.rand(4, generator=step_generator(*numbers)).tolist()

    assert draw(0, 1, 0) == draw(0, 1, 0)
    drawn = [draw(seed, iteration, rank) for seed in (0, 1) for iteration in (1, 2) for rank in (0, 1)]
    assert len({tuple(numbers) for numbers in drawn}) == 8


# Losses that are not finite.


def losses_of(**values: float) -> dict[str, torch.Tensor]:
    losses = {name: torch.tensor(values.get(name, 1.0)) for name in ("rpn_boxes", "roi_boxes", "semantic")}
    return {"total": torch.stack(list(losses.values())).sum(), **losses}


def batches_of(*image_ids: tuple[int, ...]) -> Any:
    return [Batch(ids, *[None] * (len(fields(Batch)) - 1)) for ids in image_ids]  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_losses_that_are_not_finite_are_named_with_their_images(value: float) -> None:
    batches, right = batches_of((7, 42), (8, 43)), losses_of()
    assert astray([losses_of(roi_boxes=value), right], batches, 30) == (
        f"iteration 30: roi_boxes={value} on the images [7, 42]"
    )
    assert astray([right, losses_of(semantic=value, roi_boxes=value)], batches, 30) == (
        f"iteration 30: roi_boxes={value}, semantic={value} on the images [8, 43]"
    )
    both = astray([losses_of(roi_boxes=value)] * 2, batches, 30)
    assert "[7, 42]; roi_boxes" in both
    assert both.endswith("[8, 43]")
    assert astray([right, right], batches, 30) == ""


def test_a_sum_that_overflows_is_named_too() -> None:
    assert astray([{"total": torch.tensor(math.inf), "semantic": torch.tensor(3e38)}], batches_of((7,)), 1) == (
        "iteration 1: total=inf on the images [7]"
    )


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_run_that_goes_astray_stops_before_it_changes_the_weights(
    folder: Path, tmp_path: Path, accumulate: int
) -> None:
    overrides = [f"training.accumulate={accumulate}", f"training.epochs={2 * accumulate}"]
    experiment = tiny_experiment(folder, "optimizer.weight_decay=0.1", "training.weight_average=0.5", *overrides)
    healthy, trainer = (tiny_trainer(experiment, tmp_path / "run") for _ in range(2))
    expected = trained(healthy, steps=2).saved[-1]
    right, calls = trainer.network.semantic_loss, []

    def wrong(*arguments: Any) -> LossSum:
        calls.append(1)
        loss = right(*arguments)
        return LossSum(loss.total * (math.nan if len(calls) == 2 * accumulate + 1 else 1), loss.count)

    trainer.network.semantic_loss = wrong  # type: ignore[assignment]
    watcher = Watcher(trainer)
    with pytest.raises(
        FloatingPointError, match=r"iteration 3: semantic=nan on the images \[10\d, 10\d\]; the weights"
    ):
        trainer.run(Position(), watcher, watcher.stop)
    assert [position.iteration for position in watcher.steps] == [1, 2]
    for name, value in parameters(trainer).items():
        assert torch.equal(value, expected.network[name]), name
    assert equal(trainer.optimisation.optimizer.state_dict()["state"], expected.optimizer["state"])
    assert trainer.optimisation.average is not None
    assert equal(dict(trainer.optimisation.average.network.state_dict()), expected.average)


# When something happens.


@pytest.mark.parametrize(("every", "expected"), [(1, [0, 1, 2, 3, 4]), (2, [1, 3, 4]), (3, [2, 4]), (5, [4]), (9, [4])])
def test_validations_and_checkpoints(every: int, expected: list[int]) -> None:
    pace = Pace(epochs=5, validate_every=every, checkpoint_every=every, log_every=1)
    assert [epoch for epoch in range(5) if pace.validates(epoch)] == expected
    assert [epoch for epoch in range(5) if pace.checkpoints(epoch)] == expected


def test_validation_at_the_end_alone() -> None:
    pace = Pace(epochs=3, validate_every=0, checkpoint_every=1, log_every=1)
    assert [pace.validates(epoch) for epoch in range(3)] == [False, False, True]


def test_the_course_of_a_run(folder: Path, tmp_path: Path) -> None:
    overrides = ["training.epochs=3", "training.checkpoint_every=2", "training.validate_every=1"]
    trainer = tiny_trainer(tiny_experiment(folder, *overrides), tmp_path / "run")
    qualities = {2: 0.3, 4: 0.5, 6: 0.4}
    watcher = Watcher(trainer, quality=lambda position: qualities[position.iteration])
    end = trainer.run(Position(), watcher, watcher.stop)
    assert end == Position(epoch=3, batch=0, iteration=6, best_pq=0.5, best_iteration=4)
    assert [(p.epoch, p.batch, p.iteration) for p in watcher.steps] == [
        (epoch, batch, 2 * epoch + batch) for epoch in range(3) for batch in (1, 2)
    ]
    assert [(position.iteration, position.best_pq) for position, _ in watcher.validated] == [
        (2, -1),
        (4, 0.3),
        (6, 0.5),
    ]
    assert [saved.position for saved in watcher.saved] == [
        Position(1, 0, 2, 0.3, 2),  # out of turn, because it is the best
        Position(2, 0, 4, 0.5, 4),
        Position(3, 0, 6, 0.5, 4),
    ]


def test_after_a_validation_training_goes_on_in_training_mode(folder: Path, tmp_path: Path) -> None:
    trainer = tiny_trainer(tiny_experiment(folder, "training.epochs=2"), tmp_path / "run")
    modes: list[bool] = []
    trainer.network.register_forward_pre_hook(lambda network, inputs: modes.append(network.training))
    watcher = trained(trainer)
    assert len(watcher.validated) == 2
    assert modes == [True] * 4


def test_the_average_is_validated_in_place_of_the_weights(folder: Path, tmp_path: Path) -> None:
    trainer = tiny_trainer(tiny_experiment(folder, "training.weight_average=0.9"), tmp_path / "run")
    watcher = trained(trainer)
    assert trainer.optimisation.average is not None
    assert all(network is trainer.optimisation.average.network for _, network in watcher.validated)
    assert watcher.saved[-1].average is not None
    assert not equal(watcher.saved[-1].average, watcher.saved[-1].network)
    plain = tiny_trainer(tiny_experiment(folder), tmp_path / "run")
    assert all(network is plain.network for _, network in trained(plain).validated)


def test_a_finished_run_does_nothing(folder: Path, tmp_path: Path) -> None:
    trainer = tiny_trainer(tiny_experiment(folder), tmp_path / "run")
    watcher = Watcher(trainer)
    assert trainer.run(Position(2, 0, 4, 0.1), watcher, watcher.stop) == Position(2, 0, 4, 0.1)
    assert (watcher.steps, watcher.validated, watcher.saved) == ([], [], [])


# Interruptions.


def test_a_stop_in_the_middle_of_an_epoch_is_saved_and_not_validated(folder: Path, tmp_path: Path) -> None:
    watcher = trained(tiny_trainer(tiny_experiment(folder), tmp_path / "run"), steps=1)
    assert [saved.position for saved in watcher.saved] == [Position(0, 1, 1)]
    assert len(watcher.steps) == 1
    assert watcher.validated == []


def test_a_stop_in_the_last_step_of_an_epoch_leaves_the_validation_to_the_next_start(
    folder: Path, tmp_path: Path
) -> None:
    overrides = ["training.epochs=3", "training.checkpoint_every=3"]
    watcher = trained(tiny_trainer(tiny_experiment(folder, *overrides), tmp_path / "run"), steps=2)
    assert [saved.position for saved in watcher.saved] == [Position(0, 2, 2)]
    assert watcher.validated == []
    trainer = watcher.trainer
    after = Watcher(trainer, stop_after=1)
    trainer.run(Position(0, 2, 2), after, after.stop)
    assert [position for position, _ in after.validated] == [Position(1, 0, 2)]
    assert [position.iteration for position in after.steps] == [3]


def test_a_stop_in_a_validation_is_heeded_after_it(folder: Path, tmp_path: Path) -> None:
    trainer = tiny_trainer(tiny_experiment(folder, "training.checkpoint_every=2"), tmp_path / "run")

    def stopped(position: Position) -> float:
        watcher.stop.signal = signal.SIGUSR1
        return -1.0

    watcher = Watcher(trainer, quality=stopped)
    assert trainer.run(Position(), watcher, watcher.stop) == Position(1, 0, 2)
    assert [saved.position for saved in watcher.saved] == [Position(1, 0, 2)]


def test_a_stop_is_heeded_where_an_epoch_is_one_step(folder: Path, tmp_path: Path) -> None:
    overrides = ["training.epochs=5", "training.validate_every=5", "data.train_limit=2"]
    watcher = trained(tiny_trainer(tiny_experiment(folder, *overrides), tmp_path / "run"), steps=2)
    assert [position.iteration for position in watcher.steps] == [1, 2]
    assert watcher.saved[-1].position == Position(1, 1, 2)


def equal(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(equal, first, second))
    return bool(first == second)


def run_until(experiment: Experiment, folder: Path, iteration: int | None) -> Checkpoint:
    """Begins or goes on in a run folder, as the command does, up to an iteration or to the end."""
    before = latest(folder) if checkpoint_paths(folder) else None
    trainer, record = build_trainer(experiment, folder, ALONE, before)
    stop = StopRequest()

    def ask(done: int, remark: str) -> None:
        if done == iteration:
            stop.signal = signal.SIGTERM

    record.advance = ask
    trainer.run(record.position, record, stop)
    record.close()
    return latest(folder)


def latest(folder: Path) -> Checkpoint:
    return load_checkpoint(newest_checkpoint(folder)[0])


SGD = ("training.epochs=3", "training.weight_average=0.9", "optimizer.clip_norm=1")
ADAMW = ("training.epochs=3", "optimizer.name=adamw", "optimizer.lr=0.001", "norm.heads=gn")


@pytest.fixture(scope="module")
def uninterrupted(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], Any]:
    """Run folder and last checkpoint of six iterations in three epochs."""
    runs = {}
    for overrides in (SGD, ADAMW):
        run = tmp_path_factory.mktemp("uninterrupted")
        with narrow_body():
            runs[overrides] = run, run_until(tiny_experiment(folder, *overrides), run, None)
    return runs


@pytest.mark.parametrize(
    ("overrides", "stops", "num_workers"),
    [
        (SGD, [3], 0),
        (SGD, [3], 1),
        (SGD, [2], 0),
        (SGD, [2], 1),
        (ADAMW, [1, 2, 3, 4, 5], 0),
    ],
    ids=["sgd-within-0", "sgd-within-1", "sgd-between-0", "sgd-between-1", "adamw-everywhere"],
)
def test_interrupted_and_resumed_equals_uninterrupted(
    uninterrupted: Any, folder: Path, tmp_path: Path, overrides: tuple[str, ...], stops: list[int], num_workers: int
) -> None:
    run, expected = uninterrupted[overrides]
    experiment = tiny_experiment(folder, *overrides, f"data.num_workers={num_workers}")
    for iteration in stops:
        position = run_until(experiment, tmp_path, iteration).position
        assert position.iteration == iteration
        assert (position.epoch, position.batch - 1) == divmod(iteration - 1, 2)
    found = run_until(experiment, tmp_path, None)
    assert replace(found.position, best_pq=0, best_iteration=0) == Position(3, 0, 6, 0, 0, 2)
    for part in ("position", "network", "optimizer", "average", "categories"):
        assert equal(getattr(found, part), getattr(expected, part)), part
    assert read_metrics(tmp_path) == read_metrics(run)
    assert (tmp_path / "model.safetensors").exists()


def test_a_run_goes_on_with_other_images_per_batch(folder: Path, tmp_path: Path) -> None:
    """One of four batches of one image is half a step of two: the schedule stands at the same share of the run."""
    shorter = tiny_experiment(folder, "data.train_batch_size=1", "training.epochs=2", "optimizer.lr_batch=1")
    watcher = Watcher(tiny_trainer(shorter, tmp_path / "run"), stop_after=2)
    watcher.trainer.run(Position(images_per_batch=1), watcher, watcher.stop)
    assert [saved.position for saved in watcher.saved] == [Position(0, 2, 2, images_per_batch=1)]
    longer = tiny_experiment(folder, "data.train_batch_size=2", "training.epochs=2", "optimizer.lr_batch=2")
    trainer, record = build_trainer(longer, tmp_path / "run", ALONE, watcher.saved[0])
    record.close()
    assert record.position == Position(0, 0, 2, images_per_batch=2, earlier=(Stretch(1, 2),))
    assert (trainer.schedule_step(record.position), trainer.num_iterations(record.position)) == (1, 5)
    after = Watcher(trainer)
    assert trainer.run(record.position, after, after.stop) == Position(2, 0, 5, 0.5, 3, 2)
    assert [(position.epoch, position.batch, position.iteration) for position in after.steps] == [
        (0, 1, 3),
        (1, 1, 4),
        (1, 2, 5),
    ]
    undisturbed = trained(tiny_trainer(longer, tmp_path / "other"))
    assert [after.rates[iteration] for iteration in (3, 4, 5)] == [undisturbed.rates[step] for step in (2, 3, 4)]


def test_a_crash_loses_only_what_followed_the_checkpoint(uninterrupted: Any, folder: Path, tmp_path: Path) -> None:
    run, expected = uninterrupted[SGD]
    experiment = tiny_experiment(folder, *SGD)
    run_until(experiment, tmp_path, 3)
    kept = newest_checkpoint(tmp_path)[0]
    content = kept.read_bytes()
    run_until(experiment, tmp_path, 5)  # validated and logged once more, then the power fails
    for path in checkpoint_paths(tmp_path):
        path.unlink()
    kept.write_bytes(content)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "tra')
    found = run_until(experiment, tmp_path, None)
    assert equal(found.network, expected.network)
    assert read_metrics(tmp_path) == read_metrics(run)
