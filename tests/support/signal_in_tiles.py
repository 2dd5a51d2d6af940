"""A signal while the network computes the tiles of a large image.

with signal_in_tiles(signal.SIGKILL, size=(64, 140), journal=out / ".predictions.journal", noted="a"):
    seamseg.cli.main(["predict", …, "--tile", "64"])
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from seamseg.algos.tile_classes import TileClasses
from seamseg.structures import SemanticLogits, Size

SECONDS = 30


@contextlib.contextmanager
def signal_in_tiles(kind: signal.Signals, size: Size, journal: Path, noted: str) -> Iterator[None]:
    """Send this process a signal after the first tile of an image, as soon as an earlier image is recorded.

    Args:
        kind: Signal to send.
        size: Height and width of the image.
        journal: Journal of the results folder.
        noted: Name of the earlier image. If it is not recorded within half a minute, the signal is sent all the same.
    """
    add = TileClasses.add

    def add_and_send(classes: TileClasses, number: int, semantics: SemanticLogits) -> None:
        add(classes, number, semantics)
        if classes.grid.size == size and number == 0:
            latest = time.monotonic() + SECONDS
            while f'"name": "{noted}"' not in journal.read_text() and time.monotonic() < latest:
                time.sleep(0.01)
            os.kill(os.getpid(), kind)

    previous = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let background processes ignore Ctrl-C
    try:
        with mock.patch.object(TileClasses, "add", add_and_send):
            yield
    finally:
        signal.signal(signal.SIGINT, previous)
