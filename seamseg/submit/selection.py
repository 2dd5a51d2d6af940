"""Which predictions belong into a submission, and what the server calls them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from seamseg.data.formats.coco_json import ImageRecord, ListedSegments, images_by_id
from seamseg.data.images import find_images, size_text
from seamseg.data.input_folder import left_out_sentence
from seamseg.data.json_fields import field, load_object
from seamseg.errors import DataError, SeamsegError
from seamseg.structures import ImageId, Size
from seamseg.submit.benchmark import Benchmark
from seamseg.submit.predictions import Predictions


@dataclass(frozen=True, eq=False, slots=True)
class SubmittedImage:
    """One image of a submission.

    Attributes:
        image_id: the server's.
        stem: what its files are called, without suffix.
        size: height and width that they must have.
        segments: of the prediction.
    """

    image_id: ImageId
    stem: str
    size: Size
    segments: ListedSegments


Expected = Mapping[ImageId, Size | None]
"""The server's ids of images, and their sizes where they are known."""


def expected_images(
    path: Path, benchmark: Benchmark, on_left_out: Callable[[str], None] = lambda sentence: None
) -> Expected:
    """The images that a submission must hold.

    Args:
        path: a JSON file with ``images`` (of COCO's image info, or an annotation), a folder of images, or a
            ``.txt`` list of them.
        benchmark: says what names mean.
        on_left_out: Called with one sentence if a folder holds anything but images.

    Raises:
        FileNotFoundError: the path does not exist.
        SeamsegError: the file is not of that format, or a name is not of the benchmark.
    """
    if path.suffix.lower() == ".json":
        listed = images_by_id(field(load_object(path), "images", list, str(path)), path).values()
        found: list[tuple[str, Size | None]] = [(one.file_name, one.size) for one in listed]
    else:
        images = find_images(path)
        found = [(one.name, None) for one in images.paths]
        if sentence := left_out_sentence(path, images.left_out):
            on_left_out(sentence)
    expected = {_image_id(name, benchmark, path): size for name, size in found}
    if not expected:
        raise DataError(f"{path} names no images")
    return expected


def select_images(
    predictions: Predictions, benchmark: Benchmark, expected: Expected | None = None
) -> list[SubmittedImage]:
    """The images of a submission, sorted by the server's ids.

    Args:
        predictions: of one program.
        benchmark: names the images.
        expected: what the submission must hold, no more and no less; None takes every prediction.

    Raises:
        SeamsegError: an image has a name that the benchmark does not know, two predictions are of one image, an
            expected image has none, or a size is wrong.
    """
    chosen: dict[ImageId, ImageRecord] = {}
    for image in predictions.images:
        image_id = _image_id(image.image_file, benchmark, predictions.json_file)
        if expected is not None and image_id not in expected:
            continue
        if image_id in chosen:
            both = f"{chosen[image_id].image_file} and {image.image_file}"
            raise DataError(f"{predictions.json_file}: {both} are one image, {image_id}, to {benchmark.title}")
        chosen[image_id] = image
    _check_complete(chosen, expected, predictions.json_file)
    for image_id, image in chosen.items():
        _check_size(image, benchmark, (expected or {}).get(image_id), predictions.json_file)
    # A benchmark's ids are numbers or words, never both.
    return [
        _submitted(image_id, chosen[image_id]) for image_id in sorted(chosen, key=lambda one: (str(type(one)), one))
    ]


def _submitted(image_id: ImageId, image: ImageRecord) -> SubmittedImage:
    stem = image_id if isinstance(image_id, str) else PurePosixPath(image.image_file).stem
    return SubmittedImage(image_id, stem, image.size, image.segments)


def _image_id(image_path: str, benchmark: Benchmark, source: Path) -> ImageId:
    try:
        return benchmark.image_id(image_path)
    except SeamsegError as error:
        raise DataError(f"{source} names {image_path}, but {error}") from error


def _check_complete(chosen: Mapping[ImageId, object], expected: Expected | None, json_file: Path) -> None:
    missing = sorted(str(image_id) for image_id in (expected or {}) if image_id not in chosen)
    if missing:
        raise DataError(
            f"{json_file} has no prediction for {len(missing)} of the {len(expected or {})} expected images, such as "
            f"{missing[0]}; a server refuses a submission that is not complete"
        )


def _check_size(image: ImageRecord, benchmark: Benchmark, stated: Size | None, json_file: Path) -> None:
    for size, whose in ((benchmark.size, f"those of {benchmark.title} are"), (stated, "the list of images says")):
        if size is not None and size != image.size:
            raise DataError(
                f"{json_file}: {image.image_file} is {size_text(image.size)} (height×width), but {whose} "
                f"{size_text(size)}; predict from the original images"
            )
