"""Which result belongs to which annotated image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from seamseg.data.json_fields import field, file_field, image_id_field
from seamseg.structures import ImageId


def photograph_names(content: dict[str, Any], json_file: Path) -> dict[ImageId, str]:
    """What the ``images`` of a COCO panoptic file are called, by their ids; results often come without: empty then.

    Raises:
        ValueError: an entry has no id or no name, or two share an id.
    """
    names: dict[ImageId, str] = {}
    for position, entry in enumerate(field(content, "images", list, str(json_file)) if "images" in content else []):
        image_id = image_id_field(entry, "id", f"{json_file}, image {position}")
        if image_id in names:
            raise ValueError(f"{json_file}: two images have the id {image_id}")
        names[image_id] = file_field(entry, "file_name", f"{json_file}, image {image_id}")
    return names


def pair_images(
    results: Mapping[ImageId, str | None], truth: Mapping[ImageId, str | None], results_file: Path, truth_file: Path
) -> dict[ImageId, ImageId]:
    """For each result the annotated image that it is of, where there is one.

    Programs number photographs as they come, so their names decide: the whole name, or else the last part of it, where
    that is unique. Ids decide where either side has no names.

    Args:
        results, truth: names of the photographs by the ids of their images; None where the file says nothing.
        results_file, truth_file: for errors.

    Raises:
        ValueError: no two belong together, or two results are of one image.
    """
    known_results = {key: name for key, name in results.items() if name is not None}
    known_truth = {key: name for key, name in truth.items() if name is not None}
    if not (known_results and known_truth):
        pairs = {key: key for key in results if key in truth}
        reason = f"their image_ids differ, such as {next(iter(results))} and {next(iter(truth))}"
    else:
        pairs = _by_name(known_results, known_truth)
        some = next(iter(known_results.values())), next(iter(known_truth.values()))
        reason = f"their photographs have other names, such as {some[0]} and {some[1]}"
    if not pairs:
        raise ValueError(f"no image of {results_file} is annotated in {truth_file}: {reason}")
    twice = [key for key, number in Counter(pairs.values()).items() if number > 1]
    if twice:
        raise ValueError(f"{results_file} has two results for image {twice[0]} of {truth_file} ({truth[twice[0]]})")
    return pairs


def _by_name(results: Mapping[ImageId, str], truth: Mapping[ImageId, str]) -> dict[ImageId, ImageId]:
    whole = {name: key for key, name in truth.items()}
    pairs = {key: whole[name] for key, name in results.items() if name in whole}
    if pairs:
        return pairs
    ends = _unique_ends(truth)
    return {key: ends[end] for end, key in _unique_ends(results).items() if end in ends}


def _unique_ends(names: Mapping[ImageId, str]) -> dict[str, ImageId]:
    """Image ids by the last part of the photograph's name, without those that share one."""
    ends = {key: PurePosixPath(name).name for key, name in names.items()}
    numbers = Counter(ends.values())
    return {end: key for key, end in ends.items() if numbers[end] == 1}
