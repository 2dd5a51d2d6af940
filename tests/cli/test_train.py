"""`seamseg train`: files of a run, stopping, resuming, and invalid arguments."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support.detection_folder import write_detection
from support.full_disk import file_size_limit
from support.tiny_experiment import tiny_experiment, write_tiny_splits

import seamseg
import seamseg.cli.training_run
import seamseg.engine.record
from seamseg.config import load_experiment, parse_experiment
from seamseg.export.model_folder import load_model_file
from seamseg.io.files import is_part
from seamseg.runtime.checkpoint import load_checkpoint
from seamseg.runtime.finite import nonfinite_tensors
from seamseg.runtime.log import read_metrics


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def same_model(first: Path, second: Path) -> bool:
    """Compare the tensors of two models; the file headers have no fixed order."""
    one, other = (load_model_file(folder / "model.safetensors").tensors for folder in (first, second))
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_train_writes_all_documented_files(run_dir: Path, config: Path) -> None:
    assert {path.name for path in run_dir.iterdir()} == {
        "config.yaml",
        "metrics.jsonl",
        "tensorboard",
        "checkpoint-00000002.pt",
        "model.safetensors",
    }
    assert [path.name.startswith("events.out.tfevents") for path in (run_dir / "tensorboard").iterdir()] == [True]
    experiment = load_experiment(config)
    assert load_experiment(run_dir / "config.yaml") == experiment
    checkpoint = load_checkpoint(run_dir / "checkpoint-00000002.pt")
    assert parse_experiment(checkpoint.settings, "checkpoint") == experiment
    assert (checkpoint.position.epoch, checkpoint.position.iteration) == (1, 2)
    kinds = [(entry["kind"], entry["iteration"]) for entry in read_metrics(run_dir)]
    assert kinds == [("train", 1), ("train", 2), ("validation", 2)]
    assert set(read_metrics(run_dir)[0]) == {
        "kind",
        "iteration",
        "lr",
        "total",
        *(set(tiny_experiment().loss_weights.model_dump()) - {"roi_points", "roi_mask_scores"}),
    }


def test_train_prints_settings_and_progress(command: Any, config: Path, tmp_path: Path) -> None:
    code, out, err = command("train", config, "training.seed=7", "data.train_limit=2", "--run-dir", tmp_path / "run")
    assert (code, out) == (0, "")
    assert err.startswith(f"seed 7; settings ({tmp_path / 'run' / 'config.yaml'}):\n")
    assert "  shortest_side: 64\n" in err
    assert re.search(r"epoch 1: PQ \d+\.\d", err)
    assert re.search(r"training .* 1/1 ", err)
    assert load_experiment(tmp_path / "run" / "config.yaml").training.seed == 7


def test_train_profile_writes_a_table_and_a_trace(
    command: Any, refuses: Callable[..., str], config: Path, tmp_path: Path
) -> None:
    run, given = tmp_path / "run", ("data.train_batch_size=1", "data.train_limit=1", "--profile", "--run-dir")
    code, _, err = command("train", config, "training.epochs=7", "training.validate_every=0", *given, run)
    assert code == 0
    table = (run / "profile.md").read_text()
    assert table in err
    assert "| roi_head |" in table
    assert (run / "trace.json.gz").stat().st_size > 1000
    for setting in ("training.memory=compile", "training.compile=true"):
        assert "compile" in refuses("train", config, setting, *given, tmp_path / "compiled")


def test_train_folder_in_use_is_refused(
    refuses: Callable[..., str], config: Path, run_dir: Path, tmp_path: Path
) -> None:
    before = contents(run_dir)
    assert refuses("train", config, "--run-dir", run_dir).startswith(f"{run_dir} is not empty; ")
    assert contents(run_dir) == before
    (tmp_path / "notes.txt").write_text("mine")
    assert "--resume" in refuses("train", config, "--run-dir", tmp_path)
    assert contents(tmp_path) == {"notes.txt": b"mine"}


def test_train_empty_folder_is_accepted(command: Any, config: Path, tmp_path: Path) -> None:
    assert command("train", config, "data.train_limit=2", "--run-dir", tmp_path).code == 0


def test_resume_finished_run_changes_nothing(command: Any, config: Path, run_dir: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(run_dir, tmp_path / "run"))
    assert command("train", config, "--run-dir", run, "--resume").code == 0
    for name in ("model.safetensors", "checkpoint-00000002.pt", "metrics.jsonl", "config.yaml"):
        assert (run / name).read_bytes() == (run_dir / name).read_bytes()


def test_resume_with_another_learning_rate_is_refused(refuses: Callable[..., str], config: Path, run_dir: Path) -> None:
    before = contents(run_dir)
    sentence = refuses("train", config, "optimizer.lr=0.5", "--run-dir", run_dir, "--resume")
    assert str(run_dir) in sentence
    assert "other values of optimizer.lr" in sentence
    assert contents(run_dir) == before


# Settings and data that may differ when a run is resumed, and those that may not.


def resumed(command: Any, config: Path, run_dir: Path, folder: Path, *overrides: object) -> Any:
    """Resume a copy of a finished run."""
    run = Path(shutil.copytree(run_dir, folder / "resumed"))
    return command("train", config, *overrides, "--run-dir", run, "--resume")


def test_resume_with_data_at_another_path_is_reported(
    command: Any, config: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stopped_run(command, config, tmp_path / "run", monkeypatch)
    shutil.copytree(data, tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    ended = command("train", config, "data.root=moved", "--run-dir", run, "--resume")
    assert ended.code == 0, ended.err
    assert f"data.root=moved (was {data})" in ended.err
    assert load_experiment(run / "config.yaml").data.root == "moved"


def test_resume_with_more_epochs_continues_training(command: Any, config: Path, run_dir: Path, tmp_path: Path) -> None:
    ended = resumed(command, config, run_dir, tmp_path, "training.epochs=2")
    assert ended.code == 0, ended.err
    assert "training.epochs=2 (was 1)" in ended.err
    assert command("train", config, "training.epochs=2", "--run-dir", tmp_path / "whole").code == 0
    rates = [[entry.get("lr") for entry in read_metrics(tmp_path / name)] for name in ("resumed", "whole")]
    assert load_checkpoint(tmp_path / "resumed" / "checkpoint-00000004.pt").position.epoch == 2
    assert rates[0][-3:] == rates[1][-3:], "the schedule spans the new length"


def test_resume_with_fewer_epochs_than_started_is_refused(
    command: Any, refuses: Callable[..., str], config: Path, run_dir: Path, tmp_path: Path
) -> None:
    assert resumed(command, config, run_dir, tmp_path, "training.epochs=2").code == 0
    sentence = refuses("train", config, "--run-dir", tmp_path / "resumed", "--resume")
    assert "training.epochs=1" in sentence
    assert "epoch 2" in sentence


@pytest.mark.parametrize(
    "override",
    [
        "data.format=coco",
        "norm.sync=active",
        "optimizer.clip_norm=3.0",
        "training.log_every=7",
        "training.precision=bf16",
        "training.validate_every=0",
    ],
)
def test_resume_with_a_compatible_setting_is_reported(
    command: Any, config: Path, run_dir: Path, tmp_path: Path, override: str
) -> None:
    ended = resumed(command, config, run_dir, tmp_path, override)
    assert ended.code == 0, ended.err
    assert f"changed settings: {override} (was " in ended.err


def test_resume_does_not_read_the_initial_weights(command: Any, config: Path, run_dir: Path, tmp_path: Path) -> None:
    ended = resumed(command, config, run_dir, tmp_path, "body.weights=/gone.pth")
    assert ended.code == 0, ended.err
    assert "body.weights=/gone.pth (was None)" in ended.err


@pytest.mark.parametrize(
    "override",
    [
        "data.train_limit=3",
        "data.val_split=train",
        "data.mean=[0, 0, 0]",
        "fpn.channels=32",
        "fusion.score_threshold=0.2",
        "loss_weights.semantic=2",
        "norm.momentum=0.2",
        "optimizer.momentum=0.5",
        "schedule.power=2",
        "training.seed=1",
        "training.weight_average=0.9",
    ],
)
def test_resume_with_an_incompatible_setting_is_refused(
    refuses: Callable[..., str], config: Path, run_dir: Path, override: str
) -> None:
    before = contents(run_dir)
    assert override.partition("=")[0] in refuses("train", config, override, "--run-dir", run_dir, "--resume")
    assert contents(run_dir) == before


def swapped(content: dict[str, Any]) -> None:
    first, second, *others = content["categories"]
    content["categories"] = [second, first, *others]


def other_ids_and_colors(content: dict[str, Any]) -> None:
    for category in content["categories"]:
        category["id"] += 100
        category["color"] = [category["id"] % 256, 0, 0]
    for annotation in content["annotations"]:
        for segment in annotation["segments_info"]:
            segment["category_id"] += 100


def test_resume_after_two_classes_swapped_places_is_refused(
    refuses: Callable[..., str], config: Path, run_dir: Path, tmp_path: Path
) -> None:
    folder, before = changed(tmp_path, swapped), contents(run_dir)
    sentence = refuses("train", config, f"data.root={folder}", "--run-dir", run_dir, "--resume")
    assert str(folder) in sentence
    assert "class 2 is 'person' in the data set and 'car' in the run" in sentence
    assert contents(run_dir) == before


def test_resume_with_other_category_ids_and_colors_is_reported(
    command: Any, config: Path, run_dir: Path, tmp_path: Path
) -> None:
    folder = changed(tmp_path, other_ids_and_colors)
    ended = resumed(command, config, run_dir, tmp_path, f"data.root={folder}", "training.epochs=2")
    assert ended.code == 0, ended.err
    assert re.search(r"changed category ids: sky=1\d\d \(was \d+\), road=", ended.err)


def test_resume_with_fewer_images_than_already_seen_is_refused(
    command: Any, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stopped_run(command, config, tmp_path / "run", monkeypatch)
    folder = write_tiny_splits(tmp_path / "fewer", num_train=2)
    ended = command("train", config, f"data.root={folder}", "--run-dir", run, "--resume")
    assert ended.code == 2
    message = ended.err.splitlines()[-1]
    assert str(folder) in message
    assert "2 batches" in message
    assert "only 1" in message


def test_resume_before_the_first_checkpoint_starts_over(
    command: Any, config: Path, run_dir: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(run_dir / "config.yaml", run)
    shutil.copy(run_dir / "metrics.jsonl", run)
    assert command("train", config, "--run-dir", run, "--resume").code == 0
    assert (run / "metrics.jsonl").read_bytes() == (run_dir / "metrics.jsonl").read_bytes()


def test_resume_without_a_run_is_refused(refuses: Callable[..., str], config: Path, tmp_path: Path) -> None:
    sentence = refuses("train", config, "--run-dir", tmp_path / "run", "--resume")
    assert f"there is no run to resume in {tmp_path / 'run'}" in sentence
    assert not (tmp_path / "run").exists()


def test_auto_resume_starts_and_resumes_with_one_command(
    command: Any, config: Path, run_dir: Path, tmp_path: Path
) -> None:
    arguments = ("train", config, "--run-dir", tmp_path / "run", "--auto-resume")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".part-0.config.yaml").write_text("of a process that was killed at once")
    assert command(*arguments).code == 0
    assert same_model(tmp_path / "run", run_dir)
    ended = command(*arguments)
    assert ended.code == 0
    assert "resuming from iteration 2 in epoch 2" in ended.err
    assert {path.name for path in (tmp_path / "run").iterdir()} == {path.name for path in run_dir.iterdir()}


def test_resume_in_a_folder_with_other_files_is_refused(
    refuses: Callable[..., str], config: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for option in ("--resume", "--auto-resume"):
        refuses("train", config, "--run-dir", tmp_path, option)
    assert contents(tmp_path) == {"notes.txt": b"mine"}


def stopped_run(command: Any, config: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stop a run after each of its two steps, which leaves two checkpoints within an epoch."""

    @contextlib.contextmanager
    def interrupting(*arguments: object, **options: object) -> Iterator[Callable[[int, str], None]]:
        yield lambda done, remark: os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(seamseg.cli.training_run, "progress_bar", interrupting)
        for _ in range(2):
            assert command("train", config, "--run-dir", run, "--auto-resume").code == 143
    return run


