"""Model folders to share, and the kinds of models that a path can name.

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

from seamseg.errors import ModelError, SeamsegError
from seamseg.export.model_file import MODEL_FILE, SETTINGS_FILE, ModelFile, read_model, save_model
from seamseg.export.published import load_published
from seamseg.export.published_archive import CONFIG, METADATA, holds_published
from seamseg.io.checksums import SUMS_FILE, check_sums, sums_of
from seamseg.io.files import atomic_directory, write_text
from seamseg.runtime.checkpoint import checkpoint_paths, load_checkpoint, newest_checkpoint

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
        SeamsegError: the folder holds something else.
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

    atomic_directory(folder, write, ALL_FILES if overwrite else None)


def is_model_folder(folder: Path) -> bool:
    """Whether the folder has sums, and so must agree with them."""
    return (folder / SUMS_FILE).is_file()


def read_model_folder(folder: Path) -> ModelFile:
    """Reads a model folder; its settings and classes are those of its own files.

    Raises:
        SeamsegError: a file is missing, or differs from its sum.
    """
    check_sums(folder, SUMMED)
    try:
        settings = (folder / SETTINGS_FILE).read_text(encoding="utf-8")
        categories = json.loads((folder / CATEGORIES_FILE).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{SETTINGS_FILE} or {CATEGORIES_FILE} in {folder} cannot be read: {error}") from error
    if not isinstance(categories, list):
        raise ModelError(f"{folder / CATEGORIES_FILE} is no list of classes")
    return replace(read_model(folder / MODEL_FILE), settings=settings, categories=categories)


def load_model_file(path: Path) -> ModelFile:
    """Reads the model of a folder or of one file.

    Args:
        path: a run folder (its best model, or its latest state before the first validation), a model folder (whose
            checksums are compared), a ``.safetensors`` file written here, a checkpoint, or a model that the authors of
            Seamless Scene Segmentation published: the ``.zip`` archive or the folder that it was unpacked to.

    Raises:
        SeamsegError: nothing is there, or it is damaged, changed or foreign.
    """
    if path.is_dir():
        return _load_folder(path)
    if not path.exists():
        raise ModelError(f"there is no model {path}; give a run folder or a file such as {MODEL_FILE}")
    if path.suffix.lower() == ".safetensors":
        return read_model(path)
    if path.suffix.lower() == ".zip":
        return load_published(path).file
    try:
        checkpoint = load_checkpoint(path)
    except SeamsegError as error:
        if path.name.endswith(".tar"):
            raise ModelError(
                f"{path} may be a published snapshot, which lacks settings and classes: give the archive that it came "
                f"in, or a folder with it, {CONFIG} and {METADATA}"
            ) from error
        raise
    return ModelFile(checkpoint.settings, checkpoint.categories, checkpoint.average or checkpoint.network)


def _load_folder(path: Path) -> ModelFile:
    if is_model_folder(path):
        return read_model_folder(path)
    if (path / MODEL_FILE).exists():
        return read_model(path / MODEL_FILE)
    if checkpoint_paths(path):
        return load_model_file(newest_checkpoint(path)[0])
    if holds_published(path):
        return load_published(path).file
    raise ModelError(f"the folder {path} holds no model: neither {MODEL_FILE} nor a checkpoint")
