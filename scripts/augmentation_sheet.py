"""Draw the training samples that a config makes of a data set.

Usage: python scripts/augmentation_sheet.py OUT CONFIG KEY=VALUE …

OUT is a .jpg or .png file; the other arguments are those of `seamseg train`. Rectangles are the boxes that the network
learns from. Crowd is striped and has no box. The text below a sample says whether it has objects of another image.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import torch

from seamseg.builders import build_training_loader, open_split
from seamseg.config import Experiment, load_experiment
from seamseg.runtime.distributed import Process
from seamseg.runtime.training_progress import TrainingProgress
from seamseg.structures import Batch, Categories
from seamseg.visualization.annotation_sheet import AnnotatedPicture, annotation_sheet
from seamseg.visualization.images import denormalize, write_image

IMAGES, EPOCHS = 2, 4


def main(output: Path, config: Path, changes: list[str]) -> None:
    """Write a sheet of augmented training images.

    Args:
        output: Image file to write.
        config: Settings file.
        changes: Settings to change, as ``KEY=VALUE``.
    """
    changes = [*changes, "data.train_batch_size=1", "data.num_workers=0"]
    experiment, unpasted = (load_experiment(config, [*changes, *more]) for more in ((), ("data.copy_paste=0",)))
    source = open_split(experiment.data.root, experiment.data.train_split, IMAGES)
    process = Process(0, 1, torch.device("cpu"))
    loader, plain = (build_training_loader(one, source, process, TrainingProgress()) for one in (experiment, unpasted))
    shown = []
    for epoch in range(EPOCHS):
        for batch, same in zip(loader.epoch(epoch), plain.epoch(epoch), strict=True):
            is_plain = torch.equal(batch.images.entry(0), same.images.entry(0))
            shown.append((batch, f"epoch {epoch}{'' if is_plain else ', with pasted objects'}"))
    shown.sort(key=lambda pair: str(pair[0].image_ids))  # stable sort: the epochs of an image stay in order
    pictures = [picture(batch, remark, experiment, source.categories) for batch, remark in shown]
    write_image(output, annotation_sheet(pictures, source.categories, f"{config.stem}: {EPOCHS} epochs", width=1400))


def picture(batch: Batch, remark: str, experiment: Experiment, categories: Categories) -> AnnotatedPicture:
    """Convert the only image of a batch to a picture with its annotation."""
    image = denormalize(batch.images.entry(0), experiment.data.mean, experiment.data.std)
    truth = batch.ground_truth
    for y0, x0, y1, x1 in truth.objects(0, categories.num_stuff).boxes.int().tolist():
        cv2.rectangle(image, (x0, y0), (x1 - 1, y1 - 1), (255, 230, 0), 1 + max(image.shape) // 500)
    name = f"image {batch.image_ids[0]}, {remark}, {image.shape[0]}×{image.shape[1]}"
    return AnnotatedPicture(name, image, truth.annotation(0).flat)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
