"""`seamseg train --resume` with a different number of processes, in real processes.

All images have the same size, and all anchors and proposals are sampled. So if a step has the same images, one process
computes the same as two, except for the order of sums. The runs use float64, so that this order does not change which
proposals are kept.
"""

from __future__ import annotations

import contextlib
import copy
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from support.ranks import on_ranks
from support.tiny_dataset import write_tiny_panoptic
from support.tiny_experiment import narrow_body, write_tiny_config
from torch import distributed as dist

import seamseg.builders.training
import seamseg.cli.train
import seamseg.cli.training_run
from seamseg.builders import build_initialized_network, build_trainer
from seamseg.cli import main
from seamseg.data.transforms import Normalize
from seamseg.engine.train import Trainer
from seamseg.runtime.distributed import Process
from seamseg.runtime.log import read_metrics
from seamseg.structures import Batch

pytestmark = pytest.mark.slow

EPOCHS, IMAGES = 2, set(range(100, 108))
SETTINGS = (
    f"training.epochs={EPOCHS}",
    "training.validate_every=0",
    "training.weight_average=0.5",
    "data.train_batch_size=1",
    "data.random_scale=null",
    "norm={name: syncbn, activation: elu, slope: 1.0}",
    "loss.normalize=global",
    "rpn.num_samples=1000000",
    "roi.num_samples=1000000",
)


def state_of(trainer: Trainer) -> dict[str, Any]:
    """Copy the weights, statistics, optimizer state and averaged weights."""
    average = trainer.optimization.average
    assert average is not None
    state = {
        "network": trainer.network.state_dict(),
        "optimizer": trainer.optimization.optimizer.state_dict(),
        "average": average.network.state_dict(),
    }
    return copy.deepcopy(state)


def train(run: Path, *arguments: str, stop_after: int | None = None) -> dict[str, Any]:
    """Run the command on this rank; return exit code, state before and after, and the image ids of each batch."""
    trainers: list[Trainer] = []
    before: dict[str, Any] = {}
    batches: list[tuple[int, tuple[int, ...]]] = []

    def watched(*given: Any) -> Any:
        trainer, record = build_trainer(*given)
        trainers.append(trainer)
        before.update(state_of(trainer))
        original_epoch = trainer.loader.epoch

        def epoch(number: int, start: int = 0) -> Iterator[Batch]:
            for batch in original_epoch(number, start):
                batches.append((number, batch.image_ids))
                if len(batches) == stop_after:
                    os.kill(os.getpid(), signal.SIGTERM)
                yield batch

        trainer.loader.epoch = epoch  # type: ignore
        return trainer, record

    command = ["train", str(run.parent / "tiny.yaml"), *arguments, "--run-dir", str(run), "--device", "cpu"]
    with narrow_body(), in_float64(), mock.patch.object(seamseg.cli.train, "build_trainer", watched):
        code = main(command)
    return {"code": code, "before": before, "after": state_of(trainers[0]), "batches": batches}


@contextlib.contextmanager
def in_float64() -> Iterator[None]:
    """Use float64 networks and images inside the context, for which there is no setting."""
    build, normalize = build_initialized_network, Normalize.__call__
    with (
        mock.patch.object(
            seamseg.builders.training, "build_initialized_network", lambda *given: build(*given).double()
        ),
        mock.patch.object(Normalize, "__call__", lambda self, image: normalize(self, image).double()),
    ):
        yield


@contextlib.contextmanager
def in_the_group() -> Iterator[None]:
    """Let the command use the process group of the test."""
    process = Process(dist.get_rank(), dist.get_world_size(), torch.device("cpu"))
    with mock.patch.object(seamseg.cli.training_run, "started", return_value=contextlib.nullcontext(process)):
        yield


def on_two(rank: int) -> dict[str, Any]:
    """Train without interruption, and again with a stop signal to rank 1 in the first of four steps."""
    folder = Path.cwd().parent
    with in_the_group():
        uninterrupted = train(folder / "uninterrupted")
        return {
            "uninterrupted": uninterrupted,
            "stopped": train(folder / "stopped", stop_after=1 if rank == 1 else None),
        }


