"""Bars with an estimate of the time left."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Advance = Callable[[int, str], None]
"""How many units are done, and a remark."""


@contextlib.contextmanager
def progress_bar(title: str, total: int, done: int = 0, shown: bool = True) -> Iterator[Advance]:
    """Shows how far a work has come, on standard error; titles and remarks may hold any characters.

    Args:
        title: of the work.
        total: units in all.
        done: units that are done at the start, left out of the estimate.
        shown: False shows nothing (all processes but the first).
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[remark]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as progress:
        task = progress.add_task(title, total=total, completed=done, remark="")
        yield lambda now, remark: progress.update(task, completed=now, remark=remark)


Steps = Callable[[str, int, int], None]
"""Which part of a work, and how many of how many units of it are done."""


@contextlib.contextmanager
def split_progress(title: str) -> Iterator[Steps]:
    """Shows how far the parts of a work have come, one bar for each, as they begin."""
    with contextlib.ExitStack() as bars:
        open_bars: dict[str, Advance] = {}

        def advance(part: str, done: int, total: int) -> None:
            if part not in open_bars:
                bars.close()
                open_bars[part] = bars.enter_context(progress_bar(f"{title} {part}", total))
            open_bars[part](done, "")

        yield advance
