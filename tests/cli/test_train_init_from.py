"""`seamseg train --init-from`: start from the weights of trained models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny_dataset import write_tiny_panoptic
from support.tiny_experiment import write_tiny_config

from seamseg.config import load_experiment, parse_experiment
from seamseg.export.model_folder import load_model_file


@pytest.fixture(scope="module")
def other_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings for one iteration on a data set with other classes than that of `run_dir`, at a tiny learning rate."""
    folder = tmp_path_factory.mktemp("other")
    for split in ("train", "val"):
        write_tiny_panoptic(
            folder / "data", split=split, num_images=2, stuff=("road", "grass"), things=("bus", "person")
        )
    overrides = ("training.epochs=1", "optimizer.lr=1e-9", "schedule.warmup.iterations=0", "norm.scale=abs")
    return write_tiny_config(folder / "other.yaml", folder / "data", *overrides)


def test_train_init_from_run_with_other_classes_starts_from_its_weights(
    command: Any, other_config: Path, run_dir: Path, tmp_path: Path
) -> None:
    code, _, err = command("train", other_config, "--run-dir", tmp_path / "run", "--init-from", run_dir)
    assert code == 0
    assert f"init_from={run_dir}: " in err
    assert "2 matched by name (road, person)" in err
    assert "2 not in the model (grass, bus)" in err
    old, new = (load_model_file(folder).tensors for folder in (run_dir, tmp_path / "run"))
    filters = "body.backbone.mod2.block1.convs.conv1.weight"
    assert torch.allclose(new[filters], old[filters])
    assert torch.allclose(new["sem_head.conv_sem.weight"][0], old["sem_head.conv_sem.weight"][1])  # road
    assert torch.allclose(new["roi_head.roi_cls.weight"][2], old["roi_head.roi_cls.weight"][2])  # person
    assert not torch.allclose(new["roi_head.roi_cls.weight"][1], old["roi_head.roi_cls.weight"][1])
    assert load_experiment(tmp_path / "run" / "config.yaml").init_from == (str(run_dir),)


@pytest.mark.slow
def test_train_resumed_run_keeps_its_initial_models_and_reads_none(
    command: Any, config: Path, run_dir: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    arguments = ["train", config, "data.train_limit=2", "training.frozen=[rpn_head]", "--run-dir", run]
    assert command(*arguments, "--init-from", run_dir, "--init-from", f"{run_dir}:body").code == 0
    code, _, err = command(*arguments, "training.epochs=2", "--resume", "--init-from", "/no/such/model")
    assert code == 0
    assert "/no/such/model" not in err
    models = (str(run_dir), f"{run_dir}:body")
    assert load_experiment(run / "config.yaml").init_from == models
    assert parse_experiment(load_model_file(run).settings, "model").init_from == models


def test_train_init_from_parts_and_models_that_do_not_exist_are_refused(
    refuses: Callable[..., str], config: Path, run_dir: Path, tmp_path: Path
) -> None:
    arguments = ["train", config, "--run-dir", tmp_path / "run", "--init-from"]
    assert "no part heads" in refuses(*arguments, f"{run_dir}:heads")
    assert "/no/such/run" in refuses(*arguments, "/no/such/run:body")
    assert not (tmp_path / "run").exists()
