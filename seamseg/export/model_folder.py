"""Model folders to share, and loading of models from any supported path.

.. code-block:: text

    model.safetensors   the weights; the header also contains settings and classes, so that the file works alone
    config.yaml         all settings
    categories.json     the classes in the order of the network, in COCO panoptic format
    SHA256SUMS          checksums of these three files
    README.md           the model card, if there is one; it may be edited
    example.jpg         the picture of the model card, if there is one
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from seamseg.errors import ModelError, SeamsegError
from seamseg.export.hub_models import CATEGORIES_FILE, download_model, hub_model
from seamseg.export.model_file import MODEL_FILE, SETTINGS_FILE, ModelFile, read_model, save_model
from seamseg.export.published import load_published
from seamseg.export.published_archive import CONFIG, METADATA, holds_published
from seamseg.export.published_semantic import load_semantic
from seamseg.io.checksums import SUMS_FILE, check_sums, sums_of
from seamseg.io.files import atomic_directory, write_text
from seamseg.runtime.checkpoint import checkpoint_paths, load_checkpoint, newest_checkpoint

CARD_FILE, EXAMPLE_FILE = "README.md", "example.jpg"
SUMMED = (CATEGORIES_FILE, SETTINGS_FILE, MODEL_FILE)
ALL_FILES = (*SUMMED, SUMS_FILE, CARD_FILE, EXAMPLE_FILE)


def write_model_folder(
    folder: Path, model: ModelFile, card: str | None, overwrite: bool, example: bytes | None = None
) -> None:
    """Write a model folder atomically.

    Args:
        folder: Output folder; missing or empty, or, with ``overwrite``, an existing model folder.
        model: Model to write.
        card: Content of README.md; None writes no README.md.
        overwrite: Whether to replace an existing model folder.
        example: Content of example.jpg; None writes no picture.

    Raises:
        SeamsegError: The folder contains other files.
        OSError: The folder cannot be written, for example because the disk is full.
    """

    def write(temporary: Path) -> None:
        save_model(temporary / MODEL_FILE, model)
        write_text(temporary / SETTINGS_FILE, model.settings)
        categories = json.dumps(model.categories, indent=1, ensure_ascii=False)
        write_text(temporary / CATEGORIES_FILE, categories + "\n")
        write_text(temporary / SUMS_FILE, sums_of(temporary, SUMMED))
        if card is not None:
            write_text(temporary / CARD_FILE, card)
        if example is not None:
            (temporary / EXAMPLE_FILE).write_bytes(example)

    atomic_directory(folder, write, ALL_FILES if overwrite else None)


def is_model_folder(folder: Path) -> bool:
    """Return whether the folder has a checksum file, and so is a model folder."""
    return (folder / SUMS_FILE).is_file()


def read_model_folder(folder: Path) -> ModelFile:
    """Read a model folder; settings and classes come from config.yaml and categories.json, not from the weights file.

    Raises:
        SeamsegError: A file is missing, cannot be read, or does not match its checksum.
    """
    check_sums(folder, SUMMED)
    try:
        settings = (folder / SETTINGS_FILE).read_text(encoding="utf-8")
        categories = json.loads((folder / CATEGORIES_FILE).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{SETTINGS_FILE} or {CATEGORIES_FILE} in {folder} cannot be read: {error}") from error
    if not isinstance(categories, list):
        raise ModelError(f"{folder / CATEGORIES_FILE} must contain a list of classes")
    return replace(read_model(folder / MODEL_FILE), settings=settings, categories=categories)


def load_model_file(path: Path) -> ModelFile:
    """Read a model from a folder or a file.

    Args:
        path: A run folder (its best model, or its latest checkpoint before the first validation), a model folder (whose
            checksums are verified), a ``.safetensors`` file written by this package, a checkpoint, a model published by
            the authors of Seamless Scene Segmentation: the ``.zip`` archive or the folder it was unpacked to, or the
            torch file of the semantic model published with In-Place ABN; or ``hf://ORG/NAME[@REVISION]``, a model
            folder on the Hugging Face Hub.

    Raises:
        SeamsegError: There is no model, or it is damaged, has been changed, or has an unknown format.
    """
    source = hub_model(path)
    if source is not None:
        return _load_hub_model(source)
    if path.is_dir():
        return _load_folder(path)
    if not path.exists():
        raise ModelError(f"there is no model {path}; pass a run folder or a file such as {MODEL_FILE}")
    if path.suffix.lower() == ".safetensors":
        return read_model(path)
    if path.suffix.lower() == ".zip":
        return load_published(path).file
    try:
        checkpoint = load_checkpoint(path)
    except SeamsegError as error:
        published = load_semantic(path)
        if published is not None:
            return published.file
        if path.name.endswith(".tar"):
            raise ModelError(
                f"{path} may be damaged, or a published snapshot, which has no settings and classes; pass the original "
                f"archive, or a folder with the snapshot, {CONFIG} and {METADATA}"
            ) from error
        raise
    return ModelFile(checkpoint.settings, checkpoint.categories, checkpoint.average or checkpoint.network)


def _load_hub_model(source: str) -> ModelFile:
    folder = download_model(source)
    try:
        return read_model_folder(folder) if is_model_folder(folder) else read_model(folder / MODEL_FILE)
    except ModelError as error:
        cache = folder.parents[1]  # that of all revisions; the folder of one has only links
        raise ModelError(f"{source}: {error} (to download it again, delete {cache})") from error


def _load_folder(path: Path) -> ModelFile:
    if is_model_folder(path):
        return read_model_folder(path)
    if (path / MODEL_FILE).exists():
        return read_model(path / MODEL_FILE)
    if checkpoint_paths(path):
        return load_model_file(newest_checkpoint(path)[0])
    if holds_published(path):
        return load_published(path).file
    raise ModelError(f"the folder {path} contains no model: neither {MODEL_FILE} nor a checkpoint")
