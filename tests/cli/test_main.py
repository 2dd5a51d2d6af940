"""The `seamseg` command: help, parsing, exit codes and error messages."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import seamseg
from seamseg import cli
from seamseg.errors import BrokenImageError, NativeLibraryError, SettingsError

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(seamseg.__file__).parents[1])}


def test_help_lists_every_subcommand(command: Any) -> None:
    code, out, _ = command("--help")
    assert code == 0
    files = {path.stem.replace("_", "-") for path in Path(cli.__file__).parent.glob("*.py")}
    shared = {"--init--", "arguments", "convert-arguments", "convert-tools", "export-arguments", "object-tables"}
    shared |= {"output", "score-tables", "training-run", "video-scores"}
    assert cli.SUBCOMMANDS.keys() == files - shared
    assert all(subcommand in out for subcommand in cli.SUBCOMMANDS)


def test_help_lines_equal_those_of_the_modules() -> None:
    (action,) = cli.parser()._subparsers._group_actions  # type: ignore[union-attr]
    assert {one.dest: one.help for one in action._choices_actions} == cli.SUBCOMMANDS  # type: ignore[attr-defined]


def test_parser_of_no_subcommand_does_not_import_torch() -> None:
    code = "import sys, seamseg.cli; seamseg.cli.parser(''); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, check=True)


def test_commands_without_networks_do_not_import_torchvision() -> None:
    names = ["check", "compare", "convert", "make-scenes", "report", "score", "submit"]
    build = f"[seamseg.cli.parser(name) for name in {names}]"
    code = f"import sys, seamseg.cli; {build}; sys.exit('torchvision' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, check=True)


@pytest.mark.parametrize("subcommand", cli.SUBCOMMANDS)
def test_help_of_a_subcommand_explains_every_argument(command: Any, subcommand: str) -> None:
    code, out, _ = command(subcommand, "--help")
    assert code == 0
    actions = cli.parser(subcommand)._subparsers._group_actions[0].choices[subcommand]._actions  # type: ignore[union-attr,index,call-overload]
    assert len(actions) > 1
    for action in actions:
        assert action.help
        name = action.option_strings[-1] if action.option_strings else action.metavar
        assert name in out
    description = out.split("\n\n")[1]
    assert len(description) > 60


def test_version_option_prints_the_version(command: Any) -> None:
    assert command("--version") == (0, f"seamseg {seamseg.__version__}\n", "")


@pytest.mark.parametrize("arguments", [[], ["fly"], ["train"], ["evaluate", "x"], ["predict", "x", "y"]])
def test_parse_missing_or_unknown_arguments_prints_usage(command: Any, arguments: list[str]) -> None:
    code, _, err = command(*arguments)
    assert code == 2
    assert "usage: seamseg" in err


def test_parse_settings_anywhere_after_the_subcommand_are_accepted() -> None:
    options = cli.parse(["train", "config", "a=1", "--run-dir", "runs/x", "b.c=2", "--resume", "d=--3"])
    assert options.overrides == ["a=1", "b.c=2", "d=--3"]
    assert (options.config, options.resume, options.run_dir) == ("config", "yes", Path("runs/x"))


@pytest.mark.parametrize(
    "arguments",
    [["train", "x", "--fly=1"], ["train", "x", "--resume", "y"], ["env", "a=1"], ["predict", *"abc", "d=1"]],
)
def test_parse_words_that_are_not_settings_are_refused(command: Any, arguments: list[str]) -> None:
    code, _, err = command(*arguments)
    assert code == 2
    assert f"unrecognized arguments: {arguments[-1]}" in err


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(options: object) -> int:
        raise error

    monkeypatch.setattr("seamseg.cli.train.run", fail)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (SettingsError("a key is wrong"), "a key is wrong"),
        (BrokenImageError(Path("a.png"), "is damaged"), "a.png is damaged"),
        (NativeLibraryError("the native library is missing"), "the native library is missing"),
        (FileNotFoundError("the folder x does not exist"), "the folder x does not exist"),
        (PermissionError(13, "Permission denied", "/root/x"), "/root/x: Permission denied"),
        (IsADirectoryError(21, "Is a directory", "/x/.y.tmp", None, "/x/y"), "/x/y: Is a directory"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (FloatingPointError("iteration 3: semantic=nan"), "iteration 3: semantic=nan"),
    ],
)
def test_main_user_errors_are_printed_as_one_sentence(
    monkeypatch: pytest.MonkeyPatch, refuses: Callable[..., str], error: Exception, sentence: str
) -> None:
    failing(monkeypatch, error)
    assert refuses("train", "x.yaml", "--run-dir", "y") == sentence


@pytest.mark.parametrize("error", [ValueError("bug"), KeyError("bug"), RuntimeError("bug")])
def test_main_bugs_are_raised(monkeypatch: pytest.MonkeyPatch, command: Any, error: Exception) -> None:
    failing(monkeypatch, error)
    with pytest.raises(type(error), match="bug"):
        command("train", "x.yaml", "--run-dir", "y")


def test_main_user_error_is_raised_with_the_traceback_variable(monkeypatch: pytest.MonkeyPatch, command: Any) -> None:
    failing(monkeypatch, SettingsError("a key is wrong"))
    monkeypatch.setenv("SEAMSEG_TRACEBACK", "1")
    with pytest.raises(SettingsError, match="a key is wrong"):
        command("train", "x.yaml", "--run-dir", "y")


def test_main_keyboard_interrupt_exits_with_130(monkeypatch: pytest.MonkeyPatch, command: Any) -> None:
    failing(monkeypatch, KeyboardInterrupt())
    assert command("train", "x.yaml", "--run-dir", "y") == (130, "", "seamseg: interrupted\n")


def test_main_in_a_new_process_prints_the_error_and_creates_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "seamseg", "train", str(tmp_path / "none.yaml"), "--run-dir", str(tmp_path / "run")],
        env=ENVIRONMENT,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"seamseg: cannot read the settings {tmp_path / 'none.yaml'}: No such file or directory\n"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("predict", "~/model", "~/in", "~/out"), ("model", "images", "out")),
        (("convert", "masks", "~/in", "~/out"), ("source_folder", "out")),
        (("report", "~/in", "~/out", "--images=~/x", "--gt=~/gt.json"), ("predictions", "out", "images", "gt")),
        (("train", "scenes_r18", "--run-dir=~/run"), ("run_dir",)),
    ],
)
def test_parse_tilde_in_paths_is_the_home_folder(
    arguments: tuple[str, ...], names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    options = cli.parse(arguments)
    for name in names:
        assert getattr(options, name).parent == Path("/home/me")
