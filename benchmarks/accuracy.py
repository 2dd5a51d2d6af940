"""Accuracy beside torchvision's Mask R-CNN and a Panoptic FPN: python -m benchmarks.accuracy  (`make bench-accuracy`).

Trains our best network for synthetic scenes (config scenes_r18_best) and torchvision's Mask R-CNN with the same body,
pyramid, widths, images and optimizer for the same CPU time, and compares box and mask AP on held-out scenes. Then
trains ours for 1600 steps and compares its PQ with a recorded one of Panoptic FPN. Finished parts are kept in the
folder of the runs, so an interrupted benchmark continues with the part that it was in.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.accuracy_peer import CONFIG, DETECTIONS_FILE
from benchmarks.accuracy_runs import SEAMSEG, execute, execute_forked, measure_pace, once
from benchmarks.command import benchmark_parser, publish
from benchmarks.table import Row
from seamseg.config import load_experiment, settings_file
from seamseg.scenes import write_scenes
from seamseg.structures import Size

THREADS = 2
AP_MUST = 1.1
PQ_MUST, PQ_AIM = 1.15, 1.25
FULL_SCENES, RECORDED_PQ = 360, 62.5
TIMED_STEPS = 40, FULL_SCENES
"""Steps of the two trainings whose difference is the time of an epoch; later ones find more objects, so take longer."""
RECORDED = (
    f"detectron2's Panoptic FPN had {RECORDED_PQ} after 1611 steps on the {FULL_SCENES} scenes in an earlier "
    "comparison; recorded, not measured in this run"
)
PACKAGES = ["torch", "torchvision", "seamseg"]


@dataclass(frozen=True)
class Plan:
    """Extent of a run.

    Attributes:
        num_train: Number of training scenes.
        num_val: Number of held-out scenes.
        size: Height and width of the scenes.
        limited_scenes: Number of scenes of the training for PQ, one per step.
        limited_epochs: Number of its epochs.
        epochs: Number of epochs of the other trainings; None for as many as the time allows.
        overrides: Overrides of the config for both sides.
    """

    num_train: int
    num_val: int
    size: Size
    limited_scenes: int
    limited_epochs: int
    epochs: int | None = None
    overrides: tuple[str, ...] = ()


# No number of epochs of 360 scenes has 1600 steps; 5 epochs of the first 320 scenes have, and show ours fewer scenes.
FULL = Plan(FULL_SCENES, 40, (192, 384), limited_scenes=320, limited_epochs=5)
QUICK = Plan(
    4,
    2,
    (64, 128),
    limited_scenes=3,
    limited_epochs=1,
    epochs=1,
    overrides=(
        "data.shortest_side=64",
        "data.longest_side=128",
        "rpn.training={before_nms: 200, after_nms: 50}",
        "rpn.inference={before_nms: 200, after_nms: 50}",
        "roi.num_samples=16",
    ),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = benchmark_parser("accuracy", __doc__, "a few steps on a few small scenes in a temporary folder")
    parser.add_argument(
        "--minutes",
        type=float,
        help=f"CPU minutes of a training on each of {THREADS} cores, so about its minutes on an idle machine "
        "(default: as many as the epochs of the config take ours)",
    )
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path("runs", "accuracy"),
        help="folder of scenes, trainings and scores; what is finished there is not repeated (default: %(default)s)",
    )
    options = parser.parse_args(None if arguments is None else list(arguments))
    machine.warn_if_busy()
    if options.quick:
        with tempfile.TemporaryDirectory(prefix="accuracy-") as folder:
            rows = Comparison(QUICK, Path(folder), options.minutes, execute_forked).rows()
    else:
        check_conditions(options)
        rows = Comparison(FULL, options.runs, options.minutes).rows()
    publish("accuracy", options, THREADS, PACKAGES, rows)


def check_conditions(options: argparse.Namespace) -> None:
    """Exit with a sentence if the folder has parts measured under other conditions, which must not be mixed."""
    options.runs.mkdir(parents=True, exist_ok=True)
    now = {
        "machine": machine.describe(THREADS),
        "versions": machine.versions(*PACKAGES),
        "minutes": options.minutes,
        "plan": json.loads(json.dumps(asdict(FULL))),
    }
    if once(options.runs / "conditions.json", lambda: now) != now:
        sys.exit(
            f"{options.runs} has trainings of another machine, version or length; remove the folder, or name another "
            "one with --runs"
        )


class Comparison:
    """Trainings and scores of both sides in one folder.

    Args:
        plan: Extent of the run.
        runs: Folder to write to, and to read finished parts from.
        minutes: CPU minutes of a training on each core; None for what the epochs of the config take ours.
        execute: Function that runs a command and returns its CPU seconds.
    """

    def __init__(self, plan: Plan, runs: Path, minutes: float | None, execute: Callable[..., float] = execute) -> None:
        self.plan, self.runs, self.minutes, self.execute = plan, runs, minutes, execute
        self.scenes = runs / "scenes"

    def rows(self) -> list[Row]:
        """Train and score what is not finished, and return all rows."""
        self._draw()
        ours = self.trained("seamseg", self._our_epochs())
        peer = self.trained("torchvision", self._num_epochs("torchvision", ours["cpu_seconds"]))
        limited = self.trained(
            "seamseg", self.plan.limited_epochs, "limited", f"data.train_limit={self.plan.limited_scenes}"
        )
        return [*ap_rows(self.plan, ours, peer), time_row(ours, peer), pq_row(self.plan, limited)]

    def trained(self, side: str, epochs: int, name: str = "", *overrides: str) -> dict[str, Any]:
        """Train and score one network unless that is finished.

        Args:
            side: ``seamseg`` or ``torchvision``.
            epochs: Number of epochs.
            name: Suffix of the run folder.
            overrides: Further overrides of the config.

        Returns:
            ``epochs``, ``cpu_seconds`` of the training, and the scores, in 0 … 1 or None, by name.
        """
        run = self.runs / "-".join(filter(None, (side, name)))

        def measure() -> dict[str, Any]:
            seconds = self._train(side, run, epochs, *overrides)
            return {"epochs": epochs, "cpu_seconds": seconds}

        length = once(run.with_name(f"{run.name}.trained.json"), measure)
        return length | once(run.with_name(f"{run.name}.scored.json"), lambda: self._score(side, run))

    def _draw(self) -> None:
        plan = self.plan
        if not (self.scenes / "annotations" / "panoptic_val.json").exists():
            shutil.rmtree(self.scenes, ignore_errors=True)
            write_scenes(self.scenes, plan.num_train, plan.num_val, plan.size, seed=0)

    def _our_epochs(self) -> int:
        if self.minutes is None:
            return self.plan.epochs or load_experiment(settings_file(CONFIG)).training.epochs
        return self._num_epochs("seamseg", 60 * THREADS * self.minutes)

    def _num_epochs(self, side: str, budget: float) -> int:
        """Return the number of epochs nearest to a budget of CPU seconds, after two short trainings, or the plan's."""
        if self.plan.epochs:
            return self.plan.epochs

        def train(steps: int) -> float:
            return self._train(side, self.runs / f"{side}-timing", 1, f"data.train_limit={steps}")

        lengths = {steps: steps / self.plan.num_train for steps in TIMED_STEPS}
        pace = measure_pace(self.runs / f"{side}.pace.json", train, lengths)
        return max(1, round(pace.epochs(budget)))

    def _train(self, side: str, run: Path, epochs: int, *overrides: str) -> float:
        """Train one network from the start and return the CPU seconds."""
        print(f"{run.name}: training", file=sys.stderr)
        shutil.rmtree(run, ignore_errors=True)  # what an interrupted training left
        settings = [*self._settings(), f"training.epochs={epochs}", *overrides]
        if side == "seamseg":
            command = [*SEAMSEG, "train", CONFIG, *settings, "--run-dir", run, "--device", "cpu"]
        else:
            command = [*PEER, "train", run, *settings]
        return self.execute(command, run, THREADS)

    def _settings(self) -> list[str]:
        # One image is enough for the validation at the end of a training, which counts as its time.
        return [f"data.root={self.scenes}", "data.val_limit=1", "training.num_pictures=0", *self.plan.overrides]

    def _score(self, side: str, run: Path) -> dict[str, float | None]:
        """Score the things of one network, and all of ours, on the held-out scenes."""
        print(f"{run.name}: scoring", file=sys.stderr)
        scores = run / "scores.json"
        if side == "seamseg":
            data = ["--data", self.scenes, "--split", "val"]
            self.execute([*SEAMSEG, "evaluate", run, *data, "--json", scores, "--device", "cpu"], run, THREADS)
            found = json.loads(scores.read_text())
            return {"box_ap": found["box_ap"], "mask_ap": found["mask_ap"], "pq": found["all"]["pq"]}
        self.execute([*PEER, "detect", run, *self._settings()], run, THREADS)
        truth = self.scenes / "annotations" / "panoptic_val.json"
        self.execute(
            [*SEAMSEG, "score", "--gt", truth, "--pred", run / DETECTIONS_FILE, "--json", scores], run, THREADS
        )
        found = json.loads(scores.read_text())
        return {"box_ap": found["box"]["ap"], "mask_ap": found["mask"]["ap"]}


