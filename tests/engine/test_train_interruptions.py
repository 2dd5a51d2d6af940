"""Training loop: interrupted and resumed runs equal uninterrupted ones."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.tiny_experiment import narrow_body, tiny_experiment
from support.tiny_training import ALONE, Watcher, equal, tiny_trainer, trained

from seamseg.builders import build_trainer
from seamseg.config import Experiment
from seamseg.runtime.checkpoint import Checkpoint, checkpoint_paths, load_checkpoint, newest_checkpoint
from seamseg.runtime.log import read_metrics
from seamseg.runtime.stopping import StopRequest
from seamseg.runtime.training_progress import CompletedSpan, TrainingProgress

pytestmark = pytest.mark.usefixtures("narrow")


def test_stop_within_an_epoch_saves_without_validation(folder: Path, tmp_path: Path) -> None:
    watcher = trained(tiny_trainer(tiny_experiment(folder), tmp_path / "run"), steps=1)
    assert [saved.position for saved in watcher.saved] == [TrainingProgress(0, 1, 1)]
    assert len(watcher.steps) == 1
    assert watcher.validated == []


def test_stop_in_the_last_step_of_an_epoch_postpones_the_validation(folder: Path, tmp_path: Path) -> None:
    overrides = ["training.epochs=3", "training.checkpoint_every=3"]
    watcher = trained(tiny_trainer(tiny_experiment(folder, *overrides), tmp_path / "run"), steps=2)
    assert [saved.position for saved in watcher.saved] == [TrainingProgress(0, 2, 2)]
    assert watcher.validated == []
    trainer = watcher.trainer
    after = Watcher(trainer, stop_after=1)
    trainer.run(TrainingProgress(0, 2, 2), after, after.stop)
    assert [position for position, _ in after.validated] == [TrainingProgress(1, 0, 2)]
    assert [position.iteration for position in after.steps] == [3]


def test_stop_during_a_validation_takes_effect_after_it(folder: Path, tmp_path: Path) -> None:
    trainer = tiny_trainer(tiny_experiment(folder, "training.checkpoint_every=2"), tmp_path / "run")

    def stopped(position: TrainingProgress) -> float:
        watcher.stop.signal = signal.SIGUSR1
        return -1.0

    watcher = Watcher(trainer, quality=stopped)
    assert trainer.run(TrainingProgress(), watcher, watcher.stop) == TrainingProgress(1, 0, 2)
    assert [saved.position for saved in watcher.saved] == [TrainingProgress(1, 0, 2)]


def test_stop_with_one_step_per_epoch_takes_effect_after_the_step(folder: Path, tmp_path: Path) -> None:
    overrides = ["training.epochs=5", "training.validate_every=5", "data.train_limit=2"]
    watcher = trained(tiny_trainer(tiny_experiment(folder, *overrides), tmp_path / "run"), steps=2)
    assert [position.iteration for position in watcher.steps] == [1, 2]
    assert watcher.saved[-1].position == TrainingProgress(1, 1, 2)


def run_until(experiment: Experiment, folder: Path, iteration: int | None) -> Checkpoint:
    """Start or resume in a run folder, as the command does, and run to an iteration or to the end."""
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
DROPOUT = ("training.epochs=3", "task=semantic", "sem.head=deeplab", "body.name=wide_resnet38_a2_dilated")
MABN = (
    "training.epochs=3",
    "training.accumulate=2",
    "data.train_batch_size=1",
    "norm.name=mabn",
    "norm.mabn={window: 3, plain_iterations: 4, warmup_iterations: 8}",
)
# Settings for better results, off by default.
BETTER = (
    *("training.epochs=3", "training.precision=bf16", "roi.box_loss=crop_aware", "rpn.box_loss=crop_aware"),
    *("data.scale_sampling=uniform", "data.random_scale=[0.5,2]", "data.random_crop=[48,64]", "data.copy_paste=0.7"),
    *("loss.class_weights=frequency", "sem.focal_gamma=2", "roi.focal_gamma=2"),
    *("roi.box_head=conv4", "roi.box_channels=16", "roi.mask_scoring=true", "roi.mask_head=pointrend"),
    "roi.cascade=[0.5,0.6,0.7]",
)
CHECKPOINT = (*MABN, "training.memory=checkpoint", "training.precision=bf16")


@pytest.fixture(scope="module")
def uninterrupted(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], Any]:
    """Return run folder and last checkpoint of six iterations in three epochs."""
    runs: dict[tuple[str, ...], Any] = {}
    for overrides in (SGD, ADAMW, DROPOUT, MABN, BETTER, CHECKPOINT):
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
        (DROPOUT, [3], 0),
        (MABN, [1, 2, 3, 4, 5], 0),
        (BETTER, [1, 4], 1),
        (CHECKPOINT, [2, 3], 0),
    ],
    ids=[
        "sgd-within-0",
        "sgd-within-1",
        "sgd-between-0",
        "sgd-between-1",
        "adamw-everywhere",
        "dropout",
        "mabn-everywhere",
        "better",
        "checkpoint",
    ],
)
def test_interrupted_and_resumed_run_equals_an_uninterrupted_one(
    uninterrupted: Any, folder: Path, tmp_path: Path, overrides: tuple[str, ...], stops: list[int], num_workers: int
) -> None:
    run, expected = uninterrupted[overrides]
    experiment = tiny_experiment(folder, *overrides, f"data.num_workers={num_workers}")
    for iteration in stops:
        position = run_until(experiment, tmp_path, iteration).position
        assert position.iteration == iteration
        batches = experiment.training.accumulate
        assert (position.epoch, position.batch / batches - 1) == divmod(iteration - 1, 2)
    found = run_until(experiment, tmp_path, None)
    batch_size = experiment.data.train_batch_size
    assert replace(found.position, best_quality=0, best_iteration=0) == TrainingProgress(3, 0, 6, 0, 0, batch_size)
    for part in ("position", "network", "optimizer", "average", "categories"):
        assert equal(getattr(found, part), getattr(expected, part)), part
    assert read_metrics(tmp_path) == read_metrics(run)
    assert (tmp_path / "model.safetensors").exists()


def test_resume_with_another_batch_size_continues_the_schedule(folder: Path, tmp_path: Path) -> None:
    """Two batches of one image are one batch of two, so the schedule continues at the same fraction of the run."""
    shorter = tiny_experiment(folder, "data.train_batch_size=1", "training.epochs=2", "optimizer.lr_batch=1")
    watcher = Watcher(tiny_trainer(shorter, tmp_path / "run"), stop_after=2)
    watcher.trainer.run(TrainingProgress(images_per_batch=1), watcher, watcher.stop)
    assert [saved.position for saved in watcher.saved] == [TrainingProgress(0, 2, 2, images_per_batch=1)]
    longer = tiny_experiment(folder, "data.train_batch_size=2", "training.epochs=2", "optimizer.lr_batch=2")
    trainer, record = build_trainer(longer, tmp_path / "run", ALONE, watcher.saved[0])
    record.close()
    assert record.position == TrainingProgress(0, 0, 2, images_per_batch=2, earlier=(CompletedSpan(1, 2),))
    assert (trainer.schedule_step(record.position), trainer.num_iterations(record.position)) == (1, 5)
    after = Watcher(trainer)
    assert trainer.run(record.position, after, after.stop) == TrainingProgress(2, 0, 5, 0.5, 3, 2)
    assert [(position.epoch, position.batch, position.iteration) for position in after.steps] == [
        (0, 1, 3),
        (1, 1, 4),
        (1, 2, 5),
    ]
    uninterrupted_run = trained(tiny_trainer(longer, tmp_path / "other"))
    assert [after.rates[iteration] for iteration in (3, 4, 5)] == [uninterrupted_run.rates[step] for step in (2, 3, 4)]


def test_resume_after_a_crash_repeats_the_steps_since_the_checkpoint(
    uninterrupted: Any, folder: Path, tmp_path: Path
) -> None:
    run, expected = uninterrupted[SGD]
    experiment = tiny_experiment(folder, *SGD)
    run_until(experiment, tmp_path, 3)
    kept = newest_checkpoint(tmp_path)[0]
    content = kept.read_bytes()
    run_until(experiment, tmp_path, 5)  # validates and logs again; then the power fails
    for path in checkpoint_paths(tmp_path):
        path.unlink()
    kept.write_bytes(content)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "tra')
    found = run_until(experiment, tmp_path, None)
    assert equal(found.network, expected.network)
    assert read_metrics(tmp_path) == read_metrics(run)
