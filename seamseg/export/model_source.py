"""A trained network from whatever a user points at."""

from __future__ import annotations

from pathlib import Path

from seamseg.export.model_file import MODEL_FILE, ModelFile, read_model
from seamseg.export.model_folder import is_model_folder, read_model_folder
from seamseg.export.published import load_published
from seamseg.export.published_archive import CONFIG, METADATA, holds_published
from seamseg.runtime.checkpoint import checkpoint_paths, load_checkpoint, newest_checkpoint


def load_model_file(path: Path) -> ModelFile:
    """Reads the model of a folder or of one file.

    Args:
        path: a run folder (its best model, or its latest state before the first validation), a model folder (whose
            checksums are compared), a ``.safetensors`` file written here, a checkpoint, or a model that the authors of
            Seamless Scene Segmentation published: the ``.zip`` archive or the folder that it was unpacked to.

    Raises:
        ValueError: nothing is there, or it is damaged, changed or foreign.
    """
    if path.is_dir():
        return _load_folder(path)
    if not path.exists():
        raise ValueError(f"there is no model {path}; give a run folder or a file such as {MODEL_FILE}")
    if path.suffix.lower() == ".safetensors":
        return read_model(path)
    if path.suffix.lower() == ".zip":
        return load_published(path).file
    try:
        checkpoint = load_checkpoint(path)
    except ValueError as error:
        if path.name.endswith(".tar"):
            raise ValueError(
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
    raise ValueError(f"the folder {path} holds no model: neither {MODEL_FILE} nor a checkpoint")
