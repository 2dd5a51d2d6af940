"""The classes of the synthetic street scenes."""

from __future__ import annotations

from seamseg.structures.categories import Categories, Category

SCENE_CATEGORIES = Categories(
    (
        Category("sky", False, (120, 178, 224), 1),
        Category("building", False, (150, 120, 110), 2),
        Category("road", False, (128, 64, 128), 3),
        Category("pavement", False, (236, 160, 210), 4),
        Category("vegetation", False, (88, 150, 60), 5),
        Category("car", True, (40, 60, 190), 6),
        Category("person", True, (220, 40, 70), 7),
        Category("sign", True, (240, 210, 40), 8),
        Category("light", True, (250, 150, 30), 9),
    )
)
"""Five kinds of stuff and four kinds of things; a tree's trunk and grass are vegetation, posts and clutter are void."""
