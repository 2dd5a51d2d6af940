"""Progress bars with an estimate of the remaining time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Advance = Callable[[int, str], None]
"""Function that sets the number of finished units and a remark."""


@contextlib.contextmanager
def progress_bar(title: str, total: int, done: int = 0, shown: bool = True) -> Iterator[Advance]:
    """Show the progress of a job on standard error.

    Args:
        title: Title of the job; titles and remarks may contain any characters.
        total: Total number of units.
        done: Number of units already finished at the start, which the estimate ignores.
        shown: Whether to show the bar; False on all processes except the first.
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
"""Function that reports progress: name of the part, number of finished units, total number of units."""


@contextlib.contextmanager
def split_progress(title: str) -> Iterator[Steps]:
    """Show the progress of a job in several parts, with one bar per part that appears when the part begins.

    Args:
        title: Title of the job, shown in front of the name of each part.
    """
    with contextlib.ExitStack() as bars:
        open_bars: dict[str, Advance] = {}

        def advance(part: str, done: int, total: int) -> None:
            if part not in open_bars:
                bars.close()
                open_bars[part] = bars.enter_context(progress_bar(f"{title} {part}", total))
            open_bars[part](done, "")

        yield advance