PEER = (sys.executable, "-m", "benchmarks.accuracy_peer")


def ap_rows(plan: Plan, ours: dict[str, Any], peer: dict[str, Any]) -> list[Row]:
    """Return the rows of box and mask AP; scores and times as of :meth:`Comparison.trained`."""
    experiment = load_experiment(settings_file(CONFIG))
    shared = f"our {experiment.body.name} and pyramid ({experiment.norm.name}, standardized filters)"
    what = (
        f"of things in {plan.num_val} held-out scenes, of our panoptic network after {_length(ours)}; torchvision's "
        f"Mask R-CNN for things only, with {shared}, after {_length(peer)}"
    )
    rows = []
    for part in ("box", "mask"):
        key = f"{part}_ap"
        sides = _percent(ours[key]), _percent(peer[key])
        rows.append(Row(f"{part}-ap", f"{part} AP {what}", *sides, "%", AP_MUST, at_least=True))
    return rows


def time_row(ours: dict[str, Any], peer: dict[str, Any]) -> Row:
    """Return the row of the CPU time of the two trainings, which has no limit."""
    minutes = ours["cpu_seconds"] / 60, peer["cpu_seconds"] / 60
    return Row("cpu-time", f"CPU time of these trainings, over {THREADS} threads; torchvision's", *minutes, "min")


def pq_row(plan: Plan, ours: dict[str, Any]) -> Row:
    """Return the row of PQ after a number of steps."""
    length = f"{plan.limited_epochs} epochs of the first {plan.limited_scenes} scenes"
    steps = plan.limited_epochs * plan.limited_scenes
    what = f"PQ on {plan.num_val} held-out scenes after {steps} steps ({length}); {RECORDED}"
    return Row("pq-1600", what, _percent(ours["pq"]), RECORDED_PQ, "%", PQ_MUST, PQ_AIM, at_least=True)


def _length(trained: dict[str, Any]) -> str:
    epochs = trained["epochs"]
    return f"{epochs} epoch{'s' if epochs > 1 else ''}, {trained['cpu_seconds'] / 60:.1f} CPU minutes"


def _percent(score: float | None) -> float | None:
    return None if score is None else 100 * score


if __name__ == "__main__":
    main()
