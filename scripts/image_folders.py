"""Make small image folders for `seamseg train-classifier`, and score a linear model on their pixels.

    python scripts/image_folders.py digits OUT            # scikit-learn's 1797 handwritten digits
    python scripts/image_folders.py objects OUT COCO      # crops of the objects of a COCO panoptic data set
    python scripts/image_folders.py linear OUT            # logistic regression on the pixels of such a folder

The first and the last command need scikit-learn.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seamseg.data.image_folder import ImageFolder, open_image_folder
from seamseg.data.images import read_image

DIGITS_VAL = 5
"""Every fifth digit is a validation image."""
MIN_SIDE = 16
"""Minimum height and width of an object in pixels."""


def write_digits(out: Path) -> None:
    """Write the digits as 8×8 PNG files, OUT/train/0/0.png and so on."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        split = "train" if number % DIGITS_VAL else "val"
        write(out / split / str(label) / f"{number}.png", np.round(pixels * (255 / 16)).astype(np.uint8))


def write_objects(out: Path, data: Path, num_classes: int, most: int) -> None:
    """Write crops of the objects of the most frequent supercategories.

    Args:
        out: Folder to write.
        data: COCO panoptic data set with the splits ``train2017`` and ``val2017``.
        num_classes: Number of supercategories, the most frequent ones of the training images.
        most: Maximum number of crops per class and split, the first ones.
    """
    objects = {split: _objects(data, f"{split}2017") for split in ("train", "val")}
    names = [name for name, _ in Counter(name for name, _, _ in objects["train"]).most_common(num_classes)]
    for split, found in objects.items():
        counts: Counter[str] = Counter()
        for name, path, (x, y, width, height) in found:
            if name in names and counts[name] < most:
                crop = read_image(path)[y : y + height, x : x + width]
                write(out / split / name / f"{path.stem}-{x}-{y}.png", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))
                counts[name] += 1
        print(split, dict(counts))


def _objects(data: Path, split: str) -> list[tuple[str, Path, list[int]]]:
    """Return supercategory, image file and box (x, y, width, height) of each object that is large enough."""
    content = json.loads((data / "annotations" / f"panoptic_{split}.json").read_text())
    categories = {category["id"]: category for category in content["categories"]}
    files = {image["id"]: data / "images" / split / image["file_name"] for image in content["images"]}
    return [
        (categories[segment["category_id"]]["supercategory"], files[annotation["image_id"]], segment["bbox"])
        for annotation in content["annotations"]
        for segment in annotation["segments_info"]
        if categories[segment["category_id"]]["isthing"]
        and not segment["iscrowd"]
        and min(segment["bbox"][2:]) >= MIN_SIDE
    ]


def write(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write a PNG file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), pixels):
        raise OSError(f"{path} cannot be written")


def score_linear(folder: Path, side: int) -> None:
    """Print the accuracy of logistic regression on pixels, and of always answering the most frequent class.

    Args:
        folder: Image folder with the splits ``train`` and ``val``.
        side: Height and width in pixels that all images are scaled to.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train = open_image_folder(folder, "train")
    val = open_image_folder(folder, "val", train.classes)
    pixels, labels = _pixels(train, side)
    val_pixels, val_labels = _pixels(val, side)
    # The strength of the regularization is chosen by cross-validation on the training images.
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    model = GridSearchCV(pipeline, {"logisticregression__C": np.logspace(-5, 1, 7)}).fit(pixels, labels)
    frequent = Counter(labels.tolist()).most_common(1)[0][0]
    print(f"{len(labels)} training images, {len(val_labels)} validation images, {len(train.classes)} classes")
    print(f"logistic regression on {side}×{side} pixels: {np.mean(model.predict(val_pixels) == val_labels):.4f}")
    print(f"most frequent class: {np.mean(val_labels == frequent):.4f}; chance: {1 / len(train.classes):.4f}")


def _pixels(source: ImageFolder, side: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the N×(side·side·3) pixels in [0, 1], and the N classes."""
    images = [
        cv2.resize(read_image(Path(path)), (side, side), interpolation=cv2.INTER_AREA) for path, _ in source.images
    ]
    return np.stack(images).reshape(len(images), -1) / 255, np.array([label for _, label in source.images])


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("digits", "objects", "linear"):
        command = commands.add_parser(name)
        command.add_argument("out", type=Path, metavar="OUT")
        if name == "objects":
            command.add_argument("data", type=Path, metavar="COCO")
            command.add_argument("--classes", type=int, default=4, help="number of classes (default: 4)")
            command.add_argument("--most", type=int, default=1000, help="maximum crops per class (default: 1000)")
        if name == "linear":
            command.add_argument("--side", type=int, default=32, help="side in pixels (default: 32)")
    options = parser.parse_args()
    if options.command == "digits":
        write_digits(options.out)
    elif options.command == "objects":
        write_objects(options.out, options.data, options.classes, options.most)
    else:
        score_linear(options.out, options.side)


if __name__ == "__main__":
    main()
