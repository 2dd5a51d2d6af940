"""Rendering of one scene: from a seed to a picture and its segments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
import numpy.typing as npt

from seamseg.scenes.backdrop.ground import GroundOwners, GroundPainter, finish_ground, sample_ground_colors
from seamseg.scenes.backdrop.sky import draw_horizon, draw_sky
from seamseg.scenes.drawing.camera import sample_camera
from seamseg.scenes.drawing.canvas import Canvas, Picture
from seamseg.scenes.drawing.lens import develop
from seamseg.scenes.drawing.light import sample_light
from seamseg.scenes.drawing.noise import Field
from seamseg.scenes.drawing.painter import NOBODY, Painter, cast_shadows, share_of_sun
from seamseg.scenes.layout.filling import Layout, sample_layout
from seamseg.scenes.layout.street import Street, sample_street
from seamseg.scenes.objects.clutter import draw_birds, draw_hood, draw_wires
from seamseg.scenes.objects.items import Item, far_to_near
from seamseg.scenes.segments import SCENE_CATEGORIES, Owner, Segment, label

STUFF_OWNER = {
    category.name: 1 + index for index, category in enumerate(SCENE_CATEGORIES.classes) if not category.is_thing
}
"""Owner number of each stuff class. Things are numbered from ``FIRST_THING``."""

FIRST_THING = 1 + len(STUFF_OWNER)

THINGS = {category.name for category in SCENE_CATEGORIES.classes if category.is_thing}

_GROUND = GroundOwners(STUFF_OWNER["road"], STUFF_OWNER["pavement"], STUFF_OWNER["vegetation"])


@dataclass(frozen=True)
class Scene:
    """A picture with its panoptic annotation.

    Attributes:
        picture: H×W×3 uint8 RGB.
        ids: H×W int32 segment ids, 0 for void.
        segments: Segments with the ids 1 … K.
    """

    picture: Picture
    ids: npt.NDArray[np.int32]
    segments: tuple[Segment, ...]


def render_scene(seed: Sequence[int], size: tuple[int, int]) -> Scene:
    """Draw one scene.

    Args:
        seed: Non-negative integers. The scene depends only on the seed and the size.
        size: Height and width in pixels.
    """
    rng = np.random.default_rng(seed)
    street, light = sample_street(rng), sample_light(rng)
    lane = street.half_width - street.half_width / street.num_lanes
    layout = sample_layout(rng, street, lane, light.lamps)
    factor = oversampling(size)
    large = size[0] * factor, size[1] * factor
    painter = Painter(Canvas(large), sample_camera(rng, large, lane), light)
    known = draw_scene(painter, street, layout, rng.spawn(5))
    ids, segments = label_drawing(painter, known, factor)
    return Scene(develop(rng, painter.canvas.picture, size), ids, segments)


def label_drawing(
    painter: Painter, known: dict[int, Owner], factor: int
) -> tuple[npt.NDArray[np.int32], tuple[Segment, ...]]:
    """Return the H×W id map and the segments of a drawing that is ``factor`` times larger than the picture."""
    owners = painter.canvas.owners[factor // 2 :: factor, factor // 2 :: factor]
    return label(owners, known, factor**2)


def oversampling(size: tuple[int, int]) -> int:
    """Return how many times larger than the picture the drawing is, an even number; this smooths the edges."""
    return 2 * int(np.ceil(160 / max(size)))


def draw_scene(
    painter: Painter,
    street: Street,
    layout: Layout,
    generators: Sequence[np.random.Generator],
    owners: Mapping[Item, int] | None = None,
) -> dict[int, Owner]:
    """Draw everything from far to near.

    Args:
        painter: Painter with an empty canvas.
        street: Street of the scene.
        layout: Buildings and items.
        generators: Random generators of sky, horizon, ground, grain and small things near the camera.
        owners: Owner numbers of the things; None numbers them in the order in which they are drawn.

    Returns:
        The owners by number.
    """
    sky, far, ground, grain, near = generators
    painter.owner = STUFF_OWNER["sky"]
    draw_sky(painter, sky)
    GroundPainter(painter, street, sample_ground_colors(ground), _GROUND).draw(ground)
    shadow = _shadows(painter, layout)
    finish_ground(painter, grain, shadow, _GROUND.vegetation)
    _draw_horizon(painter, street, far)
    painter.owner = STUFF_OWNER["building"]
    for building in layout.buildings:
        building.draw(painter)
    if near.uniform() < 0.2:
        draw_birds(painter, near)
    if near.uniform() < 0.25:
        draw_wires(painter, near, street.frontage(1))
    known = _draw_items(painter, layout.items, shadow, owners)
    if near.uniform() < 0.3:
        draw_hood(painter, near)
    return known


def _shadows(painter: Painter, layout: Layout) -> Field:
    casters = [caster for building in layout.buildings for caster in building.casters()]
    casters += [caster for item in layout.items for caster in item.casters()]
    feet = [foot for item in layout.items for foot in item.feet()]
    return cast_shadows(painter.canvas.size, painter.camera, painter.light, casters, feet)


def _draw_horizon(painter: Painter, street: Street, rng: np.random.Generator) -> None:
    """Draw a skyline, woods, or both at the horizon."""
    wood = street.left.setting in ("houses", "park") or rng.uniform() < 0.3
    if not wood or rng.uniform() < 0.4:
        painter.owner = STUFF_OWNER["building"]
        draw_horizon(painter, rng, rng.uniform(90, 170) + rng.normal(0, 8, 3), rng.uniform(10, 22), ragged=0.0)
    if wood:
        painter.owner = STUFF_OWNER["vegetation"]
        albedo = np.array([82.0, 102.0, 62.0]) * rng.uniform(0.7, 1.1)
        draw_horizon(painter, rng, albedo, rng.uniform(6, 13), ragged=1.0)


def _draw_items(
    painter: Painter, items: Sequence[Item], shadow: Field, owners: Mapping[Item, int] | None
) -> dict[int, Owner]:
    known = {number: Owner(name, False, 0) for name, number in STUFF_OWNER.items()}
    free, shown = count(FIRST_THING), [item for item in items if painter.shows(item.footprint.space)]
    for item in far_to_near(shown, painter.camera.x, painter.camera.z):
        painter.lit = share_of_sun(shadow, painter.camera, item.footprint.surroundings)
        painter.owner = STUFF_OWNER.get(item.category, NOBODY)
        if item.category in THINGS:
            painter.owner = next(free) if owners is None else owners[item]
        item.draw(painter)
        if item.category in THINGS:
            area = int(np.count_nonzero(painter.canvas.owners == painter.owner))
            known[painter.owner] = Owner(item.category, item.crowd, area)
    return known
