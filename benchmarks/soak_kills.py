"""Training run on two ranks whose processes are killed many times, against an undisturbed run.

``torchrun --max-restarts`` restarts the ranks each time, and ``--auto-resume`` resumes the run. Kills happen during the
start of the processes, between steps, and while a checkpoint is written.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import seamseg
from benchmarks.table import Row
from seamseg.cli import main
from seamseg.io.files import is_part
from seamseg.runtime.checkpoint import checkpoint_paths, load_checkpoint, newest_checkpoint
from seamseg.runtime.log import read_metrics

MOMENTS = ("start", "write", "steps")
NUM_RANKS = 2
STEPS_PER_EPOCH = 4
EPOCHS_PER_KILL = 3  # more than a process finishes before it is killed
SPARE_RESTARTS = 5  # for ranks that fail to connect
SECONDS = 300
SETTINGS = """
norm: {name: syncbn}
body: {name: resnet18}
fpn: {channels: 16}
rpn:
  channels: 16
  anchor_scale: 4
  min_size: 0
  num_samples: 32
  training: {before_nms: 200, after_nms: 30}
  inference: {before_nms: 200, after_nms: 20}
roi: {fc_channels: 32, mask_channels: 16, num_samples: 16, max_predictions: 10}
sem: {channels: 16}
data: {shortest_side: 64, longest_side: 128, train_batch_size: 1, val_batch_size: 1, num_workers: 0}
optimizer: {lr: 0.005, clip_norm: 10}
schedule: {name: poly, warmup: {iterations: 4}}
training: {validate_every: 0, log_every: 1, num_pictures: 0}
"""


@dataclass(frozen=True)
class Kill:
    """One kill -9.

    Attributes:
        moment: Phase that the kill was aimed at: ``start``, ``steps`` or ``write``.
        rank: Rank that was killed.
        step: Last logged step.
        resumable: Iteration of the newest checkpoint after the kill.
        half_written: Whether an incomplete checkpoint was left.
    """

    moment: str
    rank: int
    step: int
    resumable: int
    half_written: bool


def kill_rows(num_kills: int = 20, seed: int = 0) -> list[Row]:
    """Kills ranks at random moments and compares the end with that of the undisturbed run; minutes.

    Args:
        num_kills: how often; every third falls into the writing of a checkpoint.
        seed: of the moments and victims.

    Raises:
        RuntimeError: a run did not end well; its last words are told.
    """
    with tempfile.TemporaryDirectory(prefix="soak-kills-") as name:
        folder = Path(name)
        _write_experiment(folder)
        epochs = EPOCHS_PER_KILL * num_kills + 1
        _finish(_start(folder / "calm", epochs, SPARE_RESTARTS), folder / "calm")
        launcher = _start(folder / "killed", epochs, num_kills + SPARE_RESTARTS)
        chance = random.Random(seed)
        try:
            kills = [_kill(launcher.pid, folder / "killed", MOMENTS[number % 3], chance) for number in range(num_kills)]
            _finish(launcher, folder / "killed")
        finally:
            launcher.terminate()
            launcher.wait()
        return _rows(kills, folder / "calm", folder / "killed")


def _write_experiment(folder: Path) -> None:
    scenes = ["--train", str(NUM_RANKS * STEPS_PER_EPOCH), "--val", "2", "--size", "64x128", "--seed", "0"]
    if main(["make-scenes", str(folder / "data"), *scenes]) != 0:
        raise RuntimeError("the scenes to train on could not be drawn")
    (folder / "tiny.yaml").write_text(SETTINGS)


def _start(run: Path, epochs: int, max_restarts: int) -> subprocess.Popen[bytes]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(NUM_RANKS)]
    command = ["-m", "seamseg", "train", str(run.parent / "tiny.yaml"), f"data.root={run.parent / 'data'}"]
    options = [f"training.epochs={epochs}", "--run-dir", str(run), "--auto-resume", "--device", "cpu"]
    paths = {"PYTHONPATH": str(Path(seamseg.__file__).parents[1])}
    with _output(run).open("wb") as output:
        return subprocess.Popen(
            [sys.executable, *launcher, "--max-restarts", str(max_restarts), *command, *options],
            env=os.environ | paths | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def _finish(launcher: subprocess.Popen[bytes], run: Path) -> None:
    if launcher.wait() != 0:
        raise RuntimeError(f"the run in {run} ended with code {launcher.returncode}:\n{_last_words(run)}")


def _output(run: Path) -> Path:
    return run.with_suffix(".txt")


def _last_words(run: Path) -> str:
    return _output(run).read_text(errors="replace")[-4000:]


# The kills.


def _kill(launcher: int, run: Path, moment: str, chance: random.Random) -> Kill:
    """Wait for new ranks and for the moment, kill one rank, and wait until all have ended."""
    ranks = _ranks_at(launcher, run, moment, chance)
    rank = 0 if moment == "write" else chance.randrange(NUM_RANKS)
    os.kill(ranks[rank], signal.SIGKILL)
    _wait(lambda: not _is_alive(ranks[rank]), run)
    kill = Kill(moment, rank, _last_step(run), _newest(run), _is_writing(run))
    _wait(lambda: not any(_is_alive(process) for process in ranks.values()), run)
    return kill


def _ranks_at(launcher: int, run: Path, moment: str, chance: random.Random) -> dict[int, int]:
    """Return the process of each rank at the moment of the kill.

    On a busy machine gloo sometimes fails to connect; these ranks end, and the launcher starts new ones.
    """
    while True:
        ranks: dict[int, int] = _wait(functools.partial(_ranks, launcher), run)
        step = _newest(run) + chance.randint(1, 2 * STEPS_PER_EPOCH)
        _wait(functools.partial(_has_come, moment, step, run, ranks), run)
        time.sleep(chance.uniform(0, {"start": 5, "steps": 0.2, "write": 0.05}[moment]))
        if _all_alive(ranks):
            return ranks


def _has_come(moment: str, step: int, run: Path, ranks: dict[int, int]) -> bool:
    """Return whether the moment has come, or can no longer come for these ranks."""
    reached = {"start": True, "steps": _last_step(run) >= step, "write": _is_writing(run)}
    return reached[moment] or not _all_alive(ranks)


def _all_alive(ranks: dict[int, int]) -> bool:
    return all(_is_alive(process) for process in ranks.values())


def _is_alive(process: int) -> bool:
    """Return whether the process exists and is not a zombie."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


