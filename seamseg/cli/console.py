"""Standard output for tables."""

from __future__ import annotations

from rich.console import Console


def plain_console() -> Console:
    """A console that prints text as it is: names may hold square brackets and colons, rich's markup and emoji codes."""
    return Console(markup=False, emoji=False)
