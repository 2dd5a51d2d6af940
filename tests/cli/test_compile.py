"""`--compile` and `training.compile`: which parts run compiled. The compiler is replaced, because it takes minutes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seamseg.api import load_model
from seamseg.modules import compilation

PARTS = {"PyramidBody.forward", "RPNHead.forward", "SemanticHead.forward", "RoIHead._run_rows"}


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of the methods that would have run compiled."""
    names: set[str] = set()

    def uncompiled(method: Callable[..., Any]) -> Callable[..., Any]:
        names.add(method.__qualname__)
        return method

    monkeypatch.setattr(compilation, "_compiled", uncompiled)
    return names


def test_predict_with_compile_runs_all_parts_compiled_and_can_resume_without(
    command: Any, compiled: set[str], run_dir: Path, photo: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert command("predict", run_dir, photo, out).code == 0
    assert compiled == set()
    assert command("predict", run_dir, photo, out, "--compile", "--resume").code == 0
    assert command("predict", run_dir, photo, tmp_path / "other", "--compile", "--precision", "bf16").code == 0
    assert compiled >= PARTS
    assert json.loads((tmp_path / "other/panoptic.json").read_text())["info"]["compile"] is True


def test_load_model_with_compile_predicts_the_same(compiled: set[str], run_dir: Path, photo: Path) -> None:
    results = [load_model(run_dir, "cpu", precision="float32", compile=flag).predict(photo) for flag in (False, True)]
    assert compiled >= PARTS
    assert len(results[0].segments) == len(results[1].segments)


def test_evaluate_with_compile_has_the_scores_of_the_network(
    command: Any, compiled: set[str], run_dir: Path, data: Path, tmp_path: Path
) -> None:
    scores = []
    for options in ((), ("--compile",)):
        file = tmp_path / f"{len(options)}.json"
        assert command("evaluate", run_dir, "--data", data, "--split", "val", "--json", file, *options).code == 0
        scores.append(json.loads(file.read_text()))
    assert compiled >= PARTS
    assert scores[1]["miou"] == pytest.approx(scores[0]["miou"], abs=1e-3)


def test_training_can_be_resumed_compiled_and_uncompiled(
    command: Any, compiled: set[str], config: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    for epochs, compiles in ((1, False), (2, True), (3, False)):
        overrides = (f"training.epochs={epochs}", f"training.compile={str(compiles).lower()}")
        assert command("train", config, *overrides, "--run-dir", run, *(["--resume"] if epochs > 1 else [])).code == 0
        assert bool(compiled) == (epochs > 1)
        assert not compiles or compiled >= PARTS


def test_train_without_a_compiler_says_what_to_install(
    refuses: Callable[..., str], config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "apt-get install g++" in refuses("train", config, "training.compile=true", "--run-dir", tmp_path / "run")
