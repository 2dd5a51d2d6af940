"""Training steps with several batches, and in half precision."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.tiny_experiment import tiny_experiment
from support.tiny_training import Watcher, tiny_trainer

from seamseg.engine.train import Trainer
from seamseg.runtime.training_progress import TrainingProgress

pytestmark = pytest.mark.usefixtures("narrow")


def watched(trainer: Trainer, steps: int | None = None, batch: int = 0) -> Watcher:
    watcher = Watcher(trainer, stop_after=steps)
    trainer.run(TrainingProgress(batch=batch), watcher, watcher.stop)
    return watcher


def test_accumulated_batches_give_one_step_with_their_mean_gradient(folder: Path, tmp_path: Path) -> None:
    """Everything is sampled and norms ignore the batch, so only the division by the number of batches remains."""
    plain = ["optimizer.momentum=0", "optimizer.lr=1", "optimizer.weight_decay=0"]
    plain += ["schedule.name=steps", "schedule.milestones=[1000]", "schedule.warmup.iterations=0"]
    whole = [
        "norm.name=affine",
        "optimizer.clip_norm=null",
        "rpn.num_samples=100000",
        "roi.num_samples=100000",
        "data.train_batch_size=1",
    ]

    def step(accumulate: int, batch: int) -> dict[str, torch.Tensor]:
        overrides = [*plain, *whole, "data.train_limit=2", f"training.accumulate={accumulate}"]
        trainer = tiny_trainer(tiny_experiment(folder, *overrides), tmp_path / f"{accumulate}{batch}")
        before = {name: value.detach().clone() for name, value in trainer.network.named_parameters()}
        watcher = watched(trainer, steps=1, batch=batch)
        assert [(position.batch, position.iteration) for position in watcher.steps] == [(batch + accumulate, 1)]
        return {name: value.detach() - before[name] for name, value in trainer.network.named_parameters()}

    together, first, second = step(2, 0), step(1, 0), step(1, 1)
    for name, move in together.items():
        torch.testing.assert_close(move, (first[name] + second[name]) / 2, rtol=1e-3, atol=1e-5)


def test_last_step_of_an_epoch_accumulates_the_remaining_batches(folder: Path, tmp_path: Path) -> None:
    overrides = ["data.train_batch_size=1", "data.train_limit=3", "training.accumulate=2", "training.epochs=2"]
    trainer = tiny_trainer(tiny_experiment(folder, *overrides), tmp_path / "run")
    watcher = watched(trainer)
    assert [(position.epoch, position.batch) for position in watcher.steps] == [(0, 2), (0, 3), (1, 2), (1, 3)]
    assert trainer.num_iterations(TrainingProgress()) == 4


def test_bf16_with_channels_last_gives_similar_losses(folder: Path, tmp_path: Path) -> None:
    losses = []
    for overrides in ([], ["training.precision=bf16", "training.channels_last=true"]):
        trainer = tiny_trainer(tiny_experiment(folder, *overrides), tmp_path / f"run{len(overrides)}")
        losses.append(watched(trainer, steps=1).losses[1])
        assert {parameter.dtype for parameter in trainer.network.parameters()} == {torch.float32}
    assert losses[1] != losses[0]
    assert losses[1]["total"] == pytest.approx(losses[0]["total"], rel=0.05)