def _wait(ready: Callable[[], Any], run: Path) -> Any:
    end = time.monotonic() + SECONDS
    while not (found := ready()):
        if time.monotonic() > end:
            raise RuntimeError(f"nothing happened for {SECONDS} seconds:\n{_last_words(run)}")
        time.sleep(0.01)
    return found


def _ranks(launcher: int) -> dict[int, int]:
    """Return the process of each rank; empty while some are missing."""
    found = {}
    for process in _children(launcher):
        environment = _environment(process)
        if "LOCAL_RANK" in environment:
            found[int(environment["LOCAL_RANK"])] = process
    return found if len(found) == NUM_RANKS else {}


def _children(process: int) -> list[int]:
    """Return the child processes of all threads; threads that end meanwhile are skipped."""
    found: list[int] = []
    for thread in Path(f"/proc/{process}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += map(int, (thread / "children").read_text().split())
    return found


def _environment(process: int) -> dict[str, str]:
    try:
        entries = Path(f"/proc/{process}/environ").read_text(errors="replace").split("\0")
    except OSError:  # it has ended
        return {}
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def _is_writing(run: Path) -> bool:
    return run.is_dir() and any(is_part(path) and "checkpoint" in path.name for path in run.iterdir())


def _newest(run: Path) -> int:
    paths = checkpoint_paths(run)
    return int(paths[0].stem.rpartition("-")[2]) if paths else 0


def _last_step(run: Path) -> int:
    steps = [entry["iteration"] for entry in read_metrics(run)]
    return max(steps, default=0)


# The comparison.


def _rows(kills: list[Kill], calm: Path, killed: Path) -> list[Row]:
    expected, found = (load_checkpoint(newest_checkpoint(run)[0]) for run in (calm, killed))
    wanted = _tensors({"network": expected.network, "optimizer": expected.optimizer})
    got = _tensors({"network": found.network, "optimizer": found.optimizer})
    other = [name for name in wanted.keys() | got.keys() if not _equal(wanted.get(name), got.get(name))]
    entries, entries_found = read_metrics(calm), read_metrics(killed)
    unlike = sum(entry not in entries_found for entry in entries) + abs(len(entries_found) - len(entries))
    writes = [kill for kill in kills if kill.moment == "write"]
    missed = sum(not kill.half_written for kill in writes)
    repeated = sum(kill.step - kill.resumable for kill in kills) / len(kills)
    runs = f"after kill -9 of a random rank of {NUM_RANKS}, {len(kills)} times"
    return [
        Row(
            "kills-tensors", f"weights, statistics and momenta {runs}: different; all", len(other), len(wanted), "-", 0
        ),
        Row("kills-log", f"log entries {runs}: different; all", unlike, len(entries), "-", 0),
        Row("kills-in-write", "kills aimed at the writing of a checkpoint: missed; all", missed, len(writes), "-", 0.5),
        Row(
            "kills-repeated",
            "steps repeated per kill; steps between checkpoints",
            repeated,
            STEPS_PER_EPOCH,
            "-",
            1,
        ),
    ]


def _tensors(tree: Any, name: str = "") -> dict[str, Any]:
    if isinstance(tree, dict):
        return {key: leaf for part, inner in tree.items() for key, leaf in _tensors(inner, f"{name}.{part}").items()}
    if isinstance(tree, list):
        return _tensors(dict(enumerate(tree)), name)
    return {name: tree}


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return bool(one == other)
