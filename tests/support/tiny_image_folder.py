"""A tiny image folder with three classes, and settings of a narrow classification network for it.

    folder = write_tiny_folder(tmp_path / "images")
    config = write_classifier_config(tmp_path / "tiny.yaml", folder)    # for the command line
    experiment = tiny_classifier(folder, "training.epochs=1")

`support.tiny_experiment.narrow_body` makes the ResNet-18 narrow.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np

from seamseg.config import ClassifierExperiment, parse_settings

CLASSES = ("blue", "green", "red")
SIZES = ((20, 28), (40, 30), (9, 12))
SETTINGS = """
task: classification
data:
  root: {root}
  crop: 16
  resize: 18
  random_area: [0.5, 1.0]
  color_jitter: {{brightness: 0.2}}
  lighting: 0.1
  train_batch_size: 4
  val_batch_size: 4
  num_workers: 0
norm: {{name: bn}}
body: {{name: resnet18}}
optimizer: {{lr: 0.1, lr_batch: 8}}
schedule: {{name: steps, milestones: [50], unit: epochs, warmup: {{iterations: 0}}}}
training: {{epochs: 2, log_every: 1, num_pictures: 1, precision: float32, channels_last: false}}
"""


def write_tiny_folder(folder: Path, num_train: int = 4, num_val: int = 3) -> Path:
    """Write noise with one strong color channel per class, in images of several sizes and formats."""
    generator = np.random.default_rng(0)
    for split, count in (("train", num_train), ("val", num_val)):
        for channel, name in enumerate(CLASSES):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 100, (*SIZES[number % len(SIZES)], 3), dtype=np.uint8)
                pixels[:, :, channel] += 100
                suffix = (".png", ".jpg")[number % 2]
                assert cv2.imwrite(str(folder / split / name / f"{number}{suffix}"), pixels)
    return folder


def copy_with_broken_image(images: Path, folder: Path, split: str) -> Path:
    """Copy an image folder, overwrite one image of a split with text, and return the path of that image."""
    shutil.copytree(images, folder)
    broken = folder / split / "red" / "0.png"
    broken.write_bytes(b"not an image")
    return broken


def classifier_settings(folder: Path) -> str:
    """Return the settings as YAML."""
    return SETTINGS.format(root=folder)


def tiny_classifier(folder: Path, *overrides: str) -> ClassifierExperiment:
    """Make the settings of a small network."""
    return parse_settings(ClassifierExperiment, classifier_settings(folder), "tiny", overrides)


def write_classifier_config(path: Path, folder: Path) -> Path:
    """Write the settings of `tiny_classifier` to a file."""
    path.write_text(classifier_settings(folder))
    return path
