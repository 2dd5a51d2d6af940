"""A model as a folder to hand on: weights, settings, classes, and sums that tell whether they are as they were.

model.safetensors   the weights; settings and classes stand in its header too, for those who take it alone
config.yaml         all settings
categories.json     the classes, as in a COCO panoptic file, in the network's order
SHA256SUMS          of these three
README.md           the model card, where there is one; free to be edited
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from seamseg.export.model_file import MODEL_FILE, SETTINGS_FILE, ModelFile, read_model, save_model
from seamseg.io.checksums import SUMS_FILE, check_sums, sums_of
from seamseg.io.files import write_folder, write_text

CATEGORIES_FILE = "categories.json"
CARD_FILE = "README.md"
SUMMED = (CATEGORIES_FILE, SETTINGS_FILE, MODEL_FILE)
ALL_FILES = (*SUMMED, SUMS_FILE, CARD_FILE)


def write_model_folder(folder: Path, model: ModelFile, card: str | None, overwrite: bool) -> None:
    """Writes a model folder, whole or not at all.

    Args:
        folder: of the result; missing or empty, or with ``overwrite`` a model folder.
        model: to write.
        card: content of README.md, if there is to be one.
        overwrite: whether a model folder is replaced.

    Raises:
        ValueError: the folder holds something else.
        OSError: it cannot be written, such as to a full disk.
    """

    def write(temporary: Path) -> None:
        save_model(temporary / MODEL_FILE, model)
        write_text(temporary / SETTINGS_FILE, model.settings)
        categories = json.dumps(model.categories, indent=1, ensure_ascii=False)
        write_text(temporary / CATEGORIES_FILE, categories + "\n")
        write_text(temporary / SUMS_FILE, sums_of(temporary, SUMMED))
        if card is not None:
            write_text(temporary / CARD_FILE, card)

    write_folder(folder, write, ALL_FILES if overwrite else None)


def is_model_folder(folder: Path) -> bool:
    """Whether the folder has sums, and so must agree with them."""
    return (folder / SUMS_FILE).is_file()


def read_model_folder(folder: Path) -> ModelFile:
    """Reads a model folder; its settings and classes are those of its own files.

    Raises:
        ValueError: a file is missing, or differs from its sum.
    """
    check_sums(folder, SUMMED)
    try:
        settings = (folder / SETTINGS_FILE).read_text(encoding="utf-8")
        categories = json.loads((folder / CATEGORIES_FILE).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{SETTINGS_FILE} or {CATEGORIES_FILE} in {folder} cannot be read: {error}") from error
    if not isinstance(categories, list):
        raise ValueError(f"{folder / CATEGORIES_FILE} is no list of classes")
    return replace(read_model(folder / MODEL_FILE), settings=settings, categories=categories)
