"""Exit codes, wording and tables of all subcommands."""

from __future__ import annotations

from rich.console import Console

USER_ERROR = 2
"""Something that its user gave cannot be used, or a file cannot be read or written; a sentence says which and why."""
UNREADABLE = 3
"""Done, but for images that cannot be read."""
INTERRUPTED = 130
"""By Ctrl-C."""


def counted(number: int, noun: str) -> str:
    """Such as ``1 image`` or ``5,000 images``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def plain_console() -> Console:
    """A console that prints text as it is: names may hold square brackets and colons, rich's markup and emoji codes."""
    return Console(markup=False, emoji=False)
