"""A trained tiny network and the command as a function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

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
    """Runs `seamseg` in this process."""

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:  # of the parser
            code = int(end.code or 0)
        return Result(code, *capsys.readouterr())

    return run


@pytest.fixture
def refuses(command: Command) -> Callable[..., str]:
    """The sentence with which `seamseg` refuses its arguments."""

    def run(*arguments: object) -> str:
        code, out, err = command(*arguments)
        assert code == 2
        bars = ("drawing", "evaluating", "predicting", "checking", "converting", "packing")
        said = [line for line in err.splitlines() if not line.lstrip().startswith(bars)]
        assert len(said) == 1, err
        assert said[0].startswith("seamseg: ")
        assert "Traceback" not in out + err
        return said[0].removeprefix("seamseg: ")

    return run


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four images to train on, three to validate."""
    return write_tiny_splits(tmp_path_factory.mktemp("cli") / "data")


@pytest.fixture(scope="session")
def config(data: Path) -> Path:
    """Settings of two iterations; the network finds things from the start."""
    path = data.parent / "tiny.yaml"
    return write_tiny_config(path, data, "training.epochs=1", "fusion.score_threshold=0.1")


@pytest.fixture(scope="session")
def run_dir(data: Path, config: Path) -> Path:
    """A finished run; not to be changed."""
    folder = data.parent / "run"
    with narrow_body():
        assert main(["train", str(config), "--run-dir", str(folder), "--device", "cpu"]) == 0
    return folder
