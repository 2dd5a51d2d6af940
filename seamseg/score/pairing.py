"""Images of results and annotations that belong together, and the part of the images to score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from seamseg.data.formats.coco_json import PanopticFiles, images_by_id
from seamseg.data.json_fields import field, load_object
from seamseg.errors import DataError
from seamseg.structures import ImageId


def pair_images(
    results: Mapping[ImageId, str | None], truth: Mapping[ImageId, str | None], results_file: Path, truth_file: Path
) -> dict[ImageId, ImageId]:
    """Find the annotated image of each result.

    Programs number images differently, so images are matched by name: by the whole name, or if no whole name matches,
    by the file name where it is unique. Images are matched by id if one of the sides has no names.

    Args:
        results: Names of the predicted images by id; None for images whose name is not known.
        truth: Names of the annotated images by id; None for images whose name is not known.
        results_file: Path of the results, for error messages.
        truth_file: Path of the annotation, for error messages.

    Returns:
        Id of the annotated image by id of the predicted image, for those that have one.

    Raises:
        SeamsegError: No images match, or two results match the same image.
    """
    known_results = {key: name for key, name in results.items() if name is not None}
    known_truth = {key: name for key, name in truth.items() if name is not None}
    if not (known_results and known_truth):
        pairs = {key: key for key in results if key in truth}
        reason = f"their image_ids differ, for example {next(iter(results))} and {next(iter(truth))}"
    else:
        pairs = _by_name(known_results, known_truth)
        examples = next(iter(known_results.values())), next(iter(known_truth.values()))
        reason = f"their images have different names, for example {examples[0]} and {examples[1]}"
    if not pairs:
        raise DataError(f"no image of {results_file} is annotated in {truth_file}: {reason}")
    twice = [key for key, number in Counter(pairs.values()).items() if number > 1]
    if twice:
        raise DataError(f"{results_file} has two results for image {twice[0]} of {truth_file} ({truth[twice[0]]})")
    return pairs


def _by_name(results: Mapping[ImageId, str], truth: Mapping[ImageId, str]) -> dict[ImageId, ImageId]:
    whole = {name: key for key, name in truth.items()}
    pairs = {key: whole[name] for key, name in results.items() if name in whole}
    if pairs:
        return pairs
    ends = _unique_ends(truth)
    return {key: ends[end] for end, key in _unique_ends(results).items() if end in ends}


def _unique_ends(names: Mapping[ImageId, str]) -> dict[str, ImageId]:
    """Return image ids by the file name of the image, without file names that occur twice."""
    ends = {key: PurePosixPath(name).name for key, name in names.items()}
    numbers = Counter(ends.values())
    return {end: key for key, end in ends.items() if numbers[end] == 1}


def pair_results(results: PanopticFiles, truth: PanopticFiles) -> PanopticFiles:
    """Return the results of annotated images, with the ids of the annotation.

    Args:
        results: Results. Their images are matched by name if both files have names, otherwise by id.
        truth: Annotation.

    Raises:
        SeamsegError: No images match, or two results match the same image.
    """
    names, true_names = ({key: files.names.get(key) for key in files.images} for files in (results, truth))
    pairs = pair_images(names, true_names, results.json_file, truth.json_file)
    images = {true: replace(results.images[key], image_id=true) for key, true in pairs.items()}
    return replace(results, images=images)


def select_images(names: Mapping[ImageId, str | None], path: Path, truth_file: Path) -> list[ImageId]:
    """Return the ids of the images that a list names.

    Args:
        names: Names of the annotated images by id; None for images whose name is not known.
        path: Text file with one image per line, or JSON file with ``images``. An image is given by its name in the
            annotation, its file name without folders or also without suffix where that is unique, or its id.
        truth_file: Path of the annotation, for error messages.

    Returns:
        The ids in the order of the annotation.

    Raises:
        SeamsegError: The list is empty, or it names an image that is not annotated.
        OSError: The list cannot be read.
    """
    known: dict[str, ImageId] = {str(key): key for key in names}
    for part in (lambda name: name.stem, lambda name: name.name, str):
        given = {key: part(PurePosixPath(name)) for key, name in names.items() if name is not None}
        numbers = Counter(given.values())
        known |= {name: key for key, name in given.items() if numbers[name] == 1}
    listed = _listed(path)
    unknown = [name for name in listed if name not in known]
    if unknown:
        raise DataError(f"{path} names {len(unknown)} images that {truth_file} does not contain, such as {unknown[0]}")
    if not listed:
        raise DataError(f"{path} names no images")
    chosen = {known[name] for name in listed}
    return [key for key in names if key in chosen]


def _listed(path: Path) -> list[str]:
    if path.suffix.lower() == ".json":
        return [
            image.file_name
            for image in images_by_id(field(load_object(path), "images", list, str(path)), path).values()
        ]
    return [line.strip() for line in path.read_text().splitlines() if line.strip()]
