"""Exit codes, wording and console shared by all subcommands."""

from __future__ import annotations

from rich.console import Console

USER_ERROR = 2
"""Exit code after a user error: an input is invalid, or a file cannot be read or written. A sentence says why."""
UNREADABLE = 3
"""Exit code of a finished command that skipped images because they cannot be read."""
INTERRUPTED = 130
"""Exit code after Ctrl-C."""


def counted(number: int, noun: str) -> str:
    """Format a count with its noun, such as ``1 image`` or ``5,000 images``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def plain_console() -> Console:
    """Create a console without rich's markup and emoji codes, because names may contain square brackets and colons."""
    return Console(markup=False, emoji=False)