def test_resume_with_a_damaged_checkpoint_uses_the_previous_one(
    command: Any, config: Path, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stopped_run(command, config, tmp_path / "run", monkeypatch)
    damaged = run / "checkpoint-00000002.pt"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    (run / ".part-0.checkpoint-00000003.pt").write_bytes(b"of a process that was killed")
    ended = command("train", config, "--run-dir", run, "--resume")
    assert ended.code == 0
    assert f"the checkpoint {damaged} is damaged" in ended.err
    assert "renamed it to checkpoint-00000002.damaged" in ended.err
    assert "resuming from iteration 1 in epoch 1" in ended.err
    names = {path.name for path in run.glob("*checkpoint*")} | {path.name for path in run.glob(".*")}
    assert names == {"checkpoint-00000001.pt", "checkpoint-00000002.pt", "checkpoint-00000002.damaged"}
    assert same_model(run, run_dir)
    assert (run / "metrics.jsonl").read_bytes() == (run_dir / "metrics.jsonl").read_bytes()


def test_resume_with_another_batch_size_is_reported(
    command: Any, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stopped_run(command, config, tmp_path / "run", monkeypatch)
    (run / "checkpoint-00000002.pt").unlink()
    ended = command("train", config, "data.train_batch_size=1", "--run-dir", run, "--resume")
    assert ended.code == 0
    assert "changed settings: data.train_batch_size" in ended.err
    assert "1 image per batch over all processes instead of 2: the epoch continues with the images" in ended.err
    assert [entry["iteration"] for entry in read_metrics(run)] == [1, 2, 3, 3]
    assert load_experiment(run / "config.yaml").data.train_batch_size == 1


def test_train_full_disk_is_reported_and_keeps_the_last_checkpoint(
    command: Any, config: Path, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with file_size_limit(800_000):
        ended = command("train", config, "training.validate_every=0", "--run-dir", run)
        assert (ended.code, "Traceback" in ended.err) == (2, False)
        message = ended.err.splitlines()[-1]
        assert message.startswith(f"seamseg: {run / 'model.safetensors'} cannot be written (")
    stopped_run(command, config, tmp_path / "stopped", monkeypatch)
    (tmp_path / "stopped" / "checkpoint-00000002.pt").unlink()
    with file_size_limit(800_000), monkeypatch.context() as patch:
        patch.setattr(seamseg.engine.record, "save_model", lambda path, model: None)
        ended = command("train", config, "--run-dir", tmp_path / "stopped", "--resume")
    assert ended.code == 2
    message = ended.err.splitlines()[-1]
    assert (
        "checkpoint-00000002.pt cannot be written (File too large); the last good checkpoint is checkpoint-0" in message
    )
    for folder in (run, tmp_path / "stopped"):
        assert not [path.name for path in folder.iterdir() if is_part(path)]
        changed = ["training.validate_every=0"] if folder == run else []
        assert command("train", config, *changed, "--run-dir", folder, "--resume").code == 0
        assert same_model(folder, run_dir)


def test_train_diverging_run_is_reported_and_leaves_only_finite_files(
    command: Any, config: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    wild = ["optimizer.clip_norm=null", "schedule.warmup.iterations=0", "training.epochs=8", "optimizer.lr=100"]
    arguments = ("train", config, *wild, "training.weight_average=0.5", "--run-dir", run, "--auto-resume")
    ended = command(*arguments)
    assert ended.code == 2, ended.err
    states = [vars(load_checkpoint(path)) for path in run.glob("checkpoint-*.pt")]
    states += [vars(load_model_file(path)) for path in run.glob("*.safetensors")]
    assert nonfinite_tensors(states) == []
    assert re.search(r"^seamseg: iteration \d+: .*--resume with optimizer\.clip_norm", ended.err.splitlines()[-1])
    again = command(*arguments)
    assert again.code == 2
    assert again.err.splitlines()[-1] == ended.err.splitlines()[-1], "the run is resumed, and diverges again"
    assert not list(run.glob("*.damaged"))


def test_resume_with_only_damaged_checkpoints_is_refused(
    refuses: Callable[..., str], config: Path, run_dir: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(run_dir, tmp_path / "run"))
    (run / "checkpoint-00000002.pt").write_bytes((run / "checkpoint-00000002.pt").read_bytes()[:-100])
    assert str(run / "checkpoint-00000002.pt") in refuses("train", config, "--run-dir", run, "--resume")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 138)])
def test_train_signal_saves_a_checkpoint_and_exits(
    command: Any,
    config: Path,
    run_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    code: int,
) -> None:
    @contextlib.contextmanager
    def interrupting(*arguments: object, **options: object) -> Iterator[Callable[[int, str], None]]:
        yield lambda done, remark: os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(seamseg.cli.training_run, "progress_bar", interrupting)
        ended = command("train", config, "--run-dir", tmp_path / "run")
    assert ended.code == code
    assert ended.err.endswith("stopped and saved at iteration 1; pass --resume to continue\n")
    assert load_checkpoint(tmp_path / "run" / "checkpoint-00000001.pt").position.iteration == 1
    assert command("train", config, "--run-dir", tmp_path / "run", "--resume").code == 0
    assert read_metrics(tmp_path / "run") == read_metrics(run_dir)
    found, expected = (load_checkpoint(run / "checkpoint-00000002.pt") for run in (tmp_path / "run", run_dir))
    assert all(torch.equal(found.network[name], value) for name, value in expected.network.items())


# Errors found before anything is written, so that the same command works once the error is fixed.


def refused_start(refuses: Callable[..., str], tmp_path: Path, *arguments: object) -> str:
    sentence = refuses("train", *arguments, "--run-dir", tmp_path / "run")
    assert not (tmp_path / "run").exists()
    return sentence


def test_train_unknown_setting_names_the_nearest_one(refuses: Callable[..., str], config: Path, tmp_path: Path) -> None:
    sentence = refused_start(refuses, tmp_path, config, "optimizer.lrr=1")
    assert sentence == f"{config}: there is no setting optimizer.lrr; did you mean optimizer.lr?"


def test_train_missing_data_set_is_refused(refuses: Callable[..., str], config: Path, tmp_path: Path) -> None:
    sentence = refused_start(refuses, tmp_path, config, f"data.root={tmp_path / 'none'}")
    assert sentence == f"the data set folder {tmp_path / 'none'} does not exist"
    assert "data.root" in refused_start(refuses, tmp_path, config, "data.root=null")


def test_train_missing_split_is_refused(refuses: Callable[..., str], config: Path, data: Path, tmp_path: Path) -> None:
    sentence = refused_start(refuses, tmp_path, config, "data.val_split=test")
    assert sentence == f"{data} has no split matching 'test'*; its splits are train, val"


def test_train_missing_weights_file_is_refused(refuses: Callable[..., str], config: Path, tmp_path: Path) -> None:
    assert "body.weights=none.pth" in refused_start(refuses, tmp_path, config, "body.weights=none.pth")


def test_train_unknown_device_is_refused(refuses: Callable[..., str], config: Path, tmp_path: Path) -> None:
    assert "no device abacus" in refused_start(refuses, tmp_path, config, "--device", "abacus")


def changed(tmp_path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Write a data set and change its JSON files."""
    folder = write_tiny_splits(tmp_path / "data")
    for path in (folder / "annotations").glob("*.json"):
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
    return folder


def test_train_panoptic_on_detection_data_is_refused(refuses: Callable[..., str], config: Path, tmp_path: Path) -> None:
    folder = write_detection(tmp_path / "objects")
    sentence = refused_start(refuses, tmp_path, config, f"data.root={folder}")
    assert sentence.startswith(
        f"'train' of {folder} is COCO detection data, which has no pixel classes, as task=panoptic"
    )


def test_train_data_set_without_annotations_is_refused(
    refuses: Callable[..., str], config: Path, tmp_path: Path
) -> None:
    folder = changed(tmp_path, lambda content: content.update(annotations=[]))
    sentence = refused_start(refuses, tmp_path, config, f"data.root={folder}")
    assert sentence == f"{folder / 'annotations' / 'panoptic_train.json'} contains no annotations"
    (tmp_path / "bare" / "images").mkdir(parents=True)
    sentence = refused_start(refuses, tmp_path, config, f"data.root={tmp_path / 'bare'}")
    assert sentence.startswith(f"{tmp_path / 'bare'} is not a data set")


@pytest.mark.parametrize("num_workers", [0, 1])
def test_train_broken_training_image_is_reported(command: Any, config: Path, tmp_path: Path, num_workers: int) -> None:
    folder = write_tiny_splits(tmp_path / "data")
    broken = folder / "images" / "train" / "002.png"
    broken.write_bytes(broken.read_bytes()[:200])
    overrides = [f"data.root={folder}", f"data.num_workers={num_workers}"]
    code, _, err = command("train", config, *overrides, "--run-dir", tmp_path / "run")
    assert code == 2
    assert err.splitlines()[-1].startswith(f"seamseg: {broken} cannot be decoded")
    assert "Traceback" not in err


def test_train_broken_validation_image_is_skipped(command: Any, config: Path, tmp_path: Path) -> None:
    folder = write_tiny_splits(tmp_path / "data")
    broken = folder / "images" / "val" / "002.png"
    broken.write_bytes(b"")
    code, _, err = command("train", config, f"data.root={folder}", "--run-dir", tmp_path / "run")
    assert code == 0
    assert str(broken) in err
    assert (tmp_path / "run" / "model.safetensors").exists()
