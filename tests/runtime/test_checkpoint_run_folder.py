"""Which checkpoints of a run are kept and which one it resumes from, even if a process is killed while saving."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from seamseg.io.files import remove_parts
from seamseg.runtime.checkpoint import (
    Checkpoint,
    _seal,
    add_checkpoint,
    checkpoint_path,
    load_checkpoint,
    newest_checkpoint,
    put_aside_later,
)
from seamseg.runtime.training_progress import TrainingProgress


def add_iteration(folder: Path, iteration: int, keep: int = 2, best: int = 0) -> None:
    position = TrainingProgress(iteration=iteration, best_iteration=best)
    add_checkpoint(
        folder, Checkpoint("", [], 1, position, {"weight": torch.full((1000,), float(iteration))}, {}, {}, None), keep
    )


def iterations(folder: Path) -> list[int]:
    return sorted(load_checkpoint(path).position.iteration for path in folder.iterdir())


def flip_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize(("keep", "expected"), [(1, [9]), (2, [7, 9]), (3, [5, 7, 9]), (9, [1, 3, 5, 7, 9])])
def test_add_checkpoint_keeps_the_latest(tmp_path: Path, keep: int, expected: list[int]) -> None:
    for iteration in (1, 3, 5, 7, 9):
        add_iteration(tmp_path, iteration, keep)
    assert iterations(tmp_path) == expected
    assert newest_checkpoint(tmp_path) == (tmp_path / "checkpoint-00000009.pt", [])


def test_add_checkpoint_keeps_the_best_until_it_is_surpassed(tmp_path: Path) -> None:
    for iteration, best in ((1, 1), (2, 2), (3, 2), (4, 2), (5, 2)):
        add_iteration(tmp_path, iteration, best=best)
    assert iterations(tmp_path) == [2, 4, 5]
    add_iteration(tmp_path, 6, best=6)
    assert iterations(tmp_path) == [5, 6]


def test_add_checkpoint_removes_later_checkpoints_of_an_abandoned_run(tmp_path: Path) -> None:
    """After returning to iteration 4, later checkpoints must not be taken for the latest."""
    for iteration in (4, 8, 12):
        add_iteration(tmp_path, iteration, keep=3)
    add_iteration(tmp_path, 5, keep=3)
    assert iterations(tmp_path) == [4, 5]


def test_add_checkpoint_keeps_other_files(tmp_path: Path) -> None:
    foreign = {tmp_path / name for name in ("checkpoint.pt", "checkpoint-7.pt", "checkpoint-mine.pt", "notes.txt")}
    for path in foreign:
        path.write_text("mine")
    for iteration in (1, 2, 3):
        add_iteration(tmp_path, iteration, keep=1)
    assert set(tmp_path.iterdir()) == {*foreign, checkpoint_path(tmp_path, 3)}


def test_newest_checkpoint_skips_damaged_ones_and_names_them(tmp_path: Path) -> None:
    for iteration in (1, 2, 3):
        add_iteration(tmp_path, iteration, keep=3)
    flip_bit(checkpoint_path(tmp_path, 2))
    checkpoint_path(tmp_path, 3).write_bytes(checkpoint_path(tmp_path, 3).read_bytes()[:-1])
    path, refused = newest_checkpoint(tmp_path)
    assert path == checkpoint_path(tmp_path, 1)
    assert [str(checkpoint_path(tmp_path, damaged)) in text for damaged, text in zip((3, 2), refused, strict=True)]
    put_aside = put_aside_later(tmp_path, path)
    assert [other.name for other in put_aside] == ["checkpoint-00000003.damaged", "checkpoint-00000002.damaged"]
    assert newest_checkpoint(tmp_path) == (path, [])


def poison(path: Path) -> None:
    """Turn a checkpoint into one that version 0.1 wrote after training had diverged."""
    content = torch.load(path, weights_only=True)
    content["network"]["weight"][7] = torch.nan
    torch.save(content, path)
    _seal(path)


def test_newest_checkpoint_skips_a_nonfinite_one_and_names_it(tmp_path: Path) -> None:
    for iteration in (1, 2):
        add_iteration(tmp_path, iteration)
    poison(checkpoint_path(tmp_path, 2))
    path, refused = newest_checkpoint(tmp_path)
    assert path == checkpoint_path(tmp_path, 1)
    assert len(refused) == 1
    assert str(checkpoint_path(tmp_path, 2)) in refused[0]
    assert "network.weight" in refused[0]


def test_newest_checkpoint_does_not_skip_one_of_another_version(tmp_path: Path) -> None:
    add_iteration(tmp_path, 1)
    torch.save({"format": 99}, checkpoint_path(tmp_path, 2))
    _seal(checkpoint_path(tmp_path, 2))
    assert newest_checkpoint(tmp_path) == (checkpoint_path(tmp_path, 2), [])


def test_adding_a_nonfinite_state_keeps_all_checkpoints_and_names_the_last(tmp_path: Path) -> None:
    add_iteration(tmp_path, 1, keep=1)
    diverged = Checkpoint("", [], 1, TrainingProgress(iteration=2), {"weight": torch.tensor(torch.inf)}, {}, {}, None)
    with pytest.raises(FloatingPointError, match=r"00000002\.pt is not written.*last good .*00000001\.pt.*clip_norm"):
        add_checkpoint(tmp_path, diverged, keep=1)
    assert iterations(tmp_path) == [1]


def test_newest_checkpoint_with_only_damaged_ones_raises_error_naming_all(tmp_path: Path) -> None:
    for iteration in (1, 2):
        add_iteration(tmp_path, iteration)
        flip_bit(checkpoint_path(tmp_path, iteration))
    with pytest.raises(ValueError, match=r"00000002\.pt is damaged.*00000001\.pt is damaged"):
        newest_checkpoint(tmp_path)


def test_newest_checkpoint_of_empty_folder_raises_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no checkpoint in"):
        newest_checkpoint(tmp_path)


def test_adding_on_a_full_disk_keeps_all_checkpoints_and_names_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_iteration(tmp_path, 1, keep=1)
    add_iteration(tmp_path, 2, keep=1)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"00000003\.pt cannot be written \(No space.*last good .*00000002\.pt"):
        add_iteration(tmp_path, 3, keep=1)
    assert iterations(tmp_path) == [2]


# A process that kills itself in a function of the operating system while it saves.
KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = {path!r}
from {module} import add_iteration
name, call = {name!r}, {call}
calls, owner = 0, {owner}
right = getattr(owner, name)
def deadly(*arguments, **options):
    global calls
    calls += 1
    if calls == call and {before}:
        os.kill(os.getpid(), signal.SIGKILL)
    result = right(*arguments, **options)
    if calls == call:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
setattr(owner, name, deadly)
add_iteration(Path({folder!r}), 3, keep=2, best=1)
"""
FSYNC, RENAME, UNLINK, WRITE = ("os", "fsync"), ("Path", "replace"), ("Path", "unlink"), ("Path", "open")
MOMENTS = [
    # Function, number of the call, and the iterations that a run can resume from afterwards.
    (WRITE, 1, [1, 2]),  # the temporary file is opened
    (WRITE, 2, [1, 2]),  # the checksum is missing
    (FSYNC, 1, [1, 2]),  # complete, but possibly not on the disk
    (RENAME, 1, [1, 2]),
    (FSYNC, 2, [1, 2, 3]),  # renamed, but possibly not on the disk
    (UNLINK, 1, [1, 2, 3]),
]


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize(("function", "call", "expected"), MOMENTS)
def test_run_folder_is_usable_after_a_kill_at_any_moment(
    tmp_path: Path, function: tuple[str, str], call: int, expected: list[int], before: bool
) -> None:
    for iteration in (1, 2):
        add_iteration(tmp_path, iteration, best=1)
    owner, name = function
    code = KILLED.format(
        path=[str(Path(__file__).parent), *filter(None, sys.path)],
        module=Path(__file__).stem,
        name=name,
        call=call,
        owner=owner,
        before=before,
        folder=str(tmp_path),
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    if function == RENAME and not before:
        expected = [1, 2, 3]
    latest = load_checkpoint(newest_checkpoint(tmp_path)[0])
    assert latest.position.iteration == expected[-1]
    assert torch.equal(latest.network["weight"], torch.full((1000,), float(expected[-1])))
    remove_parts(tmp_path)
    assert iterations(tmp_path) == expected
    add_iteration(tmp_path, 3, best=1)
    assert iterations(tmp_path) == [1, 2, 3]
