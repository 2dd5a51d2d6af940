"""Functions of tensors, without weights and settings.

Boxes are ``(y0, x0, y1, x1)`` in pixels with half-open edges: the box that covers exactly pixel (0, 0) is (0, 0, 1, 1),
and the center of pixel i is at i + 0.5.
"""
