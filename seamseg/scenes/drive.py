"""Drives: short videos of a moving camera in a street with moving cars and people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from seamseg.scenes.drawing.camera import sample_camera
from seamseg.scenes.drawing.canvas import Canvas
from seamseg.scenes.drawing.lens import develop
from seamseg.scenes.drawing.light import sample_light
from seamseg.scenes.drawing.painter import Painter
from seamseg.scenes.layout.street import sample_street
from seamseg.scenes.layout.traffic import sample_traffic
from seamseg.scenes.objects.items import Item
from seamseg.scenes.render import FIRST_THING, Scene, draw_scene, label_drawing, oversampling

FRAME_RATE = 10.0
"""Frames per second."""


def render_drive(seed: Sequence[int], size: tuple[int, int], num_frames: int) -> Iterator[Scene]:
    """Draw the frames of one drive.

    An object has the same ``Segment.owner`` in all frames, whether or not it was hidden or outside of the picture in
    between. The first frames do not depend on how many follow, except for people, who keep out of the way of the
    camera.

    Args:
        seed: Non-negative integers. The drive depends only on the arguments.
        size: Height and width in pixels.
        num_frames: Number of frames.

    Yields:
        The frames, 0.1 s apart.
    """
    rng = np.random.default_rng(seed)
    street, light = sample_street(rng), sample_light(rng)
    lane = street.half_width - street.half_width / street.num_lanes
    traffic = sample_traffic(rng, street, lane, light.lamps, num_frames / FRAME_RATE)
    factor = oversampling(size)
    large = size[0] * factor, size[1] * factor
    camera = sample_camera(rng, large, lane)
    seeds, lens = np.random.SeedSequence([*seed, 0]).spawn(5), [*seed, 1]
    owners: list[int] = [FIRST_THING + number for number in range(len(traffic.movers) + len(traffic.still.items))]
    for frame in range(num_frames):
        seconds = frame / FRAME_RATE
        layout = traffic.at(street, seconds)
        painter = Painter(Canvas(large), traffic.ride.at(camera, street, seconds), light)
        # Textures of the ground and the sky are the same in all frames, the noise of the camera is not.
        generators = [np.random.default_rng(one) for one in seeds]
        numbers: dict[Item, int] = dict(zip(layout.items, owners, strict=True))
        ids, segments = label_drawing(painter, draw_scene(painter, street, layout, generators, numbers), factor)
        noise = np.random.default_rng([*seed, 2, frame])
        yield Scene(develop(np.random.default_rng(lens), painter.canvas.picture, size, noise), ids, segments)
