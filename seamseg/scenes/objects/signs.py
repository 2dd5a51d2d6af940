"""Traffic signs and boards on posts; only the board is labeled, the post is void."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from seamseg.scenes.drawing.camera import Footprint, Plane, Points, circle
from seamseg.scenes.drawing.light import Rgb
from seamseg.scenes.drawing.painter import NOBODY, Face, Painter
from seamseg.scenes.objects.items import Item

Board = Literal["round", "triangle", "octagon", "diamond", "square", "direction"]

WHITE, BLACK = np.array([232.0, 232.0, 228.0]), np.array([30.0, 30.0, 32.0])
RED, BLUE = np.array([186.0, 26.0, 30.0]), np.array([28.0, 76.0, 160.0])
YELLOW, GREEN = np.array([236.0, 186.0, 30.0]), np.array([22.0, 104.0, 72.0])
STEEL = np.array([128.0, 130.0, 132.0])

UPRIGHT = np.array([0.0, 0.35, -0.93])
"""Normal used to shade boards, so that they are never black when seen against the sun."""

_STRUT = np.array([[-0.09, 0.8], [0.09, 0.8], [0.09, -0.8], [-0.09, -0.8]])


@dataclass(frozen=True, eq=False)
class Sign(Item):
    """One sign.

    Attributes:
        place: World point (3) at the foot of the post.
        board: Shape of the board.
        size: Width of the board in meters.
        height: Height of the center of the board in meters.
        turn: Rotation away from the camera in radians.
        rim: Albedo of the rim.
        field: Albedo of the field.
        mark: Albedo of the strokes.
        marks: Strokes on the board as (left, right, low, high) in fractions of half its size.
        back: Whether the camera sees the bare back.
        category: Name of the class.
    """

    place: Points
    board: Board
    size: float
    height: float
    turn: float
    rim: Rgb
    field: Rgb
    mark: Rgb
    marks: tuple[tuple[float, float, float, float], ...]
    back: bool
    category: str = "sign"

    @cached_property
    def footprint(self) -> Footprint:
        """Rectangle on the ground around the post."""
        return Footprint.around(self.place, 0.2, 0.1)

    def casters(self) -> list[Points]:
        """World points (N×3 each) of board and post, which cast shadows."""
        outline = _outline(self.board) * self.size / 2 + (0, self.height)
        post = np.array([[-0.04, 0], [0.04, 0], [0.04, self.height], [-0.04, self.height]])
        plane = Plane(self.place, np.array([1.0, 0.0, 0.0]))
        return [plane.at(outline), plane.at(post)]

    def draw(self, painter: Painter) -> None:
        """Draw board and posts; the posts are void."""
        plane = Plane.facing(painter.camera, self.place, self.turn)
        draw_posts(painter, plane, (-0.55, 0.55) if self.board == "direction" else (0.0,), self.size, self.height)
        parts = [(_outline(self.board), STEEL), (_STRUT, STEEL * 0.7)] if self.back else self._front()
        middle, half = np.array([0.0, self.height]), self.size / 2
        painter.faces([Face(plane.at(flat * half + middle), color, normal=UPRIGHT) for flat, color in parts])

    def _front(self) -> list[tuple[Points, Rgb]]:
        """Outlines in fractions of half the size, and their colors."""
        outline = _outline(self.board)
        parts = [(outline, self.rim), (outline * 0.80, self.field)]
        for left, right, low, high in self.marks:
            parts.append((np.array([[left, high], [right, high], [right, low], [left, low]]), self.mark))
        return parts


def draw_posts(painter: Painter, plane: Plane, offsets: tuple[float, ...], size: float, height: float) -> None:
    """Draw gray void posts from the ground up to a height, at offsets in fractions of half the size."""
    owner, painter.owner = painter.owner, NOBODY
    for offset in offsets:
        x = offset * size / 2
        dark = Face(plane.box(x - 0.045, x + 0.045, 0.0, height), STEEL * 0.85)
        painter.faces([dark, Face(plane.box(x - 0.045, x - 0.005, 0.0, height), STEEL * 1.15)])
    painter.owner = owner


def _outline(board: Board) -> Points:
    """N×2 outline of a board, about −1 … 1."""
    if board == "round":
        return circle(1.0, 24)
    if board == "octagon":
        return circle(1.04, 8, turn=np.pi / 8)
    if board == "triangle":
        return np.array([[0.0, 0.92], [1.0, -0.75], [-1.0, -0.75]])
    if board == "diamond":
        return circle(1.08, 4)
    high = 0.85 if board == "square" else 0.55
    return np.array([[-1, high], [1, high], [1, -high], [-1, -high]], np.float64) * (0.85 if board == "square" else 1)


_STROKES: tuple[tuple[tuple[float, float, float, float], ...], ...] = (
    ((-0.42, -0.08, -0.35, 0.35), (0.08, 0.42, -0.35, 0.35)),
    ((-0.12, 0.12, -0.42, 0.30),),
    ((-0.5, 0.5, -0.14, 0.14),),
    ((-0.10, 0.10, -0.4, 0.4), (-0.35, 0.35, 0.12, 0.30)),
    (),
)
_TEXT = ((-0.75, 0.35, 0.16, 0.32), (-0.75, 0.70, -0.10, 0.06), (-0.75, 0.05, -0.36, -0.20))

_DESIGNS: dict[Board, tuple[tuple[Rgb, Rgb, Rgb], ...]] = {
    "round": ((RED, WHITE, BLACK), (WHITE, BLUE, WHITE), (RED, RED, WHITE), (RED, BLUE, RED), (BLACK, WHITE, BLACK)),
    "triangle": ((RED, WHITE, BLACK), (RED, YELLOW, BLACK)),
    "octagon": ((WHITE, RED, WHITE),),
    "diamond": ((BLACK, YELLOW, BLACK), (WHITE, YELLOW, YELLOW), (BLACK, YELLOW * (1, 0.7, 1), BLACK)),
    "square": ((WHITE, BLUE, WHITE), (WHITE, GREEN, WHITE), (BLACK, WHITE, BLACK), (BLUE, WHITE, BLUE)),
    "direction": ((WHITE, GREEN, WHITE), (WHITE, BLUE, WHITE), (BLACK, WHITE, BLACK), (BLACK, YELLOW, BLACK)),
}


def sample_sign(rng: np.random.Generator, place: Points) -> Sign:
    """Sample a sign with its foot at a world point (3)."""
    boards: tuple[Board, ...] = ("round", "triangle", "octagon", "diamond", "square", "direction")
    board = boards[int(rng.choice(6, p=[0.32, 0.16, 0.10, 0.12, 0.18, 0.12]))]
    designs = _DESIGNS[board]
    rim, field, mark = designs[int(rng.integers(len(designs)))]
    worn = rng.uniform(0.75, 1.08)
    large = board == "direction"
    return Sign(
        place=place,
        board=board,
        size=float(rng.uniform(1.9, 2.8) if large else rng.uniform(0.78, 1.05)),
        height=float(rng.uniform(2.2, 3.0)),
        turn=float(rng.normal(0, 0.2)),
        rim=rim * worn,
        field=field * worn,
        mark=mark * worn,
        marks=_TEXT if large else _STROKES[int(rng.integers(len(_STROKES)))],
        back=bool(rng.uniform() < 0.10),
    )