def on_three(rank: int) -> dict[str, Any]:
    with in_the_group():
        return train(Path.cwd().parent / "three", "--resume")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the data, the settings and the runs."""
    folder = tmp_path_factory.mktemp("ranks")
    for split, num_images in (("train", len(IMAGES)), ("val", 1)):
        write_tiny_panoptic(
            folder / "data", split=split, num_images=num_images, sizes=[(40, 56)], images_without_objects=[2]
        )
    write_tiny_config(folder / "tiny.yaml", folder / "data", *SETTINGS)
    return folder


@pytest.fixture(scope="module")
def two(folder: Path) -> list[dict[str, Any]]:
    (folder / "two").mkdir()
    results = on_ranks(__file__, "on_two", folder / "two")
    for result in results:
        assert (result["uninterrupted"]["code"], result["stopped"]["code"]) == (0, 143)
    return results


def equal(first: Any, second: Any) -> bool:
    """Compare nested states bit by bit."""
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(value, second[key]) for key, value in first.items())
    if isinstance(first, list):
        return len(first) == len(second) and all(map(equal, first, second))
    return bool(first == second)


def images_of(epoch: int, *results: dict[str, Any]) -> list[int]:
    """Return the ids of all images that the ranks saw in an epoch, sorted."""
    return sorted(image for result in results for number, ids in result["batches"] if number == epoch for image in ids)


def losses_of(run: Path) -> dict[int, dict[str, float]]:
    """Return the logged losses by iteration; each iteration must appear once and in order."""
    entries = [dict(entry) for entry in read_metrics(run) if entry.pop("kind") == "train"]
    assert [entry["iteration"] for entry in entries] == list(range(1, len(entries) + 1))
    return {entry.pop("iteration"): entry for entry in entries}


@pytest.mark.filterwarnings("ignore:synchronized norms without a process group")
def test_resume_two_process_run_with_one_process_continues_the_same_steps(
    two: list[dict[str, Any]], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(folder / "stopped", folder / "one"))
    result = train(run, "data.train_batch_size=2", "--resume")
    err = capsys.readouterr().err
    assert result["code"] == 0
    assert "resuming from iteration 1 in epoch 1\n1 process instead of 2: the epoch continues with the images" in err
    stopped = [rank["stopped"] for rank in two]
    assert equal(result["before"], stopped[0]["after"])
    assert images_of(0, *stopped, result) == images_of(1, result) == sorted(IMAGES)
    steps = zip(*(rank["uninterrupted"]["batches"][1:] for rank in two), strict=True)
    assert result["batches"] == [(epoch, first + second) for (epoch, first), (_, second) in steps]
    found, expected = losses_of(run), losses_of(folder / "uninterrupted")
    assert len(found) == 4 * EPOCHS
    assert found.keys() == expected.keys()
    assert found[1] == expected[1]
    for iteration, losses in expected.items():
        assert found[iteration] == pytest.approx(losses, rel=1e-4, abs=0), iteration


def test_resume_two_process_run_with_three_processes_continues_with_unseen_images(
    two: list[dict[str, Any]], folder: Path
) -> None:
    run = Path(shutil.copytree(folder / "stopped", folder / "three"))
    (folder / "of_three").mkdir()
    results = on_ranks(__file__, "on_three", folder / "of_three", 3)
    logs = [(folder / "of_three" / f"rank{rank}.log").read_text() for rank in range(3)]
    assert "3 processes instead of 2 and 3 images per batch over all processes instead of 2: the epoch" in logs[0]
    assert logs[1:] == ["", ""]
    stopped = [rank["stopped"] for rank in two]
    for result in results:
        assert result["code"] == 0
        assert equal(result["before"], stopped[0]["after"])
        assert equal(result["after"], results[0]["after"])
        assert [epoch for epoch, _ in result["batches"]] == [0, 0, 1, 1]
    assert images_of(0, *stopped, *results) == sorted(IMAGES)
    drawn = images_of(1, *results)
    assert len(drawn) == len(set(drawn)) == 6
    assert set(drawn) < IMAGES
    assert len(losses_of(run)) == 5
