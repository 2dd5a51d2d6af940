"""Training on several ranks: stop requests, losses that are not finite, and resumed runs."""

from __future__ import annotations

import math
import signal
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from support.ranks import on_ranks
from support.tiny_experiment import narrow_body, tiny_experiment, write_tiny_splits
from support.tiny_training import Watcher
from torch import distributed as dist

from seamseg.builders import build_trainer
from seamseg.engine.train import Trainer
from seamseg.runtime.checkpoint import Checkpoint
from seamseg.runtime.distributed import Process, from_first
from seamseg.runtime.training_progress import TrainingProgress
from seamseg.structures import LossSum

EPOCHS = 2


def trainer_of(folder: Path, *overrides: str, checkpoint: Checkpoint | None = None) -> tuple[Trainer, TrainingProgress]:
    rank, world_size = dist.get_rank(), dist.get_world_size()
    process = Process(rank, world_size, torch.device("cpu"))
    plain = ["norm.name=syncbn", "data.train_batch_size=1", f"training.epochs={EPOCHS}", "training.validate_every=0"]
    experiment = tiny_experiment(folder / "data", *plain, *overrides)
    with narrow_body():
        trainer, record = build_trainer(experiment, folder / f"run{rank}", process, checkpoint)
    record.close()
    return trainer, record.position


def run_with_stop_on_rank_1(folder: Path, rank: int) -> tuple[int, int]:
    """Request a stop on rank 1 in its second step."""
    trainer, start = trainer_of(folder)
    watcher = Watcher(trainer)
    original_loss = trainer.network.semantic_loss

    def loss_with_stop(*arguments: Any) -> LossSum:
        if rank == 1 and len(watcher.steps) == 1:
            watcher.stop.signal = signal.SIGUSR1
        return original_loss(*arguments)

    trainer.network.semantic_loss = loss_with_stop  # type: ignore[assignment]
    end = trainer.run(start, watcher, watcher.stop)
    return end.iteration, watcher.stop.exit_code


def run_with_nan_loss_on_rank_1(folder: Path, rank: int, accumulate: int) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Return NaN as the loss of the last batch in the second step, on rank 1 only."""
    trainer, start = trainer_of(folder, f"training.accumulate={accumulate}", "training.epochs=4")
    watcher = Watcher(trainer)
    original_loss, calls, before = trainer.network.semantic_loss, [], {}

    def corrupted_loss(*arguments: Any) -> LossSum:
        calls.append(1)
        if len(calls) == accumulate + 1:
            before.update({name: value.detach().clone() for name, value in trainer.network.named_parameters()})
        loss = original_loss(*arguments)
        return LossSum(loss.total * (math.nan if rank == 1 and len(calls) == 2 * accumulate else 1), loss.count)

    trainer.network.semantic_loss = corrupted_loss  # type: ignore[assignment]
    try:
        trainer.run(start, watcher, watcher.stop)
    except FloatingPointError as error:
        return str(error), before, dict(trainer.network.named_parameters())
    return "", {}, {}


def run_with_infinite_gradient_on_rank_1(folder: Path, rank: int) -> tuple[str, bool]:
    """Add infinity to the gradient of the second step on rank 1; return the error and whether the weights changed."""
    trainer, start = trainer_of(folder)
    watcher = Watcher(trainer)
    bias = dict(trainer.network.named_parameters())["sem_head.conv_sem.bias"]
    kept: list[torch.Tensor] = []

    def hook(gradient: torch.Tensor) -> torch.Tensor:
        kept.append(bias.detach().clone())
        return gradient + (math.inf if rank == 1 and len(watcher.steps) == 1 else 0)

    bias.register_hook(hook)
    try:
        trainer.run(start, watcher, watcher.stop)
    except FloatingPointError as error:
        return str(error), not torch.equal(bias, kept[-1])
    return "", True


def interrupted(folder: Path, stop_after: int | None) -> dict[str, Any]:
    """Return the final parameters of a run that is stopped every few steps and resumed, or never stopped."""
    trainer, start = trainer_of(folder)
    watcher = Watcher(trainer, stop_after=stop_after)
    end = trainer.run(start, watcher, watcher.stop)
    while end.epoch < EPOCHS:
        trainer, start = trainer_of(
            folder, checkpoint=from_first(trainer.process, partial(watcher.saved.__getitem__, -1))
        )
        watcher = Watcher(trainer, stop_after=stop_after)
        end = trainer.run(start, watcher, watcher.stop)
    return {name: value.detach() for name, value in trainer.network.named_parameters()}


def on_two(rank: int) -> dict[str, Any]:
    folder = _folder()
    nan_runs = [run_with_nan_loss_on_rank_1(folder, rank, accumulate) for accumulate in (1, 2)]
    return {
        "stop": run_with_stop_on_rank_1(folder, rank),
        "gradient": run_with_infinite_gradient_on_rank_1(folder, rank),
        "messages": [sentence for sentence, _, _ in nan_runs],
        "before": [before for _, before, _ in nan_runs],
        "after": [after for _, _, after in nan_runs],
    }


def on_three(rank: int) -> dict[str, Any]:
    folder = _folder()
    return {"uninterrupted": interrupted(folder, None), "resumed": interrupted(folder, 3)}


def _folder() -> Path:
    """Return a folder with data, created by rank 0 and known to all ranks."""
    box = [tempfile.mkdtemp() if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(box, src=0)
    folder = Path(str(box[0]))
    if dist.get_rank() == 0:
        write_tiny_splits(folder / "data", num_train=8)
    dist.barrier()
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return on_ranks(__file__, "on_two", tmp_path_factory.mktemp("two"))


def test_stop_request_on_one_rank_stops_all_ranks(two: list[dict[str, Any]]) -> None:
    assert [result["stop"] for result in two] == [(2, 138), (2, 138)]


@pytest.mark.parametrize("case", [0, 1], ids=["one batch", "accumulated"])
def test_nan_loss_on_one_rank_stops_all_ranks_and_names_its_images(two: list[dict[str, Any]], case: int) -> None:
    first, second = (result["messages"][case] for result in two)
    assert first == second
    assert first.startswith("iteration 2: semantic=nan on the images [10")
    assert first.count("on the images") == 1
    for result in two:
        before, after = result["before"][case], result["after"][case]
        assert before.keys() == after.keys() != set()
        assert all(torch.equal(before[name], after[name]) for name in before)


def test_nonfinite_gradient_on_one_rank_stops_all_before_the_step(two: list[dict[str, Any]]) -> None:
    assert two[0]["gradient"] == two[1]["gradient"]
    message, weights_changed = two[0]["gradient"]
    assert message.startswith(
        "iteration 2: the gradient is infinite or NaN in sem_head.conv_sem.bias on the images [10"
    )
    assert not weights_changed


@pytest.mark.slow
def test_resume_on_three_ranks_equals_uninterrupted_run_bit_for_bit(tmp_path: Path) -> None:
    for result in on_ranks(__file__, "on_three", tmp_path, 3):
        assert result["uninterrupted"].keys() == result["resumed"].keys()
        different = [
            name for name, value in result["uninterrupted"].items() if not torch.equal(value, result["resumed"][name])
        ]
        assert different == []
