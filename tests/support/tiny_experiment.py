"""Settings of a tiny network for the data set of `tiny_dataset`.

    folder = write_tiny_splits(tmp_path / "data")
    experiment = tiny_experiment(folder, "training.epochs=1")
    config = write_tiny_config(tmp_path / "tiny.yaml", folder)         # for the command line

No setting makes bodies narrower; `narrow_body()` patches them, in this process only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import yaml
from support.tiny_dataset import write_tiny_panoptic

from seamseg.config import Experiment, parse_experiment
from seamseg.modules import pre_activation, resnet

STUFF, THINGS = ("sky", "road"), ("car", "person")
NARROW = (
    "body={name: resnet18}",
    "fpn.channels=16",
    "rpn.channels=16",
    "rpn.training={before_nms: 200, after_nms: 30}",
    "rpn.inference={before_nms: 200, after_nms: 20}",
    "rpn.num_samples=32",
    "roi.fc_channels=32",
    "roi.mask_channels=16",
    "roi.num_samples=16",
    "roi.max_predictions=10",
    "sem.channels=16",
    "fusion.min_stuff_area=16",
    "data.shortest_side=64",
    "data.longest_side=96",
    "data.num_workers=0",
)
"""Overrides that make any experiment small and let it start from random weights."""
SETTINGS = """
norm: {name: bn}
data: {train_batch_size: 2, val_batch_size: 2, random_scale: [0.9, 1.0]}
rpn: {anchor_scale: 4, min_size: 0}
optimizer: {lr: 0.02, weight_decay_norm: false, clip_norm: 10}
schedule: {name: poly, warmup: {iterations: 2}}
training: {epochs: 2, log_every: 1, num_pictures: 1, precision: float32, channels_last: false}
"""


def tiny_experiment(folder: Path | None = None, *overrides: str) -> Experiment:
    """Make settings of a small network for the splits `train` and `val` of a data set with any number of classes."""
    root = () if folder is None else (f"data.root={folder}",)
    return parse_experiment(SETTINGS, "tiny", [*NARROW, *root, *overrides])


def write_tiny_config(path: Path, folder: Path | str, *overrides: str) -> Path:
    """Write the settings of `tiny_experiment` to a file."""
    experiment = tiny_experiment(Path(folder), *overrides)
    path.write_text(yaml.safe_dump(experiment.model_dump(mode="json", exclude_unset=True)))
    return path


def write_tiny_splits(folder: Path, num_train: int = 4, num_val: int = 3) -> Path:
    """Write a data set with landscape and portrait images, crowd, void, and an image without objects."""
    write_tiny_panoptic(folder, split="train", num_images=num_train, images_with_crowd=[0], images_with_void=[1])
    write_tiny_panoptic(folder, split="val", num_images=num_val, images_without_objects=[1], seed=1)
    return folder


@contextlib.contextmanager
def narrow_body(channels: int = 8) -> Iterator[None]:
    """Build bodies with this number of channels in their first layer instead of 64.

    The first layer of WideResNets keeps its 64 channels, all others get narrower.
    """
    wide = tuple(tuple(number * channels // 64 for number in group) for group in pre_activation.WIDE_CHANNELS)
    with (
        mock.patch.object(resnet, "STEM_CHANNELS", channels),
        mock.patch.object(pre_activation, "WIDE_CHANNELS", wide),
    ):
        yield
