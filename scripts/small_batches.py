"""Train the demo's network with each norm at one and two images per step: the table in configs/README.md.

seamseg make-scenes data/small-scenes --train 360 --val 100 --size 128x256 --seed 0
python scripts/small_batches.py train data/small-scenes runs/small-batches --jobs 2
python scripts/small_batches.py time data/small-scenes runs/small-batches
python scripts/small_batches.py table runs/small-batches

`train` and `time` skip what is finished, so run them again after an interruption.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from seamseg.cli.compare import read_scores
from seamseg.metrics.resampling import Comparison, Interval, compare_runs

SEEDS = (0, 1, 2)
NUM_SCENES, STEPS = 200, 400
TIMED_STEPS = (5, 25)
COMMON = [
    "data.shortest_side=128",
    "data.longest_side=256",
    "data.val_limit=1",
    "training.precision=float32",
    "training.num_pictures=0",
    "training.channels_last=true",
    "norm.standardize_weights=false",
    "norm.heads=null",
]
# The schedules of `brn` and `mabn` count calls of a norm; the published ones are longer than this training.
SETTINGS = {
    "bn": "norm.name=bn",
    "syncbn": "norm.name=syncbn",
    "brn": "norm.name=brn norm.brn.plain_iterations=100 norm.brn.warmup_iterations=300",
    "mabn": "norm.name=mabn norm.mabn.plain_iterations=30 norm.mabn.warmup_iterations=150",
    "gn": "norm.name=gn",
    "gn-ws": "norm.name=gn norm.standardize_weights=true",
}
NAMES = {
    "bn": "BatchNorm, in place",
    "bn-evalnorm": "the same networks, EvalNorm",
    "syncbn": "SyncBN, two processes with one image each",
    "brn": "batch renormalization",
    "mabn": "MABN",
    "gn": "group norm",
    "gn-ws": "group norm, standardized filters",
}


def main() -> None:
    """Run one part of the experiment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    for part in ("train", "time", "table"):
        subcommand = parts.add_parser(part)
        if part != "table":
            subcommand.add_argument("scenes", type=Path)
        if part == "train":
            subcommand.add_argument("--jobs", type=int, default=1, help="trainings at a time, one thread each")
        subcommand.add_argument("runs", type=Path)
    options = parser.parse_args()
    combinations = [(norm, images) for images in (1, 2) for norm in SETTINGS if images >= _num_ranks(norm)]
    if options.part == "train":
        with ThreadPoolExecutor(options.jobs) as pool:
            jobs = [(norm, images, seed) for seed in SEEDS for norm, images in combinations]
            list(pool.map(lambda job: train_and_score(options.scenes, options.runs, *job), jobs))
    elif options.part == "time":
        for norm, images in combinations:
            measure_step(options.scenes, options.runs, norm, images)
    else:
        for images in (1, 2):
            print_table(options.runs, images)


def train_and_score(scenes: Path, runs: Path, norm: str, images: int, seed: int) -> None:
    """Train one network and score it, with and without EvalNorm if it has BatchNorm."""
    run = runs / f"{norm}-{images}-{seed}"
    epochs = STEPS * images // NUM_SCENES
    if not (run / "finished").exists():
        _train(scenes, run, norm, images, f"training.epochs={epochs}", f"training.seed={seed}")
        (run / "finished").touch()
    _score(scenes, run, runs / f"{norm}-{images}-{seed}.json")
    if norm == "bn":
        _score(scenes, run, runs / f"bn-evalnorm-{images}-{seed}.json", "--eval-norm", str(1 / images))


def measure_step(scenes: Path, runs: Path, norm: str, images: int) -> None:
    """Store the CPU seconds of a training step and process: the difference of a longer and a shorter training, twice.

    CPU time depends little on what else the computer does. It does not contain the time that processes wait.
    """
    out = runs / f"time-{norm}-{images}.json"
    if out.exists():
        return
    seconds = []
    for _ in range(2):
        durations = []
        for steps in TIMED_STEPS:
            run = runs / "timing"
            shutil.rmtree(run, ignore_errors=True)
            start = _cpu_seconds()
            _train(scenes, run, norm, images, "training.epochs=1", f"data.train_limit={steps * images}")
            durations.append((_cpu_seconds() - start) / _num_ranks(norm))
        seconds.append((durations[1] - durations[0]) / (TIMED_STEPS[1] - TIMED_STEPS[0]))
    out.write_text(json.dumps({"mean": statistics.mean(seconds), "all": seconds}))


