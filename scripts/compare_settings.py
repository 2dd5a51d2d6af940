"""Train a config with changed settings, several seeds each, and compare the scores with those of the config itself.

seamseg make-scenes data/scenes --train 360 --val 40 --size 192x384 --seed 0
python scripts/compare_settings.py train scripts/comparisons/scenes_causes.yaml data/scenes runs/causes --jobs 2
python scripts/compare_settings.py table scripts/comparisons/scenes_causes.yaml
python -m scripts.comparison_picture scripts/comparisons/scenes_causes.yaml

A comparison file names the `config`, the `seeds`, overrides for all trainings (`common`), and `changes`: a list of
overrides by name. The override `exchange=PIECE` swaps a piece that has no setting (scripts/exchange.py). `train` keeps
the scores of every finished training in the JSON file beside the comparison file, from which `table` compares a change
with the config over the seeds that both have been trained with. Intervals are those of `seamseg compare`: over the
images and the runs. `train` skips what is in the JSON file and resumes what is not finished, so run it again after an
interruption. A training has one thread, so that its CPU time hardly depends on what else the computer does.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import yaml

from seamseg.io.files import write_text
from seamseg.metrics.matching import ImageCounts
from seamseg.metrics.resampling import Comparison as PQDifference
from seamseg.metrics.resampling import compare_runs

CONFIG_ITSELF = "the config"
"""Name of the trainings that the others are compared with."""
EXCHANGE = "exchange="
"""Start of the override that swaps a piece of the network instead of changing a setting."""


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

    def settings(self, name: str) -> list[str]:
        """Return the overrides of settings of a change, after the common ones."""
        return [*self.common, *(one for one in self.changes[name] if not one.startswith(EXCHANGE))]

    def piece(self, name: str) -> str | None:
        """Return the piece that a change swaps; None if it only changes settings."""
        return next((one.removeprefix(EXCHANGE) for one in self.changes[name] if one.startswith(EXCHANGE)), None)

    def run_folder(self, runs: Path, name: str, seed: int) -> Path:
        """Return the folder of one training; its name has no suffix, so that files beside it can have one."""
        return runs / f"{name.replace(' ', '-').replace('.', '_')}-{seed}"


Results = dict[str, dict[int, dict[str, Any]]]
"""Result of a training by the name of its change and its seed; see :func:`summary_of`."""


class Recorded:
    """File of the results of a comparison, to which trainings in several threads add theirs.

    Args:
        comparison: Comparison file, beside which the results are.
    """

    def __init__(self, comparison: Path) -> None:
        self.file = comparison.with_suffix(".json")
        self._lock = Lock()

    def read(self) -> Results:
        """Return all results."""
        content = json.loads(self.file.read_text()) if self.file.exists() else {}
        return {name: {int(seed): result for seed, result in of_seeds.items()} for name, of_seeds in content.items()}

    def add(self, name: str, seed: int, result: dict[str, Any]) -> None:
        """Add the result of a training."""
        with self._lock:
            results = self.read()
            results.setdefault(name, {})[seed] = result
            lines = ",\n".join(
                f"{json.dumps(name)}: {{\n"
                + ",\n".join(f'"{seed}": {json.dumps(of_seeds[seed])}' for seed in sorted(of_seeds))
                + "\n}"
                for name, of_seeds in results.items()
            )
            write_text(self.file, f"{{\n{lines}\n}}\n")


def main() -> None:
    """Run one part of the comparison."""
    options = parse_arguments()
    comparison, recorded = Comparison.read(options.comparison), Recorded(options.comparison)
    if options.part == "table":
        print_table(comparison, recorded.read())
        return
    known = recorded.read()
    jobs = [(name, seed) for seed in comparison.seeds for name in comparison.changes if seed not in known.get(name, {})]

    def work(job: tuple[str, int]) -> None:
        recorded.add(*job, train_and_score(comparison, options.data, options.runs, *job))

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(work, jobs))


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    for part in ("train", "table"):
        subcommand = parts.add_parser(part)
        subcommand.add_argument("comparison", type=Path, help="comparison file")
        if part == "train":
            subcommand.add_argument("data", type=Path, help="folder of the data set")
            subcommand.add_argument("runs", type=Path, help="folder of the run folders")
            subcommand.add_argument("--jobs", type=int, default=1, help="trainings at a time, one thread each")
    return parser.parse_args()


def train_and_score(comparison: Comparison, data: Path, runs: Path, name: str, seed: int) -> dict[str, Any]:
    """Train one network, unless it is finished, score it on the validation split, and return :func:`summary_of` it."""
    run, piece = comparison.run_folder(runs, name, seed), comparison.piece(name)
    program = ["seamseg"] if piece is None else ["scripts.exchange", piece]
    settings = [*comparison.settings(name), f"training.seed={seed}"]
    time = run.with_suffix(".time.json")
    if not time.exists():
        arguments = ["train", comparison.config, f"data.root={data}", *settings, "--device", "cpu"]
        is_new = not run.exists()
        seconds = run_module([*program, *arguments, "--run-dir", str(run), "--auto-resume"], run)
        time.write_text(
            json.dumps(seconds if is_new else None)
        )  # the first part of a resumed training was not measured
    scores = run.with_suffix(".json")
    if not scores.exists():
        arguments = ["evaluate", str(run), "--data", str(data), "--split", "val", "--json", str(scores)]
        run_module([*program, *arguments, "--device", "cpu"], run)
    return summary_of(run)


def run_module(arguments: Sequence[str], run: Path) -> float:
    """Run a module with one thread and its output in a log beside the run folder; return its CPU time in seconds."""
    run.parent.mkdir(parents=True, exist_ok=True)
    log = run.with_suffix(".log")
    with log.open("a") as file:
        command = [sys.executable, "-m", *arguments]
        process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=file, stderr=file)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{run.name} failed, see {log}")
    return usage.ru_utime + usage.ru_stime


def summary_of(run: Path) -> dict[str, Any]:
    """Return what the table needs of a finished training.

    Args:
        run: Run folder, with the files of :func:`train_and_score` beside it.

    Returns:
        ``pq`` of ``all`` classes, ``things`` and ``stuff``, and the average precision of boxes and masks, in 0 … 1;
        ``curve``, the PQ of each validation; ``cpu_seconds``, None if the training was interrupted; ``num_classes``;
        and the match counts of ``images``.
    """
    scores = json.loads(run.with_suffix(".json").read_text())
    entries = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {
        "pq": {part: scores[part]["pq"] for part in ("all", "things", "stuff")},
        "box_ap": scores["box_ap"],
        "mask_ap": scores["mask_ap"],
        "curve": [entry["pq"] for entry in entries if "pq" in entry],
        "cpu_seconds": json.loads(run.with_suffix(".time.json").read_text()),
        "num_classes": len(scores["per_class"]),
        "images": [image | {"iou": [round(iou, 5) for iou in image["iou"]]} for image in scores["images"]],
    }


@dataclass(frozen=True)
class Compared:
    """Trainings with a change, beside those of the config with the same seeds.

    Attributes:
        name: Name of the change.
        results: One result per seed, as from :func:`summary_of`.
        difference: PQ of the change minus PQ of the config; None for the config itself.
    """

    name: str
    results: list[dict[str, Any]]
    difference: PQDifference | None


def compare_changes(comparison: Comparison, results: Results) -> list[Compared]:
    """Compare every change that has been trained with a seed of the config, in the order of the comparison file."""
    baseline, compared = results.get(CONFIG_ITSELF, {}), []
    for name in comparison.changes:
        seeds = sorted(results.get(name, {}).keys() & baseline.keys())
        if seeds:
            of_config, of_change = ([side[seed] for seed in seeds] for side in (baseline, results[name]))
            difference = None if name == CONFIG_ITSELF else difference_of(of_config, of_change)
            compared.append(Compared(name, of_change, difference))
    return compared


def difference_of(of_config: Sequence[Mapping[str, Any]], of_change: Sequence[Mapping[str, Any]]) -> PQDifference:
    """Return the difference of the mean PQs."""
    counts = [
        [[ImageCounts.from_dict(image) for image in one["images"]] for one in side] for side in (of_config, of_change)
    ]
    return compare_runs(counts[0], counts[1], of_config[0]["num_classes"])


def print_table(comparison: Comparison, results: Results) -> None:
    """Print the scores of every change beside those of the config with the same seeds."""
    columns = ["change", "seeds", "PQ", "minus the config", "95 % interval", "things", "stuff", "box AP", "mask AP"]
    columns += ["PQ after each validation", "CPU time"]
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    compared = compare_changes(comparison, results)
    for one in compared:
        pqs = [mean([result["pq"][part] for result in one.results]) for part in ("all", "things", "stuff")]
        aps = [mean([result[key] for result in one.results]) for key in ("box_ap", "mask_ap")]
        cells = [one.name, str(len(one.results)), pqs[0], *describe(one.difference), *pqs[1:], *aps]
        print(f"| {' | '.join([*cells, curve(one.results), cpu_time(one.results)])} |")
    for name in sorted(comparison.changes.keys() - {one.name for one in compared}):
        print(f"not finished with a seed of the config: {name}", file=sys.stderr)


def describe(difference: PQDifference | None) -> tuple[str, str]:
    """Return a difference and its interval, in percent."""
    if difference is None:
        return "", ""
    interval = difference.difference_interval
    return f"{100 * difference.difference:+.1f}", f"{100 * interval.low:+.1f} … {100 * interval.high:+.1f}"


def mean(scores: Sequence[float]) -> str:
    """Return mean and standard deviation of a score of several seeds, in percent."""
    deviation = f" ± {100 * statistics.stdev(scores):.1f}" if len(scores) > 1 else ""
    return f"{100 * statistics.mean(scores):.1f}{deviation}"


def curve(results: Sequence[Mapping[str, Any]]) -> str:
    """Return the mean PQ of each validation."""
    of_runs = (one["curve"] for one in results)
    return ", ".join(f"{100 * statistics.mean(values):.1f}" for values in zip(*of_runs, strict=True))


def cpu_time(results: Sequence[Mapping[str, Any]]) -> str:
    """Return the mean CPU time of the trainings that were not interrupted."""
    measured = [one["cpu_seconds"] for one in results if one["cpu_seconds"] is not None]
    if not measured:
        return "not measured"
    seconds = statistics.mean(measured)
    return f"{seconds // 60:.0f} min {seconds % 60:02.0f} s"


if __name__ == "__main__":
    main()
