"""Model folders on the Hugging Face Hub, by huggingface_hub if the user has installed it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from textwrap import shorten
from typing import Any, TypeVar

from seamseg.errors import ModelError, OutputError, SettingsError
from seamseg.export.hub_weights import HUB
from seamseg.export.model_file import MODEL_FILE, SETTINGS_FILE
from seamseg.io.checksums import SUMS_FILE

CATEGORIES_FILE = "categories.json"
DOWNLOADED = (MODEL_FILE, SETTINGS_FILE, CATEGORIES_FILE, SUMS_FILE)
"""Files of a repository that are downloaded; nothing else is, and nothing in them is executed."""

_ID = r"[\w-][\w.-]*/[\w-][\w.-]*"
Result = TypeVar("Result")


def hub_model(path: Path | str) -> str | None:
    """Return ``hf://ORG/NAME`` or ``hf://ORG/NAME@REVISION`` if a path names a model of the Hub, else None.

    Example:
        >>> from pathlib import Path
        >>> from seamseg.export.hub_models import hub_model
        >>> hub_model(Path("hf://org/street"))  # a path merges slashes
        'hf://org/street'
        >>> hub_model("runs/street") is None
        True
    """
    match = re.match(r"hf:(?:/+|$)", str(path))
    return None if match is None else HUB + str(path)[match.end() :]


def model_name(path: Path | str) -> str:
    """Return the name of a model in messages: ``hf://ORG/NAME``, or its path."""
    return hub_model(path) or str(path)


def download_model(source: str) -> Path:
    """Download a model folder of the Hub, or return the cached one if there is no network or nothing has changed.

    Args:
        source: ``hf://ORG/NAME``, or ``hf://ORG/NAME@REVISION`` for a branch, a tag or a commit.

    Returns:
        Folder in the cache of huggingface_hub with the files of :data:`DOWNLOADED` that the repository has.

    Raises:
        SeamsegError: huggingface_hub is not installed, the id is malformed, the repository or the revision does not
            exist or is not accessible, there is neither a network nor a cached model, or the repository has no
            ``model.safetensors``.
    """
    match = re.fullmatch(rf"{HUB}({_ID})(?:@([\w./-]+))?", source)
    if match is None:
        raise SettingsError(f"{source} is not the id of a model; write hf://ORG/NAME or hf://ORG/NAME@REVISION")
    hub = _installed(source)
    patterns = list(DOWNLOADED)
    folder = Path(_checked(source, lambda: hub.snapshot_download(match[1], revision=match[2], allow_patterns=patterns)))
    if not (folder / MODEL_FILE).is_file():
        raise ModelError(
            f"{source} has no {MODEL_FILE}: it is not a model that `seamseg export-model` wrote, or the Hugging Face "
            "Hub cannot be reached and only a part of the model is in the cache"
        )
    return folder


@dataclass(frozen=True)
class Upload:
    """Planned upload to a repository of the Hub.

    Attributes:
        repository: ``ORG/NAME``.
        private: Whether to create the repository as a private one.
        parent: Commit that the upload follows; None creates the repository.
    """

    repository: str
    private: bool
    parent: str | None


def plan_upload(repository: str, private: bool, names: Sequence[str], overwrite: bool) -> Upload:
    """Check that a model folder may be uploaded, without changing anything.

    Args:
        repository: ``ORG/NAME``.
        private: Whether the repository must be private.
        names: Names of the files to upload.
        overwrite: Whether to replace files with these names that are in the repository.

    Raises:
        SeamsegError: huggingface_hub is not installed, the id is malformed, the Hub cannot be reached, the repository
            has files with these names, or it is public although ``private`` is set.
    """
    source = HUB + repository
    if re.fullmatch(_ID, repository) is None:
        raise SettingsError(f"--push {repository} is not the id of a repository; write ORG/NAME")
    hub = _installed(source)
    missing = import_module("huggingface_hub.errors").RepositoryNotFoundError

    def info() -> Any:
        try:
            return hub.HfApi().model_info(repository)
        except missing as error:
            if type(error) is not missing:  # a gated repository exists
                raise
            return None

    found = _checked(source, info)
    if found is None:
        return Upload(repository, private, None)
    if private and not found.private:
        raise OutputError(f"{source} is public; make it private on its settings page, or leave out --private")
    replaced = sorted({one.rfilename for one in found.siblings or ()} & set(names))
    if replaced and not overwrite:
        raise OutputError(
            f"{source} already contains {', '.join(replaced)}; pass --overwrite to replace them (its history keeps the "
            "earlier files), or choose another repository"
        )
    return Upload(repository, private, found.sha)


def push_folder(folder: Path, names: Sequence[str], upload: Upload, message: str) -> str:
    """Upload files of a folder in one commit; other files of the repository stay.

    Args:
        folder: Folder that contains the files.
        names: Names of the files to upload.
        upload: Plan from :func:`plan_upload`.
        message: Message of the commit.

    Returns:
        Address of the repository.

    Raises:
        SeamsegError: The Hub cannot be reached, does not grant access, or the repository has changed since the plan.
    """
    source = HUB + upload.repository
    hub = _installed(source)

    def push() -> str:
        api = hub.HfApi()
        if upload.parent is None:
            api.create_repo(upload.repository, private=upload.private, exist_ok=False)
        files = [hub.CommitOperationAdd(name, str(folder / name)) for name in names]
        api.create_commit(upload.repository, files, commit_message=message, parent_commit=upload.parent)
        return f"{api.endpoint}/{upload.repository}"

    return _checked(source, push)


def _installed(source: str) -> Any:
    try:
        return import_module("huggingface_hub")
    except ImportError as error:
        raise ModelError(f"{source} requires huggingface_hub: pip install huggingface_hub") from error


def _checked(source: str, call: Callable[[], Result]) -> Result:
    """Call a function of huggingface_hub and turn its errors into one sentence."""
    errors = import_module("huggingface_hub.errors")
    try:
        return call()
    except errors.GatedRepoError as error:
        raise ModelError(f"{source} is gated; accept its terms on its page, then run `hf auth login`") from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"there is no {source} on the Hugging Face Hub, or it is private; check the name, or run `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(f"{source} names a revision that does not exist; see the branches and tags there") from error
    except errors.LocalEntryNotFoundError as error:
        raise ModelError(
            f"{source} is not in the cache, and the Hugging Face Hub cannot be reached; check the network, or download "
            "the model folder elsewhere and pass its path"
        ) from error
    except errors.HfHubHTTPError as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        reasons = {
            401: "it does not know you; run `hf auth login`",
            403: "your access token lacks the permission; run `hf auth login` with another one",
            409: "it exists already",
            412: "it has changed in the meantime; run the command again",
        }
        reason = reasons.get(status or 0, shorten(str(error), 200))
        raise ModelError(f"the Hugging Face Hub refuses the request for {source}: {reason}") from error
    except Exception as error:  # the kinds of network errors differ between versions of the package
        raise ModelError(f"the request for {source} failed ({shorten(str(error), 200)})") from error
