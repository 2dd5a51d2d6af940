"""Results folder of a run: which images are finished, and the JSON files that list them."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from seamseg.data.formats.coco_writer import ANNOTATION_FILE
from seamseg.data.formats.vipseg import framed, write_videos
from seamseg.data.json_fields import write_json_list, write_json_lists
from seamseg.errors import OutputError
from seamseg.io.files import atomic_write, is_part, part_path, remove_parts, write_text
from seamseg.io.journal import ItemOutput, Journal, JournalItem, fingerprint_of
from seamseg.predict.outputs import OUTPUT_KINDS, Named, OutputKind
from seamseg.predict.pre_annotations import (
    cvat_categories,
    cvat_labels,
    label_studio_interface,
    label_studio_task,
)
from seamseg.predict.ranking import ranked
from seamseg.structures import Categories, Unreadable

OVERLAY_FILE = "overlay.mp4"
RECORDS_FOLDER = ".frames"


def remove_video(folder: Path) -> None:
    """Remove the overlay video and its frame records from a results folder."""
    (folder / OVERLAY_FILE).unlink(missing_ok=True)
    part_path(folder / OVERLAY_FILE).unlink(missing_ok=True)
    remove_records(folder)


def remove_records(folder: Path) -> None:
    """Remove the frame records, which are not needed once the video is complete."""
    if (folder / RECORDS_FOLDER).exists():
        shutil.rmtree(folder / RECORDS_FOLDER)


Mode = Literal["new", "resume", "overwrite"]
"""How to treat a folder that is not empty: refuse it, resume its predictions, or replace them."""

INSTANCES_FILE, ERRORS_FILE, CATEGORIES_FILE = "instances.json", "errors.json", "categories.json"
LABEL_STUDIO_FILE, LABEL_STUDIO_INTERFACE = "labelstudio.json", "labelstudio.xml"
CVAT_FILE, CVAT_LABELS = "cvat.json", "cvat_labels.json"
RANKING_FILE, TOP_FILE = "ranking.json", "top.txt"
_LISTS = (
    ANNOTATION_FILE,
    INSTANCES_FILE,
    ERRORS_FILE,
    CATEGORIES_FILE,
    LABEL_STUDIO_FILE,
    LABEL_STUDIO_INTERFACE,
    CVAT_FILE,
    CVAT_LABELS,
    RANKING_FILE,
    TOP_FILE,
)
"""Files that list all results."""

_JOURNAL = ".predictions.journal"


class Predictable(JournalItem, Named, Protocol):
    """An image or video frame with a name and source files."""


@dataclass
class ResultsFolder:
    """Results folder as one process of a run uses it.

    A hidden journal lists the finished images. It stays in the folder after the run.

    Attributes:
        path: Path of the folder.
        kinds: Kinds of output.
        categories: Categories of the model.
        fingerprint: Digest of everything that the results depend on, apart from the images.
        rank: Rank of this process. Rank 0 opens the folder before the other ranks, and finishes it after them.
        is_tracked: Whether the images are the frames of clips, named ``CLIP/FRAME``, with constant ids.
    """

    path: Path
    kinds: Sequence[OutputKind]
    categories: Categories
    fingerprint: str
    rank: int = 0
    is_tracked: bool = False
    _journal: Journal | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        self.path = self.path.absolute()

    def begin(self, mode: Mode, images: Iterable[Predictable]) -> set[str]:
        """Create or open the folder. Only rank 0 calls this.

        Args:
            mode: How to treat a folder that is not empty.
            images: Images of the run.

        Returns:
            The names of the images that are already finished.

        Raises:
            SeamsegError: The folder holds other files, or predictions that ``mode`` does not allow to change.
            OSError: The folder is not writable.
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
        self._remove_parts()
        return {image.name for image in images if journal.holds(image)}

    def holds(self, image: Predictable) -> bool:
        """Return whether an image is finished, and neither its sources nor its results have changed since."""
        assert self._journal is not None, "the folder is not open"
        return self._journal.holds(image)

    def join(self) -> None:
        """Open the journal of this rank. All ranks call this after rank 0 has called :meth:`begin`."""
        if self._journal is None:
            self._journal = self._open(self._journal_path)

    def note(self, image: Predictable, written: ItemOutput) -> None:
        """Record a finished image. Threads may call this at the same time.

        Args:
            image: Image or frame.
            written: Its files, and its entries of the JSON files.
        """
        with self._lock:
            assert self._journal is not None, "the folder is not open"
            self._journal.append(image, written)

    def invalidate(self, names: Iterable[str]) -> None:
        """Record that finished images have to be predicted again, also if this run is interrupted before that.

        Args:
            names: Names of finished images.
        """
        assert self._journal is not None, "the folder is not open"
        for name in sorted(names):
            self._journal.invalidate(name)

    def close(self) -> None:
        """Close the journal, so that other processes may use the folder."""
        with self._lock:
            if self._journal is not None:
                self._journal.close()
                self._journal = None

    def finish(self, images: Sequence[Predictable], unreadable: Sequence[Unreadable], info: Mapping[str, Any]) -> None:
        """Write the JSON files, with the entries of one image in memory at a time.

        Only rank 0 calls this, after the other ranks have closed the folder.

        Args:
            images: Finished images, numbered from 1 in this order.
            unreadable: Images that were skipped.
            info: Entries of ``info`` in ``panoptic.json``. ``image_folder`` is needed for Label Studio.
        """
        assert self._journal is not None, "the folder is not open"
        for path in self._other_journals():
            with self._open(path) as other:
                self._journal.absorb(other)
            path.unlink()
        os.sync()  # the files must be on disk before the JSON files that list them
        if unreadable:
            listed = [{"file_name": one.file_name, "error": one.error} for one in unreadable]
            write_text(self.path / ERRORS_FILE, json.dumps(listed, indent=1) + "\n")
        if {"semantic", "raw", "step"} & set(self.kinds) or (
            "panoptic" not in self.kinds and "instances" in self.kinds
        ):
            write_text(self.path / CATEGORIES_FILE, json.dumps(self.categories.to_list(), indent=1) + "\n")
        if "instances" in self.kinds:
            entries = self._numbered(images, "instances", "image_id")
            atomic_write(self.path / INSTANCES_FILE, lambda path: write_json_list(path, entries))
        if "panoptic" in self.kinds and self.is_tracked:
            self._write_videos(images, info)
        elif "panoptic" in self.kinds:
            lists = {
                "images": self._numbered(images, "images", "id"),
                "annotations": self._numbered(images, "annotations", "image_id"),
                "categories": self.categories.to_list(),
            }
            atomic_write(self.path / ANNOTATION_FILE, lambda path: write_json_lists(path, {"info": info}, lists))
        if "labelstudio" in self.kinds:
            self._write_label_studio(images, Path(info["image_folder"]))
        if "cvat" in self.kinds:
            self._write_cvat(images)
        if "ranking" in self.kinds:
            order = ranked(self._numbered(images, "ranking", "image_id"))
            atomic_write(self.path / RANKING_FILE, lambda path: write_json_list(path, order))

    def _write_videos(self, images: Sequence[Predictable], info: Mapping[str, Any]) -> None:
        lists = {
            key: framed(self._numbered(images, key, number_key), (image.name for image in images), number_key)
            for key, number_key in (("images", "id"), ("annotations", "image_id"))
        }
        atomic_write(self.path / ANNOTATION_FILE, lambda path: write_videos(path, info, self.categories, lists))

    def _write_label_studio(self, images: Sequence[Predictable], image_folder: Path) -> None:
        tasks = (label_studio_task(entry, image_folder) for entry in self._numbered(images, "labelstudio", "id"))
        atomic_write(self.path / LABEL_STUDIO_FILE, lambda path: write_json_list(path, tasks))
        write_text(self.path / LABEL_STUDIO_INTERFACE, label_studio_interface(self.categories))

    def _write_cvat(self, images: Sequence[Predictable]) -> None:
        annotations = self._numbered(images, "cvat_annotations", "image_id")
        lists = {
            "images": self._numbered(images, "cvat_images", "id"),
            "annotations": ({"id": number} | entry for number, entry in enumerate(annotations, start=1)),
        }
        head = {"categories": cvat_categories(self.categories)}
        atomic_write(self.path / CVAT_FILE, lambda path: write_json_lists(path, head, lists))
        write_text(self.path / CVAT_LABELS, json.dumps(cvat_labels(self.categories), indent=1) + "\n")

    def _numbered(self, images: Iterable[Predictable], key: str, number_key: str) -> Iterator[dict[str, Any]]:
        assert self._journal is not None, "the folder is not open"
        for number, image in enumerate(images, start=1):
            for entry in self._journal.read(image.name).entries[key]:
                # In an earlier run, names may have been relative to another folder.
                named = {} if key.endswith("annotations") else {"file_name": image.file_name}
                yield {number_key: number} | entry | named

    def _check(self, mode: Mode) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"{self.path} is a file; choose a folder for the results")
        if mode == "overwrite" or not self.path.is_dir() or all(map(is_part, self.path.iterdir())):
            return
        journal = self.path / _JOURNAL
        if mode == "new":
            resume = "pass --resume to continue its predictions, " if journal.exists() else ""
            overwrite = "--overwrite to replace them" if journal.exists() else "pass --overwrite to write into it"
            raise OutputError(f"{self.path} is not empty; {resume}{overwrite}, or choose another folder")
        if not journal.exists():
            raise OutputError(f"{self.path} holds other files but no predictions to resume; choose another folder")
        if fingerprint_of(journal) != self.fingerprint:
            raise OutputError(
                f"the predictions in {self.path} were made with another model, video or options; use the same ones, "
                "pass --overwrite to replace the predictions, or choose another folder"
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
        """Return whether a file is in this folder; the paths in a hand-written journal may point outside of it."""
        return file.resolve().is_relative_to(self.path.resolve())

    def _remove_results(self) -> None:
        """Remove the files that the journals of earlier runs list, and the videos of these runs."""
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

    def _remove_parts(self) -> None:
        """Remove the temporary files of killed processes, also those of images that are no longer part of the run."""
        remove_parts(self.path)
        for kind in OUTPUT_KINDS:
            for folder, _, _ in os.walk(self.path / kind):
                remove_parts(Path(folder))

    def _remove_lists(self) -> None:
        """Remove the JSON files, which only exist while the run is complete."""
        for name in _LISTS:
            (self.path / name).unlink(missing_ok=True)
