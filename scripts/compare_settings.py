"""Train a config with changed settings, several seeds each, and compare the scores with those of the config itself.

seamseg make-scenes data/scenes --train 360 --val 40 --size 192x384 --seed 0
python scripts/compare_settings.py train scripts/comparisons/scenes_causes.yaml data/scenes runs/causes --jobs 2
python scripts/compare_settings.py table scripts/comparisons/scenes_causes.yaml runs/causes

A comparison file names the `config`, the `seeds`, overrides for all trainings (`common`), and `changes`: a list of
overrides by name. Intervals are those of `seamseg compare`: over the images and the runs. `train` skips what is
finished and resumes what is not, so run it again after an interruption. A training has one thread, so that its CPU time
hardly depends on what else the computer does.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from seamseg.cli.compare import StoredScores, read_scores
from seamseg.metrics.resampling import Interval, compare_runs

CONFIG_ITSELF = "the config"
"""Name of the trainings that the others are compared with."""


@dataclass(frozen=True)
class Comparison:
    """Content of a comparison file.

    Attributes:
        config: Name or path of the config.
        seeds: Seeds of the trainings with each change.
        common: Overrides of all trainings.
        changes: Overrides of the trainings by name.
    """

    config: str
    seeds: list[int]
    common: list[str]
    changes: dict[str, list[str]]

    @classmethod
    def read(cls, file: Path) -> Comparison:
        """Read a comparison file."""
        content = yaml.safe_load(file.read_text())
        changes = {CONFIG_ITSELF: [], **content["changes"]}
        return cls(content["config"], content["seeds"], content.get("common", []), changes)

    def run_folder(self, runs: Path, name: str, seed: int) -> Path:
        """Return the folder of one training; its name has no suffix, so that files beside it can have one."""
        return runs / f"{name.replace(' ', '-').replace('.', '_')}-{seed}"


def main() -> None:
    """Run one part of the comparison."""
    options = parse_arguments()
    comparison = Comparison.read(options.comparison)
    if options.part == "table":
        print_table(comparison, options.runs)
        return
    jobs = [(name, seed) for seed in comparison.seeds for name in comparison.changes]
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda job: train_and_score(comparison, options.data, options.runs, *job), jobs))


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    for part in ("train", "table"):
        subcommand = parts.add_parser(part)
        subcommand.add_argument("comparison", type=Path, help="comparison file")
        if part == "train":
            subcommand.add_argument("data", type=Path, help="folder of the data set")
            subcommand.add_argument("--jobs", type=int, default=1, help="trainings at a time, one thread each")
        subcommand.add_argument("runs", type=Path, help="folder of the run folders")
    return parser.parse_args()


def train_and_score(comparison: Comparison, data: Path, runs: Path, name: str, seed: int) -> None:
    """Train one network, unless it is finished, and score it on the validation split."""
    run = comparison.run_folder(runs, name, seed)
    settings = [*comparison.common, *comparison.changes[name], f"training.seed={seed}"]
    time = run.with_suffix(".time.json")
    if not time.exists():
        arguments = ["train", comparison.config, f"data.root={data}", *settings, "--device", "cpu"]
        seconds = run_seamseg([*arguments, "--run-dir", str(run), "--auto-resume"], run)
        time.write_text(json.dumps(seconds))
    scores = run.with_suffix(".json")
    if not scores.exists():
        arguments = ["evaluate", str(run), "--data", str(data), "--split", "val", "--json", str(scores)]
        run_seamseg([*arguments, "--device", "cpu"], run)


def run_seamseg(arguments: Sequence[str], run: Path) -> float:
    """Run a command with one thread and its output in a log beside the run folder; return its CPU time in seconds."""
    run.parent.mkdir(parents=True, exist_ok=True)
    log = run.with_suffix(".log")
    with log.open("a") as file:
        command = [sys.executable, "-m", "seamseg", *arguments]
        process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=file, stderr=file)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{run.name} failed, see {log}")
    return usage.ru_utime + usage.ru_stime


def print_table(comparison: Comparison, runs: Path) -> None:
    """Print the scores of every change that has all of its runs, compared with those of the config."""
    columns = ("change", "PQ", "minus the config", "95 % interval", "things", "stuff", "PQ after each validation")
    print(f"| {' | '.join(columns)} | CPU time |\n{'|---' * (len(columns) + 1)}|")
    files = {
        name: [comparison.run_folder(runs, name, seed).with_suffix(".json") for seed in comparison.seeds]
        for name in comparison.changes
    }
    baseline = [read_scores(file) for file in files[CONFIG_ITSELF]]
    for name, of_change in files.items():
        if not all(file.exists() for file in of_change):
            print(f"| {name} | not finished |")
            continue
        run_folders = [file.with_suffix("") for file in of_change]
        difference = " | " if name == CONFIG_ITSELF else describe_difference(baseline, of_change)
        cells = [name, part_of(of_change), difference, part_of(of_change, "things"), part_of(of_change, "stuff")]
        print(f"| {' | '.join(cells)} | {curve(run_folders)} | {cpu_time(run_folders)} |")


def describe_difference(baseline: Sequence[StoredScores], files: Sequence[Path]) -> str:
    """Return the difference of the mean PQs and its interval, as two cells."""
    images = [
        [[scores.images[image] for image in baseline[0].images] for scores in side]
        for side in (baseline, [read_scores(file) for file in files])
    ]
    result = compare_runs(images[0], images[1], len(baseline[0].per_class))
    interval: Interval = result.difference_interval
    return f"{100 * result.difference:+.1f} | {100 * interval.low:+.1f} … {100 * interval.high:+.1f}"


def part_of(files: Sequence[Path], part: str = "all") -> str:
    """Return mean and standard deviation of the PQ of a part of the classes."""
    values = [100 * json.loads(file.read_text())[part]["pq"] for file in files]
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{deviation}"


def curve(runs: Sequence[Path]) -> str:
    """Return the mean PQ after each validation of the runs."""
    of_runs = []
    for run in runs:
        entries: list[dict[str, Any]] = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        of_runs.append([entry["pq"] for entry in entries if "pq" in entry])
    return ", ".join(f"{100 * statistics.mean(values):.1f}" for values in zip(*of_runs, strict=True))


def cpu_time(runs: Sequence[Path]) -> str:
    """Return the mean CPU time of the trainings."""
    seconds = statistics.mean(json.loads(run.with_suffix(".time.json").read_text()) for run in runs)
    return f"{seconds // 60:.0f} min {seconds % 60:02.0f} s"


if __name__ == "__main__":
    main()
