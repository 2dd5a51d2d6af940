"""Human figures: limbs, clothes and hair as flat outlines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from seamseg.scenes.drawing.camera import Points, circle
from seamseg.scenes.drawing.light import Rgb

Facing = Literal["left", "right", "toward", "away"]
Cut = Literal["trousers", "shorts", "skirt", "coat"]
Part = tuple[Points, Rgb]
"""Outline (N×2: right of the center and above the ground, as fractions of the body height) and albedo."""


@dataclass(frozen=True, eq=False)
class Clothes:
    """Albedo of skin, hair and clothes of a person, and the cut of the clothes on the legs."""

    skin: Rgb
    hair: Rgb
    top: Rgb
    legs: Rgb
    shoes: Rgb
    cut: Cut
    bag: Rgb | None
    long_hair: bool
    hat: bool


@dataclass(frozen=True)
class Pose:
    """Pose of a standing or walking person.

    Attributes:
        build: Width of the body; 1 is slim.
        facing: Direction as seen from the camera.
        stride: Swing of the legs in radians.
        arms: Swing of the arms in radians.
    """

    build: float
    facing: Facing
    stride: float
    arms: float

    @property
    def turned(self) -> float:
        """+1 if the person faces the right of the picture, −1 if the left, and 0 otherwise."""
        return {"left": -1.0, "right": 1.0}.get(self.facing, 0.0)


def figure(pose: Pose, clothes: Clothes) -> list[Part]:
    """List all parts of a person from far to near."""
    bag = [] if clothes.bag is None else [_bag(pose, clothes.bag)]
    behind, in_front = (bag, []) if pose.facing == "toward" else ([], bag)
    return [
        *behind,
        *_arm(pose, clothes, -1, 0.80),
        *_leg(pose, clothes, -1, 0.78),
        *_leg(pose, clothes, 1, 1.0),
        *_skirt(pose, clothes),
        _torso(pose, clothes),
        *_head(pose, clothes),
        *in_front,
        *_arm(pose, clothes, 1, 0.93),
    ]


def _leg(pose: Pose, clothes: Clothes, side: int, tone: float) -> list[Part]:
    turned, wide = pose.turned, 0.032 * pose.build
    swing = side * pose.stride * (turned if turned else 0.14)
    hip = np.array([side * (0.012 if turned else 0.043 * pose.build), 0.50])
    bend = turned * max(0.0, -swing * turned) * 0.4
    knee = hip + 0.25 * _hanging(swing + bend)
    lift = 0.05 * pose.stride if not turned and side > 0 else 0.0
    foot = knee + 0.235 * _hanging(swing - bend) + np.array([0.0, lift])
    toe = foot + np.array([0.055 * turned, -0.004])
    upper = clothes.skin if clothes.cut == "skirt" else clothes.legs
    lower = clothes.legs if clothes.cut in ("trousers", "coat") else clothes.skin
    return [
        (_limb(foot, toe, 0.021, 0.015 if turned else 0.024), clothes.shoes * tone),
        (_limb(knee, foot, wide * 1.1, wide * 0.75), lower * tone),
        (_limb(hip, knee, wide * 1.5, wide * 1.15), upper * tone),
    ]


def _skirt(pose: Pose, clothes: Clothes) -> list[Part]:
    if clothes.cut not in ("skirt", "coat"):
        return []
    low, flare = (0.30, 0.105) if clothes.cut == "skirt" else (0.27, 0.088)
    wide = pose.build * (0.85 if pose.turned else 1.0)
    shape = np.array([[-0.06, 0.56], [0.06, 0.56], [flare, low], [-flare, low]]) * (wide, 1)
    return [(shape, clothes.legs if clothes.cut == "skirt" else clothes.top)]


def _torso(pose: Pose, clothes: Clothes) -> Part:
    wide = pose.build * (0.70 if pose.turned else 1.0)
    right = [[0.070, 0.47], [0.066, 0.60], [0.086, 0.74], [0.090, 0.80], [0.060, 0.835], [0.022, 0.85]]
    outline = np.array(right + [[-x, y] for x, y in reversed(right)]) * (wide, 1)
    outline[:, 0] += 0.015 * pose.turned * (outline[:, 1] - 0.48) / 0.37
    return outline, clothes.top


def _arm(pose: Pose, clothes: Clothes, side: int, tone: float) -> list[Part]:
    turned, thick = pose.turned, 0.025 * pose.build
    out = -side * pose.arms * turned if turned else side * 0.10
    shoulder = np.array([0.0 if turned else side * 0.088 * pose.build, 0.80])
    elbow = shoulder + 0.17 * _hanging(out)
    hand = elbow + 0.165 * _hanging(out + turned * 0.35)
    return [
        (circle(0.019, 8, (hand[0], hand[1])), clothes.skin * tone),
        (_limb(elbow, hand, thick * 0.95, thick * 0.75), clothes.top * tone),
        (_limb(shoulder, elbow, thick * 1.15, thick), clothes.top * tone),
    ]


def _head(pose: Pose, clothes: Clothes) -> list[Part]:
    turned = pose.turned
    oval = circle(1.0, 14) * (0.053, 0.068) + (0.012 * turned, 0.928)
    neck = np.array([[-0.024, 0.83], [0.024, 0.83], [0.022, 0.89], [-0.022, 0.89]])
    parts: list[Part] = [(neck, clothes.skin * 0.85)]
    if pose.facing == "away":
        parts.append((oval, clothes.hair))
    else:
        cap = circle(1.0, 14) * (0.057, 0.070) + (-0.004 * turned, 0.932)
        cap[:, 1] = np.maximum(cap[:, 1], 0.938 if turned else 0.948)
        parts += [(oval, clothes.skin), (cap, clothes.hair)]
        if turned:
            parts.append((circle(1.0, 10) * (0.032, 0.056) + (-0.030 * turned, 0.932), clothes.hair))
    if clothes.long_hair and pose.facing != "toward":
        wide = 0.024 if turned else 0.056
        mane = np.array([[-wide, 0.95], [wide, 0.95], [wide * 1.05, 0.82], [-wide * 1.05, 0.82]])
        parts.append((mane + np.array([-0.036 * turned, 0.0]), clothes.hair))
    if clothes.hat:
        brim = np.array([[-0.062, 0.955], [0.062, 0.955], [0.050, 1.0], [-0.050, 1.0]])
        parts.append((brim + np.array([0.012 * turned, 0.0]), clothes.shoes * 1.2))
    return parts


def _bag(pose: Pose, color: Rgb) -> Part:
    if pose.turned:
        return np.array([[-0.11, 0.58], [-0.045, 0.57], [-0.04, 0.80], [-0.10, 0.79]]) * (pose.turned, 1), color
    return np.array([[-0.075, 0.57], [0.075, 0.57], [0.070, 0.80], [-0.070, 0.80]]) * (pose.build, 1), color


def _hanging(angle: float) -> Points:
    """Direction (2) of a limb at an angle from straight down."""
    return np.array([np.sin(angle), -np.cos(angle)])


def _limb(start: Points, end: Points, thick_start: float, thick_end: float) -> Points:
    """N×2 outline of a limb with round ends, given its radii at both ends."""
    angle = np.arctan2(end[1] - start[1], end[0] - start[0])
    half = angle + np.linspace(-np.pi / 2, np.pi / 2, 5)
    ahead = np.stack([np.cos(half), np.sin(half)], axis=1)
    return np.concatenate([end + thick_end * ahead, start - thick_start * ahead])
