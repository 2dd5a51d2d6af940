"""The classes of Cityscapes (Cordts et al. 2016, "The Cityscapes Dataset for Semantic Urban Scene Understanding")."""

from __future__ import annotations

from seamseg.structures.categories import Categories, Category

LARGEST_LABEL = 33
"""Largest label; labels are 0 … 33, and those without a class below are void."""

CITYSCAPES = Categories(
    (
        Category("road", False, (128, 64, 128), 7),
        Category("sidewalk", False, (244, 35, 232), 8),
        Category("building", False, (70, 70, 70), 11),
        Category("wall", False, (102, 102, 156), 12),
        Category("fence", False, (190, 153, 153), 13),
        Category("pole", False, (153, 153, 153), 17),
        Category("traffic light", False, (250, 170, 30), 19),
        Category("traffic sign", False, (220, 220, 0), 20),
        Category("vegetation", False, (107, 142, 35), 21),
        Category("terrain", False, (152, 251, 152), 22),
        Category("sky", False, (70, 130, 180), 23),
        Category("person", True, (220, 20, 60), 24),
        Category("rider", True, (255, 0, 0), 25),
        Category("car", True, (0, 0, 142), 26),
        Category("truck", True, (0, 0, 70), 27),
        Category("bus", True, (0, 60, 100), 28),
        Category("train", True, (0, 80, 100), 31),
        Category("motorcycle", True, (0, 0, 230), 32),
        Category("bicycle", True, (119, 11, 32), 33),
    )
)
"""The 19 evaluated classes in the order of their train ids 0 … 18; the original ids are the label ids."""