def print_table(runs: Path, images: int) -> None:
    """Print the scores for one number of images per step, compared with those of BatchNorm."""
    reference = _read_runs(runs, "bn", images)
    columns = (
        f"norm, {images} per step",
        "PQ",
        "95 % interval",
        "minus BatchNorm",
        "95 % interval",
        "things",
        "stuff",
    )
    print(f"| {' | '.join(columns)} | CPU s/step |\n{'|---' * (len(columns) + 1)}|")
    for norm, name in NAMES.items():
        if images < _num_ranks(norm):
            continue
        order = [[scores.images[image] for image in reference[0].images] for scores in _read_runs(runs, norm, images)]
        baseline = [[scores.images[image] for image in reference[0].images] for scores in reference]
        result = compare_runs(baseline, order, len(reference[0].per_class))
        print(f"| {name} | {_scores(result, norm)} | {_parts(runs, norm, images)} | {_seconds(runs, norm, images)} |")


def _cpu_seconds() -> float:
    """Return the CPU time of all commands that have finished."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _num_ranks(norm: str) -> int:
    return 2 if norm == "syncbn" else 1


def _train(scenes: Path, run: Path, norm: str, images: int, *settings: str) -> None:
    ranks = _num_ranks(norm)
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), "-m"] if ranks > 1 else []
    command = [
        sys.executable,
        "-m",
        *launcher,
        "seamseg",
        "train",
        "scenes_r18",
        f"data.root={scenes}",
        "--device",
        "cpu",
    ]
    limit = [] if any("train_limit" in setting for setting in settings) else [f"data.train_limit={NUM_SCENES}"]
    sizes = [f"data.train_batch_size={images // ranks}", f"norm.mabn.window={32 // images}", *limit]
    _run([*command, *COMMON, *SETTINGS[norm].split(), *sizes, *settings, "--run-dir", str(run), "--auto-resume"], run)


def _score(scenes: Path, run: Path, out: Path, *options: str) -> None:
    if not out.exists():
        command = [sys.executable, "-m", "seamseg", "evaluate", str(run), "--data", str(scenes), "--split", "val"]
        _run([*command, "--json", str(out), "--device", "cpu", *options], run)


def _run(command: Sequence[str], run: Path) -> None:
    """Run a command with one thread and its output in a log beside the run folder."""
    run.parent.mkdir(parents=True, exist_ok=True)
    log = run.with_name(f"{run.name}.log")
    with log.open("a") as file:
        result = subprocess.run(
            command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=file, stderr=file, check=False
        )
    if result.returncode:
        sys.exit(f"{run.name} failed, see {log}")


def _read_runs(runs: Path, norm: str, images: int) -> list:
    return [read_scores(runs / f"{norm}-{images}-{seed}.json") for seed in SEEDS]


def _scores(result: Comparison, norm: str) -> str:
    own = f"{100 * result.second:.1f} | {_interval(result.second_interval)}"
    if norm == "bn":
        return f"{own} | | "
    return f"{own} | {100 * result.difference:+.1f} | {_interval(result.difference_interval, sign='+')}"


def _interval(interval: Interval, sign: str = "") -> str:
    return f"{100 * interval.low:{sign}.1f} … {100 * interval.high:{sign}.1f}"


def _parts(runs: Path, norm: str, images: int) -> str:
    files = [json.loads((runs / f"{norm}-{images}-{seed}.json").read_text()) for seed in SEEDS]
    return " | ".join(
        f"{100 * statistics.mean(file[part]['pq'] for file in files):.1f}" for part in ("things", "stuff")
    )


def _seconds(runs: Path, norm: str, images: int) -> str:
    file = runs / f"time-{norm}-{images}.json"
    return f"{json.loads(file.read_text())['mean']:.2f}" if file.exists() else ""


if __name__ == "__main__":
    main()
