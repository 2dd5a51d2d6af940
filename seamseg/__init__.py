"""Panoptic segmentation of street scenes: one network labels every pixel with a class and, for things, an instance."""

__version__ = "1.0.0.dev0"
