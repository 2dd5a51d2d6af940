"""Words that several subcommands say."""

from __future__ import annotations

from seamseg.cli.output import counted


def test_one_and_many() -> None:
    assert [counted(number, "image") for number in (0, 1, 2, 5000)] == [
        "0 images",
        "1 image",
        "2 images",
        "5,000 images",
    ]
