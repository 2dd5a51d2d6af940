"""Functions of tensors, without weights and without settings.

Boxes are ``(y0, x0, y1, x1)`` in pixels, half-open edges: a box that covers exactly pixel (0, 0) is (0, 0, 1, 1), and
the center of pixel i lies at i + 0.5.
"""
