"""Fixtures: a trained tiny network, and the command as a function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
import torch
from support.tiny_experiment import narrow_body, write_tiny_config, write_tiny_splits

from seamseg.cli import main


class Result(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Result]


@pytest.fixture(autouse=True)
def _narrow() -> Iterator[None]:
    with narrow_body():
        yield


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `seamseg` in this process."""

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:  # raised by the parser
            code = int(end.code or 0)
        return Result(code, *capsys.readouterr())

    return run


@pytest.fixture
def refuses(command: Command) -> Callable[..., str]:
    """Run `seamseg`, check that it fails with a user error, and return the error message."""

    def run(*arguments: object) -> str:
        code, out, err = command(*arguments)
        assert code == 2
        bars = ("drawing", "evaluating", "testing", "predicting", "checking", "converting", "packing", "scoring")
        messages = [line for line in err.splitlines() if not line.lstrip().startswith(bars)]
        assert len(messages) == 1, err
        assert messages[0].startswith("seamseg: ")
        assert "Traceback" not in out + err
        return messages[0].removeprefix("seamseg: ")

    return run


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with four training and three validation images."""
    return write_tiny_splits(tmp_path_factory.mktemp("cli") / "data")


@pytest.fixture(scope="session")
def config(data: Path) -> Path:
    """Settings for two iterations; the low score threshold lets the untrained network find things."""
    path = data.parent / "tiny.yaml"
    return write_tiny_config(path, data, "training.epochs=1", "fusion.score_threshold=0.1")


@pytest.fixture(scope="session")
def run_dir(data: Path, config: Path) -> Path:
    """A finished run; tests must not change it."""
    folder = data.parent / "run"
    with narrow_body():
        assert main(["train", str(config), "--run-dir", str(folder), "--device", "cpu"]) == 0
    return folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """An image of noise."""
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    assert cv2.imwrite(str(tmp_path / "photo.png"), image)
    return tmp_path / "photo.png"
