"""Text in pictures, with the outline font and with the stroke fonts of older OpenCV versions."""

from __future__ import annotations

import numpy as np
import pytest

from seamseg.visualization import text as text_module
from seamseg.visualization.text import BOLD, REGULAR, ascii_text, draw_text, printable, shorten, text_width


@pytest.fixture(params=["built-in", "strokes"], autouse=True)
def _font(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "strokes":
        monkeypatch.setattr(text_module, "outline_font", lambda: None)


def _ink(text: str, size: int, weight: int = REGULAR) -> tuple[int, int, int, int]:
    """Return the bounds (y0, x0, y1, x1) of a drawn text, relative to the left end of its baseline."""
    canvas = np.full((200, 1200, 3), 255, np.uint8)
    draw_text(canvas, text, 100, 100, size, (0, 0, 0), weight)
    ys, xs = np.nonzero(canvas.min(axis=2) < 128)
    return ys.min() - 100, xs.min() - 100, ys.max() + 1 - 100, xs.max() + 1 - 100


@pytest.mark.parametrize("size", [10, 14, 24, 60])
@pytest.mark.parametrize("weight", [REGULAR, BOLD])
def test_draw_text_fills_the_promised_width_and_height(size: int, weight: int) -> None:
    y0, x0, y1, x1 = _ink("Hxgcar 98%", size, weight)
    width = text_width("Hxgcar 98%", size, weight)
    assert x0 >= -1
    assert x1 <= width + 1
    assert x1 > 0.85 * width
    assert -0.85 * size - 1 <= y0 <= -0.6 * size
    assert 0.1 * size <= y1 <= 0.35 * size + 1


def test_draw_text_in_bold_has_more_ink() -> None:
    def ink(weight: int) -> int:
        canvas = np.zeros((100, 300, 3), np.uint8)
        draw_text(canvas, "person", 10, 60, 40, (255, 255, 255), weight)
        return int(canvas.sum())

    assert ink(BOLD) > 1.1 * ink(REGULAR)


def test_draw_text_has_the_color_in_rgb_order() -> None:
    canvas = np.zeros((60, 60, 3), np.uint8)
    draw_text(canvas, "M", 5, 50, 50, (200, 100, 50), BOLD)
    assert (canvas.reshape(-1, 3) == (200, 100, 50)).all(axis=1).sum() > 50


def test_draw_text_outside_the_picture_is_clipped() -> None:
    canvas = np.zeros((20, 20, 3), np.uint8)
    draw_text(canvas, "a long line of text", -15, 15, 14, (255, 255, 255))
    assert canvas.any()
    draw_text(canvas, "far away", 500, -300, 14, (255, 255, 255))


@pytest.mark.parametrize(
    "text", ["Straße", "人 信号", "naïve café", "a\nb\tc\x00d", "\udc80.jpg", "🚗", "", "\u202eabc"]
)
def test_any_text_is_measured_and_drawn_without_errors(text: str) -> None:
    canvas = np.zeros((40, 200, 3), np.uint8)
    assert text_width(text, 16) >= 0
    draw_text(canvas, text, 2, 30, 16, (255, 255, 255))
    assert canvas.any() == bool(text)


def test_ascii_text_spells_out_or_replaces_other_characters() -> None:
    assert ascii_text("Straße, Ærø – naïve “café”…") == 'Strasse, Aero - naive "cafe"...'
    assert ascii_text("ﬁsh ½") == "fish 1?2"
    assert ascii_text("信号") == "??"
    assert ascii_text("plain text 98%") == "plain text 98%"


def test_printable_returns_one_line_of_valid_unicode() -> None:
    assert printable("a\nb\tc\x00d\u2028e") == "a b c d e"
    assert printable("\udc80.jpg") == "?.jpg"
    assert printable("größe 信号") == "größe 信号"


def test_shorten_cuts_only_texts_that_are_too_wide() -> None:
    assert shorten("road", 1000, 16) == "road"
    cut = shorten("a rather long file name.jpg", 120, 16)
    assert cut.endswith("...")
    assert cut.startswith("a r")
    assert text_width(cut, 16) <= 120
    assert text_width(cut, 16) > 80
    assert shorten("anything", 1, 16) == ""
