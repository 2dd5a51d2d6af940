"""The folder of the results of a run: which images are done, and the JSON files about all of them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from seamseg.data.formats.coco_writer import ANNOTATION_FILE
from seamseg.data.json_fields import write_json_list, write_json_lists
from seamseg.errors import OutputError
from seamseg.io.files import atomic_write, is_part, part_path, write_text
from seamseg.io.journal import Item, ItemOutput, Journal, fingerprint_of
from seamseg.predict.outputs import Named, OutputKind
from seamseg.structures import Categories, Unreadable

OVERLAY_FILE = "overlay.mp4"
RECORDS_FOLDER = ".frames"


def remove_video(folder: Path) -> None:
    """Takes them away from a folder of results."""
    (folder / OVERLAY_FILE).unlink(missing_ok=True)
    part_path(folder / OVERLAY_FILE).unlink(missing_ok=True)
    remove_records(folder)


def remove_records(folder: Path) -> None:
    """Takes away what a video was made from, once it is whole."""
    if (folder / RECORDS_FOLDER).exists():
        shutil.rmtree(folder / RECORDS_FOLDER)


Mode = Literal["new", "resume", "overwrite"]
"""What to do with a folder that is not empty: refuse it, go on with its predictions, or replace them."""

INSTANCES_FILE, ERRORS_FILE, CATEGORIES_FILE = "instances.json", "errors.json", "categories.json"
_JOURNAL = ".predictions.journal"


class Predictable(Item, Named, Protocol):
    """An image with a name and sources."""


@dataclass
class ResultsFolder:
    """Where one process of a run writes. It keeps a hidden journal of what is done, also when all is.

    Attributes:
        path: of the folder.
        kinds: what is written.
        categories: of the model.
        fingerprint: of everything that results depend on beside the images.
        rank: of this process; rank 0 opens the folder before the others, and finishes it after them.
    """

    path: Path
    kinds: Sequence[OutputKind]
    categories: Categories
    fingerprint: str
    rank: int = 0
    _journal: Journal | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.path = self.path.absolute()

    def begin(self, mode: Mode, images: Iterable[Predictable]) -> set[str]:
        """Makes the folder ready; for rank 0.

        Returns:
            The names of the images that are done.

        Raises:
            SeamsegError: the folder is used, and not by predictions that ``mode`` allows to touch.
            OSError: it cannot be written to.
        """
        self._check(mode)
        self.path.mkdir(parents=True, exist_ok=True)
        if mode == "overwrite":
            self._remove_results()
        elif mode == "resume":
            self._remove_lists()
        journal = self._open(self._journal_path)
        for path in self._other_journals():
            with self._open(path) as other:
                journal.absorb(other)
            path.unlink()
        self._journal = journal
        return {image.name for image in images if journal.holds(image)}

    def holds(self, image: Predictable) -> bool:
        """Whether an image is done, and neither its sources nor its results were changed since."""
        assert self._journal is not None, "the folder is not open"
        return self._journal.holds(image)

    def join(self) -> None:
        """Makes ready to note what is done; for the other ranks, after rank 0."""
        if self._journal is None:
            self._journal = self._open(self._journal_path)

    def note(self, image: Predictable, written: ItemOutput) -> None:
        """An image is done."""
        assert self._journal is not None, "the folder is not open"
        self._journal.append(image, written)

    def close(self) -> None:
        """Leaves the folder to others."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def finish(self, images: Sequence[Predictable], unreadable: Sequence[Unreadable], info: Mapping[str, Any]) -> None:
        """Writes the JSON files, with one image in memory at a time; for rank 0, when the others have closed theirs.

        Args:
            images: those that are done, in the order that they are numbered in, from 1.
            unreadable: those that are left out.
            info: for ``panoptic.json``.
        """
        assert self._journal is not None, "the folder is not open"
        for path in self._other_journals():
            with self._open(path) as other:
                self._journal.absorb(other)
            path.unlink()
        os.sync()  # what the JSON files name shall be on the disk before they are
        if unreadable:
            listed = [{"file_name": one.file_name, "error": one.error} for one in unreadable]
            write_text(self.path / ERRORS_FILE, json.dumps(listed, indent=1) + "\n")
        if {"semantic", "raw"} & set(self.kinds):
            write_text(self.path / CATEGORIES_FILE, json.dumps(self.categories.to_list(), indent=1) + "\n")
        if "instances" in self.kinds:
            entries = self._numbered(images, "instances", "image_id")
            atomic_write(self.path / INSTANCES_FILE, lambda path: write_json_list(path, entries))
        if "panoptic" in self.kinds:
            lists = {
                "images": self._numbered(images, "images", "id"),
                "annotations": self._numbered(images, "annotations", "image_id"),
                "categories": self.categories.to_list(),
            }
            atomic_write(self.path / ANNOTATION_FILE, lambda path: write_json_lists(path, {"info": info}, lists))

    def _numbered(self, images: Iterable[Predictable], key: str, number_key: str) -> Iterator[dict[str, Any]]:
        assert self._journal is not None, "the folder is not open"
        for number, image in enumerate(images, start=1):
            for entry in self._journal.read(image.name).entries[key]:
                # An earlier run may have been given another folder, which names are relative to.
                named = {} if key == "annotations" else {"file_name": image.file_name}
                yield {number_key: number} | entry | named

    def _check(self, mode: Mode) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"{self.path} is a file; name a folder for the results")
        if mode == "overwrite" or not self.path.is_dir() or all(map(is_part, self.path.iterdir())):
            return
        journal = self.path / _JOURNAL
        if mode == "new":
            resume = "go on with its predictions by --resume, " if journal.exists() else ""
            raise OutputError(f"{self.path} is not empty: {resume}replace files by --overwrite, or name another folder")
        if not journal.exists():
            raise OutputError(
                f"there are no predictions in {self.path} to go on with, but other files; name another folder"
            )
        if fingerprint_of(journal) != self.fingerprint:
            raise OutputError(
                f"the predictions in {self.path} are of another model or video, or made with other options; give the "
                "same ones, replace them by --overwrite, or name another folder"
            )

    @property
    def _journal_path(self) -> Path:
        return self.path / (_JOURNAL if self.rank == 0 else f"{_JOURNAL}.{self.rank}")

    def _other_journals(self) -> list[Path]:
        return sorted(self.path.glob(f"{_JOURNAL}.*"))

    def _open(self, path: Path, fingerprint: str | None = None) -> Journal:
        busy = f"another process is writing predictions to {self.path}"
        return Journal(path, self.fingerprint if fingerprint is None else fingerprint, busy)

    def _contains(self, file: Path) -> bool:
        """Whether a file lies in this folder; a journal that somebody wrote by hand may lead out of it."""
        return file.resolve().is_relative_to(self.path.resolve())

    def _remove_results(self) -> None:
        """Those that the journals of earlier runs tell of, and what these runs wrote of videos."""
        journals = [path for path in (self._journal_path, *self._other_journals()) if path.exists()]
        if journals:
            remove_video(self.path)
            self._remove_lists()
        for path in journals:
            with self._open(path, fingerprint_of(path)) as journal:
                for file in journal.files():
                    if self._contains(file):
                        file.unlink(missing_ok=True)
                journal.remove()

    def _remove_lists(self) -> None:
        """What is written when all is done: until then there is nothing of that name."""
        for name in (ANNOTATION_FILE, INSTANCES_FILE, ERRORS_FILE, CATEGORIES_FILE):
            (self.path / name).unlink(missing_ok=True)
