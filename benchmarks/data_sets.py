"""Synthetic scenes with the noise, and so the file sizes, of photographs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seamseg.data.formats.coco import CocoPanoptic
from seamseg.data.images import read_image
from seamseg.data.png import read_panoptic_png, write_panoptic_png
from seamseg.scenes import write_scenes
from seamseg.structures import Size

SPLIT = "train"
_GRAIN = 5.0  # standard deviation of the sensor noise, in levels of 255
_QUALITY = 92


def made_up(folder: Path, size: Size, num_scenes: int, enlarge: int) -> CocoPanoptic:
    """Write scenes with noise, and open them as a data set.

    Args:
        folder: Folder to write to.
        size: Height and width of the images; multiples of ``enlarge``.
        num_scenes: Number of scenes.
        enlarge: Factor by which scenes are enlarged after drawing; 1 draws them at full size.
    """
    write_scenes(folder, num_scenes, 1, (size[0] // enlarge, size[1] // enlarge), seed=0)
    for number, path in enumerate(sorted((folder / "images" / SPLIT).glob("*.jpg"))):
        _image(path, size, np.random.default_rng(number))
    for path in sorted((folder / "annotations" / f"panoptic_{SPLIT}").glob("*.png")):
        ids = read_panoptic_png(path)
        write_panoptic_png(path, ids.repeat(enlarge, axis=0).repeat(enlarge, axis=1))
    _enlarge_index(folder / "annotations" / f"panoptic_{SPLIT}.json", enlarge)
    return CocoPanoptic(folder, SPLIT)


def _image(path: Path, size: Size, generator: np.random.Generator) -> None:
    enlarged = cv2.resize(read_image(path), size[::-1], interpolation=cv2.INTER_CUBIC)
    grain = generator.standard_normal((*size, 1), dtype=np.float32) * np.float32(_GRAIN)
    pixels: NDArray[np.uint8] = np.clip(enlarged + grain, 0, 255).astype(np.uint8)
    encoded = cv2.imencode(".jpg", np.ascontiguousarray(pixels[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    path.write_bytes(encoded.tobytes())


def _enlarge_index(path: Path, factor: int) -> None:
    content: dict[str, Any] = json.loads(path.read_text())
    for image in content["images"]:
        image.update(height=image["height"] * factor, width=image["width"] * factor)
    for annotation in content["annotations"]:
        for segment in annotation["segments_info"]:
            segment["area"] *= factor * factor
            segment["bbox"] = [factor * side for side in segment["bbox"]]
    path.write_text(json.dumps(content))
