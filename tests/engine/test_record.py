"""Files that a training run writes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from support.tiny_experiment import tiny_experiment, write_tiny_splits
from support.tiny_training import ALONE
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import seamseg.engine.validation
from seamseg.builders import build_trainer
from seamseg.config import save_experiment
from seamseg.engine.record import TrainingRecorder
from seamseg.engine.train import Trainer
from seamseg.export.model_folder import load_model_file
from seamseg.metrics.analysis import analyze
from seamseg.metrics.outcomes import CASES
from seamseg.metrics.panoptic_quality import Quality
from seamseg.metrics.scores import Scores
from seamseg.runtime.checkpoint import load_checkpoint
from seamseg.runtime.distributed import Process
from seamseg.runtime.log import read_metrics
from seamseg.runtime.training_progress import TrainingProgress

pytestmark = pytest.mark.usefixtures("narrow")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_splits(tmp_path_factory.mktemp("record") / "data")


def new_record(folder: Path, run: Path, process: Process = ALONE) -> tuple[Trainer, TrainingRecorder]:
    return build_trainer(tiny_experiment(folder, "training.num_pictures=2"), run, process, None)


def scores_of(pq: float) -> Scores:
    quality = Quality(pq, pq, pq, 1)
    analysis = analyze([], np.zeros(0, CASES), torch.zeros(1, 2, dtype=torch.int64), ["sky"], 1)
    return Scores(quality, quality, quality, {}, 0.5, 0.25, float("nan"), 0.125, 0.4, None, (), analysis)


def validate_with_pq(record: TrainingRecorder, trainer: Trainer, position: TrainingProgress, pq: float) -> float:
    with mock.patch.object(seamseg.engine.validation, "evaluate", return_value=scores_of(pq)):
        return record.validate(trainer.network, position)


def test_validate_saves_only_a_better_model(folder: Path, tmp_path: Path) -> None:
    trainer, record = new_record(folder, tmp_path)
    bias = trainer.network.sem_head.state_dict()["conv_sem.bias"]
    kept = []
    for pq, best in ((0.0, -1.0), (0.3, 0.0), (0.3, 0.3), (0.2, 0.3), (0.4, 0.3)):
        bias.fill_(100 * pq + best)
        assert validate_with_pq(record, trainer, TrainingProgress(best_quality=best), pq) == pq
        kept.append(float(load_model_file(tmp_path / "model.safetensors").tensors["sem_head.conv_sem.bias"][0]))
    record.close()
    assert kept == pytest.approx([-1, 30, 30, 30, 40.3])


def test_validate_without_any_class_saves_the_first_model(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer, record = new_record(folder, tmp_path)
    assert validate_with_pq(record, trainer, TrainingProgress(), float("nan")) == 0
    record.close()
    assert (tmp_path / "model.safetensors").exists()
    assert read_metrics(tmp_path)[0]["pq"] is None
    assert "PQ - (things -, stuff -), mIoU 50.0, AP box -" in capsys.readouterr().err


def test_saved_model_contains_settings_and_classes(folder: Path, tmp_path: Path) -> None:
    trainer, record = new_record(folder, tmp_path)
    validate_with_pq(record, trainer, TrainingProgress(), 0.5)
    record.close()
    file = load_model_file(tmp_path / "model.safetensors")
    assert file.settings == save_experiment(tiny_experiment(folder, "training.num_pictures=2"))
    assert [entry["name"] for entry in file.categories] == ["sky", "road", "car", "person"]
    assert file.tensors.keys() == trainer.network.state_dict().keys()


def test_losses_and_scores_are_written_to_the_metrics_file(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer, record = new_record(folder, tmp_path)
    record.on_log(20, {"total": 1.5, "semantic": 0.5}, 0.01)
    validate_with_pq(record, trainer, TrainingProgress(epoch=3, iteration=24), 0.375)
    record.close()
    assert read_metrics(tmp_path) == [
        {"kind": "train", "iteration": 20, "total": 1.5, "semantic": 0.5, "lr": 0.01},
        {
            "kind": "validation",
            "iteration": 24,
            **dict.fromkeys(("pq", "pq_things", "pq_stuff", "sq", "rq"), 0.375),
            **dict.fromkeys(("pq_small", "pq_medium", "pq_large")),
            "miou": 0.5,
            "miou_semantic": 0.25,
            "box_ap": None,
            "mask_ap": 0.125,
            "num_unreadable": 0,
        },
    ]
    assert "epoch 3: PQ 37.5 (things 37.5, stuff 37.5), mIoU 50.0" in capsys.readouterr().err


def test_progress_bar_shows_iteration_epoch_and_loss(folder: Path, tmp_path: Path) -> None:
    _, record = new_record(folder, tmp_path)
    calls: list[tuple[int, str]] = []
    record.advance = lambda done, remark: calls.append((done, remark))
    record.on_step_end(TrainingProgress(epoch=0, batch=1, iteration=1))
    record.on_log(1, {"total": 1.23456}, 0.01)
    record.on_step_end(TrainingProgress(epoch=1, batch=1, iteration=2))
    record.close()
    assert [done for done, _ in calls] == [1, 2]
    assert calls[0][1].strip() == "epoch 1"
    assert calls[1][1] == "epoch 2 loss 1.235"


def test_validate_writes_pictures_and_scalars_to_tensorboard(folder: Path, tmp_path: Path) -> None:
    trainer, record = new_record(folder, tmp_path)
    assert record.validate(trainer.network, TrainingProgress(iteration=4)) >= 0
    record.close()
    events: Any = EventAccumulator(str(tmp_path / "tensorboard")).Reload()  # type: ignore[no-untyped-call]
    tags = events.Tags()["images"]
    assert {tag for tag in tags if tag.startswith("analysis/")} == {
        f"analysis/{name}" for name in ("sizes", "outcomes", "confusion_segments", "confusion_pixels", "worst")
    }
    images = [tag for tag in tags if tag.startswith("validation/")]
    assert len(images) == 2
    for tag in images:
        picture = events.Images(tag)[0]
        assert picture.step == 4
        assert (picture.width, picture.height) in ((56, 80), (40, 112))  # truth above prediction
    assert events.Scalars("validation/pq")[0].step == 4


def test_save_writes_a_checkpoint_with_the_state(folder: Path, tmp_path: Path) -> None:
    trainer, record = new_record(folder, tmp_path)
    record.save(TrainingProgress(1, 0, 2, 0.5, 2))
    record.close()
    saved = load_checkpoint(tmp_path / "checkpoint-00000002.pt")
    assert saved.position == TrainingProgress(1, 0, 2, 0.5, 2)
    assert saved.num_ranks == 1
    assert saved.settings == record.settings
    assert all(torch.equal(value, saved.network[name]) for name, value in trainer.network.state_dict().items())


def test_recorder_on_other_ranks_scores_and_writes_no_files(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trainer, record = new_record(folder, run, Process(1, 2, torch.device("cpu")))
    record.on_log(1, {"total": 1.0}, 0.01)
    record.on_step_end(TrainingProgress(iteration=1))
    record.save(TrainingProgress())
    assert record.validate(trainer.network, TrainingProgress()) >= 0
    record.close()
    assert not run.exists()


def test_validate_counts_unreadable_images_and_reports_each_once(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Path(shutil.copytree(folder, tmp_path / "data"))
    (data / "images" / "val" / "001.png").write_bytes(b"broken")
    trainer, record = new_record(data, tmp_path / "run")
    for epoch in (1, 2):
        record.validate(trainer.network, TrainingProgress(epoch=epoch, iteration=epoch))
    (data / "images" / "val" / "000.png").write_bytes(b"broken")
    record.validate(trainer.network, TrainingProgress(epoch=3, iteration=3))
    record.close()
    assert [entry["num_unreadable"] for entry in read_metrics(tmp_path / "run")] == [1, 1, 2]
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("skipped")]
    assert [line.split("/val/")[1][:7] for line in lines] == ["001.png", "000.png"]


def test_validate_without_readable_images_raises_value_error(folder: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(folder, tmp_path / "data"))
    for path in (data / "images" / "val").iterdir():
        path.write_bytes(b"broken")
    trainer, record = new_record(data, tmp_path / "run")
    with pytest.raises(ValueError, match=r"none of 3 images .*000\.png"):
        record.validate(trainer.network, TrainingProgress())
    record.close()
