"""Drawing and measuring text in pictures."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from seamseg.structures.categories import Color

CAP_HEIGHT = 0.7
"""Height of a capital letter above the baseline, relative to the font size."""
DESCENT = 0.25
"""Depth of the letters below the baseline, relative to the font size."""
REGULAR, BOLD = 450, 600

_SPELLED_OUT = str.maketrans({"ß": "ss", "æ": "ae", "Æ": "Ae", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d"})
_SPELLED_OUT |= str.maketrans({"–": "-", "—": "-", "’": "'", "‘": "'", "“": '"', "”": '"', "…": "...", "·": "-"})


def text_width(text: str, size: int, weight: int = REGULAR) -> int:
    """Return the width in pixels of a text that :func:`draw_text` draws."""
    font = outline_font()
    if font is None:
        (width, _), _ = cv2.getTextSize(ascii_text(text), *_stroke(size, weight))
        return int(width)
    return int(cv2.getTextSize((0, 0), printable(text), (0, 0), font, size, weight)[2])


def draw_text(
    canvas: npt.NDArray[np.uint8], text: str, x: int, baseline: int, size: int, color: Color, weight: int = REGULAR
) -> None:
    """Draw one line of text into a picture, in place.

    Args:
        canvas: Picture, H×W×3 uint8 RGB; text outside of it is clipped.
        text: Text with any characters. Characters that the font lacks become question marks or the nearest ASCII
            spelling.
        x: Left end of the baseline in pixels.
        baseline: Row of the baseline in pixels.
        size: Font size in pixels; capitals are 0.7 times as high.
        color: Color of the letters.
        weight: Font weight: 450 for regular, 600 for bold.
    """
    font = outline_font()
    if font is None:
        face, scale, thickness = _stroke(size, weight)
        cv2.putText(canvas, ascii_text(text), (x, baseline), face, scale, color, thickness, cv2.LINE_AA)
    else:
        cv2.putText(canvas, printable(text), (x, baseline), color, font, size, weight)


def shorten(text: str, width: int, size: int, weight: int = REGULAR) -> str:
    """Return the text, or its beginning with three dots if it is wider than ``width`` pixels."""
    if text_width(text, size, weight) <= width:
        return text
    lengths = range(len(text) - 1, 0, -1)
    candidates = (text[:length].rstrip() + "..." for length in lengths)
    return next((candidate for candidate in candidates if text_width(candidate, size, weight) <= width), "")


def printable(text: str) -> str:
    """Return one line of valid Unicode: control characters become spaces, and lone surrogates question marks."""
    spaced = "".join(" " if unicodedata.category(character) in ("Cc", "Zl", "Zp") else character for character in text)
    return spaced.encode("utf-8", "replace").decode("utf-8")


def ascii_text(text: str) -> str:
    """Return the nearest ASCII spelling.

    Accents are dropped, ligatures are spelled out, and all other characters become question marks.
    """
    decomposed = unicodedata.normalize("NFKD", printable(text).translate(_SPELLED_OUT))
    kept = "".join(character for character in decomposed if not unicodedata.combining(character))
    return kept.encode("ascii", "replace").decode("ascii")


@lru_cache(maxsize=1)
def outline_font() -> Any:
    """Return OpenCV's built-in outline font, which supports most of Unicode; None before OpenCV 5."""
    return cv2.FontFace("sans") if hasattr(cv2, "FontFace") else None


def _stroke(size: int, weight: int) -> tuple[int, float, int]:
    """Return face, scale and line thickness of OpenCV's stroke fonts, whose capitals are 21 pixels high at scale 1."""
    face = cv2.FONT_HERSHEY_DUPLEX if weight >= BOLD else cv2.FONT_HERSHEY_SIMPLEX
    return face, size * CAP_HEIGHT / 21, max(1, round(size / 18))
