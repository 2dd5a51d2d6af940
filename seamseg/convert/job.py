"""Conversion of one split: images are converted in parallel, and the JSON file is written last."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from seamseg.data.json_fields import check_file_names, write_json_lists
from seamseg.errors import DataError, OutputError, SeamsegError
from seamseg.io.files import atomic_write
from seamseg.io.journal import ItemOutput, Journal, JournalItem
from seamseg.io.workers import ordered_map

MOST_FAILURES = 20
"""Number of failed images after which a conversion stops."""

_VERSION = 1  # increase it when the output of a converter changes, so that older journals are not resumed


ItemT = TypeVar("ItemT", bound=JournalItem)


@dataclass(frozen=True)
class Job(Generic[ItemT]):
    """One split to convert.

    Attributes:
        title: Title shown to the user, such as the name of the split.
        description: Description of the result, written under ``info``.
        result: Path of the JSON file. Its folder is created if needed.
        head: Entries written to the JSON file before the lists.
        items: Items to convert, in the order of the result.
        convert: Function that writes the files of one item. It must be picklable and depend on nothing but the item.
        lists: Keys of the lists in the JSON file.
        numbered: Key of the list with entries that get an ``id``, counted from 1. None to number no list.
        options: Options that change the result but do not appear in ``head``.
        remarks: Sentences for the user about other content of the source.
    """

    title: str
    description: str
    result: Path
    head: dict[str, Any]
    items: Sequence[ItemT]
    convert: Callable[[ItemT], ItemOutput]
    lists: tuple[str, ...] = ("images", "annotations")
    numbered: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """SHA-256 hash that is equal for jobs with the same items, options and head."""
        identity = [
            _VERSION,
            self.description,
            self.head,
            self.lists,
            self.numbered,
            self.options,
            [item.name for item in self.items],
        ]
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()


@dataclass(frozen=True)
class ConversionSummary:
    """Counts reported after a job.

    Attributes:
        num_items: Number of images in the result.
        num_kept: Number of these images that an interrupted run had already converted.
        num_hidden: Number of objects left out because others cover them completely.
        num_replaced: Number of objects without a usable outline.
        num_crossing: Number of polygons that cross themselves.
        complete_already: Whether the result already existed, so that nothing was converted.
    """

    num_items: int
    num_kept: int = 0
    num_hidden: int = 0
    num_replaced: int = 0
    num_crossing: int = 0
    complete_already: bool = False


def run_job(
    job: Job[ItemT],
    num_workers: int | None = None,
    *,
    overwrite: bool = False,
    on_progress: Callable[[int], None] = lambda done: None,
    on_failure: Callable[[str], None] = lambda sentence: None,
) -> ConversionSummary:
    """Convert all items that have not been converted yet, and write the JSON file.

    The same job always produces the same bytes, regardless of the number of workers.

    Args:
        job: Job to run.
        num_workers: Number of worker processes. None starts one per core.
        overwrite: Whether to convert again if the result is complete. Otherwise a complete result is skipped.
        on_progress: Called with the number of finished items.
        on_failure: Called with the reason if an item cannot be converted.

    Raises:
        SeamsegError: An item has a name that readers reject, the result exists but comes from another conversion,
            another process is writing it, or items failed. After failures, the other items are kept, and no JSON file
            is written.
        OSError: A file cannot be written.
    """
    if not job.items:
        raise DataError(f"{job.title}: there are no images to convert to {job.result}")
    _check_names(job)
    if not overwrite and job.result.exists():
        _check_same(job)
        on_progress(len(job.items))
        return ConversionSummary(len(job.items), complete_already=True)
    job.result.parent.mkdir(parents=True, exist_ok=True)
    journal_path = job.result.with_name(f".{job.result.name}.journal")
    with Journal(journal_path, job.fingerprint, f"another process is already converting to {job.result}") as journal:
        job.result.unlink(missing_ok=True)
        kept = {item.name for item in job.items if journal.holds(item)}
        _convert(job, kept, journal, num_workers, on_progress, on_failure)
        os.sync()  # all files that the JSON file lists must be on disk before it is
        num_hidden = sum(record.num_hidden for record in _records(job, journal))
        num_replaced = sum(record.num_replaced for record in _records(job, journal))
        num_crossing = sum(record.num_crossing for record in _records(job, journal))
        atomic_write(job.result, partial(_write_result, job, journal))
        journal.remove()
    return ConversionSummary(len(job.items), len(kept), num_hidden, num_replaced, num_crossing)


def _check_names(job: Job[Any]) -> None:
    """Check the item names, which the output files share: readers must accept them, and they must be unique."""
    check_file_names((item.name for item in job.items), f"{job.title}: the source")
    known: dict[str, JournalItem] = {}
    for item in job.items:
        other = known.setdefault(item.name, item)
        if other is not item:
            sources = f"{other.sources[-1]} and {item.sources[-1]}"
            raise DataError(f"{job.title}: {sources} would both become {item.name}; rename or remove one of them")


def _check_same(job: Job[Any]) -> None:
    """Raise an error if the first bytes of the existing result do not hold the fingerprint of this job."""
    beginning = f'{{"info":{{"conversion":"{job.fingerprint}"'
    with job.result.open(encoding="utf-8", errors="replace") as file:
        found = file.read(len(beginning))
    if found != beginning:
        raise OutputError(
            f"{job.result} already exists and comes from another conversion (its files, options or classes differ); "
            "choose another folder, remove the file, or pass --overwrite"
        )


def _convert(
    job: Job[ItemT],
    kept: set[str],
    journal: Journal,
    num_workers: int | None,
    on_progress: Callable[[int], None],
    on_failure: Callable[[str], None],
) -> None:
    failures: list[str] = []
    pending = [item for item in job.items if item.name not in kept]
    done = len(kept)
    on_progress(done)
    results = ordered_map(partial(_attempt, job.convert), pending, processes=num_workers)
    for item, result in zip(pending, results, strict=True):
        if isinstance(result, ItemOutput):
            journal.append(item, result)
            done += 1
            on_progress(done)
        else:
            failures.append(result)
            on_failure(result)
        if len(failures) == MOST_FAILURES:
            break
    if failures:
        raise DataError(_failure_message(failures))


def _attempt(convert: Callable[[ItemT], ItemOutput], item: ItemT) -> ItemOutput | str:
    """Convert one item; return failures as sentences, because an exception would stop the other items."""
    try:
        return convert(item)
    except (SeamsegError, OSError) as error:
        return str(error)


def _failure_message(failures: list[str]) -> str:
    if len(failures) == 1:
        return f"{failures[0]}; the other images are kept, so fix this one and run the same command again"
    return (
        f"{len(failures)} images cannot be converted, for example: {failures[0]}; the others are kept, so fix these "
        "and run the same command again"
    )


def _records(job: Job[Any], journal: Journal) -> Iterator[ItemOutput]:
    return (journal.read(item.name) for item in job.items)


def _write_result(job: Job[Any], journal: Journal, path: Path) -> None:
    """Write the JSON file from the journal, with one record in memory at a time."""
    info = {"conversion": job.fingerprint, "description": job.description}
    write_json_lists(path, {"info": info} | job.head, {key: _entries(job, journal, key) for key in job.lists})


def _entries(job: Job[Any], journal: Journal, key: str) -> Iterator[dict[str, Any]]:
    entries = (entry for record in _records(job, journal) for entry in record.entries[key])
    if key != job.numbered:
        return entries
    return ({"id": number} | entry for number, entry in enumerate(entries, start=1))
