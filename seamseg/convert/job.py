"""The conversion of one split: many images in parallel, one JSON file at the end."""

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
from seamseg.io.journal import Item, ItemOutput, Journal
from seamseg.io.workers import ordered_map

MOST_FAILURES = 20
"""After so many the conversion stops: they are not accidents."""

_VERSION = 1  # to be raised when converters write other results, so that no old journal is gone on with


ItemT = TypeVar("ItemT", bound=Item)


@dataclass(frozen=True)
class Job(Generic[ItemT]):
    """One split to convert.

    Attributes:
        title: for people, such as the name of the split.
        description: of the result, for its ``info``.
        result: the JSON file; its folder is made if needed.
        head: what stands in it before the lists.
        items: in the order of the result.
        convert: writes the files of an item; can be pickled, and depends on nothing but the item.
        lists: keys of the lists in the JSON file.
        numbered: the list whose entries get an ``id``, counted from 1.
        options: choices that change the result and do not show in the head.
        remarks: Sentences for the user on what the source holds beside the items.
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
        """The same for the same items, options and head."""
        told = [
            _VERSION,
            self.description,
            self.head,
            self.lists,
            self.numbered,
            self.options,
            [item.name for item in self.items],
        ]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()


@dataclass(frozen=True)
class Outcome:
    """How a job went.

    Attributes:
        num_items: images of the result.
        num_kept: of them, those that an interrupted run had converted.
        num_hidden: objects that others cover.
        num_replaced: Objects without a usable outline.
        complete_already: nothing was done, the result was there.
    """

    num_items: int
    num_kept: int = 0
    num_hidden: int = 0
    num_replaced: int = 0
    complete_already: bool = False


def run_job(
    job: Job[ItemT],
    num_workers: int | None = None,
    *,
    overwrite: bool = False,
    on_progress: Callable[[int], None] = lambda done: None,
    on_failure: Callable[[str], None] = lambda sentence: None,
) -> Outcome:
    """Converts what is not converted yet. The same job gives the same bytes, with any number of workers.

    Args:
        job: what to do.
        num_workers: processes; None takes one per core.
        overwrite: convert again what is complete; otherwise that is passed over.
        on_progress: is told how many items are done.
        on_failure: is told why an item cannot be converted.

    Raises:
        SeamsegError: a name is one that no reader takes, the result is there and of another conversion, another process
            is at work on it, or items failed; then the others are kept, and there is no result.
        OSError: a file cannot be written.
    """
    if not job.items:
        raise DataError(f"{job.title}: there are no images to convert to {job.result}")
    _check_names(job)
    if not overwrite and job.result.exists():
        _check_same(job)
        on_progress(len(job.items))
        return Outcome(len(job.items), complete_already=True)
    job.result.parent.mkdir(parents=True, exist_ok=True)
    journal_path = job.result.with_name(f".{job.result.name}.journal")
    with Journal(journal_path, job.fingerprint, f"another process is converting to {job.result}") as journal:
        job.result.unlink(missing_ok=True)
        kept = {item.name for item in job.items if journal.holds(item)}
        _convert(job, kept, journal, num_workers, on_progress, on_failure)
        os.sync()  # what the JSON file names shall be on the disk before it is
        num_hidden = sum(record.num_hidden for record in _records(job, journal))
        num_replaced = sum(record.num_replaced for record in _records(job, journal))
        atomic_write(job.result, partial(_write_result, job, journal))
        journal.remove()
    return Outcome(len(job.items), len(kept), num_hidden, num_replaced)


def _check_names(job: Job[Any]) -> None:
    """Results are named after their items: readers must take the names, and two equal ones would be one file."""
    check_file_names((item.name for item in job.items), f"{job.title}: what is converted")
    known: dict[str, Item] = {}
    for item in job.items:
        other = known.setdefault(item.name, item)
        if other is not item:
            sources = f"{other.sources[-1]} and {item.sources[-1]}"
            raise DataError(f"{job.title}: {sources} would both become {item.name}; rename or remove one of them")


def _check_same(job: Job[Any]) -> None:
    """Whether the result is that of this job; its beginning tells."""
    beginning = f'{{"info":{{"conversion":"{job.fingerprint}"'
    with job.result.open(encoding="utf-8", errors="replace") as file:
        found = file.read(len(beginning))
    if found != beginning:
        raise OutputError(
            f"{job.result} is there already, and not from this conversion (its files, options or classes are others); "
            "choose another folder, remove the file, or convert with --overwrite"
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
    left = [item for item in job.items if item.name not in kept]
    done = len(kept)
    on_progress(done)
    results = ordered_map(partial(_attempt, job.convert), left, processes=num_workers)
    for item, result in zip(left, results, strict=True):
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
        raise DataError(_failed(failures))


def _attempt(convert: Callable[[ItemT], ItemOutput], item: ItemT) -> ItemOutput | str:
    """Failures as sentences: raised, the first would end the others' work."""
    try:
        return convert(item)
    except (SeamsegError, OSError) as error:
        return str(error)


def _failed(failures: list[str]) -> str:
    if len(failures) == 1:
        return f"{failures[0]}; the other images are kept: mend this one and run the same command again"
    return (
        f"{len(failures)} images cannot be converted, such as: {failures[0]}; the others are kept: mend these and run "
        "the same command again"
    )


def _records(job: Job[Any], journal: Journal) -> Iterator[ItemOutput]:
    return (journal.read(item.name) for item in job.items)


def _write_result(job: Job[Any], journal: Journal, path: Path) -> None:
    """The JSON file, from the journal, with one record in memory at a time."""
    info = {"conversion": job.fingerprint, "description": job.description}
    write_json_lists(path, {"info": info} | job.head, {key: _entries(job, journal, key) for key in job.lists})


def _entries(job: Job[Any], journal: Journal, key: str) -> Iterator[dict[str, Any]]:
    entries = (entry for record in _records(job, journal) for entry in record.entries[key])
    if key != job.numbered:
        return entries
    return ({"id": number} | entry for number, entry in enumerate(entries, start=1))
