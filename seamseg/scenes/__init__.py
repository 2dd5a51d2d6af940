"""Synthetic street scenes with panoptic annotation, which need neither a download nor a license.

`layout` places `objects` along a street, in meters. `render` draws them from far to near (`drawing`, `backdrop`),
together with a map of the owner of each pixel. `segments` converts the visible owners to segments, `drawing.lens`
turns the drawing into a realistic image, and `write` stores both as a COCO panoptic data set. `drive` draws short
videos, in which `layout.traffic` moves cars, people and the camera, and `write_drives` stores them.
"""

from seamseg.scenes.drive import render_drive
from seamseg.scenes.render import Scene, render_scene
from seamseg.scenes.segments import SCENE_CATEGORIES, Segment
from seamseg.scenes.write import write_scenes
from seamseg.scenes.write_drives import write_drives

__all__ = ["SCENE_CATEGORIES", "Scene", "Segment", "render_drive", "render_scene", "write_drives", "write_scenes"]
