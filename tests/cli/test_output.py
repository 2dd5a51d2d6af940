"""Wording shared by several subcommands."""

from __future__ import annotations

from seamseg.cli.output import counted


def test_counted_chooses_singular_or_plural() -> None:
    assert [counted(number, "image") for number in (0, 1, 2, 5000)] == [
        "0 images",
        "1 image",
        "2 images",
        "5,000 images",
    ]
