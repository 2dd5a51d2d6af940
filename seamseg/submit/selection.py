"""Selection of the predictions for a submission, and their image ids on the server."""

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
from seamseg.submit.predictions import SubmittedPredictions


@dataclass(frozen=True, eq=False, slots=True)
class SubmittedImage:
    """One image of a submission.

    Attributes:
        image_id: Id of the image on the server.
        stem: Name of its files without suffix.
        size: Required height and width of its files.
        segments: Predicted segments.
    """

    image_id: ImageId
    stem: str
    size: Size
    segments: ListedSegments


Expected = Mapping[ImageId, Size | None]
"""Image ids on the server with height and width, or None if the size is unknown."""


def expected_images(
    path: Path, benchmark: Benchmark, on_left_out: Callable[[str], None] = lambda sentence: None
) -> Expected:
    """List the images that a submission must contain.

    Args:
        path: Path of a JSON file with ``images`` (COCO image info or an annotation file), a folder of images, or a
            ``.txt`` list of images.
        benchmark: Benchmark that defines the image ids.
        on_left_out: Called with one sentence if a folder contains anything but images.

    Raises:
        FileNotFoundError: The path does not exist.
        SeamsegError: The file has another format, or a name does not belong to the benchmark.
    """
    if path.suffix.lower() == ".json":
        listed = images_by_id(field(load_object(path), "images", list, str(path)), path).values()
        found: list[tuple[str, Size | None]] = [(one.file_name, one.size) for one in listed]
    else:
        images = find_images(path)
        found = [(one.name, None) for one in images.paths]
        if sentence := left_out_sentence(path, images.left_out):
            on_left_out(sentence)
    expected = {image_id_of(name, benchmark, path): size for name, size in found}
    if not expected:
        raise DataError(f"{path} lists no images")
    return expected


def select_images(
    predictions: SubmittedPredictions, benchmark: Benchmark, expected: Expected | None = None
) -> list[SubmittedImage]:
    """Select the images of a submission, sorted by image id.

    Args:
        predictions: Predictions to select from.
        benchmark: Benchmark that defines the image ids.
        expected: Images that the submission must contain; other predictions are left out. None selects all predictions.

    Raises:
        SeamsegError: An image name does not belong to the benchmark, two predictions belong to the same image, an
            expected image has no prediction, or a size is wrong.
    """
    chosen: dict[ImageId, ImageRecord] = {}
    for image in predictions.images:
        image_id = image_id_of(image.image_file, benchmark, predictions.json_file)
        if expected is not None and image_id not in expected:
            continue
        if image_id in chosen:
            both = f"{chosen[image_id].image_file} and {image.image_file}"
            raise DataError(
                f"{predictions.json_file}: {both} have the same image id, {image_id}, in {benchmark.title}; remove one "
                "of them"
            )
        chosen[image_id] = image
    _check_complete(chosen, expected, predictions.json_file)
    for image_id, image in chosen.items():
        _check_size(image, benchmark, (expected or {}).get(image_id), predictions.json_file)
    # The ids of a benchmark are either all numbers or all strings.
    return [
        _submitted_image(image_id, chosen[image_id])
        for image_id in sorted(chosen, key=lambda one: (str(type(one)), one))
    ]


def _submitted_image(image_id: ImageId, image: ImageRecord) -> SubmittedImage:
    stem = image_id if isinstance(image_id, str) else PurePosixPath(image.image_file).stem
    return SubmittedImage(image_id, stem, image.size, image.segments)


def image_id_of(image_path: str, benchmark: Benchmark, source: Path) -> ImageId:
    """Return the id of an image on the server.

    Raises:
        SeamsegError: The name does not belong to the benchmark; the message names the source.
    """
    try:
        return benchmark.image_id(image_path)
    except SeamsegError as error:
        raise DataError(f"{source} lists {image_path}, but {error}") from error


def _check_complete(chosen: Mapping[ImageId, object], expected: Expected | None, json_file: Path) -> None:
    missing = sorted(str(image_id) for image_id in (expected or {}) if image_id not in chosen)
    if missing:
        raise DataError(
            f"{json_file} has no prediction for {len(missing)} of the {len(expected or {})} expected images, such as "
            f"{missing[0]}; the server rejects incomplete submissions"
        )


def _check_size(image: ImageRecord, benchmark: Benchmark, stated: Size | None, json_file: Path) -> None:
    for size, source in ((benchmark.size, f"{benchmark.title} images are"), (stated, "the list of images states")):
        if size is not None and size != image.size:
            raise DataError(
                f"{json_file}: {image.image_file} is {size_text(image.size)} (height×width), but {source} "
                f"{size_text(size)}; run the prediction on the original images"
            )
