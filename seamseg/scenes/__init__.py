"""Synthetic street scenes with panoptic annotation: no download, no license, and never two alike.

A scene is laid out in meters (`street`, `layout` and what stands in it), seen through a camera in some light and
drawn far to near, together with a map of who owns each pixel (`render`). What is in sight becomes segments
(`segments`), the drawing becomes an image (`lens`), and both are written as a COCO panoptic data set (`write`).
"""

from seamseg.scenes.render import Scene, render_scene
from seamseg.scenes.segments import SCENE_CATEGORIES, Segment
from seamseg.scenes.write import write_scenes

__all__ = ["SCENE_CATEGORIES", "Scene", "Segment", "render_scene", "write_scenes"]
